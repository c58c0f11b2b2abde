//! One trial's story: what happened in which order, why it ended as it did, and where its files are.

mod connections;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use harness_core::{Durations, Severity, TrialId};
use serde::Serialize;

use crate::formats::Look;
use crate::grid::Paint;
use crate::results::{OutcomeName, Results, TrialRow, TryRow, UnfinishedTrial, VerdictRow};
use crate::show::{self, or_unknown};
use crate::text::{clean, wrap};

/// Bytes read from the end of a log.
const TAIL_BYTES: u64 = 64 << 10;
/// Lines shown from the end of a log.
const TAIL_LINES: usize = 30;
/// Most files that are listed.
const MAX_FILES: usize = 200;
/// How deep they are looked for.
const MAX_DEPTH: usize = 4;

/// One trial's story, for `--format json` as it is and for people through [`Story::text`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    /// The result; `null` for a trial that is not finished.
    pub trial: Option<TrialRow>,
    /// What is known of a trial without a result.
    pub unfinished: Option<UnfinishedTrial>,
    /// The trial's folder.
    pub folder: PathBuf,
    /// What lies in it.
    pub files: Vec<StoryFile>,
    /// Ends of its logs.
    pub logs: Vec<LogTail>,
}

/// A file of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoryFile {
    /// Below the trial's folder.
    pub path: String,
    /// Its size; `null` for what is not a regular file.
    pub bytes: Option<u64>,
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogTail {
    /// Name of the file.
    pub name: String,
    /// The last lines, safe for a terminal.
    pub lines: Vec<String>,
    /// Whether there is more before them.
    pub cut: bool,
}

/// Why there is no story.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The run has no such trial.
    #[error("run {run} has no trial {trial}; `harness report {run}` lists those that it has")]
    NoTrial {
        /// The run.
        run: String,
        /// What was asked for.
        trial: String,
    },
}

/// Tells the story of `id` from the results and from what lies in the run's folder.
///
/// # Errors
/// [`StoryError`]: the run has no such trial. Logs that cannot be read are left out, not errors.
pub fn story(run_folder: &Path, results: &Results, id: &TrialId) -> Result<Story, StoryError> {
    let same = |task: &str, variant: &str, attempt: u32| {
        task == id.task.as_str() && variant == id.variant.as_str() && attempt == id.attempt
    };
    let trial = results.trials.iter().find(|trial| same(&trial.task, &trial.variant, trial.attempt));
    let unfinished =
        results.run.unfinished.iter().find(|trial| same(&trial.task, &trial.variant, trial.attempt));
    if trial.is_none() && unfinished.is_none() {
        return Err(StoryError::NoTrial { run: results.run.id.to_string(), trial: id.path() });
    }
    let folder = run_folder.join("trials").join(id.path());
    let mut files = Vec::new();
    list(&folder, "", MAX_DEPTH, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let logs = ["agent.log", "verify.log"].iter().filter_map(|name| tail(&folder, name)).collect();
    Ok(Story { trial: trial.cloned(), unfinished: unfinished.cloned(), folder, files, logs })
}

/// Lists what is there without following links: the content came out of a sandbox.
fn list(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<StoryFile>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if files.len() >= MAX_FILES {
            return;
        }
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.metadata() {
            Ok(about) if about.is_dir() && depth > 1 => {
                list(&entry.path(), &format!("{path}/"), depth - 1, files)
            }
            Ok(about) => files.push(StoryFile { path, bytes: about.is_file().then_some(about.len()) }),
            Err(_) => {}
        }
    }
}

fn tail(folder: &Path, name: &str) -> Option<LogTail> {
    let path = folder.join(name);
    let length = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    let mut bytes = Vec::new();
    let mut file = File::open(&path).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (mut lines, mut cut) = (VecDeque::new(), start > 0);
    for line in text.lines() {
        lines.push_back(clean(&without_escapes(line)).into_owned());
        if lines.len() > TAIL_LINES {
            lines.pop_front();
            cut = true;
        }
    }
    Some(LogTail { name: name.to_owned(), lines: lines.into(), cut })
}

/// A log line without colours and other whole escape sequences: what is left of broken ones is made visible later.
pub fn without_escapes(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            while chars.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_some() {}
            chars.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
        } else if c == '\r' && chars.peek().is_none() {
            break;
        } else {
            kept.push(c);
        }
    }
    kept
}

impl Story {
    /// The story as text that fits `look`.
    pub fn text(&self, look: &Look) -> String {
        let mut page = Page { lines: Vec::new(), look: *look };
        match (&self.trial, &self.unfinished) {
            (Some(trial), _) => finished(&mut page, trial),
            (None, Some(trial)) => {
                let name = format!("{} · {} · attempt {}", trial.task, trial.variant, trial.attempt);
                page.say(Paint::Strong, 0, &name);
                let state = if trial.started { "started, and not finished" } else { "not started yet" };
                page.say(Paint::Odd, 0, state);
                tries(&mut page, &trial.tries);
            }
            (None, None) => {}
        }
        for log in &self.logs {
            let cut = if log.cut { ", its end" } else { "" };
            page.head(&format!("{}{cut}", log.name));
            for line in &log.lines {
                page.say(Paint::Plain, 2, line);
            }
            if log.lines.is_empty() {
                page.say(Paint::Faint, 2, "(empty)");
            }
        }
        page.head("files");
        page.say(Paint::Plain, 2, &self.folder.display().to_string());
        for file in &self.files {
            let size = or_unknown(file.bytes, |bytes| format!("{bytes} bytes"));
            page.say(Paint::Plain, 4, &format!("{} ({size})", file.path));
        }
        if self.files.len() >= MAX_FILES {
            page.say(Paint::Faint, 4, "and more");
        }
        page.lines.join("\n") + "\n"
    }
}

fn finished(page: &mut Page, trial: &TrialRow) {
    page.say(Paint::Strong, 0, &format!("{} · {} · attempt {}", trial.task, trial.variant, trial.attempt));
    let model = trial.model.as_deref().unwrap_or("no model");
    page.say(
        Paint::Plain,
        0,
        &format!("agent {}, {model}, {}", trial.agent, show::timestamp(trial.started_ms)),
    );
    let paint = match trial.verdict.outcome {
        OutcomeName::Resolved => Paint::Good,
        OutcomeName::Unresolved => Paint::Bad,
        OutcomeName::Stopped => Paint::Odd,
    };
    page.head("verdict");
    page.say(paint, 2, &verdict(&trial.verdict));
    let exit = trial.agent_exit.map_or("never started", harness_core::AgentExit::name);
    page.say(
        Paint::Plain,
        2,
        &format!("agent: {exit}; score {}", or_unknown(trial.score, |score| score.to_string())),
    );
    for (name, value) in trial.rewards.iter().flatten() {
        // Most tasks have one reward, which has no name of its own.
        let name = if name == "reward" { String::new() } else { format!(" {name}") };
        page.say(Paint::Plain, 2, &format!("reward{name}: {value}"));
    }
    for step in trial.steps.iter().flatten() {
        let rewards: Vec<String> =
            step.rewards.iter().flatten().map(|(name, value)| format!("{name} {value}")).collect();
        let rewards = if rewards.is_empty() { "not judged".to_owned() } else { rewards.join(", ") };
        let reason = step.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        page.say(Paint::Plain, 2, &format!("step {}: {rewards}{reason}", step.name));
    }
    if let Some(tests) = trial.tests {
        page.head("tests");
        page.say(Paint::Plain, 2, &format!("{} passed, {} did not", tests.passed, tests.failed));
        for (what, passed) in
            [("to begin to pass", tests.fail_to_pass), ("to go on passing", tests.pass_to_pass)]
        {
            if passed.total > 0 {
                page.say(Paint::Plain, 2, &format!("{what}: {} of {}", passed.passed, passed.total));
            }
        }
    }
    page.head("time");
    phases(page, &trial.duration_ms);
    page.head("cost");
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let cost = known(trial.cost.map(|cost| show::usd(cost.as_usd())));
    let tokens = known(trial.usage.total().map(show::count));
    let requests = known(trial.usage.requests.map(show::count));
    let simulated = if trial.simulated { " (simulated: nothing was spent)" } else { "" };
    page.say(Paint::Plain, 2, &format!("money: {cost}{simulated}; tokens: {tokens}; requests: {requests}"));
    if let Some(own) = &trial.reported {
        let cost = known(own.cost.map(|cost| show::usd(cost.as_usd())));
        let tokens = known(own.usage.total().map(show::count));
        page.say(Paint::Faint, 2, &format!("by the agent's own account: {cost}; tokens: {tokens}"));
    }
    if let Some(diff) = trial.diff {
        let files = show::plural(diff.files as usize, "file");
        let hunks = show::plural(diff.hunks as usize, "hunk");
        let change = format!("change: {files}, {hunks}, +{} -{} lines", diff.added, diff.removed);
        page.say(Paint::Plain, 2, &change);
    }
    if trial.cpu_ms.is_some() || trial.peak_memory_bytes.is_some() {
        let memory = or_unknown(trial.peak_memory_bytes, |bytes| format!("{} MiB", bytes >> 20));
        page.say(
            Paint::Plain,
            2,
            &format!(
                "sandbox: {} processor time, {memory} at most",
                or_unknown(trial.cpu_ms, show::duration)
            ),
        );
    }
    page.head("sandbox");
    let sandbox = &trial.sandbox;
    page.say(
        Paint::Plain,
        2,
        &format!("{}, root {}, network {}", sandbox.backend, sandbox.rootfs, sandbox.network),
    );
    if let Some(tests) = &sandbox.verifier_network {
        page.say(Paint::Plain, 2, &format!("network of the tests: {tests}"));
    }
    // What the sandbox and the image both say is said once.
    for weakness in sandbox.weaknesses.iter().collect::<std::collections::BTreeSet<_>>() {
        page.say(Paint::Odd, 2, &format!("weak: {weakness}"));
    }
    match &trial.network {
        Some(tried) => connections::tell(page, tried),
        None if sandbox.network == "open" => page.say(Paint::Odd, 2, "connections: nobody watched"),
        None => {}
    }
    if !trial.integrity.is_empty() {
        page.head("integrity");
        for finding in &trial.integrity {
            let (word, paint) = match finding.severity {
                Severity::Info => ("info", Paint::Plain),
                Severity::Warning => ("warning", Paint::Odd),
                Severity::Tampered => ("tampered", Paint::Bad),
            };
            page.say(paint, 2, &format!("{word}: {}: {}", finding.check, finding.detail));
        }
    }
    if trial.tries.len() > 1 {
        tries(page, &trial.tries);
    }
}

fn verdict(verdict: &VerdictRow) -> String {
    let place = match (verdict.phase, verdict.blame) {
        (Some(phase), Some(blame)) => format!(" in {phase}, blame {blame}"),
        _ => String::new(),
    };
    let reason = verdict.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}{place}{reason}", verdict.outcome.name())
}

fn phases(page: &mut Page, durations: &Durations) {
    let Durations { prepare, solve, capture, verify, teardown, total } = *durations;
    let named = [
        ("prepare", prepare),
        ("solve", solve),
        ("capture", capture),
        ("verify", verify),
        ("teardown", teardown),
        ("total", total),
    ];
    for (name, ms) in named {
        page.say(Paint::Plain, 2, &format!("{name:<9}{:>8}", show::duration(ms)));
    }
}

fn tries(page: &mut Page, tries: &[TryRow]) {
    if tries.is_empty() {
        return;
    }
    page.head("tries");
    for one in tries {
        let time = show::duration(one.duration_ms.total);
        let cost = or_unknown(one.cost, |cost| show::usd(cost.as_usd()));
        page.say(Paint::Plain, 2, &format!("{}. {} ({time}, {cost})", one.number, verdict(&one.verdict)));
    }
}

/// Lines that fit, each made safe.
struct Page {
    lines: Vec<String>,
    look: Look,
}

impl Page {
    fn head(&mut self, title: &str) {
        self.lines.push(String::new());
        self.say(Paint::Strong, 0, title);
    }

    fn say(&mut self, paint: Paint, indent: usize, text: &str) {
        // A line of megabytes is not worth a thousand lines of screen.
        let short: String = text.chars().take(4000).collect();
        for line in wrap(&clean(&short), self.look.columns() - indent) {
            let line = paint.on(&line, self.look.color);
            self.lines.push(format!("{}{line}", " ".repeat(indent)).trim_end().to_owned());
        }
    }
}
