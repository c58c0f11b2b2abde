//! What the tests left behind → a verdict. Pure: bytes in, values out; no clock, no files, no async.
//!
//! Everything here reads hostile input (an agent may have had its hands on whatever wrote it), so every reader has a
//! limit on size, depth and count, and what does not read is an error, never half a result.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may unwrap"))]

pub mod count;
pub mod reward;
pub mod steps;
pub mod test_report;
pub mod verdict;

pub use count::{Counted, count};
pub use reward::{RewardError, Rewards, read_rewards};
pub use steps::{Combined, StepOutcome, combine, meets};
pub use test_report::{TestCase, TestReport, TestReportError, TestStatus};
pub use verdict::{Evidence, Verdict, judge};
