//! Compiles the .proto files with a Rust compiler, so that no protoc is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let compile = |files: &[&str]| protox::compile(files, ["proto"]);
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    let configure =
        || tonic_prost_build::configure().build_client(grpc).build_server(grpc).bytes(".");
    configure().compile_fds(compile(&["command.proto"])?)?;
    // Each writes what is left of those that it imports, so the imported ones come last.
    configure()
        .extern_path(".holdfast.command.v1", "crate::command")
        .extern_path(".holdfast.control.v1", "crate::control")
        .compile_fds(compile(&["peer.proto"])?)?;
    configure()
        .extern_path(".holdfast.command.v1", "crate::command")
        .compile_fds(compile(&["control.proto"])?)?;
    Ok(())
}
