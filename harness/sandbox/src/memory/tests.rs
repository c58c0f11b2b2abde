//! What a trial needs of a memory sandbox, and what its scripts mean.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use tokio::time::{Instant, sleep};

use super::MemoryBackend;
use crate::{
    Backend, ChangeKind, EnvironmentRequest, ExecSpec, Exit, GetOptions, Labels, Place, ProcessSpec,
    PutOptions, ReapFilter, Sandbox, SandboxSpec, Snapshot, Source, ViewSpec,
};

fn request() -> EnvironmentRequest {
    let spec = EnvironmentSpec {
        source: EnvironmentSource::Image { reference: "test".into(), files: None },
        build_timeout: Duration::from_secs(60),
        limits: Limits::default(),
        env: BTreeMap::new(),
        workdir: Some("/work".into()),
        network: NetworkMode::None,
        healthcheck: None,
        host_root: true,
    };
    EnvironmentRequest { spec, digest: Digest::of(b"test"), log: None }
}

async fn start(backend: &MemoryBackend, snapshot: Option<Arc<Snapshot>>) -> Arc<dyn Sandbox> {
    let image = backend.prepare(&request(), Arc::new(|_| {})).await.unwrap();
    let labels = Labels { run: "run".into(), trial: "task/variant/1".into(), role: "agent".into() };
    let spec = SandboxSpec {
        labels,
        image,
        snapshot,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    };
    backend.create(spec).await.unwrap()
}

async fn sh(place: &dyn Place, script: &str) -> (Exit, String, String) {
    let result = place.exec(ExecSpec::new(ProcessSpec::shell(script))).await.unwrap();
    (result.exit, result.stdout.text(), result.stderr.text())
}

#[tokio::test(start_paused = true)]
async fn scripts_mean_what_they_mean_in_a_real_shell() {
    let sandbox = start(&MemoryBackend::new(), None).await;
    for (script, status, stdout) in [
        ("echo a; echo b >&2; exit 3", 3, "a\n"),
        ("pwd", 0, "/work\n"),
        ("true && echo yes || echo no", 0, "yes\n"),
        ("false && echo yes || echo no", 0, "no\n"),
        ("if [ -e /nope ]; then echo a; elif true; then echo b; else echo c; fi", 0, "b\n"),
        ("X='a  b'; echo $X \"$X\" ${Y:-none}", 0, "a b a  b none\n"),
        ("cat <<'EOF' > f\n$X\nline\nEOF\ncat f; echo \"$(cat f)\" | wc -l", 0, "$X\nline\n2\n"),
        ("cat > f <<EOF\nis $PWD${X:-x}\nEOF\ncat f", 0, "is x\n"),
        ("set -e; false; echo no", 1, ""),
        ("set -e; false || true; ! true || true; echo yes", 0, "yes\n"),
        ("printf 'a\\000b%s\\n' c", 0, "a\0bc\n"),
        ("mkdir -p a/b && touch a/b/c && ls a/b && rm -r a && ls a", 1, "c\n"),
        ("for x in 1 2 3; do echo $x; done | tail -n 1", 0, "3\n"),
        ("printf 'x\\ny\\n' | grep -q '^y$'", 0, ""),
        ("(exit 4); echo $?; { echo in; } > /dev/null", 0, "4\n"),
        ("printf 'echo $1 $#' > s; sh s arg; chmod +x s; ./s other", 0, "arg 1\nother 1\n"),
        (
            "ln -s /etc/passwd l; cat l | head -n 1; readlink l",
            0,
            "root:x:0:0:root:/root:/bin/sh\n/etc/passwd\n",
        ),
        ("nonsense", 127, ""),
        ("`date`", 2, ""),
        ("A=1 env | grep '^A'; env -i B=2 /usr/bin/env", 0, "A=1\nB=2\n"),
        (
            "mkdir bin; printf 'echo mine' > bin/cat; chmod +x bin/cat; PATH=/work/bin:$PATH cat x",
            0,
            "mine\n",
        ),
        ("kill -9 $$", -9, ""),
    ] {
        let expected = if status < 0 { Exit::Signal(-status) } else { Exit::Code(status) };
        let (exit, out, err) = sh(&*sandbox, script).await;
        assert_eq!((exit, &*out), (expected, stdout), "{script}\n{err}");
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_end_the_tree_and_background_work_outlives_a_normal_end_until_kill_all() {
    let sandbox = start(&MemoryBackend::new(), None).await;
    let started = Instant::now();
    let mut spec = ExecSpec::new(ProcessSpec::shell(
        "(while true; do sleep 1; echo x >> /work/alive; done) & trap '' TERM; sleep 100; sleep 100",
    ));
    spec.process.deadline = Some(Duration::from_secs(10));
    let result = sandbox.exec(spec).await.unwrap();
    assert_eq!((result.exit, result.duration), (Exit::TimedOut, Duration::from_secs(12)));
    let count = async || sandbox.read("/work/alive", 1000).await.unwrap().unwrap_or_default().len();
    let before = count().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!((count().await, started.elapsed().as_secs()), (before, 17));

    let (exit, ..) = sh(&*sandbox, "setsid sh -c 'while sleep 1; do echo y >> /work/alive; done' &").await;
    assert_eq!(exit, Exit::Code(0));
    sleep(Duration::from_secs(5)).await;
    let alive = count().await;
    assert!(alive > before);
    sandbox.freeze(true).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(count().await <= alive + 2);
    sandbox.freeze(false).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    sandbox.kill_all().await.unwrap();
    let end = count().await;
    assert!(end > alive + 4);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(count().await, end);
}

#[tokio::test]
async fn a_view_hides_restores_and_shares() {
    let sandbox = start(&MemoryBackend::new(), None).await;
    sh(
        &*sandbox,
        "mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; rm /usr/bin/cat; ln -s /work /tests",
    )
    .await;
    sh(
        &*sandbox,
        "echo 'echo bad' > /usr/bin/bash; echo 'echo bad' > /usr/local/bin/ls; chmod +x /usr/local/bin/ls",
    )
    .await;
    let spec = ViewSpec {
        private: vec!["/logs/verifier".into(), "/tests".into()],
        restore: vec!["/usr/bin/bash".into(), "/usr/bin/cat".into()],
        hide: vec!["/usr/local/bin/ls".into()],
    };
    let view = sandbox.view(spec).await.unwrap();
    let script = b"test -e /logs/verifier/reward.txt && exit 9\necho 0 > /logs/verifier/reward.txt; echo v > /work/v; ls /tests; cat /work/v";
    view.put("/tests/test.sh", Source::Bytes(script.to_vec()), PutOptions::default()).await.unwrap();
    let result = view.exec(ExecSpec::new(ProcessSpec::new(["bash", "/tests/test.sh"]))).await.unwrap();
    assert_eq!(
        (result.exit, &*result.stdout.text()),
        (Exit::Code(0), "test.sh\nv\n"),
        "{}",
        result.stderr.text()
    );
    assert_eq!(view.read("/logs/verifier/reward.txt", 10).await.unwrap().unwrap(), b"0\n");
    assert_eq!(sandbox.read("/logs/verifier/reward.txt", 10).await.unwrap().unwrap(), b"1\n");
    assert_eq!(sh(&*sandbox, "test -e /work/test.sh").await.0, Exit::Code(1));
    assert_eq!(sh(&*sandbox, "ls").await.1, "bad\n");
}

#[tokio::test]
async fn snapshots_changes_copies_and_reaping() {
    let backend = MemoryBackend::new();
    let first = start(&backend, None).await;
    assert_eq!(first.changes(10).await.unwrap(), []);
    sh(&*first, "echo a > /work/a; rm /etc/group; echo more >> /etc/passwd").await;
    let kinds: Vec<_> = first.changes(10).await.unwrap().into_iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Deleted, ChangeKind::Modified, ChangeKind::Added]);
    let snapshot = first.snapshot().await.unwrap();
    first.destroy().await.unwrap();
    let second = start(&backend, Some(snapshot)).await;
    assert_eq!(sh(&*second, "cat a").await.1, "a\n");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("work");
    second.get("/work", &to, GetOptions::default()).await.unwrap();
    assert_eq!(std::fs::read_to_string(to.join("a")).unwrap(), "a\n");
    second.put("/copy", Source::Folder(to), PutOptions::default()).await.unwrap();
    assert_eq!(second.read("/copy/a", 10).await.unwrap().unwrap(), b"a\n");
    let filter = ReapFilter { run: Some("run".into()), dry_run: false, ..ReapFilter::default() };
    assert_eq!(backend.reap(filter).await.unwrap().sandboxes.len(), 1);
    assert!(second.exec(ExecSpec::new(ProcessSpec::new(["true"]))).await.is_err());
}

#[tokio::test]
async fn programs_in_rust_are_found_along_the_path() {
    let backend = MemoryBackend::new().program("answer", async |call| {
        call.print(b"42").await;
        assert!(call.write("/new/folder/file", &call.argv[1]));
        call.script("exit 7").await.0
    });
    let sandbox = start(&backend, None).await;
    let (exit, out, _) = sh(&*sandbox, "answer text; echo $?; cat /new/folder/file").await;
    assert_eq!((exit, &*out), (Exit::Code(0), "427\ntext"));
}
