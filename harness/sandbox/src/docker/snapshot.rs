//! A fixed state of a container's file system: an image of the engine's, removed with the last handle.

use std::any::Any;
use std::sync::Arc;

use bollard::models::ContainerConfig;
use bollard::query_parameters::CommitContainerOptions;

use super::client;
use super::engine::{Engine, bounded};
use super::owner;
use super::running::Running;
use crate::link::Live;
use crate::{Labels, SandboxError, Snapshot, SnapshotHandle};

/// The role that images of snapshots carry.
pub(crate) const ROLE: &str = "snapshot";

/// See the module.
pub(crate) struct DockerSnapshot {
    /// Id of the image.
    pub(crate) image: String,
    engine: Arc<Engine>,
    /// The state that this one is stacked on.
    _base: Option<Arc<Snapshot>>,
}

impl DockerSnapshot {
    /// Fixes the state of a container in which nothing runs any more, and ends it.
    pub(crate) async fn take(running: &Arc<Running>, labels: &Labels) -> Result<Arc<Snapshot>, SandboxError> {
        let labels = Labels { role: ROLE.to_owned(), ..labels.clone() };
        let options = CommitContainerOptions {
            container: Some(running.name.clone()),
            // Nothing runs in it but PID 1, which writes nothing.
            pause: false,
            ..CommitContainerOptions::default()
        };
        let config = ContainerConfig { labels: Some(owner::labels(&labels)), ..ContainerConfig::default() };
        let made = bounded(running.engine.client.long().commit_container(options, config)).await;
        let made = made.map_err(|error| client::failed("fix the state of a container", error))?;
        running.end("a snapshot was taken of it");
        let handle = DockerSnapshot {
            image: made.id,
            engine: Arc::clone(&running.engine),
            _base: running.base.clone(),
        };
        Ok(Arc::new(Snapshot { handle: Box::new(handle) }))
    }

    /// Back from what the engine of trials holds.
    pub(crate) fn from(snapshot: &Snapshot) -> Option<&DockerSnapshot> {
        snapshot.handle.as_any().downcast_ref()
    }
}

impl SnapshotHandle for DockerSnapshot {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for DockerSnapshot {
    fn drop(&mut self) {
        let (engine, image) = (Arc::clone(&self.engine), std::mem::take(&mut self.image));
        let worker = Arc::clone(&engine);
        // What resists is found by its labels.
        engine.background(async move {
            let _ = worker.remove_image(&image).await;
        });
    }
}
