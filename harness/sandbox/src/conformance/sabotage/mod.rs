//! Backends that break one promise on purpose: for every case one that it has to catch.

mod backend;
mod host;
mod place;
mod table;
mod tricks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use harness_core::Connections;

use crate::{
    Backend, Change, ExecResult, ExecSpec, GetOptions, Process, ProcessSpec, PutOptions, Sandbox,
    SandboxError, SandboxSpec, SandboxUsage, Source, ViewSpec,
};

pub use self::table::TABLE;

/// Which promise is broken, and how.
#[derive(Clone, Copy)]
pub enum Sabotage {
    /// Asks for another process, and tampers with the one that is given.
    Spawn(fn(&mut ProcessSpec), fn(Process) -> Process),
    /// Runs the command through a shell script, which finds it in `"$@"`.
    Wrap(&'static str),
    /// Where a command is refused, runs another one.
    Retry(fn(&mut ProcessSpec)),
    /// Asks for other handling of input and output.
    Exec(fn(&mut ExecSpec)),
    /// Tampers with a command's result.
    Answer(fn(&ExecSpec, Result<ExecResult, SandboxError>) -> Result<ExecResult, SandboxError>),
    /// Lets one command run at a time.
    Serialise,
    /// Goes on with a command whose caller has given up.
    DetachExec,
    /// Runs a script after each command.
    AfterExec(&'static str),
    /// Runs a script after each command that timed out.
    AfterTimeout(&'static str),
    /// Ends the sandbox after each command.
    DestroyAfterExec,
    /// Ends what a command left running.
    KillBackground,
    /// Runs a script after everything was killed.
    AfterKillAll(&'static str),
    /// Freezes nothing.
    IgnoreFreeze,
    /// Copies something else in.
    Put(fn(&mut Source, &mut PutOptions)),
    /// Copies a tampered copy in, made with these options of `cp`.
    PutCopy(&'static [&'static str], fn(&Path) -> std::io::Result<()>),
    /// Leaves files that are there.
    PutKeeps,
    /// Refuses nothing.
    PutNeverFails,
    /// Follows links inside to the host.
    PutThroughLinks,
    /// Tampers with what is read.
    Read(fn(u64, FileRead) -> FileRead),
    /// Copies out by other rules.
    Get(fn(&mut GetOptions)),
    /// Tampers with the target before.
    BeforeGet(fn(&Path) -> std::io::Result<()>),
    /// Tampers with what was copied out.
    AfterGet(fn(&Path) -> std::io::Result<()>),
    /// Makes an empty folder of what is not there.
    GetMissing,
    /// Starts another sandbox.
    Create(fn(&mut SandboxSpec)),
    /// Runs a script in each sandbox that begins with a snapshot.
    AfterRestore(&'static str),
    /// Refuses snapshots as lost.
    SnapshotDies,
    /// Goes on with starting when the caller has given up, and keeps the sandbox.
    DetachCreate,
    /// Gives everybody the same sandbox.
    ShareSandbox,
    /// Refuses an open network in the wrong way, or lets it reach the host.
    OpenBadly,
    /// Lets the host be reached.
    ReachHost,
    /// Listens on the host's own loopback.
    ListenOnHost,
    /// Leaves a sandbox the network that it has.
    IgnoreNetwork,
    /// Tampers with the list of connections.
    Connections(fn(&mut Connections)),
    /// Tampers with the list of changes; asks for all of them.
    Changes(fn(Vec<Change>) -> Vec<Change>),
    /// Tampers with what was used.
    Usage(fn(&mut SandboxUsage)),
    /// Keeps sandboxes that were dropped.
    LeakDropped,
    /// Keeps sandboxes that were destroyed.
    LeakDestroyed,
    /// Complains about a second destruction.
    DestroyOnce,
    /// Reaps the living too.
    ReapLiving,
    /// Reaps when it was only asked.
    ReapUnasked,
    /// Reaps nothing.
    ReapNothing,
    /// Shows the host what is written inside.
    WriteOnHost,
    /// Makes other views.
    View(fn(&mut ViewSpec)),
    /// Gives the sandbox itself as a view.
    ViewIsSandbox,
    /// Gives another sandbox as a view.
    ViewIsFresh,
}

/// What reading a file gives.
pub type FileRead = Result<Option<Vec<u8>>, SandboxError>;

/// A backend that breaks one promise.
pub(super) struct Saboteur {
    inner: Arc<dyn Backend>,
    how: Sabotage,
    /// For [`Sabotage::Serialise`].
    turn: tokio::sync::Mutex<()>,
    /// Sandboxes that are kept though nobody wants them; ended with the saboteur.
    kept: Mutex<Vec<Arc<dyn Sandbox>>>,
    /// Files on the host to be removed.
    files: Mutex<Vec<PathBuf>>,
}

/// The backend with a promise broken. What it leaves is removed when the last handle is dropped.
pub fn saboteur(inner: Arc<dyn Backend>, how: Sabotage) -> Arc<dyn Backend> {
    Arc::new(backend::SabotagedBackend(Arc::new(Saboteur {
        inner,
        how,
        turn: tokio::sync::Mutex::new(()),
        kept: Mutex::default(),
        files: Mutex::default(),
    })))
}

/// The sabotage that a case has to catch.
pub fn for_case(case: &str) -> Option<Sabotage> {
    TABLE.iter().find(|(name, _)| *name == case).map(|(_, how)| *how)
}

impl Saboteur {
    fn keep(&self, sandbox: Arc<dyn Sandbox>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(sandbox);
    }
}

impl Drop for Saboteur {
    fn drop(&mut self) {
        for file in self.files.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It is only litter of a test; nothing depends on it.
            let _ = std::fs::remove_file(file);
        }
    }
}
