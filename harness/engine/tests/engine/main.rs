//! Whole runs on the memory backend: plans go in, journals come out.
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod ahead;
mod disk;
mod environments;
mod fault;
mod faults;
mod kill;
mod resume;
mod scheduling;
mod support;
mod verdicts;
