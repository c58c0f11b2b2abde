//! Whole runs on a real engine: what breaks in others, and what must not break when engine or harness do. Skipped by name where
//! there is no Docker with `debian:12`; with `HARNESS_REQUIRE_ENGINES=1` its absence is a failure.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![expect(unreachable_pub, reason = "a test has no outside: pub means used by other modules")]

mod faults;
mod features;
mod place;
mod private;
mod reattach;
#[path = "../cli/room.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod room;
mod weaknesses;
