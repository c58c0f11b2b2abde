//! Containers started ahead of need: what an engine spends on a start can be hidden, not saved. One is given away once and never
//! comes back, so that no two sandboxes ever share one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use harness_core::Limits;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::ImageHandle;
use super::backend::Inner;
use super::running::Running;
use crate::link::Live;
use crate::{ReadOnlyMount, SandboxError, SandboxSpec};

/// Containers that wait, in this process.
const MOST: usize = 16;
/// Starts at once: a machine that is busy with trials shall not be busier with what may be.
const AT_ONCE: usize = 2;
/// How long one waits before it is removed.
const IDLE: Duration = Duration::from_secs(600);

/// What has to be equal for a container to serve. The network is none in all of them, and the listeners and proxies of the
/// others come later.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    run: String,
    image: String,
    limits: Limits,
    mounts: Vec<ReadOnlyMount>,
}

impl Key {
    /// `None` for what cannot be started ahead.
    fn of(spec: &SandboxSpec) -> Option<Key> {
        let image = spec.image.handle.downcast_ref::<ImageHandle>()?.id.clone();
        spec.snapshot.is_none().then(|| Key {
            run: spec.labels.run.clone(),
            image,
            limits: spec.limits,
            mounts: spec.mounts.clone(),
        })
    }
}

/// A container that nobody has asked for yet; removed when dropped.
pub(crate) struct Warm(Option<Arc<Running>>);

impl Warm {
    fn give(mut self) -> Option<Arc<Running>> {
        // One that ended while it waited serves nobody.
        if self.0.as_ref()?.guest.lost().is_some() { None } else { self.0.take() }
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let Some(running) = self.0.take() else { return };
        running.end("nobody asked for it");
        let engine = Arc::clone(&running.engine);
        engine.background(async move {
            let _ = running.take_apart().await;
        });
    }
}

struct Entry {
    key: Key,
    since: Instant,
    started: JoinHandle<Result<Warm, SandboxError>>,
}

/// See the module.
pub(crate) struct Pool {
    entries: Mutex<Vec<Entry>>,
    starts: Arc<tokio::sync::Semaphore>,
}

impl Pool {
    pub(crate) fn new() -> Pool {
        Pool { entries: Mutex::default(), starts: Arc::new(tokio::sync::Semaphore::new(AT_ONCE)) }
    }

    /// Starts a container like this in the background, unless enough wait already.
    pub(crate) fn expect(backend: &Arc<Inner>, spec: &SandboxSpec) {
        let Some(key) = Key::of(spec) else { return };
        let engine = &backend.starter.engine;
        let mut entries = backend.pool.lock();
        if entries.len() >= MOST {
            return;
        }
        let (weak, spec) = (Arc::downgrade(backend), spec.clone());
        let starts = Arc::clone(&backend.pool.starts);
        let started = engine.spawn(async move {
            let _turn = starts.acquire().await.map_err(|_| SandboxError::Cancelled)?;
            let backend = weak.upgrade().ok_or(SandboxError::Cancelled)?;
            backend.start_container(&spec, || true).await.map(|running| Warm(Some(running)))
        });
        entries.push(Entry { key, since: Instant::now(), started });
        let weak = Arc::downgrade(backend);
        engine.background(async move {
            sleep(IDLE).await;
            sweep(&weak);
        });
    }

    /// One that was started ahead, or is being started, for such a sandbox.
    pub(crate) async fn take(&self, spec: &SandboxSpec) -> Option<Arc<Running>> {
        let key = Key::of(spec)?;
        loop {
            let entry = {
                let mut entries = self.lock();
                let index = entries.iter().position(|entry| entry.key == key)?;
                entries.remove(index)
            };
            // What failed ahead of need is tried again by whoever needs it, who is told why.
            if let Ok(Ok(warm)) = entry.started.await
                && let Some(running) = warm.give()
            {
                return Some(running);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sweep(backend: &Weak<Inner>) {
    let Some(backend) = backend.upgrade() else { return };
    let mut entries = backend.pool.lock();
    let (old, young): (Vec<_>, Vec<_>) =
        std::mem::take(&mut *entries).into_iter().partition(|entry| entry.since.elapsed() >= IDLE);
    *entries = young;
    drop(entries);
    // A task whose handle is dropped goes on, and what it made is removed with its result.
    drop(old);
}
