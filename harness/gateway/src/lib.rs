//! Model traffic: what every token costs, and that none goes uncounted.
//!
//! All but [`proxy`] and [`recording`] is without I/O: what a request and an answer say on each wire, what they are charged against budgets, what
//! must not be written down, and a scripted model that answers. [`proxy`] puts listeners and connections around it; [`recording`] keeps
//! what went through, and plays it again.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod budget;
pub mod meter;
pub mod proxy;
pub mod recording;
pub mod redact;
pub mod scripted;
pub mod stream;
pub mod tokens;
pub mod wire;
mod words;
