//! The speed promises as ratios, measured in one interleaved run: `ratios [ROUNDS] [ROOTFS-DIR]` (200 rounds, the host's root).
//!
//! Each round does one of everything, so that what else the machine does weighs on all of it alike. The baseline is a
//! direct spawn of `/bin/true` from this process, which is small. Every sandbox that is measured is the one that trials
//! use, and what it isolates is asserted before anything is timed.
#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::{
    BACKENDS, Backend, BackendOptions, EnvironmentRequest, ExecSpec, Image, Labels, Place, ProcessSpec,
    RootFs, Sandbox, SandboxError, SandboxSpec, Snapshot,
};

const TRUE: &str = "/bin/true";
/// Bytes that the agent changed below the stacked verifier.
const CHANGE_MB: u64 = 200;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), SandboxError> {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().map_or(200, |text| text.parse().expect("a number of rounds"));
    let rootfs = args.next().map_or(RootFs::Host, |folder| RootFs::Dir(PathBuf::from(folder)));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let bench = Bench::open(folder.path(), rootfs.clone()).await?;
    let standing = bench.start(None).await?;
    assert_isolated(&*standing, folder.path()).await?;
    let changed = bench.changed().await?;

    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..rounds + 5 {
        let mut keep = |name, began: Instant| {
            // The first rounds fill caches.
            if round >= 5 {
                times.entry(name).or_default().push(began.elapsed());
            }
        };
        let began = Instant::now();
        assert!(Command::new(TRUE).status().expect("there is a /bin/true").success());
        keep("spawn", began);

        let began = Instant::now();
        let sandbox = bench.start(None).await?;
        keep("start", began);
        run(&*sandbox, ProcessSpec::new([TRUE])).await?;
        let leaving = Instant::now();
        sandbox.destroy().await?;
        keep("gone", leaving);
        keep("cycle", began);

        let began = Instant::now();
        run(&*standing, ProcessSpec::new([TRUE])).await?;
        keep("exec", began);

        let began = Instant::now();
        let stacked = bench.start(Some(changed.clone())).await?;
        keep("stacked", began);
        stacked.destroy().await?;

        if let Some(harness) = sibling("harness") {
            let began = Instant::now();
            let output = Command::new(harness).arg("--version").output().expect("the harness starts");
            assert!(output.status.success());
            keep("version", began);
        }
    }
    standing.destroy().await?;

    let middle = |name: &str| {
        let all = times.get(name)?;
        let mut sorted = all.clone();
        sorted.sort();
        Some(sorted[sorted.len() / 2].as_secs_f64() * 1e3)
    };
    let spawn = middle("spawn").expect("it was measured");
    println!("{rounds} interleaved rounds, medians; root file system {rootfs:?}");
    println!("spawn of {TRUE} on the host: {spawn:.2} ms");
    let cycle = middle("cycle").expect("it was measured");
    let limit = if rootfs == RootFs::Host { 10.0 } else { 5.0 };
    println!("start, exec, gone: {cycle:.2} ms, {:.1} x a spawn (at most {limit} x)", cycle / spawn);
    let (start, gone) = (middle("start").unwrap_or_default(), middle("gone").unwrap_or_default());
    println!("  of which start {start:.2} ms, gone {gone:.2} ms");
    let exec = middle("exec").expect("it was measured");
    println!("exec in a running sandbox: {exec:.2} ms, {:.2} x a spawn (at most 1.5 x)", exec / spawn);
    let stacked = middle("stacked").expect("it was measured");
    println!("sandbox on a change of {CHANGE_MB} MB ready: {stacked:.2} ms (at most 10 ms)");
    match middle("version") {
        Some(version) => {
            println!("harness --version: {:.2} ms over a spawn (at most 10 ms)", version - spawn)
        }
        None => println!("harness --version: not measured, there is no harness beside this program"),
    }
    println!("cycles with 8 callers: {:.0}/s (at least 330/s on 2 cores)", bench.many(8).await?);
    match sibling("trials") {
        Some(trials) => {
            let output = Command::new(trials).arg("10000").output().expect("the program starts");
            print!(
                "10,000 trials on memory (at most 1 ms of CPU, 60 MB): {}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        None => println!("10,000 trials: not measured, build the `trials` program beside this one"),
    }
    Ok(())
}

/// A program in this program's own folder.
fn sibling(name: &str) -> Option<PathBuf> {
    let file = std::env::current_exe().ok()?.with_file_name(name);
    file.is_file().then_some(file)
}

struct Bench {
    backend: Arc<dyn Backend>,
    image: Arc<Image>,
}

impl Bench {
    async fn open(folder: &Path, rootfs: RootFs) -> Result<Bench, SandboxError> {
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

    async fn start(&self, snapshot: Option<Arc<Snapshot>>) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let labels = Labels { run: "bench".into(), trial: "ratios".into(), role: "agent".into() };
        let spec = SandboxSpec {
            labels,
            image: self.image.clone(),
            snapshot,
            limits: Limits::default(),
            network: NetworkMode::None,
            mounts: Vec::new(),
        };
        self.backend.create(spec).await
    }

    async fn cycle(&self) -> Result<(), SandboxError> {
        let sandbox = self.start(None).await?;
        run(&*sandbox, ProcessSpec::new([TRUE])).await?;
        sandbox.destroy().await.map(drop)
    }

    /// The state of a sandbox with a large file of its own.
    async fn changed(&self) -> Result<Arc<Snapshot>, SandboxError> {
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
    async fn many(&self, callers: usize) -> Result<f64, SandboxError> {
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

async fn run(place: &dyn Place, process: ProcessSpec) -> Result<String, SandboxError> {
    let result = place.exec(ExecSpec::new(process)).await?;
    assert!(result.exit.success(), "{:?}: {}", result.exit, result.stderr.text());
    Ok(result.stdout.text())
}

/// Namespaces of its own, few processes, no network device but loopback, nothing of the host's other files.
async fn assert_isolated(sandbox: &dyn Sandbox, folder: &Path) -> Result<(), SandboxError> {
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
