//! The engine as sandboxes use it: removing containers surely, and not forgetting those that resisted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::query_parameters::{InspectContainerOptions, RemoveContainerOptions, RemoveImageOptions};
use tokio::time::{Instant, sleep};

use super::client::{self, Client};
use super::facts::Facts;
use crate::SandboxError;

/// How long one removal may be tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries for what resisted.
const AGAIN: Duration = Duration::from_secs(2);
/// How often: an engine that has not come back by then is for the next reap.
const MOST_TRIES: u32 = 150;

/// See the module.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) facts: Facts,
    leftovers: Mutex<BTreeSet<String>>,
    runtime: tokio::runtime::Handle,
}

impl Engine {
    /// Takes over a connection. Must be called within a runtime.
    pub(crate) async fn new(client: Client) -> Result<Engine, SandboxError> {
        let facts = Facts::ask(&client).await?;
        let runtime = tokio::runtime::Handle::current();
        Ok(Engine { client, facts, leftovers: Mutex::default(), runtime })
    }

    /// Does something in the background, from wherever; nothing when the program ends.
    pub(crate) fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Ends and removes a container with all that belongs to it; returns when it is gone. What resists is tried again in the
    /// background, as long as this program runs.
    pub(crate) async fn remove(self: &Arc<Engine>, name: &str) -> Result<(), SandboxError> {
        match self.try_remove(name).await {
            Ok(()) => {
                self.lock().remove(name);
                Ok(())
            }
            Err(error) => {
                self.remember(name);
                Err(error)
            }
        }
    }

    async fn try_remove(&self, name: &str) -> Result<(), SandboxError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            let error = match self.client.short().remove_container(name, Some(options)).await {
                Ok(()) => return Ok(()),
                Err(error) if client::is_missing(&error) => return Ok(()),
                Err(error) => error,
            };
            // 409: somebody else is at it. 500: something in it is busy for a moment.
            let passing = matches!(client::status(&error), Some(409 | 500));
            if !passing || Instant::now() > until {
                return Err(client::failed(format!("remove the container {name}"), error));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn remember(self: &Arc<Engine>, name: &str) {
        let mut leftovers = self.lock();
        let idle = leftovers.is_empty();
        leftovers.insert(name.to_owned());
        drop(leftovers);
        if idle {
            let weak = Arc::downgrade(self);
            self.background(async move {
                for _ in 0..MOST_TRIES {
                    sleep(AGAIN).await;
                    let Some(engine) = weak.upgrade() else { return };
                    let names: Vec<String> = engine.lock().iter().cloned().collect();
                    for name in names {
                        if engine.try_remove(&name).await.is_ok() {
                            engine.lock().remove(&name);
                        }
                    }
                    if engine.lock().is_empty() {
                        return;
                    }
                }
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes an image that we made.
    pub(crate) async fn remove_image(&self, id: &str) -> Result<(), SandboxError> {
        let options = RemoveImageOptions { force: true, noprune: false, platforms: None };
        match self.client.long().remove_image(id, Some(options), None).await {
            Err(error) if !client::is_missing(&error) => {
                Err(client::failed(format!("remove the image {id}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Bytes that a container has written, counted by the engine; slow where there is much.
    pub(crate) async fn written(&self, name: &str) -> Option<u64> {
        let options = InspectContainerOptions { size: true };
        let container = self.client.long().inspect_container(name, Some(options)).await.ok()?;
        u64::try_from(container.size_rw?).ok()
    }
}
