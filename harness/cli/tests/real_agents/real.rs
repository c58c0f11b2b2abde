//! The real programs, installed from their registries: each solves a task through the gateway against a server of its own that
//! counts too, installs nothing the second time, and stops after one refused request when its budget is spent.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;

use super::{harness, holds, run};

/// A program of others.
pub(super) struct Real {
    /// The agent.
    pub(super) name: &'static str,
    /// The wire that the test's server speaks with it.
    wire: &'static str,
    /// What its paths begin with at the server.
    path: &'static str,
    /// Tokens that some of its requests fit in, and not all.
    budget: &'static str,
}

pub(super) const ALL: &[Real] = &[
    Real { name: "codex", wire: "openai", path: "/v1", budget: "40000" },
    Real { name: "claude-code", wire: "anthropic", path: "", budget: "40000" },
    Real { name: "mini-swe-agent", wire: "openai-chat", path: "/v1", budget: "15000" },
];

/// A server that plays the task's conversation and writes a line a request: another process, over HTTP.
struct Upstream {
    child: Child,
    address: String,
    lines: PathBuf,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Upstream {
    fn start(folder: &Path) -> Result<Upstream, Failed> {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../suites/conversations/starter/ini-escapes.toml");
        let lines = folder.join("upstream.jsonl");
        let script = script.to_string_lossy().into_owned();
        let mut command = harness(folder, &folder.join("upstream-state"), &["gateway", "--script", &script]);
        let mut child = command.stdout(fs::File::create(&lines)?).stderr(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let mut all = String::new();
        let address = loop {
            let mut line = String::new();
            if said.read_line(&mut line)? == 0 {
                return Err(format!("the upstream did not start: {all}").into());
            }
            all.push_str(&line);
            if let Some(at) = line.find("http://") {
                let rest = line[at + 7..].split(|c: char| c.is_whitespace() || "/,;`".contains(c)).next();
                break rest.unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(Upstream { child, address, lines })
    }

    /// Tokens that it says it served, and in how many answers.
    fn served(&self) -> Result<(u64, usize), Failed> {
        let text = fs::read_to_string(&self.lines)?;
        let totals = text.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["usage"]["total_tokens"].as_u64().filter(|_| line["status"] == 200)
        });
        Ok(totals.fold((0, 0), |(sum, count), total| (sum + total, count + 1)))
    }
}

impl Real {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let dir = tempfile::tempdir()?;
        let own = std::env::var_os("HARNESS_REAL_AGENTS_DIR").map(PathBuf::from);
        let state = own.unwrap_or_else(|| dir.path().join("state"));
        let upstream = Upstream::start(dir.path())?;
        let provider = format!(
            "preflight = false\n[providers.served]\nwire = \"{}\"\nbase_url = \"http://{}{}\"\nprices = \"scripted\"\n",
            self.wire, upstream.address, self.path
        );
        fs::write(dir.path().join("harness.toml"), provider)?;
        let native = ["--agent", self.name, "--model", "served/ini-escapes", "--sandbox", "native"];
        let (trial, said) = run(dir.path(), &state, "first", &native)?;
        holds(
            trial["outcome"] == "resolved" && trial["agent_exit"] == "finished",
            format!("{trial}\n{said}"),
        )?;
        // Three counts agree: what was served, what the gateway read, what the program says of itself.
        let (served, answers) = upstream.served()?;
        holds(answers > 2 && trial["usage"]["total_tokens"] == served, format!("{served} served: {trial}"))?;
        holds(trial["reported"]["usage"]["total_tokens"] == served, format!("{served} served: {trial}"))?;
        // The server's scripted model has no price; that is all there is to say.
        let findings = trial["integrity"].as_array().ok_or("no integrity")?;
        holds(findings.iter().all(|finding| finding["check"] == "price"), &trial)?;
        self.left_a_trajectory(dir.path(), "first")?;

        let (trial, said) = run(
            dir.path(),
            &state,
            "budget",
            &[&native[..], &["--max-tokens-per-task", self.budget]].concat(),
        )?;
        holds(!said.contains("installing"), format!("it was installed twice: {said}"))?;
        holds(trial["agent_exit"] == "budget", &trial)?;
        let lines = files(dir.path(), "budget", "gateway.jsonl").concat();
        let refused = lines.lines().filter(|line| !line.contains("\"status\":200")).count();
        holds(refused == 1 && lines.lines().count() > 1, format!("{refused} refusals: {lines}"))?;

        if has_image("node:22") {
            let docker = ["--agent", self.name, "--model", "scripted/starter", "--sandbox", "docker"];
            let (trial, said) = run(dir.path(), &state, "docker", &docker)?;
            holds(trial["outcome"] == "resolved", format!("{trial}\n{said}"))?;
            holds(trial["usage"]["total_tokens"] == trial["reported"]["usage"]["total_tokens"], &trial)?;
        } else {
            println!("{}: no Docker with node:22 here: natively alone", self.name);
        }
        Ok(())
    }

    fn left_a_trajectory(&self, folder: &Path, run: &str) -> Result<(), Failed> {
        let trajectory = files(folder, run, "trajectory.json").concat();
        let trajectory: Value = serde_json::from_str(&trajectory)?;
        holds(trajectory["agent"]["name"] == self.name, &trajectory["agent"])?;
        let steps = trajectory["steps"].as_array().ok_or("no steps")?;
        let calls = steps.iter().filter(|step| step["tool_calls"].is_array()).count();
        let results = steps.iter().filter(|step| step["observation"].is_object()).count();
        holds(calls > 2 && results > 2, format!("{calls} calls, {results} results"))
    }
}

/// Files of this name of all trials of a run.
fn files(folder: &Path, run: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.join(".harness/runs").join(run).join("trials")];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if entry.file_name() == name {
                found.extend(fs::read_to_string(entry.path()));
            }
        }
    }
    found
}

fn has_image(name: &str) -> bool {
    let looked = Command::new("docker")
        .args(["image", "inspect", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    looked.is_ok_and(|status| status.success())
}
