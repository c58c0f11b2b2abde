//! `plan.jsonl`: every trial that will be tried, written before the first starts.

use serde::{Deserialize, Serialize};

use crate::{Digest, TrialId};

/// One line of the plan: the trials in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Which trial.
    #[serde(flatten)]
    pub id: TrialId,
    /// Digest of the task as it was planned.
    pub task_digest: Digest,
}
