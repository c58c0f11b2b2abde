//! Containers started ahead of need: what an engine spends on a start can be hidden, not saved. One is given away once and never
//! comes back, so that no two sandboxes ever share one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use harness_core::Limits;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::ImageHandle;
use super::backend::Inner;
use super::running::Running;
use crate::{Labels, ReadOnlyMount, SandboxError, SandboxSpec};

/// Containers that wait, in this process.
const MOST: usize = 32;
/// Starts at once: a machine that is busy with trials shall not be busier with what may be.
const AT_ONCE: usize = 2;
/// How long one waits before it is removed.
const IDLE: Duration = Duration::from_secs(600);
/// How long what nobody wants any more may take to go; the next reap finds the rest.
const LEAVING: Duration = Duration::from_secs(60);

/// What has to be equal for a container to serve. The network is none in all of them, and the listeners and proxies of the
/// others come later. Whom it was started for is among it: whoever took another's would leave that one to start its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    labels: Labels,
    image: String,
    limits: Limits,
    mounts: Vec<ReadOnlyMount>,
}

impl Key {
    /// `None` for what cannot be started ahead.
    fn of(spec: &SandboxSpec) -> Option<Key> {
        let image = spec.image.handle.downcast_ref::<ImageHandle>()?.id.clone();
        spec.snapshot.is_none().then(|| Key {
            labels: spec.labels.clone(),
            image,
            limits: spec.limits,
            mounts: spec.mounts.clone(),
        })
    }
}

/// A container that nobody has asked for yet; removed when dropped.
struct Warm(Option<Arc<Running>>);

impl Warm {
    fn give(mut self) -> Option<Arc<Running>> {
        // One that ended while it waited serves nobody.
        if self.0.as_ref()?.guest.lost().is_some() { None } else { self.0.take() }
    }

    async fn take_apart(mut self) {
        if let Some(running) = self.0.take() {
            // What resists is remembered by the engine, and found by its label.
            let _ = running.take_apart().await;
        }
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let Some(running) = self.0.take() else { return };
        running.guest.give_up("nobody asked for it");
        let engine = Arc::clone(&running.engine);
        engine.background(async move {
            let _ = running.take_apart().await;
        });
    }
}

/// What has become known of a start since it was asked for.
#[derive(Default)]
struct Fate {
    /// Somebody waits for it now.
    urgent: Notify,
    /// Nobody will.
    unwanted: AtomicBool,
}

struct Entry {
    key: Key,
    since: Instant,
    fate: Arc<Fate>,
    started: JoinHandle<Result<Warm, SandboxError>>,
}

/// See the module.
pub(crate) struct Pool {
    entries: Mutex<Vec<Entry>>,
    starts: Semaphore,
    /// Starts that somebody waits for: what may be needed comes after what is.
    needed: AtomicUsize,
    none_needed: Notify,
}

/// Held while a start is under way that somebody waits for.
pub(crate) struct Needed<'a>(&'a Pool);

impl Drop for Needed<'_> {
    fn drop(&mut self) {
        if self.0.needed.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_needed.notify_waiters();
        }
    }
}

impl Pool {
    pub(crate) fn new() -> Pool {
        Pool {
            entries: Mutex::default(),
            starts: Semaphore::new(AT_ONCE),
            needed: AtomicUsize::new(0),
            none_needed: Notify::new(),
        }
    }

    /// Says that somebody waits for a start that was not made ahead.
    pub(crate) fn needed(&self) -> Needed<'_> {
        self.needed.fetch_add(1, Ordering::AcqRel);
        Needed(self)
    }

    /// Starts a container like this in the background, unless enough wait already.
    pub(crate) fn expect(backend: &Arc<Inner>, spec: &SandboxSpec) {
        let Some(key) = Key::of(spec) else { return };
        let engine = &backend.starter.engine;
        let mut entries = backend.pool.lock();
        if entries.len() >= MOST {
            return;
        }
        let fate = Arc::<Fate>::default();
        let started = engine.spawn(start(Arc::downgrade(backend), spec.clone(), Arc::clone(&fate)));
        entries.push(Entry { key, since: Instant::now(), fate, started });
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
            entry.fate.urgent.notify_one();
            // What failed ahead of need is tried again by whoever needs it, who is told why.
            if let Ok(Ok(warm)) = entry.started.await
                && let Some(running) = warm.give()
            {
                return Some(running);
            }
        }
    }

    /// Removes what was started for this run and nobody has asked for; returns when it is gone, or not in reasonable time.
    pub(crate) async fn forget(&self, run: &str) {
        let unwanted: Vec<Entry> = {
            let mut entries = self.lock();
            let (unwanted, rest) =
                std::mem::take(&mut *entries).into_iter().partition(|entry| entry.key.labels.run == run);
            *entries = rest;
            unwanted
        };
        let mut leaving = tokio::task::JoinSet::new();
        for entry in unwanted {
            entry.fate.unwanted.store(true, Ordering::Release);
            entry.fate.urgent.notify_one();
            leaving.spawn(async move {
                if let Ok(Ok(warm)) = entry.started.await {
                    warm.take_apart().await;
                }
            });
        }
        let _ = timeout(LEAVING, async { while leaving.join_next().await.is_some() {} }).await;
        // Those that are slower still go on: their removal is no reason to wait for ever.
        leaving.detach_all();
    }

    /// Returns when no start is under way that somebody waits for.
    async fn quiet(&self) {
        loop {
            let quiet = self.none_needed.notified();
            if self.needed.load(Ordering::Acquire) == 0 {
                return;
            }
            quiet.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start(backend: Weak<Inner>, spec: SandboxSpec, fate: Arc<Fate>) -> Result<Warm, SandboxError> {
    let backend = backend.upgrade().ok_or(SandboxError::Cancelled)?;
    let pool = &backend.pool;
    let turn = async {
        pool.quiet().await;
        pool.starts.acquire().await.ok()
    };
    // Whoever needs it now waits for nobody's turn.
    let _turn = tokio::select! {
        turn = turn => turn,
        () = fate.urgent.notified() => None,
    };
    let wanted = || !fate.unwanted.load(Ordering::Acquire);
    if !wanted() {
        return Err(SandboxError::Cancelled);
    }
    backend.start_container(&spec, wanted).await.map(|running| Warm(Some(running)))
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
