//! Owners that live, end and are killed.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn labels(run: &str) -> Labels {
    Labels { run: run.into(), trial: "task/agent/1".into(), role: "agent".into() }
}

fn everything() -> ReapFilter {
    ReapFilter::default()
}

fn no_groups(_: &str) -> Vec<PathBuf> {
    Vec::new()
}

fn nothing_to_release(_: &str, _: &[PathBuf]) -> Result<(), String> {
    Ok(())
}

#[test]
fn scratch_is_labelled_locked_and_removed() {
    let state = tempfile::tempdir().unwrap();
    let store = ScratchStore::open(state.path()).unwrap();
    let scratch = store.make(&labels("r1"), no_groups).unwrap();
    let owner = store.owner(scratch.id()).unwrap();
    assert_eq!((owner.run.as_str(), owner.pid), ("r1", std::process::id()));
    assert!(owner.started > 0 && !owner.boot.is_empty());
    // Longer, shorter: always whole.
    for run in ["a-run-with-a-longer-name", "r", ""] {
        scratch.label(&labels(run)).unwrap();
        assert_eq!(store.owner(scratch.id()).unwrap().run, run);
    }
    fs::create_dir_all(scratch.path().join("upper/x")).unwrap();
    fs::write(scratch.path().join("upper/x/y"), vec![0; 10_000]).unwrap();
    assert_eq!(store.reap(&everything(), &nothing_to_release).unwrap(), Reaped::default());
    assert!(scratch.path().exists(), "a live owner's folder was reaped");
    let path = scratch.path();
    let removed = scratch.remove().unwrap();
    assert!(removed.bytes >= 10_000 && removed.failed.is_empty());
    assert!(!path.exists());
    let dropped = store.make(&labels("r1"), no_groups).unwrap().path();
    assert!(!dropped.exists());
}

/// Run by the tests below, then killed.
#[test]
#[ignore = "run by other tests"]
fn scratch_owner_process() {
    let Some(state) = std::env::var_os("HARNESS_TEST_STATE") else { return };
    let store = ScratchStore::open(Path::new(&state)).unwrap();
    let scratch = store.make(&labels("killed"), |id| vec![Path::new("/sys/fs/x").join(id)]).unwrap();
    fs::create_dir_all(scratch.path().join("upper/a/b")).unwrap();
    fs::write(scratch.path().join("upper/a/b/c"), vec![7; 50_000]).unwrap();
    // On the error stream: the test harness holds the other back.
    #[expect(clippy::print_stderr, reason = "the parent reads it")]
    {
        eprintln!("id={}", scratch.id());
    }
    std::thread::sleep(Duration::from_secs(60));
}

struct OwnerProcess(std::process::Child, String);

fn start_owner(state: &Path) -> OwnerProcess {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["scratch_owner_process", "--ignored", "--nocapture"])
        .env("HARNESS_TEST_STATE", state)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let id =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("id=").map(str::to_owned)).unwrap();
    OwnerProcess(child, id)
}

#[test]
fn scratch_of_a_killed_owner_is_reaped_and_a_live_one_is_spared() {
    let state = tempfile::tempdir().unwrap();
    let store = ScratchStore::open(state.path()).unwrap();
    let ours = store.make(&labels("ours"), no_groups).unwrap();
    let OwnerProcess(mut child, id) = start_owner(state.path());
    assert_eq!(store.reap(&everything(), &nothing_to_release).unwrap(), Reaped::default());
    child.kill().unwrap();
    child.wait().unwrap();
    let dry = store.reap(&ReapFilter { dry_run: true, ..everything() }, &nothing_to_release).unwrap();
    assert_eq!(dry.sandboxes, std::slice::from_ref(&id));
    let other = ReapFilter { run: Some("other".into()), dry_run: false, ..ReapFilter::default() };
    assert_eq!(store.reap(&other, &nothing_to_release).unwrap().sandboxes, Vec::<String>::new());
    let resisting = store.reap(&everything(), &|_, _| Err("busy".into())).unwrap();
    assert_eq!(resisting.failed, [format!("{id}: busy")]);
    assert!(state.path().join("scratch").join(&id).exists());
    let released = RefCell::new(Vec::new());
    let release = |id: &str, groups: &[PathBuf]| {
        assert_eq!(groups, [Path::new("/sys/fs/x").join(id)]);
        released.borrow_mut().push(id.to_owned());
        Ok(())
    };
    let filter = ReapFilter { run: Some("killed".into()), dry_run: false, ..ReapFilter::default() };
    let reaped = store.reap(&filter, &release).unwrap();
    assert_eq!(reaped.sandboxes, std::slice::from_ref(&id));
    assert_eq!(released.into_inner(), [id]);
    assert!(reaped.bytes >= 50_000 && reaped.failed.is_empty());
    assert!(ours.path().exists());
    assert_eq!(fs::read_dir(state.path().join("trash")).unwrap().count(), 0);
}

#[test]
fn scratch_interrupted_while_being_made_or_removed_is_reaped() {
    let state = tempfile::tempdir().unwrap();
    let store = ScratchStore::open(state.path()).unwrap();
    // Killed after each step of making it.
    fs::create_dir(state.path().join("scratch/.new-bare")).unwrap();
    fs::create_dir(state.path().join("scratch/.new-unlocked")).unwrap();
    fs::write(state.path().join("scratch/.new-unlocked/owner.json"), "").unwrap();
    // Killed while removing it.
    fs::create_dir_all(state.path().join("trash/x/y/z")).unwrap();
    let reaped = store.reap(&everything(), &nothing_to_release).unwrap();
    assert_eq!(reaped.sandboxes, ["unlocked"]);
    assert_eq!(fs::read_dir(state.path().join("trash")).unwrap().count(), 0);
    // Its maker is said to live, or to be dead.
    let (pid, _, began) = this_process();
    let named = |began: u64| state.path().join(format!("scratch/.new-named-{pid}-{began}"));
    fs::create_dir(named(began)).unwrap();
    fs::create_dir(named(began + 1)).unwrap();
    assert_eq!(store.reap(&everything(), &nothing_to_release).unwrap().sandboxes, ["named"]);
    assert!(named(began).exists() && !named(began + 1).exists());
    let bare = state.path().join("scratch/.new-bare");
    assert!(bare.exists(), "it may be in the making");
    let old = SystemTime::now() - 2 * MAKING;
    fs::File::open(&bare).unwrap().set_modified(old).unwrap();
    assert_eq!(store.reap(&everything(), &nothing_to_release).unwrap().sandboxes, ["bare"]);
}

#[test]
fn scratch_survives_many_makers_and_reapers_at_once() {
    let state = tempfile::tempdir().unwrap();
    let store = ScratchStore::open(state.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let scratch = store.make(&labels("busy"), no_groups).unwrap();
                    fs::write(scratch.path().join("x"), "x").unwrap();
                    assert!(scratch.path().join("x").exists());
                    scratch.remove().unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..40 {
                    store.reap(&everything(), &nothing_to_release).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(state.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn scratch_owner_file_of_a_stranger_is_read_with_care() {
    let state = tempfile::tempdir().unwrap();
    let store = ScratchStore::open(state.path()).unwrap();
    let folder = state.path().join("scratch/odd");
    fs::create_dir(&folder).unwrap();
    for content in ["", "{", "[]", "{\"run\":1}"] {
        fs::write(folder.join(OWNER), content).unwrap();
        assert_eq!(store.owner("odd"), None);
    }
    fs::write(folder.join(OWNER), vec![b' '; OWNER_BYTES as usize + 1]).unwrap();
    assert_eq!(store.owner("odd"), None);
}
