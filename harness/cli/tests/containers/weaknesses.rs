//! The weak points of the runner that task authors know best, reproduced with it (`harbor.md` §5, numbers as there): none of them is
//! one of ours. Those that need no containers have their tests beside the scheduler: §5.12 and §5.13 to §5.15
//! (`harness/engine/tests/engine`); attacks on the verdict, §5.2 at length, are in `attacks.rs`, and §5.10 is in `faults.rs`.

use std::fs;
use std::time::{Duration, Instant};

use crate::place::{Place, TASK, Task, trial};

// All runs of this file have one name, in different places, at once: none touches another's sandboxes.

/// One run, because most of its time is the engine's: each task is one of the points.
#[test]
fn harbor_5_what_agents_tasks_and_engines_do_wrong_stays_their_own() {
    let Some(place) = Place::here() else { return };
    place.task(&TASK);
    // §5.1: out of time at 3 s; what it left in a session of its own would be done at 8 s, and the tests would see both.
    place.task(&Task {
        id: "out-of-time",
        seconds: 3.0,
        solution: "(setsid bash -c 'exec -a late-worker sleep 5' && echo done > /srv/out) & sleep 60",
        test: "sleep 7; late=$(cat /proc/[0-9]*/cmdline 2>/dev/null | grep -c [l]ate-worker)\n\
               if [ -e /srv/out ] || [ \"$late\" != 0 ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt",
        ..TASK
    });
    // §5.2: a verdict that is written again and again from the background.
    place.task(&Task {
        id: "forged",
        solution: "(setsid bash -c 'while :; do echo 1 > /logs/verifier/reward.txt; done' &) 2>/dev/null",
        test: "echo 0 > /logs/verifier/reward.txt; sleep 1",
        ..TASK
    });
    // §5.4: one that cannot start; §5.5: one that does not build. Neither is a score, and neither is anybody else's.
    place.task(&Task { id: "no-such-image", image: "127.0.0.1:1/none:1", ..TASK });
    place.task(&Task {
        id: "does-not-build",
        dockerfile: Some("FROM debian:12\nRUN echo no >&2; exit 3\n"),
        ..TASK
    });
    // §5.8: what single tests said beside a status that nobody asks for.
    place.task(&Task {
        id: "tests-counted",
        test: "printf '%s' '{\"results\":{\"tool\":{\"name\":\"t\"},\"summary\":{\"tests\":2,\"passed\":2,\"failed\":0,\"pending\":0,\
               \"skipped\":0,\"other\":0,\"start\":0,\"stop\":1},\"tests\":[{\"name\":\"a\",\"status\":\"passed\",\"duration\":1},\
               {\"name\":\"b\",\"status\":\"passed\",\"duration\":1}]}}' > /logs/verifier/ctrf.json\n\
               echo 1 > /logs/verifier/reward.txt; exit 7",
        ..TASK
    });
    // Speed: what ignores being asked to end costs no grace period.
    place.task(&Task {
        id: "ignores-term",
        solution: "echo done > /srv/out; (setsid bash -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 &)",
        ..TASK
    });
    let ended =
        place.harness("run suite tasks --sandbox docker --agent oracle -j 4 --retries 0 --run-id r").exits(5);
    let report = place.report("r");
    let outcome = |task: &str| {
        let trial = trial(&report, task);
        (trial["outcome"].as_str().unwrap().to_owned(), trial["blame"].as_str().unwrap_or("").to_owned())
    };
    let is = |outcome: &str, blame: &str| (outcome.to_owned(), blame.to_owned());
    assert_eq!(outcome("good"), is("resolved", ""));
    assert_eq!(outcome("out-of-time"), is("unresolved", ""));
    assert_eq!(trial(&report, "out-of-time")["agent_exit"], "timed_out");
    assert_eq!(outcome("forged"), is("unresolved", ""));
    assert_eq!(outcome("no-such-image"), is("stopped", "harness"), "{}", ended.err);
    assert_eq!(outcome("does-not-build"), is("stopped", "task"));
    assert!(trial(&report, "does-not-build")["score"].is_null());
    let variant = &report["variants"][0];
    assert_eq!(variant["resolved"], 3, "{variant}");
    assert!((variant["resolved_rate"]["value"].as_f64().unwrap_or(0.6) - 0.6).abs() < 1e-9, "{variant}");
    let counted = &trial(&report, "tests-counted")["tests"];
    assert_eq!((&counted["passed"], &counted["failed"]), (&2.into(), &0.into()));
    assert_eq!(outcome("ignores-term"), is("resolved", ""));
    let teardown = trial(&report, "ignores-term")["duration_ms"]["teardown"].as_u64().unwrap();
    assert!(teardown < 8000, "its removal took {teardown} ms");
}

#[test]
fn harbor_5_3_malformed_task_refuses_the_run_or_is_counted() {
    let Some(place) = Place::here() else { return };
    place.task(&TASK);
    place.task(&Task { id: "broken", more: "cpus = \"many\"\n", ..TASK });
    let refused = place.harness("run suite tasks --sandbox docker --agent oracle --run-id r").exits(3);
    assert!(refused.err.contains("broken"), "{}", refused.err);
    assert!(!place.room.path(".harness/runs/r").exists());
    let line = "run suite tasks --sandbox docker --agent oracle --run-id r --keep-going";
    let done = place.harness(line).exits(0);
    assert!(done.out.contains("1 invalid"), "{}", done.out);
    assert_eq!(place.report("r")["invalid"].as_array().unwrap().len(), 1);
}

#[test]
fn harbor_5_6_and_5_7_settings_of_one_agent_are_two_variants_whatever_the_folder_is_called() {
    let Some(place) = Place::here() else { return };
    place.task(&Task { tasks: "our__tasks", ..TASK });
    let agent = |run: &str| format!("--agent command --agent-set run='{run}'");
    let agents = [agent("echo done > /srv/out"), agent("true")].join(" ");
    place.harness(&format!("run suite our__tasks --sandbox docker {agents} --run-id r")).exits(0);
    let report = place.report("r");
    let variants = report["variants"].as_array().unwrap();
    let mut resolved: Vec<_> = variants.iter().map(|variant| variant["resolved"].as_u64().unwrap()).collect();
    resolved.sort_unstable();
    assert_eq!(resolved, [0, 1], "{report}");
}

#[test]
fn harbor_5_11_derived_results_that_were_cut_short_are_made_again() {
    let Some(place) = Place::here() else { return };
    place.task(&TASK);
    place.harness("run suite tasks --sandbox docker --agent oracle --run-id r").exits(0);
    let results = place.room.path(".harness/runs/r/results.json");
    fs::write(&results, "{\"run\": {\"id").unwrap();
    assert_eq!(trial(&place.report("r"), "good")["outcome"], "resolved");
    place.harness("resume r").exits(0);
    assert_eq!(trial(&place.report("r"), "good")["outcome"], "resolved");
}

#[test]
fn harbor_5_secrets_of_an_agent_are_on_no_command_line_of_the_machine() {
    const SECRET: &str = "s3cr3t-0f-the-agent";
    let Some(place) = Place::here() else { return };
    place.task(&TASK);
    let line = "run suite tasks --sandbox docker --run-id r --agent command --agent-set env=THE_SECRET \
                --agent-set run='sleep 4; test -n \"$THE_SECRET\" && echo done > /srv/out'";
    let mut child = place.command(line).env("THE_SECRET", SECRET).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    let mut looked = 0;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not end");
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&line).contains(SECRET), "{}", String::from_utf8_lossy(&line));
        }
        looked += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(looked > 20);
    assert_eq!(trial(&place.report("r"), "good")["outcome"], "resolved");
}
