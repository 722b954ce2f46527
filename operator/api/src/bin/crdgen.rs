//! Writes crds/ anew from the Rust types: `cargo run -p holdfast-api --bin crdgen [DIRECTORY]`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = std::env::args_os().nth(1).map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds")),
        PathBuf::from,
    );
    let files = match holdfast_api::crd::files() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("crdgen: {error}");
            return ExitCode::FAILURE;
        }
    };
    for (name, text) in files {
        let path = directory.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("crdgen: can't write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
