//! The list is whole, unpacking survives company, crashes and changes, and every bundled task reads.
#![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::pack::pack;
use crate::select::tests::folder_of_tasks;

fn catalog_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("catalog")
}

#[test]
fn catalog_lists_every_suite_file_and_folder_once() {
    let mut stems = BTreeSet::new();
    for entry in fs::read_dir(catalog_folder()).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            path.is_dir() || path.extension().is_some_and(|found| found == "toml"),
            "{path:?} is no suite"
        );
        stems.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    let listed: Vec<_> = CATALOG.iter().map(|bundled| bundled.name.to_owned()).collect();
    assert_eq!(listed.len(), stems.len());
    assert_eq!(
        listed.into_iter().collect::<BTreeSet<_>>(),
        stems,
        "a suite is missing in CATALOG, or has no file"
    );
}

#[test]
fn catalog_suites_read_without_a_complaint_and_as_they_lie_in_the_source() {
    for bundled in CATALOG {
        assert!(bundled.description().is_some(), "{}", bundled.name);
        // A checkout without the tasks packs none.
        let source = catalog_folder().join(bundled.name).join("tasks");
        if !source.exists() {
            continue;
        }
        let cache = tempfile::tempdir().unwrap();
        let folder = bundled.unpack(cache.path()).unwrap().with_extension("").join("tasks");
        let packed =
            datasets::load(&folder, &Default::default()).expect("built anew since the tasks were added");
        assert_eq!((packed.invalid, packed.warnings), (vec![], vec![]), "{}", bundled.name);
        let source = datasets::load(&source, &Default::default()).unwrap();
        let ids =
            |tasks: &[harness_core::Task]| tasks.iter().map(|task| task.id.to_string()).collect::<Vec<_>>();
        assert_eq!(
            ids(&packed.tasks),
            ids(&source.tasks),
            "touch suites/build.rs if the tasks are older than the build"
        );
        for task in &packed.tasks {
            let checks = datasets::checks::read_checks(&task.origin).unwrap();
            assert!(checks.wrong.len() >= 3 && !checks.right.is_empty(), "{}", task.id);
            assert_eq!(task.dataset, bundled.name);
            assert!(task.environment.host_root && !task.hints.fail_to_pass.is_empty(), "{}", task.id);
        }
    }
}

/// A bundle made of two small tasks, as the build script would make it.
fn bundle() -> Bundled {
    let tasks = folder_of_tasks(&["tiny/tasks/one", "tiny/tasks/two"]);
    let root = tasks.path().join("tiny");
    fs::set_permissions(root.join("tasks/one/tests/test.sh"), Permissions::from_mode(0o755)).unwrap();
    symlink("Dockerfile", root.join("tasks/one/environment/link")).unwrap();
    fs::create_dir(root.join("__pycache__")).unwrap();
    fs::write(root.join("__pycache__/x.pyc"), "x").unwrap();
    let archive = pack(&root).unwrap();
    fs::File::open(root.join("tasks/two/task.toml")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(pack(&root).unwrap(), archive, "the same files give the same bytes");
    Bundled {
        name: "tiny",
        toml: "sources = [\"tiny/tasks\"]",
        archive: Box::leak(archive.into_boxed_slice()),
        conversations: &[],
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn catalog_unpacks_privately_with_modes_and_links_and_leaves_no_draft() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("a/suites");
    let file = bundle().unpack(&cache).unwrap();
    let folder = file.parent().unwrap();
    assert_eq!(names(folder), ["tiny", "tiny.toml"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&folder.join("tiny/tasks/one/tests/test.sh")), 0o755);
    assert_eq!(mode(&folder.join("tiny/tasks/two/tests/test.sh")), 0o644);
    assert_eq!(
        fs::read_link(folder.join("tiny/tasks/one/environment/link")).unwrap(),
        Path::new("Dockerfile")
    );
    let expected = [".lock".to_owned(), folder.file_name().unwrap().to_string_lossy().into_owned()];
    assert_eq!(names(&cache), expected);
    let loaded = datasets::load(&folder.join("tiny"), &Default::default()).unwrap();
    assert_eq!((loaded.tasks.len(), loaded.invalid.len()), (2, 0));
}

#[test]
fn catalog_replaces_what_somebody_changed_and_keeps_what_is_whole() {
    let cache = tempfile::tempdir().unwrap();
    let bundle = bundle();
    let file = bundle.unpack(cache.path()).unwrap();
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let first = inode(&file);
    assert_eq!(inode(&bundle.unpack(cache.path()).unwrap()), first, "reused");
    let one = file.parent().unwrap().join("tiny/tasks/one");
    let test = one.join("tests/test.sh");
    let original = fs::read(&test).unwrap();
    type Change<'a> = &'a dyn Fn();
    let changes: [(&str, Change<'_>); 5] = [
        ("a byte", &|| fs::write(&test, vec![b'x'; original.len()]).unwrap()),
        ("a mode", &|| fs::set_permissions(&test, Permissions::from_mode(0o600)).unwrap()),
        ("a file less", &|| fs::remove_file(&test).unwrap()),
        ("a file more", &|| fs::write(one.join("solution.txt"), "").unwrap()),
        ("a link in its place", &|| {
            fs::rename(&test, one.join("tests/real")).unwrap();
            symlink("real", &test).unwrap();
        }),
    ];
    for (what, change) in changes {
        change();
        bundle.unpack(cache.path()).unwrap();
        assert_eq!(fs::read(&test).unwrap(), original, "{what}");
        assert_eq!(fs::symlink_metadata(&test).unwrap().mode() & 0o777, 0o755, "{what}");
        assert!(!one.join("solution.txt").exists(), "{what}");
        assert_eq!(names(cache.path()).len(), 2, "{what}: no draft is left");
    }
    // A draft of a process that was killed long ago goes with the next unpacking.
    let stale = cache.path().join(".draft-old");
    fs::create_dir(&stale).unwrap();
    fs::File::open(&stale).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::remove_file(&test).unwrap();
    bundle.unpack(cache.path()).unwrap();
    assert!(!stale.exists());
}

#[test]
fn catalog_unpacks_once_for_many_at_once() {
    let cache = Arc::new(tempfile::tempdir().unwrap());
    let bundle = bundle();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let cache = Arc::clone(&cache);
            std::thread::spawn(move || bundle.unpack(cache.path()).unwrap())
        })
        .collect();
    let files: BTreeSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(names(cache.path()).len(), 2);
}

#[test]
fn catalog_refuses_a_cache_that_is_no_folder_of_ours_and_a_broken_archive() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, dir.path().join("link")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for name in ["link", "file"] {
        assert!(bundle().unpack(&dir.path().join(name)).is_err(), "{name}");
    }
    assert_eq!(names(&elsewhere), Vec::<String>::new());
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    bundle().unpack(&open).unwrap();
    assert_eq!(fs::metadata(&open).unwrap().mode() & 0o777, 0o700, "an open folder is closed");

    let whole = bundle();
    for cut in [0, 1, 20, whole.archive.len() / 2, whole.archive.len() - 9] {
        let cache = tempfile::tempdir().unwrap();
        let broken = Bundled { archive: &whole.archive[..cut], ..whole };
        assert!(broken.unpack(cache.path()).is_err(), "cut at {cut}");
    }
}

#[test]
fn catalog_has_a_conversation_for_every_bundled_task_and_for_no_other() {
    for bundled in CATALOG {
        let source = catalog_folder().join(bundled.name).join("tasks");
        if !source.exists() {
            continue;
        }
        let tasks = datasets::load(&source, &Default::default()).unwrap().tasks;
        let tasks: BTreeSet<String> = tasks.iter().map(|task| task.id.to_string()).collect();
        let conversations: BTreeSet<String> = bundled.conversations().unwrap().into_keys().collect();
        assert_eq!(conversations, tasks);
        for (path, _) in bundled.read().unwrap().files {
            assert!(!path.to_string_lossy().contains("conversations"), "{path:?} would lie on a disk");
        }
    }
}
