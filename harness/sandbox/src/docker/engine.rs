//! The engine as sandboxes use it: removing containers surely, and not forgetting those that resisted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{InspectContainerOptions, RemoveContainerOptions, RemoveImageOptions};
use tokio::time::{Instant, sleep};

use super::client::{self, Client};
use super::facts::Facts;
use crate::SandboxError;

/// How long one removal may be tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries for what resisted.
const AGAIN: Duration = Duration::from_secs(2);
/// How often a container that nobody answered for is looked for.
const LOOKS: u32 = 60;
/// How often: an engine that has not come back by then is for the next reap.
const MOST_TRIES: u32 = 150;

/// For what engines need long for: counting or fixing what a container wrote, removing images.
const LONG: Duration = Duration::from_secs(600);

/// A long question, bounded.
pub(crate) async fn bounded<T>(question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(LONG, question).await.unwrap_or(Err(Error::RequestTimeoutError))
}

/// Asks a question that changes nothing again when it was answered with 500: Podman does so when an image goes while it looks
/// through all of them.
pub(crate) async fn asked<T, Asked: Future<Output = Result<T, Error>>>(
    client: &Client,
    question: impl Fn() -> Asked,
) -> Result<T, Error> {
    let mut pause = Duration::from_millis(50);
    loop {
        match client.ask(question()).await {
            Err(error) if client::status(&error) == Some(500) && pause < Duration::from_secs(3) => {
                sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
}

/// See the module.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) facts: Facts,
    /// With how often each must still be missing before it is believed to be.
    leftovers: Mutex<BTreeMap<String, u32>>,
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

    /// The same for what has a result.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Ends and removes a container with all that belongs to it; returns when it is gone. What resists is tried again in the
    /// background, as long as this program runs.
    pub(crate) async fn remove(self: &Arc<Engine>, name: &str) -> Result<(), SandboxError> {
        match self.try_remove(name).await {
            Ok(_) => {
                self.lock().remove(name);
                Ok(())
            }
            Err(error) => {
                self.remember(name, 1);
                Err(error)
            }
        }
    }

    /// Removes, in the background, a container that was asked for without an answer: it may come to be later.
    pub(crate) fn remove_if_made(self: &Arc<Engine>, name: &str) {
        self.remember(name, LOOKS);
    }

    /// Whether there was something to remove.
    async fn try_remove(&self, name: &str) -> Result<bool, SandboxError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            let error = match self.client.ask(self.client.short().remove_container(name, Some(options))).await
            {
                Ok(()) => return Ok(true),
                Err(error) if client::is_missing(&error) => return Ok(false),
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

    fn remember(self: &Arc<Engine>, name: &str, looks: u32) {
        let mut leftovers = self.lock();
        let idle = leftovers.is_empty();
        leftovers.insert(name.to_owned(), looks);
        drop(leftovers);
        if idle {
            let weak = Arc::downgrade(self);
            self.background(async move {
                for _ in 0..MOST_TRIES {
                    sleep(AGAIN).await;
                    let Some(engine) = weak.upgrade() else { return };
                    engine.clear().await;
                    if engine.lock().is_empty() {
                        return;
                    }
                }
            });
        }
    }

    async fn clear(&self) {
        let names: Vec<String> = self.lock().keys().cloned().collect();
        for name in names {
            let removed = self.try_remove(&name).await;
            let mut leftovers = self.lock();
            let Some(looks) = leftovers.get_mut(&name) else { continue };
            match removed {
                Ok(false) if *looks > 1 => *looks -= 1,
                Ok(_) => drop(leftovers.remove(&name)),
                Err(_) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes an image that we made.
    pub(crate) async fn remove_image(&self, id: &str) -> Result<(), SandboxError> {
        let options = RemoveImageOptions { force: true, noprune: false, platforms: None };
        let removal = self.client.long().remove_image(id, Some(options), None);
        match bounded(removal).await {
            Err(error) if !client::is_missing(&error) => {
                Err(client::failed(format!("remove the image {id}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Bytes that a container has written, counted by the engine; slow where there is much.
    pub(crate) async fn written(&self, name: &str) -> Option<u64> {
        let options = InspectContainerOptions { size: true };
        let container = bounded(self.client.long().inspect_container(name, Some(options))).await.ok()?;
        u64::try_from(container.size_rw?).ok()
    }
}
