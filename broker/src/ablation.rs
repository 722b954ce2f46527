//! Which rules of replication this build keeps: all of them, but in a build for tests.

use holdfast_core::replica::Rules;

/// All rules.
#[cfg(not(feature = "ablation"))]
pub(crate) fn rules() -> Rules {
    Rules::default()
}

/// All rules but the one that the environment names.
#[cfg(feature = "ablation")]
pub(crate) fn rules() -> Rules {
    use holdfast_core::replica::Rule;

    /// The rules whose absence is shown with real brokers.
    const RULES: [Rule; 4] =
        [Rule::EveryMember, Rule::Union, Rule::JoinAtCommit, Rule::EpochHistory];

    let Ok(name) = std::env::var("HOLDFAST_WITHOUT_RULE") else { return Rules::default() };
    let rule = RULES.into_iter().find(|rule| format!("{rule:?}") == name);
    let rule = rule.expect("a test names one of the rules above");
    tracing::warn!(?rule, "this build is for tests, and breaks its promise: a rule is missing");
    Rules::without(rule)
}
