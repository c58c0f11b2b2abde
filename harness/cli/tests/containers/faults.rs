//! Runs whose engine or harness fails at a bad moment, and runs that share an engine: every trial once, nothing scored that was not
//! judged, nothing left behind (`harbor.md` §5.10 among it).

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::place::{Place, TASK, Task};
use crate::private::PrivateEngine;
use crate::room::until;

/// A word that nobody had before, so that an image of it is nowhere.
pub fn unique(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{what}-{}-{now}", std::process::id())
}

/// Every planned trial has one record, which says that it was resolved.
#[track_caller]
fn all_resolved(report: &Value, count: usize) {
    let trials = report["trials"].as_array().unwrap();
    let wrong: Vec<_> = trials.iter().filter(|trial| trial["outcome"] != "resolved").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let ids: BTreeSet<String> =
        trials.iter().map(|trial| format!("{} {}", trial["task"], trial["attempt"])).collect();
    assert_eq!((trials.len(), ids.len()), (count, count));
}

fn events(place: &Place, run: &str, kind: &str) -> usize {
    let file = place.room.path(&format!(".harness/runs/{run}/journal.jsonl"));
    std::fs::read_to_string(file).unwrap_or_default().matches(kind).count()
}

#[test]
fn harbor_5_10_killed_while_it_builds_starts_works_and_removes_a_run_is_finished_and_leaves_nothing() {
    let Some(place) = Place::here() else { return };
    let run = unique("killed");
    for number in 0..3 {
        let id = format!("built-{number}");
        let dockerfile =
            format!("FROM debian:12\nRUN sleep 0.4; echo {run} {number} > /made\nRUN sleep 0.2; cat /made\n");
        place.task(&Task { id: &id, dockerfile: Some(&dockerfile), ..TASK });
    }
    for id in ["one", "two", "three"] {
        place.task(&Task { id, solution: "sleep 0.3; echo done > /srv/out", ..TASK });
    }
    let begin = format!("run suite tasks --sandbox docker --agent oracle -j 2 --attempts 3 --run-id {run}");
    let line = || {
        let begun = place.room.path(&format!(".harness/runs/{run}/manifest.json")).exists();
        if begun { format!("resume {run}") } else { begin.clone() }
    };
    let mut killed = 0;
    // The clock's last digits are as good as dice.
    for at_least_ms in [50, 300, 600, 900, 1300, 1700, 2200] {
        let mut child = place.spawn(&line());
        let dice = u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_micros() % 500);
        sleep(Duration::from_millis(at_least_ms + dice));
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed >= 4, "it was hardly ever killed at work: {killed}");
    let before = events(&place, &run, "\"trial_finished\"");
    place.harness(&line()).exits(0);
    println!("killed {killed} times, {before} trials were finished before the last start");
    all_resolved(&place.report(&run), 18);
    // Whoever starts next removes what dead ones left.
    until("nothing is left", || {
        place.harness("clean").exits(0);
        place.containers(&run).is_empty()
    });
    let cleaned = place.harness("clean --images").exits(0);
    println!("{}", cleaned.err);
    let label = "label=harness.image.about";
    let images = place.docker(&["images", "--filter", label, "--format", "{{.ID}}"]).unwrap();
    for image in images.lines() {
        let history = place.docker(&["history", "--no-trunc", "-q", "--format", "{{.CreatedBy}}", image]);
        assert!(!history.unwrap_or_default().contains(&run), "an image of the run is left: {image}");
    }
}

#[test]
fn sixty_four_trials_at_once_all_end_as_they_should() {
    let Some(place) = Place::here() else { return };
    place.task(&TASK);
    let run = unique("many");
    let line = format!("run suite tasks --sandbox docker --agent oracle -j 64 --attempts 64 --run-id {run}");
    place.harness(&line).exits(0);
    all_resolved(&place.report(&run), 64);
    assert_eq!(place.containers(&run), [""; 0]);
}

#[test]
fn two_harnesses_on_one_engine_end_their_runs_and_remove_nothing_of_each_other() {
    let Some(place) = Place::here() else { return };
    let other = Place::here().unwrap();
    let name = unique("shared");
    let dockerfile = format!("FROM debian:12\nRUN sleep 1; echo {name} > /made\n");
    for place in [&place, &other] {
        place.task(&Task { id: "built", dockerfile: Some(&dockerfile), ..TASK });
        place.task(&Task { solution: "sleep 1; echo done > /srv/out", ..TASK });
    }
    let line = |number: u32| {
        format!("run suite tasks --sandbox docker --agent oracle -j 2 --attempts 4 --run-id {name}-{number}")
    };
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| place.harness(&line(1)));
        other.harness(&line(2)).exits(0);
        other.harness("clean").exits(0);
        first.join().unwrap()
    });
    first.exits(0);
    all_resolved(&place.report(&format!("{name}-1")), 8);
    all_resolved(&other.report(&format!("{name}-2")), 8);
    for number in [1, 2] {
        assert_eq!(place.containers(&format!("{name}-{number}")), [""; 0]);
    }
}

#[test]
fn an_image_that_is_removed_in_the_middle_of_a_run_is_made_again() {
    let Some(place) = Place::here() else { return };
    let run = unique("removed");
    let dockerfile = format!("FROM debian:12\nRUN echo {run} > /made\n");
    place.task(&Task { id: "built", dockerfile: Some(&dockerfile), ..TASK });
    let mut child = place.spawn(&format!(
        "run suite tasks --sandbox docker --agent oracle --attempts 8 --retries 4 --run-id {run}"
    ));
    let mut removed = 0;
    for wanted in [1, 3, 5] {
        until("trials end", || {
            events(&place, &run, "\"trial_finished\"") >= wanted || child.try_wait().unwrap().is_some()
        });
        let format = "{{.Repository}}:{{.Tag}}";
        let listed =
            place.docker(&["images", "--filter", "label=harness.image", "--format", format]).unwrap();
        for image in listed.lines() {
            let history = place.docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", image]);
            if history.unwrap_or_default().contains(&run) {
                removed += usize::from(place.docker(&["rmi", "-f", image]).is_some());
            }
        }
    }
    let status = crate::room::wait(&mut child, Duration::from_secs(300));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(removed > 0, "nothing was removed");
    all_resolved(&place.report(&run), 8);
}

#[test]
fn an_engine_that_is_killed_and_comes_back_in_the_middle_of_a_run_costs_no_trial() {
    let Some(mut engine) = PrivateEngine::start() else { return };
    let place = Place::at(&engine.host());
    for id in ["one", "two", "three", "four"] {
        place.task(&Task { id, solution: "sleep 2; echo done > /srv/out", ..TASK });
    }
    let mut child = place
        .spawn("run suite tasks --sandbox docker --agent oracle -j 2 --attempts 2 --retries 8 --run-id r");
    until("agents work", || events(&place, "r", "\"solve\"") >= 2);
    for _ in 0..2 {
        engine.kill();
        sleep(Duration::from_millis(1500));
        engine.restart();
        sleep(Duration::from_millis(2500));
    }
    let status = crate::room::wait(&mut child, Duration::from_secs(300));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    all_resolved(&place.report("r"), 8);
    until("nothing is left", || {
        place.harness("clean").exits(0);
        place.containers("r").is_empty()
    });
}
