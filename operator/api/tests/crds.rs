//! The files in crds/, and docs/fields.md, are what the Rust types say.

use std::collections::BTreeSet;
use std::path::Path;

/// Run with `UPDATE_CRDS=1` to write them anew, or run the `crdgen` binary.
#[test]
fn files_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let files = holdfast_api::crd::files().unwrap();
    for (name, text) in &files {
        let path = directory.join(name);
        if std::env::var_os("UPDATE_CRDS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == *text, "crds/{name} is stale: run `make crds` and commit crds/");
    }
    let fields = directory.join("../docs/fields.md");
    let found = std::fs::read_to_string(&fields).unwrap_or_default();
    assert!(
        found == holdfast_api::reference::text(),
        "docs/fields.md is stale: run `make crds` and commit it"
    );
    let expected: BTreeSet<_> = files.into_iter().map(|(name, _)| name).collect();
    let found: BTreeSet<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected, "crds/ has a file that no kind makes");
}
