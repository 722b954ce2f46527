//! The `holdfast` program without one of the rules of replication, for the test that shows that the
//! history checker sees the loss (`tests/clients/python/test_broken_rule.py`). The environment
//! variable `HOLDFAST_WITHOUT_RULE` names the rule, as in `holdfast_core::replica::Rule`; without it
//! all rules are kept. Built by `cargo build --features ablation --bin holdfast-ablation` alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::run()
}
