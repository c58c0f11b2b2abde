//! `left.jsonl`: what a trial whose agent works in a sandbox that outlives the harness leaves for whoever comes after a crash. Written
//! line by line, each before what it tells of; it holds the secret that opens the sandbox, so that only its owner may read it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use harness_core::{AgentExit, Finding, NanoUsd, Usage};
use harness_sandbox::{Captured, ExecResult, Exit};
use serde::{Deserialize, Serialize};

use crate::agents::AgentReport;

/// Its name in the trial's folder.
const NAME: &str = "left.jsonl";
/// Largest one that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Held(Held),
    Begun(u64),
    Ended(Ran),
    Report(Said),
}

/// The sandbox, and how its agent reaches its model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Which try.
    pub(super) number: u32,
    /// For [`harness_sandbox::Backend::take_over`].
    pub(super) ticket: String,
    /// Port of the listener inside.
    pub(super) port: Option<u16>,
    /// When the agent began, milliseconds since the epoch.
    pub(super) began_ms: i64,
}

/// A process that ended.
#[derive(Serialize, Deserialize)]
struct Ran {
    name: u64,
    exit: How,
    stdout: Kept,
    stderr: Kept,
    ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Code(i32),
    Signal(i32),
    TimedOut,
    OutOfMemory,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    total: u64,
    held_open: bool,
}

/// What the agent said when it ended.
#[derive(Serialize, Deserialize)]
struct Said {
    exit: AgentExit,
    usage: Usage,
    cost: Option<NanoUsd>,
    message: Option<String>,
    findings: Vec<Finding>,
}

/// All of it.
#[derive(Default)]
pub(super) struct Left {
    pub(super) held: Option<Held>,
    /// Processes that were begun, in order.
    pub(super) begun: Vec<u64>,
    /// Those of them that ended.
    pub(super) ended: Vec<(u64, ExecResult)>,
    /// When the agent is done.
    pub(super) report: Option<AgentReport>,
}

impl Left {
    /// What the earlier process left in this folder. A torn last line was about to happen, and did not.
    pub(super) fn read(dir: &Path) -> Left {
        let mut left = Left::default();
        let mut bytes = Vec::new();
        let read = File::open(dir.join(NAME)).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        if read.is_err() {
            return left;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            match serde_json::from_slice(line) {
                Ok(Line::Held(held)) => left.held = Some(held),
                Ok(Line::Begun(name)) => left.begun.push(name),
                Ok(Line::Ended(ran)) => left.ended.push((ran.name, result(ran))),
                Ok(Line::Report(said)) => left.report = Some(report(said)),
                // What does not read is as good as nothing.
                Err(_) => return Left::default(),
            }
        }
        left
    }
}

/// The file while it is written.
pub(super) struct LeftFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LeftFile {
    /// Opens it and says what is held now.
    pub(super) fn open(dir: &Path, held: &Held) -> io::Result<LeftFile> {
        let path = dir.join(NAME);
        let file = File::options().append(true).create(true).mode(0o600).open(&path)?;
        let left = LeftFile { path, file: Mutex::new(file) };
        left.write(&Line::Held(held.clone()))?;
        Ok(left)
    }

    fn write(&self, line: &Line) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&harness_core::journal::line(line))
    }

    /// A process is about to begin.
    pub(super) fn begun(&self, name: u64) -> io::Result<()> {
        self.write(&Line::Begun(name))
    }

    /// A process ended.
    pub(super) fn ended(&self, name: u64, result: &ExecResult) -> io::Result<()> {
        let exit = match result.exit {
            Exit::Code(code) => How::Code(code),
            Exit::Signal(signal) => How::Signal(signal),
            Exit::TimedOut => How::TimedOut,
            Exit::OutOfMemory => How::OutOfMemory,
        };
        let ms = u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX);
        let (stdout, stderr) = (keep(&result.stdout), keep(&result.stderr));
        self.write(&Line::Ended(Ran { name, exit, stdout, stderr, ms }))
    }

    /// The agent is done.
    pub(super) fn report(&self, report: &AgentReport) -> io::Result<()> {
        let AgentReport { exit, usage, cost, message, findings } = report.clone();
        self.write(&Line::Report(Said { exit, usage, cost, message, findings }))
    }

    /// There is nothing to go on with any more.
    pub(super) fn remove(self) {
        // One that stays opens a sandbox that is gone.
        let _gone = std::fs::remove_file(&self.path);
    }
}

fn keep(captured: &Captured) -> Kept {
    let Captured { head, tail, total, held_open } = captured.clone();
    Kept { head, tail, total, held_open }
}

fn result(ran: Ran) -> ExecResult {
    let captured = |kept: Kept| Captured {
        head: kept.head,
        tail: kept.tail,
        total: kept.total,
        held_open: kept.held_open,
    };
    ExecResult {
        exit: match ran.exit {
            How::Code(code) => Exit::Code(code),
            How::Signal(signal) => Exit::Signal(signal),
            How::TimedOut => Exit::TimedOut,
            How::OutOfMemory => Exit::OutOfMemory,
        },
        stdout: captured(ran.stdout),
        stderr: captured(ran.stderr),
        duration: std::time::Duration::from_millis(ran.ms),
    }
}

fn report(said: Said) -> AgentReport {
    let Said { exit, usage, cost, message, findings } = said;
    AgentReport { exit, usage, cost, message, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_reads_as_it_was_written_wherever_the_file_was_cut_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = Held { number: 1, ticket: "t".into(), port: Some(80), began_ms: 5 };
        let file = LeftFile::open(dir.path(), &held).unwrap();
        let result = ExecResult {
            exit: Exit::Code(3),
            stdout: Captured { head: b"\xffa".to_vec(), tail: Vec::new(), total: 2, held_open: true },
            stderr: Captured::default(),
            duration: std::time::Duration::from_millis(7),
        };
        file.begun(9).unwrap();
        file.ended(9, &result).unwrap();
        file.report(&AgentReport::ended(AgentExit::Finished)).unwrap();
        let path = dir.path().join(NAME);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let left = Left::read(dir.path());
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(left.held.is_some(), lines > 0);
            assert_eq!(left.begun.len(), usize::from(lines > 1));
            assert_eq!(left.ended.first().map(|(_, ended)| ended == &result), (lines > 2).then_some(true));
            assert_eq!(left.report.is_some(), lines > 3);
        }
        file.remove();
        assert!(Left::read(dir.path()).held.is_none());
    }
}
