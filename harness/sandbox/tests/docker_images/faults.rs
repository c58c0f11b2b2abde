//! Builds that go wrong, and whose fault it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::Blame;

use crate::support::{Bench, ask, exists, hosts_fault, tasks_fault, tests};

tests! {
    fails: "a Dockerfile that fails is the task's fault, with the end of its log";
    wrong_description: "a description that cannot be understood is the task's fault";
    never_ends: "a build that never ends is ended, and nothing of it runs on";
    prints_a_gigabyte: "a build that prints 1 GB costs neither memory nor disk";
    foreign_name: "a name that stands for another image is not believed";
    #[docker] full_disk: "an engine without room is our fault, and the way out is named";
    no_room_for_a_build: "too little room is seen before anything is begun";
}

async fn fails(bench: Arc<Bench>) {
    let images = bench.images().await;
    let marker = bench.unique();
    let text = format!("FROM debian:12\nRUN echo said-{marker} && exit 3\n");
    let request = bench.dockerfile("one", &text, &[]);
    let (message, log) = tasks_fault(images.ensure(&request, &bench.progress()).await);
    assert!(message.contains("one/Dockerfile"), "{message}");
    assert!(log.contains(&format!("said-{marker}")), "{log}");
    assert!(bench.log().contains(&format!("said-{marker}")));
    assert!(log.contains('3') || message.contains('3'), "{message} {log}");
    assert!(images.inventory().await.unwrap().iter().all(|entry| !entry.about.contains(&marker)));
    // Mended, it builds.
    let request = bench.dockerfile("one", &text.replace("exit 3", "exit 0"), &[]);
    images.ensure(&request, &bench.progress()).await.unwrap();
}

async fn wrong_description(bench: Arc<Bench>) {
    let images = bench.images().await;
    for (name, text, expected) in [
        ("a", "", "there is no FROM"),
        ("b", "FROM debian:12\nRNU x\n", "RNU"),
        ("c", "FROM debian:12\nCOPY nothing /x\n", "nothing"),
        ("d", "FROM a b c\nRUN x\n", "FROM"),
        ("e", "FROM ../../etc\n", "is no image's name"),
        ("f", "FROM debian:12\nRUN \0\n", "NUL"),
        ("g", "FROM debian:12\nUSER nobody-of-that-name\nRUN true\n", "nobody-of-that-name"),
    ] {
        let request = bench.dockerfile(name, text, &[]);
        let (message, log) = tasks_fault(images.ensure(&request, &bench.progress()).await);
        assert!(format!("{message}{log}").contains(expected), "{text:?}: {message} {log}");
    }
    let mut request = bench.dockerfile("h", "FROM debian:12\n", &[(".dockerignore", "[\n")]);
    assert!(tasks_fault(images.ensure(&request, &bench.progress()).await).0.contains(".dockerignore line 1"));
    assert_eq!(images.admit(&request).unwrap_err().blame(), Blame::Task);
    request = bench.dockerfile("i", "FROM debian:12\n", &[]);
    std::fs::remove_file(bench.place.path().join("i/Dockerfile")).unwrap();
    tasks_fault(images.ensure(&request, &bench.progress()).await);
}

/// Whether a process with this word in its arguments runs on this machine.
fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let own = std::process::id().to_string();
    processes.filter(|entry| entry.file_name().to_string_lossy() != own).any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    })
}

async fn gone(word: &str) -> bool {
    for _ in 0..150 {
        if !runs(word) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

async fn never_ends(bench: Arc<Bench>) {
    let images = bench.images().await;
    let marker = bench.unique();
    let text = format!("FROM debian:12\nRUN echo begun-{marker}; sleep 40; echo {marker}-sleeps\n");
    let mut request = bench.dockerfile("one", &text, &[]);
    request.spec.build_timeout = Duration::from_secs(4);
    let began = Instant::now();
    let (message, log) = tasks_fault(images.ensure(&request, &bench.progress()).await);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(message.contains("not built within its 4 s"), "{message}");
    assert!(log.contains(&format!("begun-{marker}")), "{log}");
    // Podman (4.3) lets a command that it has started run to its end, whoever has gone.
    if bench.engine == "podman" {
        return;
    }
    assert!(gone(&format!("{marker}-sleeps")).await, "the command runs on");
    // A caller that goes away ends it, too.
    request.spec.build_timeout = Duration::from_secs(100);
    let progress = bench.progress();
    let call = images.ensure(&request, &progress);
    let _ = tokio::time::timeout(Duration::from_secs(4), call).await.unwrap_err();
    assert!(gone(&format!("{marker}-sleeps")).await, "the command runs on");
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn prints_a_gigabyte(bench: Arc<Bench>) {
    let images = bench.images().await;
    let marker = bench.unique();
    let text = format!("FROM debian:12\nRUN yes {marker} | head -c 1000000000; echo the-end; exit 1\n");
    let request = bench.dockerfile("one", &text, &[]);
    let before = resident_bytes();
    let call = tokio::spawn({
        let progress = bench.progress();
        async move { images.ensure(&request, &progress).await.map(|image| image.id) }
    });
    let mut most = before;
    while !call.is_finished() {
        most = most.max(resident_bytes());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, log) = tasks_fault(call.await.unwrap());
    assert!(most - before < 100 << 20, "{} MB", (most - before) >> 20);
    assert!(log.len() < 64 << 10 && !log.is_empty());
    let length = std::fs::metadata(bench.place.path().join("build.log")).unwrap().len();
    assert!(length < 70 << 20, "{length}");
}

async fn foreign_name(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = format!("FROM debian:12\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    let first = images.ensure(&request, &bench.progress()).await.unwrap();
    let (tag, id) = (first.tag.clone(), first.id.clone());
    drop(first);
    let (repository, version) = tag.rsplit_once(':').unwrap();
    let (status, body) =
        ask(&bench.address, "POST", &format!("/v1.41/images/debian:12/tag?repo={repository}&tag={version}"));
    assert_eq!(status, 201, "{body}");
    let again = images.ensure(&request, &bench.progress()).await.unwrap();
    let debian = images.ensure(&bench.image("debian:12", None), &bench.progress()).await.unwrap();
    assert_ne!(again.id, debian.id, "the impostor was taken");
    let _ = ask(&bench.address, "DELETE", &format!("/v1.41/images/{id}"));
    assert!(exists(&bench.address, "debian:12"));
}

async fn full_disk(bench: Arc<Bench>) {
    let Some(engine) = crate::support::SmallEngine::start(bench.place.path(), 400) else {
        panic!("an engine on a small disk needs root and a loop device");
    };
    engine.load(&bench.address, "debian:12");
    let small = Bench::new("docker", engine.address.clone());
    let images = small.images().await;
    let marker = bench.unique();
    let text = format!("FROM debian:12\nRUN echo {marker}; head -c 900000000 /dev/zero > /full\n");
    let request = small.dockerfile("one", &text, &[]);
    let (kind, why) = hosts_fault(images.ensure(&request, &small.progress()).await);
    assert_eq!(kind, std::io::ErrorKind::StorageFull, "{why}");
    assert!(why.contains("harness clean --images"), "{why}");
    // The engine is as good as before.
    let request = small.dockerfile("two", &format!("FROM debian:12\nRUN echo {marker}\n"), &[]);
    let image = images.ensure(&request, &small.progress()).await.unwrap();
    drop(image);
    let removed = images.remove_all(false).await.unwrap();
    assert_eq!(removed.images.len(), 1, "{removed:?}");
}

async fn no_room_for_a_build(bench: Arc<Bench>) {
    use harness_sandbox::docker::images::ImageLimits;
    let limits = ImageLimits { quota_bytes: None, keep_free_bytes: 1 << 60 };
    let images = bench.try_images(limits).await.unwrap();
    let text = format!("FROM debian:12\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    let (kind, why) = hosts_fault(images.ensure(&request, &bench.progress()).await);
    assert_eq!(kind, std::io::ErrorKind::StorageFull);
    assert!(why.contains("MB free") && why.contains("harness clean --images"), "{why}");
    let request = bench.image("localhost:1/not/there:1", None);
    let (kind, _) = hosts_fault(images.ensure(&request, &bench.progress()).await);
    assert_eq!(kind, std::io::ErrorKind::StorageFull);
}
