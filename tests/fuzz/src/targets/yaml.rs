//! YAML, as `holdfast up` loads it: parsing, schema, defaults, CEL rules, what may not change.

use holdfast_api::load::{PROBLEMS_MAX, Previous, Source, load, load_update};

use super::{KIB, MIB};
use crate::{Target, repair};

/// What loading may take: 100,000 nodes a document, aliases followed, each with its place, its
/// value and its copy as JSON.
const MEMORY_BYTES_MAX: usize = 256 * MIB;

pub(super) const TARGET: Target = Target {
    name: "yaml",
    run,
    repair: repair::nothing,
    seeds,
    words: &[
        b"---\n",
        b"kind: ",
        b"metadata:",
        b"name: ",
        b"spec:",
        b"ReplicationPolicy",
        b"Topic",
        b"Queue",
        b"holdfast.dev/v1alpha1",
        b"replicas: ",
        b"minInSyncReplicas: ",
        b"partitions: ",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!binary ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"|\n",
        b">-\n",
        b"? ",
        b": ",
        b"\n  ",
        b"\"",
        b"'",
        b"0x7fffffffffffffff",
        b"1e999",
        b".inf",
        b".nan",
        b"~",
        b"true",
        b"1d",
        b"10Gi",
        b"\xef\xbb\xbf",
        b"%YAML 1.2\n",
        b"...\n",
    ],
    input_bytes_max: 16 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

fn seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../../../examples/orders.yaml").to_vec(),
        include_bytes!("../../../clients/cluster.yaml").to_vec(),
    ]
}

fn run(input: &[u8]) {
    // What is no text is refused before.
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let files = [Source { name: "given.yaml", text }];
    match load(&files) {
        Ok(loaded) => {
            let again = load_update(&files, &Previous::from(&loaded));
            assert_eq!(again.as_ref(), Ok(&loaded), "what was accepted may stay as it is");
        }
        Err(problems) => {
            assert!((1..=PROBLEMS_MAX + 1).contains(&problems.len()), "{}", problems.len());
            for problem in problems {
                assert!(!problem.to_string().is_empty());
            }
        }
    }
}
