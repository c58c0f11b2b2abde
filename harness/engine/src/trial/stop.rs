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
    /// Whose budget, or which provider, cut the try short: it is left for `resume`.
    pub(super) cut_by: Option<String>,
}

impl Stop {
    pub(super) fn new(blame: Blame, reason: impl Into<String>) -> Stop {
        Stop { blame, reason: reason.into(), lasting: false, lost: false, cut_by: None }
    }

    /// Cut short by what is no doing of the trial's: shown, and left out of everything else.
    pub(super) fn cut(by: &str, reason: String) -> Stop {
        Stop { cut_by: Some(by.to_owned()), ..Stop::new(Blame::Harness, reason) }
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
        Stop { blame: error.blame(), reason, lasting, lost, cut_by: None }
    }
}
