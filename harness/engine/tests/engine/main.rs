//! Whole runs on the memory backend: plans go in, journals come out.
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod scheduling;
mod support;
mod verdicts;
