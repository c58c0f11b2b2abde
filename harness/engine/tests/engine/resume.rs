//! Resuming: a journal that ends anywhere goes on from there, and nothing finished is run again.

use std::collections::HashSet;

use harness_core::journal::Journal;
use harness_core::{Event, Outcome, TrialId};

use crate::support::World;

fn world() -> World {
    let mut world = World::new();
    world.attempts = 2;
    world.plain("a");
    world.plain("b");
    world.task("skipped", |task, _| task.hints.tools = vec!["no-such-tool".into()]);
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    world
}

/// Cuts the journal of a finished run, resumes it, and checks what is there.
async fn cut_and_resume(world: &World, whole: &[u8], cut: usize) {
    let file = world.run_path().join("journal.jsonl");
    std::fs::write(&file, &whole[..cut]).unwrap();
    let before = Journal::parse(&whole[..cut]).unwrap();
    let done: HashSet<TrialId> = before.finished().map(|record| record.id.clone()).collect();
    let end = world.run().await;
    assert!(end.complete(), "cut at {cut}: {end:?}");
    assert_eq!((end.finished, end.skipped, end.harness_faults), (8, 4, 0), "cut at {cut}");

    let after = world.journal();
    assert_eq!(after.entries[..before.entries.len()], before.entries, "cut at {cut}: the prefix is kept");
    let mut found: Vec<_> = after.finished().map(|record| record.id.clone()).collect();
    found.sort();
    let planned = world.plan().into_iter().map(|planned| planned.id);
    let mut planned: Vec<_> = planned.filter(|id| id.task.as_str() != "skipped").collect();
    planned.sort();
    assert_eq!(found, planned, "cut at {cut}");
    for entry in &after.entries[before.entries.len()..] {
        if let Event::TrialStarted { id, .. } = &entry.event {
            assert!(!done.contains(id), "cut at {cut}: {id} ran again");
        }
    }
    for record in after.finished() {
        let numbers: Vec<_> = record.tries.iter().map(|one| one.number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>(), "cut at {cut}");
        let solved = record.id.variant.as_str() == "oracle";
        assert_eq!(record.outcome == Outcome::Resolved, solved, "cut at {cut}: {record:?}");
        // A try that was under way at the cut is on record.
        let open = before
            .entries
            .iter()
            .any(|entry| matches!(&entry.event, Event::TrialStarted { id, .. } if *id == record.id));
        let expected = if open && !done.contains(&record.id) { 2 } else { 1 };
        assert_eq!(numbers.len(), expected, "cut at {cut}: {}", record.id);
    }
}

#[tokio::test(start_paused = true)]
async fn journal_cut_at_every_line_and_at_random_bytes_is_finished_by_resume() {
    let world = world();
    assert!(world.run().await.complete());
    let whole = std::fs::read(world.run_path().join("journal.jsonl")).unwrap();
    let lines = (0..whole.len()).filter(|at| whole[*at] == b'\n').flat_map(|at| [at, at + 1]);
    let mut cuts: Vec<usize> = lines.chain([0, 1, 5]).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..60 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        cuts.push((seed >> 33) as usize % whole.len());
    }
    for cut in cuts {
        // Folders of trials that the journal does not know of stay where they are: that is what a crash leaves.
        cut_and_resume(&world, &whole, cut).await;
    }
}

#[tokio::test(start_paused = true)]
async fn run_that_was_resumed_keeps_earlier_tries_and_their_evidence() {
    let world = world();
    assert!(world.run().await.complete());
    let whole = std::fs::read(world.run_path().join("journal.jsonl")).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let line =
        text.lines().position(|line| line.contains("trial_started") && line.contains("oracle")).unwrap();
    let cut: usize = text.lines().take(line + 1).map(|line| line.len() + 1).sum();
    std::fs::write(world.run_path().join("journal.jsonl"), &whole[..cut]).unwrap();
    world.run().await;
    let record = world.record("a/oracle/1");
    assert_eq!(record.tries.len(), 2);
    let Outcome::Stopped { blame, reason, .. } = &record.tries[0].outcome else { panic!("{record:?}") };
    assert_eq!(blame.name(), "harness");
    assert!(reason.contains("while this try was under way"), "{reason}");
    assert!(!world.file("a/oracle/1", "try-1/patch.diff").is_empty());
}

#[tokio::test]
async fn journal_with_damage_in_the_middle_is_refused_and_left_as_it_is() {
    let world = world();
    world.run().await;
    let file = world.run_path().join("journal.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = b'\n';
    std::fs::write(&file, &bytes).unwrap();
    let error = world.try_run().await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(error.to_string().contains("journal.jsonl"), "{error}");
    assert!(source.starts_with("line "), "{source}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}
