//! Opens the backend `docker` on one engine for tests, or says by name what is skipped.

#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "shared by tests that each use a part of it"
)]

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use harness_sandbox::conformance::{self, Setup};
use harness_sandbox::{BACKENDS, BackendOptions, RootFs, SandboxError};

use crate::support;

/// An image with a shell and core utilities that engines of tests have.
const IMAGE: &str = "HARNESS_TEST_IMAGE";
/// Set where engines have to be there: what is missing is then a failure.
const REQUIRED: &str = "HARNESS_REQUIRE_ENGINES";
/// Holds the state folder in a copy of this program that was started as an owner that dies.
const STATE: &str = "HARNESS_CONFORMANCE_STATE";

/// Nobody in particular: no entry in any table is needed.
const ORDINARY: u32 = 54321;

/// An engine that tests want.
pub(crate) struct Wanted {
    /// Begins the names of tests, by who runs them.
    pub(crate) as_root: &'static str,
    pub(crate) as_member: &'static str,
    /// Whether the suite is shown to bite here.
    pub(crate) sabotaged: bool,
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

/// The whole conformance suite on an engine, as whoever runs it; where that is root and a socket can be opened by its group,
/// as a plain member of the group too.
pub(crate) fn conformance(wanted: &Wanted) -> ExitCode {
    choose(wanted);
    let given = std::env::var_os(STATE).map(PathBuf::from);
    let made = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
    let state = given.clone().unwrap_or_else(|| made.path().to_owned());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime
        .block_on(conformance::be_an_orphan_if_asked(|| open(&state)))
        .expect("an owner that should die starts a sandbox");
    let root = rustix::process::geteuid().is_root();
    let prefix = if root { wanted.as_root } else { wanted.as_member };
    let setup = match runtime.block_on(open(&state)) {
        Ok(setup) => setup.with_orphans(vec![(STATE.into(), state.into_os_string())]),
        Err(error) => return without_engine(prefix, &error),
    };
    let mut tests = support::tests(prefix, &setup, runtime.handle());
    tests.extend(support::faults(prefix, &setup, runtime.handle()));
    // What the suite notices does not depend on who runs it: once is enough.
    if given.is_none() && wanted.sabotaged {
        tests.extend(support::saboteurs(prefix, &setup, runtime.handle(), &[]));
    }
    let exit = support::conclude(tests);
    drop(setup);
    if exit != ExitCode::SUCCESS || !root || given.is_some() {
        return exit;
    }
    as_member(wanted)
}

/// The same in a copy of this program that has no rights but to open the engine's socket.
fn as_member(wanted: &Wanted) -> ExitCode {
    let host = std::env::var("DOCKER_HOST").expect("it was set first of all");
    let socket = host.strip_prefix("unix://").and_then(|path| std::fs::metadata(path).ok());
    let Some(group) = socket
        .filter(|socket| socket.mode() & 0o060 == 0o060 && socket.gid() != 0)
        .map(|socket| socket.gid())
    else {
        println!("skipped by name: {}: no group but root's may open {host}", wanted.as_member);
        return ExitCode::SUCCESS;
    };
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
    let (program, state) = (folder.path().join("conformance"), folder.path().join("state"));
    std::fs::copy(std::env::current_exe().expect("this program has a path"), &program)
        .expect("it can be copied");
    std::fs::create_dir(&state).expect("a folder can be made");
    std::os::unix::fs::chown(&state, Some(ORDINARY), Some(group)).expect("root may give files away");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("a folder's mode can be set");
    let status = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .current_dir("/")
        .env(STATE, &state)
        .env("TMPDIR", "/var/tmp")
        .uid(ORDINARY)
        .gid(group)
        .status()
        .expect("this program can be run as an ordinary user");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
