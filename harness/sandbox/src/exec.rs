//! Running one command: what is asked, and what is positively known afterwards.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::SandboxError;

/// What a backend is asked to start.
///
/// Every process starts in a session of its own, with a clean environment made of the image's variables and `env` (which wins),
/// the default signal dispositions, no descriptors beside 0, 1, 2.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSpec {
    /// Program and arguments. A program without `/` is looked up in the PATH of the process's own environment.
    pub argv: Vec<Vec<u8>>,
    /// Variables over the image's own.
    pub env: BTreeMap<String, String>,
    /// Working folder; `None` means the image's own. It must exist.
    pub cwd: Option<String>,
    /// `name`, `uid`, `name:group` or `uid:gid`, looked up inside; `None` means the image's own.
    pub user: Option<String>,
    /// Whether the caller will write to it; otherwise it reads end-of-file at once.
    pub stdin: bool,
    /// Give it a terminal of its own; stdout and stderr are then one stream.
    pub pty: Option<PtySize>,
    /// After this time the whole tree gets TERM, after `grace` KILL. Enforced inside by the guest program and again from
    /// outside. Counted on the monotonic clock.
    pub deadline: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// A name under which a successor of this process finds it, where the sandbox may outlive us (see
    /// [`crate::Sandbox::outlive`]): a backend that is asked to start one that it has already, running or ended, gives that one
    /// instead, with what was not read of its output yet. Only for processes without input and terminal. It is known until
    /// [`crate::Sandbox::let_go`].
    pub kept: Option<u64>,
}

impl ProcessSpec {
    /// A command with the defaults of this crate: no deadline, two seconds of grace, the image's user, folder and variables.
    pub fn new<S: AsRef<[u8]>>(argv: impl IntoIterator<Item = S>) -> ProcessSpec {
        ProcessSpec {
            argv: argv.into_iter().map(|arg| arg.as_ref().to_vec()).collect(),
            env: BTreeMap::new(),
            cwd: None,
            user: None,
            stdin: false,
            pty: None,
            deadline: None,
            grace: Duration::from_secs(2),
            kept: None,
        }
    }

    /// `sh -c script`.
    pub fn shell(script: &str) -> ProcessSpec {
        ProcessSpec::new(["/bin/sh", "-c", script])
    }
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A process that was started. Dropping it kills its tree.
pub struct Process {
    /// Where to write its input; `None` when none was asked for.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its output. Reading slowly holds the process back.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its errors; empty with a terminal.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Resolves when the process itself is gone, whatever still holds its streams.
    pub exit: Pin<Box<dyn Future<Output = Result<Exit, SandboxError>> + Send>>,
    /// Ends its tree, or changes its terminal.
    pub control: Box<dyn ProcessControl>,
}

/// What can be done to a running process.
pub trait ProcessControl: Send + Sync {
    /// Sends KILL to its whole session at once; does not wait.
    fn kill(&self);
    /// Changes the size of its terminal; nothing without one.
    fn resize(&self, size: PtySize);
}

/// How a process ended. Only ever what was positively obtained: a lost sandbox is [`SandboxError::Lost`], never a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Its deadline passed and its tree was killed.
    TimedOut,
    /// The sandbox's memory limit killed it.
    OutOfMemory,
}

impl Exit {
    /// Status 0.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

/// What to run, and what to keep of its output.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecSpec {
    /// The process.
    pub process: ProcessSpec,
    /// What it reads.
    pub stdin: Stdin,
    /// What is kept of stdout.
    pub stdout: OutputSpec,
    /// What is kept of stderr.
    pub stderr: OutputSpec,
    /// How long output is read after the process ended while something else holds the stream. 250 ms by default.
    pub drain: Duration,
}

impl ExecSpec {
    /// A command with default limits.
    pub fn new(process: ProcessSpec) -> ExecSpec {
        ExecSpec {
            process,
            stdin: Stdin::Empty,
            stdout: OutputSpec::default(),
            stderr: OutputSpec::default(),
            drain: Duration::from_millis(250),
        }
    }
}

/// What a command reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// End-of-file at once.
    Empty,
    /// These bytes, then end-of-file. A process that does not read them is no error.
    Bytes(Vec<u8>),
}

/// What is kept of one stream. What is beyond every limit is still drained and counted, while the command goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// First bytes kept in memory.
    pub head: usize,
    /// Last bytes kept in memory.
    pub tail: usize,
    /// Where everything goes, up to `file_limit`. Appended to when it exists.
    pub file: Option<PathBuf>,
    /// Most bytes written to the file; 64 MB by default.
    pub file_limit: u64,
}

impl Default for OutputSpec {
    fn default() -> OutputSpec {
        OutputSpec { head: 64 << 10, tail: 64 << 10, file: None, file_limit: 64 << 20 }
    }
}

/// What was kept of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes, not overlapping the head.
    pub tail: Vec<u8>,
    /// All bytes that the command wrote.
    pub total: u64,
    /// Something other than the command still held the stream when reading ended.
    pub held_open: bool,
}

impl Captured {
    /// Head and tail as text, with a line in between that says how much is missing. Invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        let missing = self.total.saturating_sub((self.head.len() + self.tail.len()) as u64);
        if missing == 0 {
            return String::from_utf8_lossy(&[&self.head[..], &self.tail[..]].concat()).into_owned();
        }
        let head = String::from_utf8_lossy(&self.head);
        let tail = String::from_utf8_lossy(&self.tail);
        format!("{head}\n[… {missing} bytes left out …]\n{tail}")
    }
}

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// How.
    pub exit: Exit,
    /// What it wrote.
    pub stdout: Captured,
    /// What it complained of.
    pub stderr: Captured,
    /// Wall time by the monotonic clock.
    pub duration: Duration,
}
