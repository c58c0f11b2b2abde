//! `kill -9` at random moments: a child process runs a plan, is killed, and is started again until it is through.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness_core::Event;
use harness_core::journal::Journal;

use crate::support::{RUN, SOLVE, World, write};

/// The folder that the child works in.
const CHILD: &str = "HARNESS_ENGINE_TEST_CHILD";
const KILLS: usize = 50;

fn world(folder: &std::path::Path) -> World {
    let mut world = World::new();
    world.runs = folder.join("runs");
    world.attempts = 2;
    world.settings.jobs = 3;
    for at in 0..10 {
        world.task(&format!("task-{at}"), |task, origin| {
            write(&origin.join("solution/solve.sh"), &format!("{SOLVE}sleep 0.00{at}\n"));
            // The children's folders differ, the plan's digests must not.
            task.digest = harness_core::Digest::of(task.id.as_str().as_bytes());
        });
    }
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    world
}

/// Not a test of its own: what the next test starts as another process.
#[test]
fn child_of_the_kill_test() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = world(folder.as_ref());
    assert!(runtime.block_on(world.run()).complete());
}

#[test]
fn run_killed_at_fifty_random_moments_ends_with_every_trial_exactly_once() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let limit = Instant::now() + Duration::from_secs(120);
    let (mut kills, mut runs, mut interrupted) = (0, 0, 0);
    while kills < KILLS {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("runs").join(RUN).join("journal.jsonl");
        let read = || Journal::parse(&std::fs::read(&journal).unwrap_or_default()).unwrap();
        runs += 1;
        loop {
            assert!(Instant::now() < limit, "{kills} kills took too long");
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "kill::child_of_the_kill_test", "--nocapture"])
                .env(CHILD, folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            if kills < KILLS {
                // The moment is counted from the first write of this child, so that starting it does not eat all the time.
                let length = || std::fs::metadata(&journal).map_or(0, |about| about.len());
                let before = length();
                let early = random(5) == 0;
                while !early && length() == before && child.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::thread::sleep(Duration::from_micros(random(12_000)));
                child.kill().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            let journal = read();
            let complete = journal.finished().count() == 40;
            if output.status.success() {
                assert!(complete);
                break;
            }
            assert!(
                std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            kills += 1;
            interrupted += usize::from(!complete && !journal.entries.is_empty());
        }
        assert_whole(&read(), folder.path());
    }
    // Otherwise the moments were badly chosen and the test shows little.
    assert!(interrupted > KILLS / 3, "{interrupted} of {kills} kills hit a run at work, in {runs} runs");
}

/// Every planned trial finished exactly once, none was started after that, and tries are counted without gaps.
fn assert_whole(journal: &Journal, folder: &std::path::Path) {
    let mut finished: HashMap<String, usize> = HashMap::new();
    for entry in &journal.entries {
        match &entry.event {
            Event::TrialStarted { id, .. } => assert!(!finished.contains_key(&id.path()), "{id} ran again"),
            Event::TrialFinished { record } => {
                *finished.entry(record.id.path()).or_default() += 1;
                let numbers: Vec<_> = record.tries.iter().map(|one| one.number).collect();
                assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
                let solved = record.id.variant.as_str() == "oracle";
                assert_eq!(record.score, Some(if solved { 1.0 } else { 0.0 }), "{record:?}");
            }
            _ => {}
        }
    }
    let planned = world(folder).plan();
    assert_eq!(finished.len(), planned.len());
    assert!(planned.iter().all(|planned| finished[&planned.id.path()] == 1));
}
