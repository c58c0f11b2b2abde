//! A sealed room with an engine, and tasks in its words.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::room::{Room, wait, words};

/// Longest that one run takes here, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(400);
/// The image of all tasks.
pub const IMAGE: &str = "debian:12";

/// A room with an engine.
pub struct Place {
    pub room: Room,
    host: String,
}

/// How a command ended, and what it said.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "--- stdout ---\n{}\n--- stderr ---\n{}", self.out, self.err);
        self
    }
}

impl Place {
    /// On the machine's own Docker.
    pub fn here() -> Option<Place> {
        let place = Place::at("unix:///var/run/docker.sock");
        if place.docker(&["image", "inspect", IMAGE]).is_some() {
            return Some(place);
        }
        let required = std::env::var_os("HARNESS_REQUIRE_ENGINES").is_some_and(|value| value == "1");
        assert!(!required, "there is no Docker with {IMAGE} here");
        println!("skipped: there is no Docker with {IMAGE} here");
        None
    }

    pub fn at(host: &str) -> Place {
        Place { room: Room::new(), host: host.to_owned() }
    }

    /// What the engine's own program says; `None` when it fails.
    pub fn docker(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("docker");
        let output = command.args(["-H", &self.host]).args(arguments).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Containers that carry a run's label.
    pub fn containers(&self, run: &str) -> Vec<String> {
        let label = format!("label=harness.run={run}");
        let listed = self.docker(&["ps", "-aq", "--filter", &label]).expect("the engine answers");
        listed.lines().map(str::to_owned).collect()
    }

    /// `harness LINE`, ready to start.
    pub fn command(&self, line: &str) -> Command {
        let mut command = self.room.command();
        command.args(words(line)).env("DOCKER_HOST", &self.host);
        command
    }

    pub fn spawn(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs `harness LINE` to its end.
    pub fn harness(&self, line: &str) -> Ended {
        let (out, err) = (self.room.path("stdout"), self.room.path("stderr"));
        let create = |file: &PathBuf| std::fs::File::create(file).unwrap();
        let mut child = self.command(line).stdout(create(&out)).stderr(create(&err)).spawn().unwrap();
        let status = wait(&mut child, PATIENCE);
        let read = |file: &PathBuf| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        let ended = Ended { code: status.and_then(|status| status.code()), out: read(&out), err: read(&err) };
        assert!(status.is_some(), "`harness {line}` did not end\n{}\n{}", ended.out, ended.err);
        ended
    }

    pub fn report(&self, run: &str) -> Value {
        serde_json::from_str(&self.harness(&format!("report {run} --format json")).exits(0).out).unwrap()
    }

    /// A task in `TASKS/ID`; `environment` is its table's content.
    pub fn task(&self, task: &Task<'_>) {
        let at = format!("{}/{}", task.tasks, task.id);
        let image = if task.dockerfile.is_none() {
            format!("docker_image = \"{}\"\n", task.image)
        } else {
            String::new()
        };
        let workdir = if task.more.contains("workdir") { "" } else { "workdir = \"/srv\"\n" };
        self.room.write(
            &format!("{at}/task.toml"),
            &format!(
                "schema_version = \"1.4\"\n[agent]\ntimeout_sec = {}\n[verifier]\ntimeout_sec = 60\n\
                 [environment]\nnetwork_mode = \"no-network\"\n{workdir}{image}{}",
                task.seconds, task.more
            ),
        );
        self.room.write(&format!("{at}/instruction.md"), "Write the word done to /srv/out.\n");
        if let Some(dockerfile) = task.dockerfile {
            self.room.write(&format!("{at}/environment/Dockerfile"), dockerfile);
        }
        self.room.write(&format!("{at}/solution/solve.sh"), &format!("#!/bin/bash\n{}\n", task.solution));
        self.room.write(&format!("{at}/tests/test.sh"), &format!("#!/bin/bash\n{}\n", task.test));
    }
}

/// What differs between tasks.
pub struct Task<'a> {
    pub tasks: &'a str,
    pub id: &'a str,
    pub image: &'a str,
    pub dockerfile: Option<&'a str>,
    /// Lines of its environment's table, and tables after it.
    pub more: &'a str,
    pub seconds: f64,
    pub solution: &'a str,
    pub test: &'a str,
}

/// Solved by writing a word.
pub const TASK: Task<'_> = Task {
    tasks: "tasks",
    id: "good",
    image: IMAGE,
    dockerfile: None,
    more: "",
    seconds: 60.0,
    solution: "echo done > /srv/out",
    test: "grep -q done /srv/out; echo $((1 - $?)) > /logs/verifier/reward.txt",
};

/// The only trial of this task.
#[track_caller]
pub fn trial<'a>(report: &'a Value, task: &str) -> &'a Value {
    let trials = report["trials"].as_array().unwrap();
    let mut found = trials.iter().filter(|trial| trial["task"] == task);
    let trial = found.next().unwrap_or_else(|| panic!("no trial of {task}: {report}"));
    assert!(found.next().is_none(), "several trials of {task}");
    trial
}
