//! Opens the backend `docker` on one engine for tests, or says by name what is skipped.

#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "shared by tests that each use a part of it"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness_sandbox::conformance::{self, Setup};
use harness_sandbox::{BACKENDS, BackendOptions, RootFs, SandboxError};

use crate::support;

/// An image with a shell and core utilities that engines of tests have.
const IMAGE: &str = "HARNESS_TEST_IMAGE";
/// Set where engines have to be there: what is missing is then a failure.
const REQUIRED: &str = "HARNESS_REQUIRE_ENGINES";
/// Holds the state folder in a copy of this program that was started as an owner that dies.
const STATE: &str = "HARNESS_CONFORMANCE_STATE";

/// An engine that tests want.
pub(crate) struct Wanted {
    /// Begins the names of tests.
    pub(crate) prefix: &'static str,
    /// Variable that may name its socket.
    pub(crate) variable: &'static str,
    /// Its usual socket.
    pub(crate) socket: &'static str,
}

/// Makes the backend ask this engine and no other. To be called first of all, while there is one thread.
pub(crate) fn choose(wanted: &Wanted) {
    let socket = std::env::var(wanted.variable).unwrap_or_else(|_| format!("unix://{}", wanted.socket));
    // SAFETY: nothing else runs in this program yet.
    unsafe { std::env::set_var("DOCKER_HOST", socket) };
}

/// What is to be done where no engine answers.
pub(crate) fn without_engine(prefix: &str, error: &dyn std::fmt::Display) -> ExitCode {
    let required = std::env::var_os(REQUIRED).is_some_and(|value| !value.is_empty() && value != "0");
    if required {
        println!("FAILED: {prefix}: {REQUIRED} is set, and {error}");
        return ExitCode::FAILURE;
    }
    println!("skipped by name: {prefix}: {error}");
    ExitCode::SUCCESS
}

pub(crate) async fn open(state: &Path) -> Result<Setup, SandboxError> {
    let options =
        BackendOptions { state_dir: state.to_owned(), rootfs: RootFs::FromTask, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "docker").expect("docker is registered");
    let image = std::env::var(IMAGE).unwrap_or_else(|_| "debian:12".to_owned());
    support::setup_of(kind.open(options).await?, &image).await
}

/// The whole conformance suite on an engine.
pub(crate) fn conformance(wanted: &Wanted) -> ExitCode {
    choose(wanted);
    let given = std::env::var_os(STATE).map(PathBuf::from);
    let made = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
    let state = given.clone().unwrap_or_else(|| made.path().to_owned());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime
        .block_on(conformance::be_an_orphan_if_asked(|| open(&state)))
        .expect("an owner that should die starts a sandbox");
    let setup = match runtime.block_on(open(&state)) {
        Ok(setup) => setup.with_orphans(vec![(STATE.into(), state.into_os_string())]),
        Err(error) => return without_engine(wanted.prefix, &error),
    };
    let mut tests = support::tests(wanted.prefix, &setup, runtime.handle());
    tests.extend(support::faults(wanted.prefix, &setup, runtime.handle()));
    support::conclude(tests)
}
