//! What the benchmarks run and how they measure: seeded plans for the engine, and this process's own counters.

pub mod account;
pub mod counters;
pub mod native;
pub mod root;
pub mod runner;
pub mod table;
