//! Sandboxes in containers of an engine that runs already: Docker, or Podman by its compatible socket. Everything is asked of
//! the engine's API; no command-line program is called.
//!
//! An engine only makes, limits and removes containers. What happens in one goes through our guest program as its PID 1, over
//! a socket that nothing in the container can see ([`door`]).

mod backend;
mod body;
mod caps;
mod changes;
pub mod client;
mod disk;
mod doctor;
mod door;
mod engine;
mod environment;
mod facts;
pub mod images;
mod layers;
mod owner;
mod plain;
mod reap;
mod running;
mod sandbox;
mod snapshot;
mod start;

pub(crate) use backend::DockerKind;
pub(crate) use client::NAME;

/// What this backend knows of an image that is ready.
#[derive(Debug)]
pub(crate) struct ImageHandle {
    /// Its id.
    pub(crate) id: String,
    /// Keeps it from being removed to make room.
    pub(crate) _kept: Option<images::ImageRef>,
    /// How many layers it has.
    pub(crate) layers: usize,
    /// Folders for which it wants volumes.
    pub(crate) volumes: Vec<String>,
}
