//! What can go wrong with a sandbox, and whose fault it is.

use std::path::PathBuf;

use harness_core::Blame;

/// What went wrong. An exit status is never among these: a command that ran and failed is an [`crate::ExecResult`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox is gone, or no longer answers: nothing more can be learned from it.
    #[error("the sandbox was lost: {cause}")]
    Lost {
        /// In a few words.
        cause: String,
    },
    /// This backend, here, cannot do what was asked.
    #[error("{backend} cannot do this here: {what}")]
    Unsupported {
        /// Name of the backend.
        backend: &'static str,
        /// What was asked, and what to do instead.
        what: String,
    },
    /// The environment's description is wrong, or building it failed: the task's fault.
    #[error("the environment cannot be made: {message}")]
    Environment {
        /// What failed, naming file and line where there is one.
        message: String,
        /// The last lines of the build's output.
        log: String,
    },
    /// Something inside is not what it has to be: missing user, missing folder, command not found.
    #[error("{message}")]
    Inside {
        /// What is wrong.
        message: String,
    },
    /// A path would leave the place that it must stay in.
    #[error("{path:?} leads outside")]
    Escape {
        /// The path as it was given.
        path: PathBuf,
    },
    /// More than was allowed.
    #[error("{what} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// What was too large.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The host refused something.
    #[error("{what}")]
    Host {
        /// What we tried.
        what: String,
        /// What the host said.
        #[source]
        source: std::io::Error,
    },
    /// We were asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl SandboxError {
    /// Shorthand for a refused system call.
    pub fn host(what: impl Into<String>, source: std::io::Error) -> SandboxError {
        SandboxError::Host { what: what.into(), source }
    }

    /// Whose fault it is: the task's when its environment is wrong, else ours.
    pub fn blame(&self) -> Blame {
        match self {
            SandboxError::Environment { .. } => Blame::Task,
            _ => Blame::Harness,
        }
    }
}
