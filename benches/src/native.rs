//! The native sandboxes that are measured: those that trials use, with every limit set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::{
    BACKENDS, Backend, BackendOptions, EnvironmentRequest, ExecSpec, Image, Labels, Place, ProcessSpec,
    RootFs, Sandbox, SandboxError, SandboxSpec, Snapshot,
};

/// Bytes that the agent changed below the stacked verifier.
const CHANGE_MB: u64 = 200;

/// A backend with an image.
pub struct Bench {
    backend: Arc<dyn Backend>,
    image: Arc<Image>,
}

impl Bench {
    /// Opens one with its state in this folder.
    ///
    /// # Errors
    /// This machine has no native sandbox.
    pub async fn open(folder: &Path, rootfs: RootFs) -> Result<Bench, SandboxError> {
        let kind = BACKENDS.iter().find(|kind| kind.name() == "native").expect("native is registered");
        let hidden = vec![folder.to_owned()];
        let backend = kind.open(BackendOptions { state_dir: folder.join("state"), rootfs, hidden }).await?;
        let spec = EnvironmentSpec {
            source: EnvironmentSource::Image { reference: "bench".into(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: Some("/tmp".into()),
            network: NetworkMode::None,
            healthcheck: None,
            host_root: true,
        };
        let request = EnvironmentRequest { spec, digest: Digest::of(b"bench"), log: None };
        let image = backend.prepare(&request, Arc::new(|_| {})).await?;
        Ok(Bench { backend, image })
    }

    /// A sandbox, on a state where one is given.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn start(&self, snapshot: Option<Arc<Snapshot>>) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let labels = Labels { run: "bench".into(), trial: "ratios".into(), role: "agent".into() };
        let spec = SandboxSpec {
            labels,
            image: self.image.clone(),
            snapshot,
            limits: Limits {
                milli_cpus: Some(2000),
                memory_bytes: Some(1 << 30),
                pids: Some(512),
                ..Limits::default()
            },
            network: NetworkMode::None,
            mounts: Vec::new(),
        };
        self.backend.create(spec).await
    }

    /// One from its start over a command to its end.
    ///
    /// # Errors
    /// A step of it failed.
    pub async fn cycle(&self) -> Result<(), SandboxError> {
        let sandbox = self.start(None).await?;
        run_true(&*sandbox).await?;
        sandbox.destroy().await.map(drop)
    }

    /// The state of a sandbox with a large file of its own.
    ///
    /// # Errors
    /// A step of it failed.
    pub async fn changed(&self) -> Result<Arc<Snapshot>, SandboxError> {
        let sandbox = self.start(None).await?;
        let fill = format!("head -c {} /dev/zero > /var/tmp/change", CHANGE_MB << 20);
        run(&*sandbox, ProcessSpec::shell(&fill)).await?;
        let snapshot = sandbox.snapshot().await?;
        let check = self.start(Some(snapshot.clone())).await?;
        let size = format!("[ \"$(wc -c < /var/tmp/change)\" -eq {} ]", CHANGE_MB << 20);
        run(&*check, ProcessSpec::shell(&size)).await?;
        check.destroy().await?;
        Ok(snapshot)
    }

    /// Cycles in a second with so many callers at once.
    ///
    /// # Errors
    /// A cycle failed.
    pub async fn many(&self, callers: usize) -> Result<f64, SandboxError> {
        let (began, time) = (Instant::now(), Duration::from_secs(3));
        let call = async || {
            let mut done = 0usize;
            while began.elapsed() < time {
                self.cycle().await?;
                done += 1;
            }
            Ok::<usize, SandboxError>(done)
        };
        let mut calls: Vec<_> = (0..callers).map(|_| Box::pin(call())).collect();
        let mut done = 0;
        // Polled together on this task: the work is in the kernel and in the spawner, not here.
        for count in join_all(&mut calls).await {
            done += count?;
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }
}

/// All futures at once, in one task.
async fn join_all<F: Future + Unpin>(futures: &mut [F]) -> Vec<F::Output> {
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = std::pin::Pin::new(future).poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// One command, as short as can be.
///
/// # Errors
/// The sandbox is lost.
pub async fn run_true(place: &dyn Place) -> Result<(), SandboxError> {
    run(place, ProcessSpec::new(["/bin/true"])).await.map(drop)
}

async fn run(place: &dyn Place, process: ProcessSpec) -> Result<String, SandboxError> {
    let result = place.exec(ExecSpec::new(process)).await?;
    assert!(result.exit.success(), "{:?}: {}", result.exit, result.stderr.text());
    Ok(result.stdout.text())
}

/// Namespaces of its own, few processes, no network device but loopback, nothing of the host's other files.
///
/// # Errors
/// The sandbox is lost.
///
/// # Panics
/// It is not isolated.
pub async fn assert_isolated(sandbox: &dyn Sandbox, folder: &Path) -> Result<(), SandboxError> {
    let canary = folder.join("canary");
    std::fs::write(&canary, "host").expect("the temporary folder can be written");
    for namespace in ["pid", "mnt", "net", "ipc", "uts"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{namespace}")).expect("the host has namespaces");
        let inside =
            run(sandbox, ProcessSpec::new(["readlink", &format!("/proc/self/ns/{namespace}")])).await?;
        assert_ne!(inside.trim(), host.to_string_lossy(), "{namespace}");
    }
    let script = format!(
        "[ ! -e '{}' ] && [ \"$(ls -d /proc/[0-9]* | wc -l)\" -le 6 ] && [ \"$(grep -c : /proc/net/dev)\" -eq 1 ]",
        canary.display()
    );
    run(sandbox, ProcessSpec::shell(&script)).await.map(drop)
}
