//! What sandboxes leave behind: nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support_native;

use std::path::Path;
use std::sync::Arc;

use harness_sandbox::RootFs;
use support_native::{ok, open, plain, spec};

/// The tests count this process's children and descriptors: one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn lines(path: &str) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

fn entries(path: impl AsRef<Path>) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

fn children() -> Vec<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().unwrap_or("").split_whitespace().nth(1).map(str::to_owned);
            parent == Some(own.to_string())
        })
        .collect()
}

/// Folders of groups that bear these ids.
fn groups(ids: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = vec![(Path::new("/sys/fs/cgroup").to_owned(), 0)];
    while let Some((folder, depth)) = look.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if ids.iter().any(|id| name.ends_with(id)) {
                found.push(entry.path().display().to_string());
            }
            if depth < 5 {
                look.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sandboxes_leave_nothing() {
    let _alone = ALONE.lock().await;
    let Some(native) = open("a_thousand_sandboxes_leave_nothing", RootFs::Host).await else { return };
    let image = native.image(&plain()).await;
    // What is made once, or kept ready, is made first.
    for _ in 0..20 {
        ok(&*native.backend.create(spec(&image)).await.unwrap(), "true").await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let helper = children();
    assert_eq!(helper.len(), 1, "the spawner is our only child");
    let helper = helper[0];
    let look = || {
        (
            lines("/proc/self/mountinfo"),
            lines(&format!("/proc/{helper}/mountinfo")),
            entries(format!("/proc/{helper}/fd")),
            entries(native.state.path().join("scratch")),
            children(),
        )
    };
    let (before, descriptors) = (look(), entries("/proc/self/fd"));
    let tasks: Vec<_> = (0..4)
        .map(|caller| {
            let (backend, image) = (Arc::clone(&native.backend), Arc::clone(&image));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for cycle in 0..250 {
                    let sandbox = backend.create(spec(&image)).await.unwrap();
                    ids.push(sandbox.id().to_owned());
                    if cycle % 10 == caller {
                        ok(&*sandbox, "echo kept > /srv/file; (sleep 100 &)").await;
                    }
                    // Some are let go of in the background.
                    if cycle % 7 != 0 {
                        sandbox.destroy().await.unwrap();
                    }
                }
                ids
            })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.extend(task.await.unwrap());
    }
    let mut left = (look(), groups(&ids));
    for _ in 0..100 {
        if left == (before.clone(), Vec::new()) && entries("/proc/self/fd") <= descriptors + 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        left = (look(), groups(&ids));
    }
    assert_eq!(
        left,
        (before, Vec::new()),
        "mounts, the helper's mounts and descriptors, folders, children; groups"
    );
    let now = entries("/proc/self/fd");
    assert!(now <= descriptors + 2, "{now} descriptors where {descriptors} were");
    // What was kept ready goes with the backend.
    let state = native.state;
    let ready: Vec<String> = std::fs::read_dir(state.path().join("scratch"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!ready.is_empty());
    drop((native.backend, image));
    for _ in 0..100 {
        if entries(state.path().join("scratch")) == 0 && groups(&ready).is_empty() && children().is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!((entries(state.path().join("scratch")), groups(&ready), children()), (0, vec![], vec![]));
}

#[tokio::test]
async fn closing_the_backend_ends_the_helper() {
    let _alone = ALONE.lock().await;
    let Some(native) = open("closing_the_backend_ends_the_helper", RootFs::Host).await else { return };
    let sandbox = native.sandbox().await;
    ok(&*sandbox, "true").await;
    drop(sandbox);
    drop(native);
    for _ in 0..100 {
        if children().is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(children(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_killed_helper_loses_new_sandboxes_by_name_and_a_killed_pid_1_its_own() {
    let test = "a_killed_helper_loses_new_sandboxes_by_name_and_a_killed_pid_1_its_own";
    let _alone = ALONE.lock().await;
    let Some(native) = open(test, RootFs::Host).await else { return };
    let image = native.image(&plain()).await;
    let sandbox = native.backend.create(spec(&image)).await.unwrap();
    let helper = children()[0];
    let waiting = {
        let sandbox = Arc::clone(&sandbox);
        tokio::spawn(async move {
            let process = harness_sandbox::ProcessSpec::shell("sleep 30");
            sandbox.exec(harness_sandbox::ExecSpec::new(process)).await
        })
    };
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(helper).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    // Each PID 1 dies with its parent, and whoever waits is told.
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(matches!(told, Err(harness_sandbox::SandboxError::Lost { .. })), "{told:?}");
    let next = tokio::time::timeout(std::time::Duration::from_secs(5), native.backend.create(spec(&image)));
    assert!(next.await.unwrap().is_err());
    sandbox.destroy().await.unwrap();
}
