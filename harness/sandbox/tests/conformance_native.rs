//! The conformance suite on the native backend, on the host's own root.

#![allow(clippy::print_stdout, reason = "a test program of its own")]

mod support;

use std::process::ExitCode;

use harness_sandbox::{BACKENDS, BackendOptions, RootFs};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let state = tempfile::tempdir_in("/var/tmp").expect("a folder for the state can be made");
    let options =
        BackendOptions { state_dir: state.path().to_owned(), rootfs: RootFs::Host, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "native").expect("native is registered");
    let backend = match runtime.block_on(kind.open(options)) {
        Ok(backend) => backend,
        Err(error) => {
            println!("skipped: the native sandbox does not work here: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let setup = runtime.block_on(support::setup(backend)).expect("the image is made");
    support::conclude(support::tests("native", &setup, runtime.handle()))
}
