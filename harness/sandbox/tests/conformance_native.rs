//! The conformance suite on the native backend, on the host's own root: as the user who runs it and, where that is root,
//! as an ordinary user too, by running itself again with another id.

#![allow(clippy::print_stdout, reason = "a test program of its own")]

mod support;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use harness_sandbox::conformance::{self, Setup};
use harness_sandbox::{BACKENDS, BackendOptions, RootFs, SandboxError};

/// Holds the state folder in a copy of this program that was started with another id, or as an owner that dies.
const STATE: &str = "HARNESS_CONFORMANCE_STATE";
/// Nobody in particular: no entry in any table is needed.
const ORDINARY: u32 = 54321;

async fn open(state: &Path) -> Result<Setup, SandboxError> {
    let options = BackendOptions { state_dir: state.to_owned(), rootfs: RootFs::Host, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "native").expect("native is registered");
    support::setup(kind.open(options).await?).await
}

fn main() -> ExitCode {
    let given = std::env::var_os(STATE);
    let made = given.is_none().then(|| tempfile::tempdir_in("/var/tmp").expect("a folder can be made"));
    let state = match (&given, &made) {
        (Some(given), _) => Path::new(given).to_owned(),
        (None, Some(made)) => made.path().to_owned(),
        (None, None) => unreachable!("one of them is there"),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime
        .block_on(conformance::be_an_orphan_if_asked(|| open(&state)))
        .expect("an owner that should die starts a sandbox");
    let root = rustix::process::geteuid().is_root();
    let prefix = if root { "native_as_root" } else { "native_as_user" };
    let opened = runtime.block_on(open(&state));
    let setup = match opened {
        Ok(setup) => setup.with_orphans(vec![(STATE.into(), state.clone().into_os_string())]),
        Err(error) => {
            println!("skipped by name: {prefix}: the native sandbox does not work here: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let mut tests = support::tests(prefix, &setup, runtime.handle());
    tests.extend(support::faults(prefix, &setup, runtime.handle()));
    // What the suite notices does not depend on who runs it: once is enough.
    if given.is_none() {
        tests.extend(support::saboteurs(prefix, &setup, runtime.handle(), &[]));
    }
    let exit = support::conclude(tests);
    drop(setup);
    if exit != ExitCode::SUCCESS || !root || given.is_some() {
        return exit;
    }
    as_ordinary_user()
}

/// The same in a copy of this program that has no rights. Its own file may lie where only root can go.
fn as_ordinary_user() -> ExitCode {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
    let program = folder.path().join("conformance");
    let state = folder.path().join("state");
    let own = std::env::current_exe().expect("this program has a path");
    std::fs::copy(own, &program).expect("this program can be copied");
    std::fs::create_dir(&state).expect("a folder can be made");
    std::os::unix::fs::chown(&state, Some(ORDINARY), Some(ORDINARY)).expect("root may give files away");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("a folder's mode can be set");
    let status = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .current_dir("/")
        .env(STATE, &state)
        .env("TMPDIR", "/var/tmp")
        .uid(ORDINARY)
        .gid(ORDINARY)
        .status()
        .expect("this program can be run as an ordinary user");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
