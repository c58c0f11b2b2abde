//! What is kept of a program's work with the trial: its own account as it was, and events and a trajectory made of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use harness_agent::events::Event;
use harness_agent::{atif, events, show};
use harness_core::AgentExit;
use harness_sandbox::SandboxError;

use super::told::{Told, started};
use super::{Account, MAX_ACCOUNT};
use crate::agents::Session;

/// Where things of one step go.
pub(super) struct Record {
    account: PathBuf,
    events: PathBuf,
    trajectory: PathBuf,
    log: PathBuf,
    began: Event,
    session_id: String,
}

impl Record {
    pub(super) fn begin(session: &Session<'_>, account: &Account, program: &str) -> Record {
        let step = session.step.name.as_deref().map(|step| {
            step.chars()
                .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
        });
        let step: String =
            step.map(|letters| std::iter::once('-').chain(letters).collect()).unwrap_or_default();
        let named = |name: &str| {
            let (stem, extension) = name.split_once('.').unwrap_or((name, "log"));
            session.log.with_file_name(format!("{stem}{step}.{extension}"))
        };
        let (Account::Stdout(name) | Account::File(_, name)) = account;
        let model = session.model.as_ref();
        Record {
            account: named(name),
            events: named("events.jsonl"),
            trajectory: named("trajectory.json"),
            log: session.log.to_owned(),
            began: started(
                program.to_owned(),
                model.map_or("", |access| &access.model),
                &session.step.instruction,
                session.workdir,
            ),
            session_id: model.map(|access| access.caller.trial.clone()).unwrap_or_default(),
        }
    }

    /// The account's file on the host.
    pub(super) fn file(&self) -> &Path {
        &self.account
    }

    /// Keeps an account that was fetched from inside.
    pub(super) fn keep(&self, bytes: &[u8]) -> Result<(), SandboxError> {
        fs::write(&self.account, bytes).map_err(|error| SandboxError::host("keep the agent's account", error))
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(&self.account) {
            Ok(file) => file.take(MAX_ACCOUNT).read_to_end(&mut bytes).map(|_| bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(bytes),
            Err(error) => Err(error),
        }
    }

    /// Writes events, trajectory and the log for people.
    fn write(&self, told: &Told) -> std::io::Result<()> {
        let ended = Event::Ended {
            exit: told.exit.unwrap_or(AgentExit::Cancelled),
            reason: told.message.clone().unwrap_or_default(),
            steps: told.events.iter().filter(|event| matches!(event, Event::Answered { .. })).count() as u64,
            usage: told.usage,
            violations: 0,
        };
        let sink = File::create(&self.events)?;
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let lines = std::sync::Mutex::new(Vec::new());
        let seen = std::sync::Arc::new(lines);
        let kept = std::sync::Arc::clone(&seen);
        let events = events::EventLog::new(
            Box::new(sink),
            Box::new(move |line: &events::Line| {
                kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line.clone());
            }),
        );
        for event in std::iter::once(self.began.clone()).chain(told.events.iter().cloned()).chain([ended]) {
            events.write(event);
        }
        if let Some(error) = events.failed() {
            return Err(error);
        }
        let lines = std::mem::take(&mut *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for line in &lines {
            log.write_all(show::line(line).as_bytes())?;
        }
        let facts = atif::Facts { session_id: &self.session_id, ..atif::Facts::default() };
        match atif::trajectory(lines, &facts) {
            Some(document) => fs::write(&self.trajectory, document.to_string()),
            None => Ok(()),
        }
    }
}

/// Writes the record when it is dropped, unless that was done before.
pub(super) struct Guard<'a, F: Fn(&[u8]) -> Told> {
    record: &'a Record,
    read: F,
    done: bool,
}

impl<'a, F: Fn(&[u8]) -> Told> Guard<'a, F> {
    pub(super) fn new(record: &'a Record, read: F) -> Guard<'a, F> {
        Guard { record, read, done: false }
    }

    /// Reads the account and writes the record.
    pub(super) fn finish(mut self) -> Result<Told, SandboxError> {
        self.done = true;
        self.write().map_err(|error| SandboxError::host("write down what the agent told", error))
    }

    fn write(&self) -> std::io::Result<Told> {
        let told = (self.read)(&self.record.read()?);
        self.record.write(&told)?;
        Ok(told)
    }
}

impl<F: Fn(&[u8]) -> Told> Drop for Guard<'_, F> {
    fn drop(&mut self) {
        if !self.done {
            // The trial was cut short: what cannot be written now is a nicety less.
            let _partly = self.write();
        }
    }
}
