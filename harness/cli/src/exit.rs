//! Exit codes: an interface. What agents scored is never one of them; a gate is.

use std::error::Error;
use std::fmt;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Completed, whatever the agents scored.
    Completed = 0,
    /// Something that nobody foresaw, or the disk refused.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A suite, dataset, policy or setting is invalid.
    Invalid = 3,
    /// Nothing was selected, or everything that was is skipped.
    NothingSelected = 4,
    /// Completed, but harness faults left trials without a result.
    HarnessFaults = 5,
    /// A check found defects.
    Defects = 8,
    /// A budget ended the run before all was tried.
    Budget = 9,
    /// Interrupted; `resume` goes on.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// What ends a command: an exit code, a message, and the way out apart from it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Exit,
    /// Lower case, no full stop; causes are appended.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with this code.
    pub fn new(code: Exit, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    /// With the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// From an error with its causes, each after a colon.
    pub fn of(code: Exit, error: &dyn Error) -> Failure {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Failure::new(code, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
