//! Model traffic, the half without I/O: what a request and an answer say on each wire, what they cost against budgets, what
//! must not be written down, and a scripted model that answers. The proxy is put around it; nothing here waits, listens or
//! reads a clock.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod budget;
pub mod meter;
pub mod redact;
pub mod scripted;
pub mod stream;
pub mod tokens;
pub mod wire;
