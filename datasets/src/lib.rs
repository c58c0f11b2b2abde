//! Other people's formats → [`Task`](harness_core::Task): reading folders of tasks, strictly and within limits.
//!
//! Nothing here runs a task, opens a socket or prints. What a dataset says is data to be checked: every task ends up
//! in [`Loaded::tasks`] or, with file, line and the way out, in [`Loaded::invalid`].

pub mod checks;
pub mod formats;
mod load;
pub mod nearest;
pub mod new_task;
mod problem;
pub mod strict;
pub mod tree;

pub use formats::{FORMATS, Format, load};
pub use load::{LoadError, LoadOptions, Loaded};
pub use problem::{InvalidTask, Problem, printable};
