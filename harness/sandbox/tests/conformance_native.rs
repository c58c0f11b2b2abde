//! The conformance suite on the native backend, on the host's own root.

#![allow(clippy::print_stdout, reason = "a test program of its own")]

mod support;

use std::path::Path;
use std::process::ExitCode;

use harness_sandbox::conformance::{Setup, be_an_orphan_if_asked};
use harness_sandbox::{BACKENDS, BackendOptions, RootFs, SandboxError};

async fn open(state: &Path) -> Result<Setup, SandboxError> {
    let options = BackendOptions { state_dir: state.to_owned(), rootfs: RootFs::Host, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "native").expect("native is registered");
    support::setup(kind.open(options).await?).await
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    // The owner that dies uses the state folder of the one that reaps, which it is given as its argument.
    let given = std::env::args().nth(1).unwrap_or_default();
    runtime
        .block_on(be_an_orphan_if_asked(|| open(Path::new(&given))))
        .expect("the owner that dies lives until then");
    let state = tempfile::tempdir_in("/var/tmp").expect("a folder for the state can be made");
    let setup = match runtime.block_on(open(state.path())) {
        Ok(setup) => setup.with_orphans(vec![state.path().display().to_string()]),
        Err(error) => {
            println!("skipped: the native sandbox does not work here: {error}");
            return ExitCode::SUCCESS;
        }
    };
    support::conclude(support::tests("native", &setup, runtime.handle()))
}
