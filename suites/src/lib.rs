//! Suite → selection → plan: which tasks a run tries, and in which order.
//!
//! A suite is a name of the bundled catalog, a suite file, a folder of tasks or `FORMAT:PATH`. Nothing here runs a
//! task, opens a socket, reads the environment or prints.

pub mod catalog;
pub mod defaults;
pub mod experiment;
mod file;
pub mod filter;
#[cfg(test)]
mod pack;
pub mod plan;
mod select;

pub use defaults::{Defaults, Sourced};
pub use experiment::Experiment;
pub use filter::Filter;
pub use plan::{PlanSpec, plan};
pub use select::{SelectError, SelectOptions, Selection, resolve};
