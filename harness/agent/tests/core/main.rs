//! The core in a sandbox of this machine's, against models that are played: by a script, or by a few canned answers.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod answers;
mod budgets;
mod finishing;
mod gateway;
mod overhead;
mod patches;
mod rules;
mod shells;
mod starter;
mod support;
mod window;
mod wires;
