//! The built-in agent: a loop on the host whose tools act in a sandbox, so that it works in any image with nothing installed.
//!
//! [`work`] takes a model that is asked through the gateway, a sandbox, settings and a log of events, and says how the agent
//! ended. It opens no listener, reads no environment and prints nothing; what happened is in the events alone, and
//! [`atif`] makes a trajectory of them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod atif;
mod baseline;
pub mod client;
mod context;
mod conversation;
pub mod events;
mod goal;
mod guard;
mod job;
mod paths;
mod plan;
mod prompts;
pub mod rebuilt;
mod review;
pub mod settings;
mod shell;
pub mod show;
mod steps;
mod text;
pub mod tools;
pub mod wires;

pub use job::{Fault, Job, Report, work};
pub use settings::{SettingError, Settings};
