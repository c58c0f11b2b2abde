//! A sealed room: the program with a home, state, settings and a working folder of its own and an empty environment,
//! so that nothing of the machine and nothing of another test shows in what it says.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest that any command of these tests takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The room. Everything in it goes with it.
pub struct Room {
    root: TempDir,
}

impl Room {
    pub fn new() -> Room {
        let room = Room { root: tempfile::Builder::new().prefix("room-").tempdir().unwrap() };
        for folder in ["home", "tmp", "state", "work"] {
            fs::create_dir(room.root.path().join(folder)).unwrap();
        }
        room
    }

    /// A room with these tasks in `tasks/`, each solved by its own solution.
    pub fn with(tasks: &[&str]) -> Room {
        let room = Room::new();
        for task in tasks {
            room.task(task);
        }
        room
    }

    /// A path below the working folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file, by its path from the working folder.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        let file = self.path(name);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// A task in the language of the `memory` sandbox: a file must say "done".
    pub fn task(&self, id: &str) {
        self.slow_task(id, 0.0);
    }

    /// The same, whose solution takes its time.
    pub fn slow_task(&self, id: &str, seconds: f64) {
        let task = format!("tasks/{id}");
        self.write(&format!("{task}/task.toml"), TASK);
        self.write(&format!("{task}/instruction.md"), "Write the word done to /app/out.\n");
        self.write(&format!("{task}/environment/Dockerfile"), "FROM debian:bookworm\nWORKDIR /app\n");
        self.write(&format!("{task}/tests/test.sh"), TEST);
        let wait = if seconds > 0.0 { format!("sleep {seconds}\n") } else { String::new() };
        self.write(&format!("{task}/solution/solve.sh"), &format!("#!/bin/sh\n{wait}echo done > /app/out\n"));
    }

    /// The program, in this room.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        let at = |name: &str| self.root.path().join(name);
        command.env_clear().current_dir(at("work")).stdin(Stdio::null());
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
        command.env("HOME", at("home")).env("TMPDIR", at("tmp")).env("HARNESS_STATE_DIR", at("state"));
        command.env("XDG_CONFIG_HOME", at("home/.config")).env("XDG_STATE_HOME", at("home/.local/state"));
        command.env("XDG_CACHE_HOME", at("home/.cache")).env("XDG_DATA_HOME", at("home/.local/share"));
        // An engine of this machine, and what others left in it, is none of these tests' business.
        command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        command.env("NO_COLOR", "1").env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs `harness LINE` to its end; words are split as a shell would, single quotes understood.
    pub fn harness(&self, line: &str) -> Done {
        let mut command = self.command();
        command.args(words(line));
        self.finish(command, line)
    }

    /// Runs a prepared command to its end.
    pub fn finish(&self, mut command: Command, what: &str) -> Done {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.end_of(child, what)
    }

    /// Waits for a child whose streams are pipes.
    pub fn end_of(&self, mut child: Child, what: &str) -> Done {
        let out = drain(child.stdout.take().unwrap());
        let err = drain(child.stderr.take().unwrap());
        let status = wait(&mut child, PATIENCE)
            .unwrap_or_else(|| panic!("`harness {what}` did not end within {PATIENCE:?}"));
        Done {
            what: what.to_owned(),
            code: status.code().unwrap_or_else(|| 1000 + status.signal().unwrap_or_default()),
            out: String::from_utf8(out.join().unwrap()).unwrap(),
            err: String::from_utf8(err.join().unwrap()).unwrap(),
            root: self.root.path().to_owned(),
        }
    }
}

/// Waits, and after this time kills and gives `None`.
pub fn wait(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    })
}

/// A command that has ended.
pub struct Done {
    what: String,
    pub code: i32,
    pub out: String,
    pub err: String,
    root: PathBuf,
}

impl Done {
    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Done {
        assert_eq!(
            self.code, code,
            "`harness {}`\n--- stdout ---\n{}\n--- stderr ---\n{}",
            self.what, self.out, self.err
        );
        self
    }

    /// stdout without what differs from run to run.
    pub fn shown(&self) -> String {
        neutral(&self.out, &self.root)
    }

    /// stderr without what differs from run to run.
    pub fn said(&self) -> String {
        neutral(&self.err, &self.root)
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("`harness {}`: {error}\n{}", self.what, self.out))
    }

    /// stdout as lines of JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

/// Words of a command line; single quotes hold words together.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut open) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, open) = (!quoted, true),
            ' ' if !quoted => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            c => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

/// Text without times, dates and paths of the room; runs of spaces, which follow from their widths, become two.
pub fn neutral(text: &str, root: &Path) -> String {
    let text = text.replace(&root.display().to_string(), "ROOM");
    let lines: Vec<String> = text.lines().map(|line| narrow(&without_times(line))).collect();
    lines.join("\n")
}

fn without_times(line: &str) -> String {
    const PATTERNS: &[(&str, &str)] = &[
        ("####-##-##T##:##:##Z", "DATE"),
        ("########-######", "STAMP"),
        ("+h##m", "TIME"),
        ("+m##s", "TIME"),
        ("+.#s", "TIME"),
        ("+ms", "TIME"),
        ("+s", "TIME"),
    ];
    let chars: Vec<char> = line.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < chars.len() {
        let word_begins = at == 0 || !(chars[at - 1].is_alphanumeric() || ".".contains(chars[at - 1]));
        let found = PATTERNS.iter().filter(|_| word_begins).find_map(|(pattern, name)| {
            let length = length(pattern, &chars[at..])?;
            let ends = chars.get(at + length).is_none_or(|c| !c.is_alphanumeric());
            ends.then_some((length, *name))
        });
        match found {
            Some((length, name)) => {
                out.push_str(name);
                at += length;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out
}

/// How many characters a pattern takes: `#` is a digit, `+` one or more of them.
fn length(pattern: &str, chars: &[char]) -> Option<usize> {
    let mut at = 0;
    for wanted in pattern.chars() {
        match wanted {
            '#' if chars.get(at)?.is_ascii_digit() => at += 1,
            '+' => {
                let digits = chars[at..].iter().take_while(|c| c.is_ascii_digit()).count();
                at += if digits == 0 { return None } else { digits };
            }
            '#' => return None,
            wanted if *chars.get(at)? == wanted => at += 1,
            _ => return None,
        }
    }
    Some(at)
}

fn narrow(line: &str) -> String {
    let body = line.trim_start();
    let mut out = line[..line.len() - body.len()].to_owned();
    let mut spaces = 0;
    for c in body.trim_end().chars() {
        spaces = if c == ' ' { spaces + 1 } else { 0 };
        if spaces <= 2 {
            out.push(c);
        }
    }
    out
}

#[test]
fn what_differs_from_run_to_run_is_taken_out() {
    let line = "run 20261121-145334-tasks 2026-11-21T14:53:34Z (12.3s)    850ms 4m05s 30 tasks h264s x1ms";
    let expected = "run STAMP-tasks DATE (TIME)  TIME TIME 30 tasks h264s x1ms";
    assert_eq!(neutral(line, Path::new("/nowhere")), expected);
    assert_eq!(words("a 'b c' --x='d e' ''"), ["a", "b c", "--x=d e", ""]);
}

const TASK: &str = r#"version = "1.0"

[metadata]
difficulty = "easy"
tags = ["small"]

[metadata.harness]
language = "shell"

[environment]
network_mode = "no-network"

[agent]
timeout_sec = 60.0

[verifier]
timeout_sec = 60.0
"#;

const TEST: &str = r"#!/bin/sh
if grep -q done /app/out; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi
";
