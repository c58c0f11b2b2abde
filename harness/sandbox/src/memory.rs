//! `memory`: sandboxes that are a map and a few tasks in this process, for tests and benches. Nothing real runs in them.
//!
//! `sh` and `bash` understand a small part of the shell's language (lists, `if`, `while`, `for`, pipes, quotes, `$NAME`,
//! `${NAME:-text}`, `$( )`, here-documents, redirections) and the programs named in [`programs`], so that a test's scripts
//! mean the same here and in a real sandbox. Anything else is an error and never a silent success. A test adds programs
//! of its own, written in Rust, with [`MemoryBackend::program`].
//!
//! Deliberately not here: permissions, terminals, hard links, sparse files, limits, networks, usage.

mod call;
mod glob;
mod image;
mod process;
mod programs;
mod sandbox;
mod shell;
mod syntax;
mod transfer;
mod tree;
mod users;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use async_trait::async_trait;
use harness_core::NetworkMode;

pub use self::call::Call;
pub use self::programs::Program;
use self::programs::Programs;
use self::sandbox::{Inner, MemorySandbox};
use self::tree::lock;
use crate::{
    Backend, BackendKind, BackendOptions, Caps, EnvironmentRequest, Exit, Image, Probe, ProbeStatus,
    Progress, ReapFilter, Reaped, Sandbox, SandboxError, SandboxSpec, Unsupported,
};

/// Name of the backend, and of everything that it cannot do.
pub(crate) const NAME: &str = "memory";

/// How many processes one command may have at once, where the sandbox has no limit of its own.
const MOST_PROCESSES: usize = 1000;

/// The registered kind.
pub struct Memory;

#[async_trait]
impl BackendKind for Memory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "for tests; runs nothing real"
    }

    async fn open(&self, _options: BackendOptions) -> Result<Arc<dyn Backend>, SandboxError> {
        Ok(Arc::new(MemoryBackend::new()))
    }
}

/// Makes sandboxes in this process.
pub struct MemoryBackend {
    caps: Caps,
    programs: Arc<Programs>,
    images: Mutex<BTreeMap<harness_core::Digest, Arc<Image>>>,
    base: OnceLock<Arc<tree::Base>>,
    next: AtomicU64,
    alive: Mutex<Vec<Weak<Inner>>>,
}

impl Default for MemoryBackend {
    fn default() -> MemoryBackend {
        MemoryBackend::new()
    }
}

impl MemoryBackend {
    /// A backend with the built-in programs.
    pub fn new() -> MemoryBackend {
        let declared =
            DECLARED.iter().map(|(case, reason)| Unsupported { case, reason: (*reason).into() }).collect();
        let weaknesses = vec!["runs nothing real".into()];
        MemoryBackend {
            caps: Caps { declared, weaknesses, ..Caps::default() },
            programs: Arc::default(),
            images: Mutex::default(),
            base: OnceLock::new(),
            next: AtomicU64::new(1),
            alive: Mutex::default(),
        }
    }

    /// Adds a program, found as `/usr/bin/NAME` in every image made afterwards.
    #[must_use]
    pub fn program<F>(mut self, name: &str, run: impl Fn(Call) -> F + Send + Sync + 'static) -> MemoryBackend
    where
        F: Future<Output = Exit> + Send + 'static,
    {
        Arc::make_mut(&mut self.programs).insert(name.into(), Arc::new(move |call| Box::pin(run(call))));
        self
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    async fn doctor(&self) -> Vec<Probe> {
        vec![Probe {
            name: NAME.into(),
            status: ProbeStatus::Good,
            detail: "for tests; runs nothing real".into(),
            remedy: None,
        }]
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        check_network(&request.spec.network)
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        _progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        if let Some(image) = lock(&self.images).get(&request.digest) {
            return Ok(image.clone());
        }
        // Two callers at once may both build; that costs microseconds and gives equal images.
        let base = self.base.get_or_init(|| Arc::new(image::base(&self.programs)));
        let image = Arc::new(image::build(request, base, &self.programs).await?);
        Ok(lock(&self.images).entry(request.digest.clone()).or_insert(image).clone())
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        check_network(&spec.network)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sandbox = MemorySandbox::start(format!("memory-{number}"), spec, self.programs.clone())?;
        let mut alive = lock(&self.alive);
        // Looked through only when it has doubled, so that many short-lived sandboxes cost the same each.
        if alive.len() == alive.capacity() {
            alive.retain(|sandbox| sandbox.strong_count() > 0);
        }
        alive.push(Arc::downgrade(sandbox.inner()));
        Ok(Arc::new(sandbox))
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        let mut reaped = Reaped::default();
        // Owners die with their sandboxes here, so only what belongs to a named run can be meant.
        let Some(run) = filter.run else { return Ok(reaped) };
        for sandbox in lock(&self.alive).iter().filter_map(Weak::upgrade) {
            if sandbox.labels.run == run && sandbox.is_alive() {
                reaped.sandboxes.push(sandbox.id.clone());
                if !filter.dry_run {
                    sandbox.end();
                }
            }
        }
        Ok(reaped)
    }
}

fn check_network(network: &NetworkMode) -> Result<(), SandboxError> {
    match network {
        NetworkMode::None | NetworkMode::Gateway => Ok(()),
        NetworkMode::Open | NetworkMode::Allowlist(_) => {
            Err(SandboxError::Unsupported { backend: NAME, what: "networks; use --network none".into() })
        }
    }
}

/// The conformance cases that need what is not real here.
const DECLARED: &[(&str, &str)] = &[
    ("exec-session", "there are no real processes"),
    ("exec-descriptors", "there are no real processes"),
    ("exec-signals-default", "there are no real processes"),
    ("exec-stdin-unread", "its shell and programs know too little for this case"),
    ("put-names", "its shell and programs know too little for this case"),
    ("put-exclude", "its shell and programs know too little for this case"),
    ("get-names", "its shell and programs know too little for this case"),
    ("deadline-grace", "its shell knows no signal handlers"),
    ("pty", "there are no terminals"),
    ("pty-bytes", "there are no terminals"),
    ("pty-resize", "there are no terminals"),
    ("pty-input", "there are no terminals"),
    ("put-hard-links", "there are no hard links"),
    ("get-hard-links", "there are no hard links"),
    ("put-sparse", "there are no sparse files"),
    ("get-sparse", "there are no sparse files"),
    ("read-limit-huge", "there are no sparse files"),
    ("deadline-tree", "there is no table of processes"),
    ("kill-all", "there is no table of processes"),
    ("limit-pids", "there is no table of processes"),
    ("reaping", "there is no table of processes"),
    ("usage", "nothing is measured or limited"),
    ("usage-disk", "nothing is measured or limited"),
    ("limit-cpus", "nothing is measured or limited"),
    ("limit-memory", "nothing is measured or limited"),
    ("limit-memory-child", "nothing is measured or limited"),
    ("limit-disk", "nothing is measured or limited"),
    ("network-none", "there is no network"),
    ("network-loopback", "there is no network"),
    ("network-gateway", "there is no network"),
    ("network-gateway-closed", "there is no network"),
    ("network-apart", "there is no network"),
    ("network-record", "there is no network"),
    ("network-switch", "there is no network"),
    ("lost-is-no-status", "there are no real processes"),
    ("drop-destroys", "there are no real processes"),
    ("reap-orphans", "there are no real processes"),
    ("sandboxes-apart", "there are no real processes"),
    ("pid1-unkillable", "there are no real processes"),
    ("pid1-unreadable", "there are no real processes"),
    ("host-unwritable", "there are no real processes"),
    ("view-unreachable", "there are no real processes"),
    ("view-processes", "there are no real processes"),
    ("mount-read-only", "mounted folders are copies that can be changed"),
];
