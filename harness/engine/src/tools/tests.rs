//! Tool folders made by small recipes: whole or not at all, once for all who want them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A package of a folder's own: npm installs it without any registry.
fn recipe(folder: &Path, version: &str) -> Recipe {
    let package = folder.join("package");
    fs::create_dir_all(package.join("bin")).unwrap();
    fs::write(package.join("bin/hi"), "#!/bin/sh\necho hi 1.2.3\n").unwrap();
    fs::set_permissions(package.join("bin/hi"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(package.join("package.json"), r#"{"name":"hi","version":"1.2.3","files":["bin"]}"#).unwrap();
    let npm = Npm {
        package: "hi".to_owned(),
        version: "1.2.3".to_owned(),
        program: "bin/hi".to_owned(),
        name: "hi",
        needs_glibc: false,
    };
    Recipe {
        program: "hi",
        version: version.to_owned(),
        source: Source::Npm(npm),
        says_version: vec!["bin/hi", "--version"],
    }
}

/// What an installer would have left, without one.
fn installed(folder: &Path, recipe: &Recipe) -> PathBuf {
    let name = format!("{}-{}-{}-{LAYOUT}", recipe.program, recipe.version, std::env::consts::ARCH);
    let path = folder.join("agents").join(name);
    fs::create_dir_all(path.join("bin")).unwrap();
    fs::copy(folder.join("package/bin/hi"), path.join("bin/hi")).unwrap();
    let (digest, bytes) = settle(&path).unwrap();
    let (program, version) = (recipe.program.to_owned(), recipe.version.clone());
    let kept = Kept {
        layout: LAYOUT,
        note: ToolsNote { program, version, digest, bytes, packages: BTreeMap::new() },
    };
    fs::write(path.join(NOTE), serde_json::to_vec(&kept).unwrap()).unwrap();
    path
}

#[test]
fn tools_that_are_there_are_used_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "1.2.3");
    let path = installed(dir.path(), &recipe);
    let words = AtomicUsize::new(0);
    let say = |_: &str| {
        words.fetch_add(1, Ordering::Relaxed);
    };
    assert_eq!(prepare(dir.path(), &recipe, &say).unwrap().path, path);
    assert_eq!(words.load(Ordering::Relaxed), 0);
}

#[test]
fn tools_say_their_version_as_a_word_of_its_own() {
    assert!(says("2.1.329 (Claude Code)\n", "2.1.329") && says("codex-cli 0.169.0", "0.169.0"));
    assert!(says("hi v1.2.3", "1.2.3"));
    assert!(!says("2.1.3290 (Claude Code)", "2.1.329") && !says("", "1"));
}

#[test]
fn tools_of_a_killed_install_are_swept_and_a_folder_without_a_note_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "1.2.3");
    let path = installed(dir.path(), &recipe);
    let home = dir.path().join("agents");
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let half = home.join(format!(".{name}.part-77"));
    fs::create_dir(&half).unwrap();
    fs::write(half.join("a"), "half").unwrap();
    let other = home.join(".other.part-1");
    fs::create_dir(&other).unwrap();
    for broken in ["", "{", "{\"layout\":0}"] {
        fs::set_permissions(path.join(NOTE), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path.join(NOTE), broken).unwrap();
        assert_eq!(there(&path, &recipe), None);
    }
    sweep(&home, &name).unwrap();
    assert!(!half.exists() && !path.exists() && other.exists());
}

#[test]
fn tools_digest_sees_content_names_links_and_who_may_run_it() {
    let digest = |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), "one").unwrap();
        fs::set_permissions(dir.path().join("d/a"), fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("d/a", dir.path().join("l")).unwrap();
        change(dir.path());
        settle(dir.path()).unwrap().0
    };
    let same = digest(&|_| ());
    assert_eq!(same, digest(&|_| ()));
    assert_ne!(same, digest(&|dir| fs::write(dir.join("d/a"), "two").unwrap()));
    assert_ne!(same, digest(&|dir| fs::rename(dir.join("d/a"), dir.join("d/b")).unwrap()));
    let runs = fs::Permissions::from_mode(0o755);
    assert_ne!(same, digest(&|dir| fs::set_permissions(dir.join("d/a"), runs.clone()).unwrap()));
    assert_ne!(
        same,
        digest(&|dir| {
            fs::remove_file(dir.join("l")).unwrap();
            std::os::unix::fs::symlink("d", dir.join("l")).unwrap();
        })
    );
}

#[test]
fn tools_that_cannot_be_installed_leave_nothing_and_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = recipe(dir.path(), "1.2.3");
    recipe.source = Source::Npm(Npm {
        // A file that is not there: no registry is asked.
        package: "file:./nowhere".to_owned(),
        version: String::new(),
        program: String::new(),
        name: "hi",
        needs_glibc: false,
    });
    let error = prepare(dir.path(), &recipe, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("hi 1.2.3 cannot be installed") && error.contains("npm"), "{error}");
    let left: Vec<_> =
        fs::read_dir(dir.path().join("agents")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let locks = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.ends_with(".lock") || name.ends_with(".use")
    };
    assert!(left.iter().all(locks), "{left:?}");
}

#[test]
fn tools_of_one_kind_are_installed_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "1.2.3");
    let file = dir.path().join("lock");
    let held = lock(&file, &recipe, &|_| ()).unwrap();
    let said = std::sync::mpsc::channel();
    let (path, waiting, told) = (file.clone(), recipe.clone(), said.0);
    let thread = std::thread::spawn(move || {
        lock(&path, &waiting, &|line| told.send(line.to_owned()).unwrap()).is_ok()
    });
    // It waits, and says for whom.
    assert!(said.1.recv_timeout(Duration::from_secs(20)).unwrap().contains("waiting for another process"));
    drop(held);
    assert!(thread.join().unwrap());
}

#[test]
fn tools_are_removed_when_nobody_uses_them() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(remove_all(dir.path(), false).unwrap(), Removed::default(), "nothing is there yet");
    let recipe = recipe(dir.path(), "1.2.3");
    let path = installed(dir.path(), &recipe);
    let user = prepare(dir.path(), &recipe, &|_| {}).unwrap();
    let spared = remove_all(dir.path(), false).unwrap();
    assert_eq!(spared.kept, ["hi 1.2.3: a run uses it"]);
    assert!(spared.programs.is_empty() && path.is_dir());
    drop(user);
    let shown = remove_all(dir.path(), true).unwrap();
    assert_eq!(shown.programs, ["hi 1.2.3"]);
    assert!(shown.bytes > 0 && path.is_dir(), "a dry run removes nothing");
    assert_eq!(remove_all(dir.path(), false).unwrap(), shown);
    assert!(!path.exists());
}
