//! Writes crds/ and docs/fields.md anew from the Rust types: `cargo run -p holdfast-api --bin crdgen`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = match holdfast_api::crd::files() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("crdgen: {error}");
            return ExitCode::FAILURE;
        }
    };
    let crds = files.into_iter().map(|(name, text)| (root.join("crds").join(name), text));
    let fields = (root.join("docs/fields.md"), holdfast_api::reference::text());
    for (path, text) in crds.chain([fields]) {
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("crdgen: can't write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
