//! What the reader must make of a folder: values by table, hostile folders, and text cut at every byte.
#![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use harness_core::task::{MinReward, RewardStrategy, VerifierMode};
use harness_core::{EnvironmentSource, NetworkMode, Task};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::formats::load;
use crate::load::{LoadOptions, Loaded};
use crate::tree::TreeLimits;

/// Writes the least task, with this task.toml, as `NAME` below the folder.
fn task(dir: &Path, name: &str, toml: &str) {
    files(
        &dir.join(name),
        &[
            ("task.toml", toml),
            ("instruction.md", "Do it.\n"),
            ("environment/Dockerfile", "FROM debian:12\n"),
            ("tests/test.sh", "echo 1 > /logs/verifier/reward.txt\n"),
        ],
    );
}

fn files(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn options() -> LoadOptions {
    LoadOptions {
        host_vars: BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]),
        ..LoadOptions::default()
    }
}

fn one(toml: &str) -> (Loaded, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    task(dir.path(), "t", toml);
    (load(dir.path(), &options()).unwrap(), dir)
}

fn good(toml: &str) -> Task {
    let (loaded, _dir) = one(toml);
    assert_eq!(loaded.invalid, [], "{toml}");
    assert_eq!(loaded.warnings, [], "{toml}");
    loaded.tasks.into_iter().next().unwrap()
}

/// The first problem of a task that must be refused, from `task.toml` on.
fn refused(toml: &str) -> String {
    let (loaded, dir) = one(toml);
    assert_eq!(loaded.tasks, [], "{toml}");
    let problem = loaded.invalid[0].problems[0].to_string();
    problem.replace(&format!("{}/t/", dir.path().display()), "")
}

#[test]
fn harbor_absent_keys_mean_what_the_format_means() {
    let task = good("");
    let step = &task.steps[0];
    assert_eq!(task.id.as_str(), "t");
    assert_eq!(task.environment.network, NetworkMode::Open);
    assert_eq!(task.environment.build_timeout, Duration::from_secs(600));
    assert_eq!(task.environment.limits, harness_core::Limits::default());
    assert!(!task.environment.host_root);
    assert_eq!((step.agent.timeout, step.verifier.timeout), (None, Duration::from_secs(600)));
    assert_eq!((step.name.as_deref(), step.instruction.as_str()), (None, "Do it.\n"));
    assert_eq!(step.verifier.mode, VerifierMode::Shared);
    assert_eq!(task.reward_strategy, RewardStrategy::Mean);
    assert!(matches!(&task.environment.source, EnvironmentSource::Dockerfile { file, context }
        if file.ends_with("t/environment/Dockerfile") && context.ends_with("t/environment")));
    assert!(step.solution.is_empty() && step.tests[0].ends_with("t/tests"));
}

#[test]
fn harbor_reads_every_value_of_a_full_task() {
    let task = good(
        r#"
        schema_version = "1.4"
        source = "somewhere"
        artifacts = ["/app/out", { source = "/app", destination = "all", exclude = ["*.o"], service = "main" }]
        [task]
        name = "org/full"
        version = "2.0"
        description = "One line"
        authors = [{ name = "A", email = "a@b.c" }]
        keywords = ["k", "git"]
        [metadata]
        difficulty = "hard"
        category = "ops"
        tags = ["git", "slow"]
        expert_time_estimate_min = 3.5
        anything = { goes = [1, 1979-05-27] }
        [metadata.harness]
        host_root = true
        tools = ["python3"]
        product = ["/usr/bin/thing"]
        fail_to_pass = ["a"]
        pass_to_pass = ["b"]
        visible_test = "make test"
        language = "Rust"
        [agent]
        timeout_sec = 120
        user = 1000
        network_mode = "no-network"
        [verifier]
        timeout_sec = 1.5
        env = { KEY = "${TOKEN}", MODE = "${UNSET:-fast}", PLAIN = "a${TOKEN}" }
        user = "judge"
        network_mode = "allowlist"
        allowed_hosts = ["PyPI.org.", "*.example.com", "10.0.0.0/8", "::1"]
        [[verifier.collect]]
        command = "tar c /app"
        user = "root"
        [solution]
        env = { S = "1" }
        [environment]
        build_timeout_sec = 30.0
        os = "Linux"
        cpus = 0.5
        memory_mb = 2048
        storage_mb = 10
        gpus = 0
        mcp_servers = []
        workdir = "/app"
        network_mode = "no-network"
        [environment.env]
        A = "b"
        [environment.healthcheck]
        command = "true"
        start_period_sec = 0.5
        retries = 9
        "#,
    );
    assert_eq!(task.description.as_deref(), Some("One line"));
    assert_eq!(task.traits.tags, ["git", "slow", "k"]);
    assert_eq!(task.traits.language.as_deref(), Some("rust"));
    assert_eq!(task.hints.tools, ["python3"]);
    assert_eq!(task.hints.visible_test.as_deref(), Some("make test"));
    assert!(task.environment.host_root);
    assert_eq!(task.environment.limits.milli_cpus, Some(500));
    assert_eq!(task.environment.limits.memory_bytes, Some(2 << 30));
    assert_eq!(task.environment.limits.disk_bytes, Some(10 << 20));
    assert_eq!(task.environment.network, NetworkMode::None);
    assert_eq!(task.environment.workdir.as_deref(), Some("/app"));
    let health = task.environment.healthcheck.unwrap();
    assert_eq!((health.start_period, health.retries), (Duration::from_millis(500), 9));
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(5), Duration::from_secs(30)));
    let step = &task.steps[0];
    assert_eq!(
        (step.agent.timeout, step.agent.user.as_deref()),
        (Some(Duration::from_secs(120)), Some("1000"))
    );
    assert_eq!(step.agent.network, Some(NetworkMode::None));
    assert_eq!(step.verifier.timeout, Duration::from_millis(1500));
    let hosts = ["pypi.org", "*.example.com", "10.0.0.0/8", "::1"].map(str::to_owned).to_vec();
    assert_eq!(step.verifier.network, Some(NetworkMode::Allowlist(hosts)));
    let env: Vec<_> = step.verifier.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("KEY", "s3cret"), ("MODE", "fast"), ("PLAIN", "a${TOKEN}")]);
    assert_eq!(step.verifier.collect[0].timeout, Duration::from_secs(60));
    assert_eq!(task.artifacts[1].destination.as_deref(), Some("all"));
    assert_eq!(task.artifacts[1].exclude, ["*.o"]);
}

#[test]
fn harbor_takes_legacy_spellings() {
    let task = good(
        "version = \"1.0\"\n[environment]\nmemory = \"2G\"\nstorage = \"512m\"\nmemory_mb = 2048\nallow_internet = false",
    );
    assert_eq!(task.environment.limits.memory_bytes, Some(2 << 30));
    assert_eq!(task.environment.limits.disk_bytes, Some(512 << 20));
    assert_eq!(task.environment.network, NetworkMode::None);
    let task = good("[environment]\nallow_internet = false\nnetwork_mode = \"public\"");
    assert_eq!(task.environment.network, NetworkMode::Open);
}

#[test]
fn harbor_refuses_bad_values_with_place_and_way_out() {
    let table = [
        ("x = ", "task.toml:1:5: not valid TOML: "),
        (
            "schema_version = \"2.0\"",
            "task.toml:1:18: there is no schema \"2.0\" (it can be \"1.0\" to \"1.4\")",
        ),
        ("version = 1.0", "task.toml:1:11: \"version\" must be a string, not a number with a point"),
        (
            "[agent]\ntimeout_sec = \"5\"",
            "task.toml:2:15: \"timeout_sec\" in [agent] must be a number, not a string",
        ),
        (
            "[agent]\ntimeout_sec = 0",
            "task.toml:2:15: \"timeout_sec\" in [agent] must be more than 0 seconds",
        ),
        (
            "[agent]\ntimeout_sec = -1.5",
            "task.toml:2:15: \"timeout_sec\" in [agent] must be more than 0 seconds",
        ),
        (
            "[agent]\ntimeout_sec = 1e300",
            "task.toml:2:15: \"timeout_sec\" in [agent] must be more than 0 seconds",
        ),
        ("[agent]\ntimeout_sec = inf", "task.toml:2:15: \"timeout_sec\" in [agent] must be a finite number"),
        ("[agent]\nuser = \"a b\"", "task.toml:2:8: \"user\" in [agent] must be a user's name or number"),
        ("agent = 3", "task.toml:1:9: \"agent\" must be a table, not a whole number"),
        ("[environment]\ncpus = 0", "task.toml:2:8: cpus must be more than 0"),
        ("[environment]\nmemory_mb = -1", "task.toml:2:13: memory_mb must be a size"),
        (
            "[environment]\nmemory_mb = 1.5",
            "task.toml:2:13: \"memory_mb\" in [environment] must be a whole number",
        ),
        ("[environment]\nmemory = \"2X\"", "task.toml:2:10: memory must be a size such as \"2G\""),
        (
            "[environment]\nmemory = \"1G\"\nmemory_mb = 2",
            "task.toml:2:10: memory and memory_mb disagree: 1024 and 2",
        ),
        ("[environment]\nos = \"windows\"", "task.toml:2:6: the task wants Windows"),
        ("[environment]\ngpus = 1", "task.toml:2:8: the task wants a GPU"),
        ("[environment.tpu]\ntype = \"v4\"\ntopology = \"2x2\"", "task.toml:1:1: the task wants a TPU"),
        (
            "[[environment.mcp_servers]]\nname = \"m\"\nurl = \"u\"",
            "task.toml:1:1: the task brings MCP servers",
        ),
        (
            "[environment]\nworkdir = \"app\"",
            "task.toml:2:11: \"workdir\" in [environment] must be an absolute path",
        ),
        (
            "[environment]\nworkdir = \"/a/../b\"",
            "task.toml:2:11: \"workdir\" in [environment] may not hold \"..\"",
        ),
        (
            "[environment]\nnetwork_mode = \"none\"",
            "task.toml:2:16: there is no network_mode \"none\" (it can be",
        ),
        ("[environment]\nnetwork_mode = \"allowlist\"", "task.toml:2:16: network_mode = \"allowlist\" needs"),
        ("[environment]\nallowed_hosts = [\"a\"]", "task.toml:2:17: allowed_hosts means something only with"),
        (
            "[agent]\nnetwork_mode = \"allowlist\"\nallowed_hosts = [\"ok\", \"https://x\"]",
            "task.toml:3:24: \"https://x\" is no host that can be allowed (a name",
        ),
        (
            "[environment.env]\nA = 1",
            "task.toml:2:5: \"A\" in [environment] must be a string; put quotes round it",
        ),
        (
            "[environment.env]\n\"A=B\" = \"1\"",
            "task.toml:2:9: \"A=B\" cannot be the name of an environment variable",
        ),
        (
            "[environment.env]\nK = \"${HOME}\"",
            "task.toml:2:5: \"K\" needs the host's variable \"HOME\" (set it and pass it on with `--env-pass HOME`)",
        ),
        (
            "[environment.healthcheck]\nretries = 2",
            "task.toml:1:1: \"command\" in [environment.healthcheck] is missing",
        ),
        (
            "[environment.healthcheck]\ncommand=\"a\"\nretries = 0",
            "task.toml:3:11: retries must be 1 or more",
        ),
        ("artifacts = [\"../x\"]", "task.toml:1:14: \"artifacts\" may not hold \"..\""),
        ("artifacts = [\"x\"]", "task.toml:1:14: \"artifacts\" must be an absolute path"),
        ("artifacts = [3]", "task.toml:1:14: \"artifacts\" must be a list of strings or tables"),
        (
            "[[artifacts]]\nsource = \"/a\"\nservice = \"db\"",
            "task.toml:3:11: the service \"db\" is asked for",
        ),
        ("[[artifacts]]\ndestination = \"a\"", "task.toml:1:1: an artifact needs a source"),
        (
            "[[artifacts]]\nsource = \"/a\"\ndestination = \"a/../..\"",
            "task.toml:3:15: \"destination\" in [artifacts] may",
        ),
        (
            "[[verifier.collect]]\ncommand = \"a\"\nservice = \"db\"",
            "task.toml:3:11: the service \"db\" is asked for",
        ),
        ("[verifier]\nenvironment_mode = \"own\"", "task.toml:2:20: there is no environment_mode \"own\""),
        (
            "[verifier]\nenvironment_mode = \"shared\"\n[verifier.environment]\ncpus = 1",
            "task.toml:3:1: a verifier in shared mode has no environment of its own",
        ),
        (
            "multi_step_reward_strategy = \"max\"",
            "task.toml:1:30: there is no multi_step_reward_strategy \"max\"",
        ),
        ("[[steps]]\nmin_reward = 1", "task.toml:1:1: a step needs a name"),
        ("[[steps]]\nname = \"../x\"", "task.toml:2:8: a step's name must be fit for a folder"),
        (
            "[metadata.harness]\nhost_root = \"yes\"",
            "task.toml:2:13: \"host_root\" in [metadata.harness] must be true",
        ),
        (
            "[metadata.harness]\nproduct = [\"bin\"]",
            "task.toml:2:12: \"product\" in [metadata.harness] must be an abs",
        ),
    ];
    for (toml, start) in table {
        let problem = refused(toml);
        assert!(problem.starts_with(start), "{toml}\n is refused with {problem}\n not with    {start}");
    }
}

#[test]
fn harbor_warns_of_unknown_keys_but_not_in_free_tables() {
    let (loaded, _dir) =
        one("[metadata]\nfoo = 1\n[metadata.harness]\nhost_rot = true\n[agent]\ntimeout = 3\n");
    let warnings: Vec<_> = loaded.warnings.iter().map(|problem| (problem.position, problem.text())).collect();
    assert_eq!(
        warnings,
        [
            (
                Some((4, 1)),
                "unknown key \"host_rot\" in [metadata.harness] (did you mean \"host_root\"?)".to_owned()
            ),
            (Some((6, 1)), "unknown key \"timeout\" in [agent] (did you mean \"timeout_sec\"?)".to_owned()),
        ]
    );
    assert_eq!(loaded.tasks.len(), 1);
}

#[test]
fn harbor_reports_every_problem_of_a_file_at_once() {
    let (loaded, _dir) = one("[agent]\ntimeout_sec = 0\n[environment]\ncpus = -1\ngpus = 2\n");
    assert_eq!(loaded.invalid[0].problems.len(), 3);
    assert!(loaded.invalid[0].note().message.ends_with("; and 2 more"));
}

#[test]
fn harbor_counts_a_folder_that_misses_a_file_as_invalid() {
    for (file, place, text) in [
        ("task.toml", "t/task.toml", "is missing, though"),
        ("instruction.md", "t/instruction.md", "is missing (it is what the agent is told)"),
        ("tests/test.sh", "t/tests/test.sh", "is missing (the script that judges"),
        ("environment/Dockerfile", "t/environment/Dockerfile", "is missing (or name a docker_image"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        task(dir.path(), "t", "");
        task(dir.path(), "good", "");
        fs::remove_file(dir.path().join("t").join(file)).unwrap();
        let loaded = load(dir.path(), &options()).unwrap();
        assert_eq!((loaded.tasks.len(), loaded.invalid.len()), (1, 1), "{file}");
        let problem = &loaded.invalid[0].problems[0];
        assert!(problem.place().ends_with(place) && problem.text().starts_with(text), "{problem}");
    }
}

#[test]
fn harbor_refuses_compose_and_test_bat_and_empty_instructions_by_name() {
    let table = [
        ("environment/docker-compose.yaml", "services: {}", "tasks of several services cannot run yet"),
        ("instruction.md", "<!-- canary -->\n\n", "tells the agent nothing"),
        ("task.toml", "\0", "is not text: byte 0 is zero"),
    ];
    for (name, text, message) in table {
        let dir = tempfile::tempdir().unwrap();
        task(dir.path(), "t", "");
        files(&dir.path().join("t"), &[(name, text)]);
        let loaded = load(dir.path(), &options()).unwrap();
        assert_eq!(loaded.invalid[0].problems[0].message, message);
        assert!(loaded.invalid[0].problems[0].file.ends_with(name));
    }
    let dir = tempfile::tempdir().unwrap();
    task(dir.path(), "t", "");
    fs::rename(dir.path().join("t/tests/test.sh"), dir.path().join("t/tests/test.bat")).unwrap();
    assert!(load(dir.path(), &options()).unwrap().invalid[0].note().message.contains("Windows"));
}

#[test]
fn harbor_finds_tasks_one_or_two_groups_deep_and_passes_hidden_folders_over() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a", "group/b", "group/sub/c", ".git/d", "group/.cache/e", "x/y/z/too-deep"] {
        task(dir.path(), path, "");
    }
    files(dir.path(), &[("README.md", "hello"), ("docs/notes.md", "nothing")]);
    let loaded = load(dir.path(), &options()).unwrap();
    let ids: Vec<_> = loaded.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!((ids, loaded.invalid.len()), (vec!["a", "b", "c"], 0));
    // One task alone, and under its own name when it is the current folder.
    let single = load(&dir.path().join("group/b/."), &options()).unwrap();
    assert_eq!((single.tasks[0].id.as_str(), single.tasks[0].dataset.as_str()), ("b", "group"));
    for nothing in ["docs", "README.md", "nowhere"] {
        assert!(load(&dir.path().join(nothing), &options()).is_err(), "{nothing}");
    }
}

#[test]
fn harbor_tells_a_broken_task_from_a_project_that_holds_tasks() {
    let dir = tempfile::tempdir().unwrap();
    task(dir.path(), "project/tasks/good", "");
    files(
        dir.path(),
        &[
            // A project's own folders beside its tasks.
            ("project/tests/test.sh", ""),
            ("project/environment/Dockerfile", ""),
            // Each of these was meant to be a task.
            ("broken/instruction.md", "Do it."),
            ("broken/environment/app/task.toml/x", ""),
            ("half/environment/Dockerfile", ""),
            ("old/task.yaml", "instruction: do it"),
            ("judged/tests/test.sh", ""),
        ],
    );
    let loaded = load(dir.path(), &options()).unwrap();
    assert_eq!(loaded.tasks.len(), 1);
    let invalid: Vec<_> = loaded.invalid.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(invalid, ["broken", "half", "judged", "old"]);
    assert!(loaded.invalid[3].note().message.contains("first Terminal-Bench"));
    assert_eq!(load(&dir.path().join("broken"), &options()).unwrap().invalid.len(), 1);
}

#[test]
fn harbor_makes_two_tasks_with_one_id_invalid_and_names_both() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["one/same", "two/same", "other"] {
        task(dir.path(), path, "");
    }
    let loaded = load(dir.path(), &options()).unwrap();
    assert_eq!((loaded.tasks.len(), loaded.invalid.len()), (1, 2));
    let texts: Vec<_> = loaded.invalid.iter().map(|task| task.problems[0].to_string()).collect();
    assert!(
        texts[0].contains("one/same: two tasks have the id \"same\", the other is")
            && texts[0].contains("two/same")
    );
    assert!(
        texts[1].contains("two/same: ") && texts[1].contains("the other is") && texts[1].contains("one/same")
    );
}

#[test]
fn harbor_refuses_hostile_folders_each_with_its_reason() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("secret"), "canary-7f3a").unwrap();
    let out = secret.path().join("secret");
    type Break<'a> = &'a dyn Fn(&Path);
    let table: &[(&str, Break<'_>, &str)] = &[
        (
            "a link for instruction.md",
            &|t| {
                fs::remove_file(t.join("instruction.md")).unwrap();
                symlink(&out, t.join("instruction.md")).unwrap();
            },
            "leads out of the task's folder",
        ),
        (
            "a link for a folder",
            &|t| {
                fs::remove_dir_all(t.join("tests")).unwrap();
                symlink(secret.path(), t.join("tests")).unwrap();
            },
            "leads out of the task's folder",
        ),
        ("a relative link out", &|t| symlink("../../secret", t.join("environment/x")).unwrap(), "leads out"),
        (
            "a binary instruction",
            &|t| fs::write(t.join("instruction.md"), b"\x7fELF\0").unwrap(),
            "is not text",
        ),
        (
            "a Latin-1 instruction",
            &|t| fs::write(t.join("instruction.md"), b"caf\xe9").unwrap(),
            "is not UTF-8",
        ),
        (
            "a huge instruction",
            &|t| {
                fs::write(t.join("instruction.md"), vec![b'a'; (1 << 20) + 1]).unwrap();
            },
            "is longer than 1024 KiB",
        ),
        (
            "a huge task.toml",
            &|t| {
                fs::write(t.join("task.toml"), vec![b'\n'; (1 << 20) + 1]).unwrap();
            },
            "is longer than 1024 KiB",
        ),
        (
            "a huge file",
            &|t| {
                fs::File::create(t.join("environment/big")).unwrap().set_len(3 << 30).unwrap();
            },
            "holds more than",
        ),
        (
            "a socket",
            &|t| drop(std::os::unix::net::UnixListener::bind(t.join("s")).unwrap()),
            "socket or device",
        ),
        (
            "a folder for task.toml",
            &|t| {
                fs::remove_file(t.join("task.toml")).unwrap();
                fs::create_dir(t.join("task.toml")).unwrap();
            },
            "is not a file",
        ),
        (
            "a folder for test.sh",
            &|t| {
                fs::remove_file(t.join("tests/test.sh")).unwrap();
                fs::create_dir(t.join("tests/test.sh")).unwrap();
            },
            "is not of the right kind",
        ),
        ("a link in a loop", &|t| symlink("loop", t.join("loop")).unwrap(), "leads out"),
    ];
    for (what, break_it, reason) in table {
        let dir = tempfile::tempdir().unwrap();
        task(dir.path(), "t", "");
        task(dir.path(), "good", "");
        break_it(&dir.path().join("t"));
        let loaded = load(dir.path(), &options()).unwrap();
        assert_eq!((loaded.tasks.len(), loaded.invalid.len()), (1, 1), "{what}");
        let note = loaded.invalid[0].note();
        assert!(note.message.contains(reason), "{what}: {note:?}");
        assert!(!format!("{loaded:?}").contains("canary-7f3a"), "{what}: the file outside was read");
    }
}

#[test]
fn harbor_refuses_folder_names_that_are_no_ids_and_links_to_tasks() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    task(dir.path(), "good", "");
    for name in [&b"-rf"[..], b"bad\xff", b"esc\x1b[2J", b" blank"] {
        let folder = dir.path().join(std::ffi::OsStr::from_bytes(name));
        task(dir.path(), "tmp", "");
        fs::rename(dir.path().join("tmp"), folder).unwrap();
    }
    symlink("good", dir.path().join("linked")).unwrap();
    let loaded = load(dir.path(), &options()).unwrap();
    assert_eq!((loaded.tasks.len(), loaded.invalid.len()), (1, 5));
    for task in &loaded.invalid {
        assert!(!task.problems[0].to_string().contains('\u{1b}'));
    }
    assert_eq!(
        loaded.invalid.iter().filter(|task| task.note().message.contains("links are not followed")).count(),
        1
    );
}

#[test]
fn harbor_reads_images_and_separate_verifiers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    task(root, "image", "[environment]\ndocker_image = \"ubuntu:24.04\"\n");
    fs::remove_dir_all(root.join("image/environment")).unwrap();
    task(root, "implicit", "");
    files(&root.join("implicit"), &[("tests/Dockerfile", "FROM debian:12")]);
    task(root, "kept-shared", "[verifier]\nenvironment_mode = \"shared\"\n");
    files(&root.join("kept-shared"), &[("tests/Dockerfile", "FROM debian:12")]);
    task(root, "own-copy", "[verifier]\nenvironment_mode = \"separate\"\n");
    task(
        root,
        "own-limits",
        "[environment]\nnetwork_mode = \"no-network\"\n[verifier.environment]\ncpus = 2\n",
    );
    task(root, "own-image", "[verifier.environment]\ndocker_image = \"judge:1\"\n");
    fs::remove_file(root.join("own-image/tests/test.sh")).unwrap();
    let loaded = load(root, &options()).unwrap();
    assert_eq!(loaded.invalid, []);
    let find = |id: &str| loaded.tasks.iter().find(|task| task.id.as_str() == id).unwrap();
    let mode = |id: &str| find(id).steps[0].verifier.mode.clone();
    assert_eq!(
        find("image").environment.source,
        EnvironmentSource::Image { reference: "ubuntu:24.04".into(), files: None }
    );
    let VerifierMode::Separate(Some(spec)) = mode("implicit") else { panic!("{:?}", mode("implicit")) };
    assert!(
        matches!(spec.source, EnvironmentSource::Dockerfile { context, .. } if context.ends_with("implicit/tests"))
    );
    assert_eq!(mode("kept-shared"), VerifierMode::Shared);
    assert_eq!(mode("own-copy"), VerifierMode::Separate(None));
    let VerifierMode::Separate(Some(spec)) = mode("own-limits") else { panic!() };
    assert_eq!(spec.source, find("own-limits").environment.source);
    assert_eq!((spec.limits.milli_cpus, spec.network), (Some(2000), NetworkMode::Open));
    assert!(matches!(mode("own-image"), VerifierMode::Separate(Some(_))));
}

#[test]
fn harbor_steps_take_over_what_the_task_says_and_lay_their_folders_over_its() {
    let dir = tempfile::tempdir().unwrap();
    let toml = r#"
        multi_step_reward_strategy = "final"
        [agent]
        timeout_sec = 10
        user = "dev"
        [verifier]
        timeout_sec = 20
        env = { A = "task", B = "task" }
        user = "root"
        [[verifier.collect]]
        command = "first"
        [[steps]]
        name = "one"
        min_reward = 0.5
        [steps.verifier]
        env = { B = "step" }
        user = "judge"
        [[steps.verifier.collect]]
        command = "second"
        [[steps]]
        name = "two"
        min_reward = { reward = 1, speed = 0.25 }
        artifacts = ["/out"]
        [steps.agent]
        timeout_sec = 1
        [steps.healthcheck]
        command = "true"
    "#;
    files(
        &dir.path().join("multi"),
        &[
            ("task.toml", toml),
            ("environment/Dockerfile", "FROM debian:12\n"),
            ("tests/helpers.sh", ""),
            ("steps/one/instruction.md", "# canary\nFirst."),
            ("steps/one/tests/test.sh", ""),
            ("steps/one/workdir/setup.sh", "true"),
            ("steps/one/solution/solve.sh", "true"),
            ("steps/two/instruction.md", "Second."),
            ("steps/two/tests/test.sh", ""),
            ("steps/stray/instruction.md", "Never."),
        ],
    );
    let loaded = load(dir.path(), &options()).unwrap();
    assert_eq!(loaded.invalid, []);
    assert!(
        loaded.warnings.len() == 1 && loaded.warnings[0].message.contains("is no step"),
        "{:?}",
        loaded.warnings
    );
    let task = &loaded.tasks[0];
    assert_eq!(task.reward_strategy, RewardStrategy::Final);
    let [one, two] = task.steps.as_slice() else { panic!("{:?}", task.steps) };
    assert_eq!((one.instruction.as_str(), two.instruction.as_str()), ("First.", "Second."));
    assert_eq!(
        (one.agent.timeout, two.agent.timeout),
        (Some(Duration::from_secs(10)), Some(Duration::from_secs(1)))
    );
    assert_eq!((one.agent.user.as_deref(), two.agent.user.as_deref()), (Some("dev"), Some("dev")));
    assert_eq!((one.verifier.user.as_deref(), two.verifier.user.as_deref()), (Some("judge"), Some("root")));
    assert_eq!(one.verifier.env, BTreeMap::from([("A".into(), "task".into()), ("B".into(), "step".into())]));
    assert_eq!(two.verifier.timeout, Duration::from_secs(20));
    assert_eq!((one.verifier.collect.len(), two.verifier.collect.len()), (2, 1));
    assert_eq!(one.min_reward, Some(MinReward::One(0.5)));
    let named = BTreeMap::from([("reward".to_owned(), 1.0), ("speed".to_owned(), 0.25)]);
    assert_eq!(two.min_reward, Some(MinReward::Named(named)));
    assert!(one.tests[0].ends_with("multi/tests") && one.tests[1].ends_with("steps/one/tests"));
    assert!(
        one.workdir_files.as_ref().unwrap().ends_with("steps/one/workdir") && two.workdir_files.is_none()
    );
    assert!(one.solution.len() == 1 && two.solution.is_empty());
    assert!(two.healthcheck.is_some() && two.artifacts.len() == 1);
}

#[test]
fn harbor_task_digest_changes_with_any_file_and_not_with_the_place() {
    let digest = |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        task(dir.path(), "t", "");
        change(&dir.path().join("t"));
        load(dir.path(), &options()).unwrap().tasks[0].digest.clone()
    };
    let base = digest(&|_| {});
    assert_eq!(digest(&|_| {}), base);
    for name in ["tests/hidden", "checks/wrong/x.sh", "solution/solve.sh", "environment/app/x", "README.md"] {
        assert_ne!(digest(&|t| files(t, &[(name, "x")])), base, "{name}");
    }
}

const LONG: &str = r#"
schema_version = "1.4"
artifacts = ["/a", { source = "/b" }]
[metadata]
tags = ["ü"]
[metadata.harness]
tools = ["sh"]
[verifier]
timeout_sec = 1_0.5
env = { A = "${B:-c}" }
[environment]
memory = "2G"
healthcheck = { command = "true", retries = 0x3 }
[[steps]]
name = "s"
min_reward = { reward = 1.0 }
"#;

/// Reads one text as task.toml without a file system round trip for every case.
fn read_text(text: &str) {
    if let Ok(doc) = crate::strict::Document::parse(Path::new("task.toml"), text) {
        super::wire::WireTask::read(&doc);
        doc.into_found();
    }
}

#[test]
fn harbor_task_toml_cut_at_any_byte_is_read_or_refused_without_panic() {
    for at in 0..=LONG.len() {
        if let Some(text) = LONG.get(..at) {
            read_text(text);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for at in (0..LONG.len()).step_by(7) {
        task(dir.path(), "t", "");
        fs::write(dir.path().join("t/task.toml"), &LONG.as_bytes()[..at]).unwrap();
        let loaded = load(dir.path(), &options()).unwrap();
        assert_eq!(loaded.tasks.len() + loaded.invalid.len(), 1, "cut at {at}");
    }
}

#[test]
fn harbor_limits_are_the_callers() {
    let dir = tempfile::tempdir().unwrap();
    task(dir.path(), "t", "");
    let limits = TreeLimits { entries: 3, ..TreeLimits::default() };
    let loaded = load(dir.path(), &LoadOptions { limits, ..options() }).unwrap();
    assert_eq!(loaded.invalid.len(), 1);
}

proptest! {
    #[test]
    fn harbor_survives_any_change_of_a_good_file(at in 0usize..LONG.len(), junk in "(?s).{0,12}", cut in 0usize..12) {
        let mut bytes = LONG.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, junk.into_bytes());
        read_text(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn harbor_skills_and_prior_conversations_are_the_agents() {
    let task = good("[environment]\nskills_dir = \"/skills\"\n");
    assert_eq!(task.steps[0].agent.skills_dir.as_deref(), Some("/skills"));
    assert!(refused("[environment]\nskills_dir = \"\"\n").contains("skills_dir must be a folder"));

    let with = |name: &str, text: &str, toml: &str| {
        let dir = tempfile::tempdir().unwrap();
        self::task(dir.path(), "t", toml);
        files(&dir.path().join("t"), &[(name, text)]);
        (load(dir.path(), &options()).unwrap(), dir)
    };
    let whole = r#"{"schema_version":"ATIF-v1.6","agent":{"name":"x","version":"1"},"steps":[]}"#;
    let (loaded, dir) = with("trajectory.json", whole, "");
    assert_eq!(loaded.warnings, []);
    let path = dir.path().join("t/trajectory.json");
    assert_eq!(loaded.tasks[0].steps[0].agent.trajectory.as_deref(), Some(&*path));
    for (text, why) in [
        ("{", "is no ATIF trajectory: EOF"),
        ("[]", "is no ATIF trajectory"),
        (r#"{"schema_version":"ATIF-v1.6"}"#, "missing field `steps`"),
        (r#"{"schema_version":"2","steps":[]}"#, "not ATIF-v1"),
    ] {
        let (loaded, _dir) = with("trajectory.json", text, "");
        let problem = loaded.invalid[0].problems[0].to_string();
        assert!(problem.contains("trajectory.json") && problem.contains(why), "{problem}");
    }
    // Of several steps the first one's counts.
    let steps = "[[steps]]\nname = \"a\"\n[[steps]]\nname = \"b\"\n";
    let (_, several) = with("steps/a/trajectory.json", whole, steps);
    let dir = several.path().join("t");
    files(
        &dir,
        &[
            ("steps/a/instruction.md", "A\n"),
            ("steps/b/instruction.md", "B\n"),
            ("steps/b/trajectory.json", whole),
        ],
    );
    let loaded = load(several.path(), &options()).unwrap();
    let priors: Vec<_> = loaded.tasks[0].steps.iter().map(|step| step.agent.trajectory.is_some()).collect();
    assert_eq!(priors, [true, false], "{loaded:?}");
}
