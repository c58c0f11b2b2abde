//! A run in the native sandbox that is killed, as by a power loss, at fifty random moments and resumed each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::native::{mounts, room};
use crate::room::{Room, words};

const KILLS: u32 = 50;
const TASKS: u32 = 36;
/// Trials: each task with each of two variants.
const TRIALS: usize = 2 * TASKS as usize;
const LINE: &str = "run suite tasks --sandbox native --rootfs host -j 2 --run-id r --agent oracle --agent command --agent-set host='sh agent.sh'";

/// The agent on the host: says outside which task it was started for, then solves it inside.
const AGENT: &str = r#"read -r task || exit 1
task=${task#*\"task\":\"}
echo "${task%%\"*}" >> counter
echo '{"id":1,"call":"exec","command":"sleep 0.3; echo done > /app/out"}'
read -r answer || exit 1
echo '{"call":"done","status":"finished"}'
"#;

#[test]
fn killed_at_fifty_random_moments_and_resumed_a_run_ends_with_every_trial_once() {
    let Some(room) = room() else { return };
    for number in 0..TASKS {
        room.slow_task(&format!("t{number:02}"), 0.3);
    }
    room.write("agent.sh", AGENT);
    room.write("counter", "");
    let mut moments = Moments::new();
    let began = Instant::now();
    // Sandboxes that were there when the program was killed, by the names of their scratch folders.
    let mut seen = BTreeSet::new();
    let mut after = BTreeMap::new();
    for kill in 0..KILLS {
        let finished = finished(&room);
        let worked = counted(&room);
        // Kept behind schedule, so that the run is not finished before its last kill, on a fast machine neither.
        let ahead = finished.len() * KILLS as usize > TRIALS * kill as usize * 2 / 3;
        let mut command = room.command();
        command.args(words(line(&room))).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let moment = moments.next(ahead);
        std::thread::sleep(moment);
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ended, None, "kill {kill}: it ended before it was killed");
        seen.extend(scratch(&room));
        again(&room, &finished, worked);
        moments.learn(moment, self::finished(&room).len() > finished.len());
        *after.entry(finished.len()).or_insert(0) += 1;
    }
    println!("{KILLS} kills in {:?}; after so many finished trials: {after:?}", began.elapsed());
    assert!(after.len() > 3, "the run hardly went on between its kills: {after:?}");
    let finished = finished(&room);
    let worked = counted(&room);
    room.harness(line(&room)).exits(0);
    println!("finished after {:?}", began.elapsed());
    again(&room, &finished, worked);
    every_trial_once(&room);
    nothing_is_left(&room, &seen);
}

/// How a user goes on. A run of which nothing is on disk yet is begun anew.
fn line(room: &Room) -> &'static str {
    if room.path(".harness/runs/r/manifest.json").exists() { "resume r" } else { LINE }
}

/// When the program is killed, from its start: sometimes before it has done anything.
struct Moments {
    random: u64,
    /// The latest, in microseconds: such that something gets done, on a busy machine too.
    most: u64,
}

impl Moments {
    fn new() -> Moments {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let given = std::env::var("HARNESS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(now);
        println!("HARNESS_TEST_SEED={seed} draws the same moments");
        Moments { random: u64::from(seed) | 1, most: 1_000_000 }
    }

    fn next(&mut self, early: bool) -> Duration {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = self.random >> 33;
        // Before anything has begun, while sandboxes are made and work, or after some trials have finished.
        let most = match random % 5 {
            0 => 40_000,
            _ if early => 300_000,
            _ => self.most,
        };
        Duration::from_micros((random >> 3) % most)
    }

    /// A late moment at which nothing more was done was too early here.
    fn learn(&mut self, moment: Duration, more: bool) {
        if moment.as_micros() > u128::from(self.most / 2) {
            self.most =
                if more { self.most * 9 / 10 } else { self.most * 3 / 2 }.clamp(1_000_000, 10_000_000);
        }
    }
}

/// The journal's whole lines, as anybody can read them.
fn journal(room: &Room) -> Vec<Value> {
    let text = std::fs::read_to_string(room.path(".harness/runs/r/journal.jsonl")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Task and agent. (A variant with settings has their digest in its name.)
fn name(trial: &Value) -> String {
    let agent = trial["variant"].as_str().unwrap().split('+').next().unwrap();
    format!("{}/{agent}", trial["task"].as_str().unwrap())
}

fn finished(room: &Room) -> BTreeSet<String> {
    let entries = journal(room);
    let finished = entries.iter().filter(|entry| entry["event"] == "trial_finished");
    finished.map(|entry| name(&entry["record"])).collect()
}

/// What the agent wrote outside: a task each time it was started.
fn counted(room: &Room) -> Vec<String> {
    room.read("counter").lines().map(str::to_owned).collect()
}

/// No agent worked again on what was finished before.
fn again(room: &Room, finished: &BTreeSet<String>, before: Vec<String>) {
    let now = counted(room);
    assert_eq!(now[..before.len()], before);
    let twice: Vec<_> =
        now[before.len()..].iter().filter(|task| finished.contains(&format!("{task}/command"))).collect();
    assert!(twice.is_empty(), "worked on again after it was finished: {twice:?}");
}

fn every_trial_once(room: &Room) {
    let tasks = (0..TASKS).map(|number| format!("t{number:02}"));
    let expected: Vec<String> =
        tasks.flat_map(|task| ["command", "oracle"].map(|variant| format!("{task}/{variant}"))).collect();
    let report = room.harness("report r --format json").exits(0).json();
    let trials = report["trials"].as_array().unwrap();
    let mut reported: Vec<_> = trials.iter().map(name).collect();
    reported.sort();
    assert_eq!(reported, expected);
    let unresolved: Vec<_> = trials.iter().filter(|trial| trial["outcome"] != "resolved").collect();
    assert!(unresolved.is_empty(), "{unresolved:#?}");

    let (mut started, mut ended) = (BTreeMap::new(), BTreeSet::new());
    for entry in journal(room) {
        match entry["event"].as_str().unwrap_or_default() {
            "trial_started" => {
                let trial = name(&entry);
                assert!(!ended.contains(&trial), "{trial} was started after it had finished");
                *started.entry(trial).or_insert(0) += 1;
            }
            "trial_finished" => {
                let trial = name(&entry["record"]);
                assert!(ended.insert(trial.clone()), "{trial} finished twice");
            }
            _ => {}
        }
    }
    assert!(ended.iter().eq(&expected), "{ended:?}");
    // Each start of the agent is one that the journal knew of before.
    let mut worked = BTreeMap::new();
    for task in counted(room) {
        *worked.entry(format!("{task}/command")).or_insert(0) += 1;
    }
    for (trial, times) in &worked {
        assert!((1..=started[trial]).contains(times), "{trial}: {times} times, started {}", started[trial]);
    }
    assert_eq!(worked.len(), TASKS as usize);
}

/// Names of the sandboxes' scratch folders.
fn scratch(room: &Room) -> Vec<String> {
    let folder = room.root().join("state/scratch");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Whatever the kills left, the last run removed.
fn nothing_is_left(room: &Room, seen: &BTreeSet<String>) {
    println!("{} sandboxes were seen half-way", seen.len());
    let left = room.harness("clean --dry-run --format json").exits(0).json();
    assert_eq!(left["removed"], serde_json::json!([]));
    assert_eq!(mounts(room), Vec::<String>::new());
    assert_eq!(scratch(room), Vec::<String>::new());
    let mut groups = Vec::new();
    groups_of(Path::new("/sys/fs/cgroup"), seen, &mut groups, 0);
    assert_eq!(groups, Vec::<String>::new());
    // Whoever was killed with the program has perhaps not been buried yet.
    let end = Instant::now() + Duration::from_secs(10);
    while !processes(room, seen).is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(processes(room, seen), Vec::<String>::new());
}

/// Control groups that are named after one of these sandboxes.
fn groups_of(folder: &Path, seen: &BTreeSet<String>, found: &mut Vec<String>, depth: u32) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix("harness-").is_some_and(|id| seen.contains(id)) {
            found.push(entry.path().display().to_string());
        } else if depth < 8 {
            groups_of(&entry.path(), seen, found, depth + 1);
        }
    }
}

/// Processes that belong to the room, or to one of these sandboxes.
fn processes(room: &Room, seen: &BTreeSet<String>) -> Vec<String> {
    let root = room.root().display().to_string();
    let ours = |text: &str| text.contains(&root) || seen.iter().any(|id| text.contains(id.as_str()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let folder = entry.path();
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read = |name: &str| {
            let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let command = read("cmdline");
        if [&command, &read("environ"), &read("cgroup"), &read("mountinfo")]
            .into_iter()
            .any(|text| ours(text))
        {
            found.push(format!("{}: {command}", folder.display()));
        }
    }
    found
}
