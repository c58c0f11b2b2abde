//! The skeleton reads without a complaint, its own solutions prove it, and a repository keeps no later history.
#![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

use std::process::Command;

use super::*;
use crate::{LoadOptions, checks, load};

fn read(dir: &Path) -> harness_core::Task {
    let loaded = load(dir, &LoadOptions::default()).unwrap();
    assert_eq!((loaded.invalid, loaded.warnings), (vec![], vec![]));
    loaded.tasks.into_iter().next().unwrap()
}

#[test]
fn new_task_reads_without_a_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("below/fix the greeting");
    assert_eq!(new_task(&folder, &NewTask::default()).unwrap().as_str(), "fix the greeting");
    let task = read(&folder);
    assert!(task.environment.host_root && !task.hints.fail_to_pass.is_empty());
    let checks = checks::read_checks(&folder).unwrap();
    assert_eq!((checks.wrong.len(), checks.right.len()), (3, 1));
    assert_eq!(checks.wrong[0].name, "name-needed");
    assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    assert!(matches!(new_task(&folder, &NewTask::default()), Err(NewTaskError::Taken(_))));
    assert!(matches!(new_task(&dir.path().join("-x"), &NewTask::default()), Err(NewTaskError::Name { .. })));
}

/// Runs a script of the skeleton in a copy of its environment, then its tests with `/tests` and `/logs` moved.
fn judge(task: &Path, script: Option<&Path>) -> (bool, String, String) {
    let room = tempfile::tempdir().unwrap();
    let (app, logs, tests) = (room.path().join("app"), room.path().join("logs"), room.path().join("tests"));
    fs::create_dir(&app).unwrap();
    fs::create_dir(&tests).unwrap();
    fs::copy(task.join("environment/app/greet.sh"), app.join("greet.sh")).unwrap();
    for name in ["test.sh", "ctrf.sh"] {
        let text = fs::read_to_string(task.join("tests").join(name)).unwrap();
        let text = text.replace("/tests/", &format!("{}/", tests.display()));
        fs::write(tests.join(name), text.replace("/logs/verifier", logs.to_str().unwrap())).unwrap();
    }
    let sh = |args: &[&str]| Command::new("sh").args(args).current_dir(&app).output().unwrap();
    if let Some(script) = script {
        assert!(sh(&[script.to_str().unwrap()]).status.success(), "{script:?}");
    }
    let visible = read(task).hints.visible_test.unwrap();
    let visible = sh(&["-c", &visible]).status.success();
    sh(&[tests.join("test.sh").to_str().unwrap()]);
    let read = |name: &str| fs::read_to_string(logs.join(name)).unwrap();
    (visible, read("reward.txt").trim().to_owned(), read("ctrf.json"))
}

#[test]
fn new_task_pays_the_oracle_and_the_right_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("greet");
    new_task(&folder, &NewTask::default()).unwrap();
    let hints = read(&folder).hints;
    let status = |report: &str, name: &str, status: &str| {
        report.contains(&format!("{{\"name\":\"{name}\",\"status\":\"{status}\",\"duration\":0}}"))
    };
    let (visible, reward, report) = judge(&folder, None);
    assert_eq!((visible, reward.as_str()), (false, "0"));
    assert!(hints.fail_to_pass.iter().all(|name| status(&report, name, "failed")), "{report}");
    assert!(hints.pass_to_pass.iter().all(|name| status(&report, name, "passed")), "{report}");
    let checks = checks::read_checks(&folder).unwrap();
    let oracle = folder.join("solution/solve.sh");
    for right in checks.right.iter().map(|check| &check.script).chain([&oracle]) {
        let (visible, reward, report) = judge(&folder, Some(right));
        assert_eq!((visible, reward.as_str()), (true, "1"), "{right:?} {report}");
        assert!(
            hints.fail_to_pass.iter().chain(&hints.pass_to_pass).all(|name| status(&report, name, "passed"))
        );
    }
    for wrong in &checks.wrong {
        let (visible, reward, _) = judge(&folder, Some(&wrong.script));
        assert_eq!((visible, reward.as_str()), (true, "0"), "{wrong:?}");
    }
}

fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=trunk"])
        .args(["-c", "commit.gpgSign=false"])
        .args(args)
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn new_task_with_a_repository_keeps_nothing_later_than_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source repository");
    fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q"]).unwrap();
    let mut commits = Vec::new();
    for text in ["first", "second", "third", "the fix"] {
        fs::write(source.join("file"), text).unwrap();
        git(&source, &["add", "."]).unwrap();
        git(&source, &["commit", "-q", "-m", text]).unwrap();
        git(&source, &["tag", &text.replace(' ', "-")]).unwrap();
        commits.push(git(&source, &["rev-parse", "HEAD"]).unwrap());
    }
    git(&source, &["remote", "add", "origin", "https://example.invalid/"]).unwrap();
    // A hook and a setting of the source that must not take effect.
    let mark = dir.path().join("hook-ran");
    fs::create_dir_all(source.join(".git/hooks")).unwrap();
    for hook in ["post-checkout", "reference-transaction", "pre-receive"] {
        let path = source.join(".git/hooks").join(hook);
        fs::write(&path, format!("#!/bin/sh\ntouch '{}'\n", mark.display())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    let folder = dir.path().join("task");
    let at = RepoAt { path: source.clone(), commit: commits[2][..10].to_owned(), depth: 2 };
    new_task(&folder, &NewTask { repo: Some(at) }).unwrap();
    read(&folder);
    let repo = folder.join("environment/repo");
    assert_eq!(fs::read_to_string(repo.join("file")).unwrap(), "third");
    assert_eq!(git(&repo, &["rev-parse", "HEAD"]).as_ref(), Some(&commits[2]));
    assert_eq!(git(&repo, &["log", "--all", "--format=%s"]).as_deref(), Some("third\nsecond"));
    assert_eq!(git(&repo, &["status", "--porcelain"]).as_deref(), Some(""));
    for (args, what) in [
        (&["tag"][..], "tags"),
        (&["remote"], "remotes"),
        (&["reflog", "--all"], "reflog"),
        (&["fsck", "--unreachable", "--no-reflogs"], "unreachable objects"),
    ] {
        assert_eq!(git(&repo, args).as_deref(), Some(""), "{what}");
    }
    assert!(git(&repo, &["cat-file", "-e", &commits[3]]).is_none(), "the fix is not there as an object");
    assert!(git(&repo, &["cat-file", "-e", &commits[0]]).is_none(), "the depth is kept");
    assert!(!repo.join(".git/FETCH_HEAD").exists() && !repo.join(".git/hooks").exists());
    assert!(!mark.exists(), "a hook ran");

    for (path, commit) in [(&source, "nonsense"), (&source, "--help"), (&dir.path().to_owned(), "HEAD")] {
        let at = RepoAt { path: path.clone(), commit: commit.to_owned(), depth: 1 };
        let folder = dir.path().join("refused");
        let error = new_task(&folder, &NewTask { repo: Some(at) }).unwrap_err();
        assert!(matches!(error, NewTaskError::Repo(RepoError::NoCommit { .. })), "{error}");
        assert!(!folder.exists(), "nothing is left behind");
    }
}
