//! Whole trials: the harness itself, as a program, on a task that does next to nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A task and a place for runs.
pub(crate) struct Trials {
    harness: PathBuf,
    folder: PathBuf,
    runs: usize,
}

/// What a run took.
pub(crate) struct Took {
    /// The program, from its start to its end.
    pub(crate) wall: Duration,
    /// Of each trial, in the order of attempts, until its agent could start.
    pub(crate) prepare: Vec<Duration>,
}

impl Trials {
    pub(crate) fn new(harness: PathBuf, folder: &Path, image: &str) -> Trials {
        let task = folder.join("tasks/trivial");
        let write = |name: &str, text: &str| {
            let file = task.join(name);
            std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("folders can be made");
            std::fs::write(file, text).expect("files can be written");
        };
        write(
            "task.toml",
            &format!(
                "schema_version = \"1.4\"\n[task]\nname = \"bench/trivial\"\n[agent]\ntimeout_sec = 60\n[verifier]\ntimeout_sec = 60\n\
                 [environment]\ndocker_image = \"{image}\"\nnetwork_mode = \"no-network\"\nworkdir = \"/tmp\"\n"
            ),
        );
        write("instruction.md", "Make the file /tmp/file.\n");
        write("environment/.gitkeep", "");
        write("solution/solve.sh", "#!/bin/sh\necho content > /tmp/file\n");
        write("tests/test.sh", "#!/bin/sh\ntest -e /tmp/file && echo 1 > /logs/verifier/reward.txt\n");
        Trials { harness, folder: folder.to_owned(), runs: 0 }
    }

    /// So many trials, so many at once; all of them are resolved.
    pub(crate) fn run(&mut self, sandbox: &[&str], trials: usize, jobs: usize) -> Took {
        self.runs += 1;
        let run = format!("r{}", self.runs);
        let runs = self.folder.join("runs");
        let mut command = Command::new(&self.harness);
        command.args(["run", "suite"]).arg(self.folder.join("tasks"));
        command.args(["--agent", "oracle", "--run-id", &run, "--sandbox"]);
        command.args(sandbox);
        command.args(["--attempts", &trials.to_string(), "--jobs", &jobs.to_string()]);
        command.arg("--runs-dir").arg(&runs).env("HARNESS_STATE_DIR", self.folder.join("state"));
        let began = Instant::now();
        let output = command.stdin(Stdio::null()).output().expect("the harness starts");
        let wall = began.elapsed();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut command = Command::new(&self.harness);
        command.args(["report", &run, "--format", "json", "--runs-dir"]).arg(&runs);
        let output = command.output().expect("the harness starts");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        let mut all: Vec<&serde_json::Value> = report["trials"].as_array().expect("trials").iter().collect();
        assert_eq!(all.len(), trials);
        assert!(all.iter().all(|trial| trial["outcome"] == "resolved"), "{report}");
        all.sort_by_key(|trial| trial["attempt"].as_u64());
        let prepare = all
            .iter()
            .map(|trial| Duration::from_millis(trial["duration_ms"]["prepare"].as_u64().expect("a time")));
        Took { wall, prepare: prepare.collect() }
    }
}
