//! Several processes on one engine, and processes that are killed at any moment.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harness_sandbox::docker::client::Address;

use crate::pulls::Registry;
use crate::support::{Bench, ask, exists, tests};

tests! {
    two_processes: "two processes that want one image make one build";
    killed_builds: "a process that is killed while it builds leaves nothing wrong";
    #[docker] killed_pulls: "a process that is killed while it pulls leaves nothing wrong";
}

const JOB: &str = "HARNESS_IMAGES_JOB";

/// This program again, as a process that makes one image: `engine, socket, folder, what`.
pub(crate) fn be_a_process_if_asked() -> Option<ExitCode> {
    let job = std::env::var(JOB).ok()?;
    let fields: Vec<&str> = job.split('|').collect();
    let [engine, socket, folder, what] = fields[..] else { panic!("{job}") };
    let engine = if engine == "docker" { "docker" } else { "podman" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let bench = Bench::new(engine, Address::Socket(socket.into()));
    let done = runtime.block_on(async {
        let client = bench.client().await;
        let limits = harness_sandbox::docker::images::ImageLimits::default();
        let folder = Path::new(folder);
        let images = harness_sandbox::docker::images::Images::open(client, &folder.join("state"), limits)
            .await
            .unwrap();
        let mut request = match what.strip_prefix("pull:") {
            Some(name) => bench.image(name, None),
            None => bench.dockerfile("unused", "FROM debian:12\n", &[]),
        };
        if !what.starts_with("pull:") {
            let context = folder.join(what);
            request.spec.source =
                harness_core::EnvironmentSource::Dockerfile { file: context.join("Dockerfile"), context };
        }
        images.ensure(&request, &bench.progress()).await.is_ok()
    });
    let text = bench.said().join("\n");
    std::fs::write(Path::new(folder).join(format!("said-{}", std::process::id())), text).unwrap();
    Some(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(bench: &Bench, what: &str) -> Child {
    let Address::Socket(socket) = &bench.address else { panic!() };
    let job = format!("{}|{}|{}|{what}", bench.engine, socket.display(), bench.place.path().display());
    Command::new(std::env::current_exe().unwrap())
        .env(JOB, job)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn two_processes(bench: Arc<Bench>) {
    let text = format!("FROM debian:12\nRUN sleep 2; echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    let mut children = [start(&bench, "one"), start(&bench, "one"), start(&bench, "one")];
    let mut said = String::new();
    for child in &mut children {
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(child.wait().unwrap().success());
        let file = bench.place.path().join(format!("said-{}", child.id()));
        said += &(std::fs::read_to_string(file).unwrap() + "\n");
    }
    assert_eq!(said.lines().filter(|line| line.starts_with("building ")).count(), 1, "{said}");
    assert!(said.contains("waiting for another process that builds"), "{said}");
    bench.images().await.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!(bench.builds(), 0);
}

async fn killed_builds(bench: Arc<Bench>) {
    let images = bench.images().await;
    for (round, wait_ms) in [50, 300, 700, 1100, 1500, 2000].into_iter().enumerate() {
        let name = format!("round-{round}");
        let text = format!(
            "FROM debian:12\nRUN sleep 1; echo {}-{round} > /made\nRUN sleep 0.3; cat /made\n",
            bench.unique()
        );
        let request = bench.dockerfile(&name, &text, &[]);
        let mut child = start(&bench, &name);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let image = images.ensure(&request, &bench.progress()).await.unwrap();
        let (status, body) = ask(&bench.address, "GET", &format!("/v1.41/images/{}/json", image.id));
        assert!(status == 200 && body.contains("\"Layers\""), "{body}");
        let entries = images.inventory().await.unwrap();
        assert_eq!(entries.iter().filter(|entry| entry.name == image.tag).count(), 1);
        drop(image);
        let removed = images.evict(0).await.unwrap();
        assert!(removed.kept.is_empty(), "a lock of the dead: {removed:?}");
    }
    let left = images.inventory().await.unwrap();
    assert!(left.iter().all(|entry| entry.used_ms.is_none()), "{left:?}");
}

async fn killed_pulls(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    registry.tricks().slow_ms.store(20, Ordering::SeqCst);
    let images = bench.images().await;
    let request = bench.image(&registry.name, None);
    for wait_ms in [30, 100, 300, 600, 1000, 1500] {
        let mut child = start(&bench, &format!("pull:{}", registry.name));
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let image = images.ensure(&request, &bench.progress()).await.unwrap();
        assert!(image.size > 3_000_000);
        drop(image);
        // Whoever began it: it was not there before, so it is ours to remove.
        let removed = images.evict(0).await.unwrap();
        assert_eq!(removed.images, std::slice::from_ref(&registry.name), "{wait_ms} ms");
        assert!(!exists(&bench.address, &registry.name));
    }
}
