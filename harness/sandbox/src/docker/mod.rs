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
mod pool;
mod reap;
mod running;
mod sandbox;
mod snapshot;
mod start;
mod successor;

pub(crate) use backend::DockerKind;
pub(crate) use client::NAME;

use std::sync::Arc;

use crate::{Backend, BackendOptions, SandboxError};

/// Opens the backend on one engine, whatever `DOCKER_HOST` says.
///
/// # Errors
/// [`SandboxError::Unsupported`] when it does not answer.
pub async fn open(
    address: client::Address,
    options: BackendOptions,
) -> Result<Arc<dyn Backend>, SandboxError> {
    let shown = address.to_string();
    let client = client::Client::connect_to(address).await.map_err(|why| SandboxError::Unsupported {
        backend: NAME,
        what: format!("using the engine at {shown}: {why}"),
    })?;
    backend::open(client, options).await
}

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
