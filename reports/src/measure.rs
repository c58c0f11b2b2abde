//! What is measured of every trial, as one table: a new number is one line here, and the frame, the summaries and
//! their counts of unknowns follow.

use serde::{Deserialize, Serialize};

use crate::results::TrialRow;

/// One measured quantity over several trials. Without a known value everything but the counts is `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Sum of the known values.
    pub sum: Option<f64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their median.
    pub median: Option<f64>,
    /// Their 95th percentile, linear between neighbours.
    pub p95: Option<f64>,
    /// Trials whose value is known.
    pub known: usize,
    /// Trials whose value is not.
    pub unknown: usize,
}

/// How one quantity is taken from a trial.
pub(crate) struct Quantity {
    /// Its column in the frame.
    pub(crate) name: &'static str,
    /// Its value; `None` when unknown. Whole numbers up to 2^53 stay exact, sums too.
    pub(crate) of: fn(&TrialRow) -> Option<f64>,
}

macro_rules! quantities {
    ($($id:ident = $of:expr;)*) => {
        /// Names of the quantities.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is the column of the same name")]
        pub(crate) enum Q { $($id),* }
        /// Every quantity, in the order of [`Q`].
        pub(crate) const QUANTITIES: &[Quantity] = &[$(Quantity { name: stringify!($id), of: $of }),*];
    };
}

fn whole(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

quantities! {
    Score = |t| t.score;
    // In nano-dollars.
    Cost = |t| t.cost.map(|cost| cost.0 as f64);
    Requests = |t| whole(t.usage.requests);
    UncachedInput = |t| whole(t.usage.uncached_input_tokens);
    CacheRead = |t| whole(t.usage.cache_read_tokens);
    CacheWrite = |t| whole(t.usage.cache_write_tokens);
    CacheWrite1h = |t| whole(t.usage.cache_write_1h_tokens);
    Output = |t| whole(t.usage.output_tokens);
    Reasoning = |t| whole(t.usage.reasoning_tokens);
    TotalTokens = |t| whole(t.usage.total());
    DiffFiles = |t| t.diff.map(|diff| f64::from(diff.files));
    DiffHunks = |t| t.diff.map(|diff| f64::from(diff.hunks));
    DiffAdded = |t| t.diff.map(|diff| f64::from(diff.added));
    DiffRemoved = |t| t.diff.map(|diff| f64::from(diff.removed));
    Simplicity = |t| t.diff.and_then(|diff| diff.simplicity);
    Prepare = |t| Some(t.duration_ms.prepare as f64);
    Solve = |t| Some(t.duration_ms.solve as f64);
    Capture = |t| Some(t.duration_ms.capture as f64);
    Verify = |t| Some(t.duration_ms.verify as f64);
    Teardown = |t| Some(t.duration_ms.teardown as f64);
    TotalTime = |t| Some(t.duration_ms.total as f64);
    Cpu = |t| whole(t.cpu_ms);
    PeakMemory = |t| whole(t.peak_memory_bytes);
    TestsPassed = |t| t.tests.map(|tests| f64::from(tests.passed));
}
