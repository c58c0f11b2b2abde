//! Why a try ended before its verdict, and whose doing that was.

use harness_core::Blame;
use harness_sandbox::SandboxError;

/// Why a try ended before its verdict.
pub(super) struct Stop {
    pub(super) blame: Blame,
    pub(super) reason: String,
    /// Trying again would come to the same.
    pub(super) lasting: bool,
    /// The sandbox was gone.
    pub(super) lost: bool,
}

impl Stop {
    pub(super) fn new(blame: Blame, reason: impl Into<String>) -> Stop {
        Stop { blame, reason: reason.into(), lasting: false, lost: false }
    }
}

impl From<SandboxError> for Stop {
    fn from(error: SandboxError) -> Stop {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        if let SandboxError::Environment { log, .. } = &error {
            let skip = log.lines().count().saturating_sub(20);
            let tail: Vec<_> = log.lines().skip(skip).collect();
            reason = format!("{reason}\n{}", tail.join("\n"));
        }
        let lasting = matches!(error, SandboxError::Unsupported { .. });
        let lost = matches!(error, SandboxError::Lost { .. });
        Stop { blame: error.blame(), reason, lasting, lost }
    }
}
