//! What task formats ask of containers beside running commands in them.

use crate::place::{Place, TASK, Task, trial};

/// As Harbor's own `hello-healthcheck` and `verifier-mode-matrix` examples rely on it.
#[test]
fn an_entrypoint_serves_agent_and_tests_and_a_broken_one_is_said() {
    let Some(place) = Place::here() else { return };
    let serve = "FROM debian:12\nRUN printf '#!/bin/sh\\n(sleep 1; while :; do date > /run/alive; sleep 0.2; done) &\\nexec \"$@\"\\n' > /serve && chmod 755 /serve\nENTRYPOINT [\"/serve\"]\n";
    let health =
        "[environment.healthcheck]\ncommand = \"test -e /run/alive\"\ninterval_sec = 1\nretries = 20\n";
    // The agent cannot start before it is healthy, and what serves it serves the tests too.
    let alive = "test -e /run/alive && echo done > /srv/out";
    let test = "rm -f /run/alive; sleep 1; test -e /run/alive && grep -q done /srv/out; echo $((1 - $?)) > /logs/verifier/reward.txt";
    let served = Task { id: "served", dockerfile: Some(serve), more: health, solution: alive, test, ..TASK };
    place.task(&served);
    let broken = "FROM debian:12\nENTRYPOINT [\"/nonexistent\"]\n";
    place.task(&Task { id: "broken", dockerfile: Some(broken), ..TASK });
    place.task(&Task { id: "no-workdir", more: "workdir = \"/nowhere\"\n", ..TASK });
    place.harness("run suite tasks --sandbox docker --agent oracle --run-id features").exits(0);
    let report = place.report("features");
    assert_eq!(trial(&report, "served")["outcome"], "resolved", "{}", trial(&report, "served"));
    let broken = trial(&report, "broken");
    assert_eq!(broken["outcome"], "resolved", "{broken}");
    assert!(broken["integrity"].to_string().contains("ENTRYPOINT could not be run"), "{broken}");
    let nowhere = trial(&report, "no-workdir");
    assert_eq!((&nowhere["outcome"], &nowhere["blame"]), (&"stopped".into(), &"task".into()), "{nowhere}");
    place.harness("clean --images").exits(0);
}

#[test]
fn later_trials_of_a_run_find_their_containers_started() {
    let Some(place) = Place::here() else { return };
    place.task(&Task { solution: "sleep 1.5; echo done > /srv/out", ..TASK });
    place
        .harness("run suite tasks --sandbox docker --agent oracle --attempts 6 -j 1 --run-id ahead")
        .exits(0);
    let report = place.report("ahead");
    let mut trials: Vec<_> = report["trials"].as_array().unwrap().iter().collect();
    trials.sort_by_key(|trial| trial["attempt"].as_u64());
    let prepare = |trial: &&serde_json::Value| trial["duration_ms"]["prepare"].as_u64().unwrap();
    let times: Vec<u64> = trials.iter().map(prepare).collect();
    let mut later = times[1..].to_vec();
    later.sort_unstable();
    println!("the first took {} ms, later ones {later:?}", times[0]);
    assert!(later[2] * 2 < times[0], "the first took {} ms, later ones {later:?}", times[0]);
    assert_eq!(place.containers("ahead"), [""; 0]);
}

/// The quota of the settings reaches the engine: an image that was built by an earlier run goes when the next one needs room.
#[test]
fn images_beyond_the_quota_of_the_settings_go() {
    let Some(place) = Place::here() else { return };
    let built = |id: &str| {
        let tasks = format!("tasks-{id}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let dockerfile =
            format!("FROM debian:12\nRUN head -c 3000000 /dev/urandom > /{id}; echo {now} > /mark\n");
        place.task(&Task { tasks: &tasks, id, dockerfile: Some(&dockerfile), ..TASK });
        place.harness(&format!("run suite {tasks} --sandbox docker --agent oracle --run-id {id}")).exits(0);
        now.to_string()
    };
    let kept = |mark: &str| {
        let listed = place.docker(&["images", "-q", "--filter", "label=harness.image"]).unwrap();
        listed.lines().any(|image| {
            let history = place.docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", image]);
            history.unwrap_or_default().contains(mark)
        })
    };
    place.room.write("harness.toml", "image_quota_gb = 0.004\n");
    let first = built("first");
    assert!(kept(&first));
    let second = built("second");
    assert!(!kept(&first) && kept(&second));
    place.room.write("harness.toml", "image_quota_gb = -1\n");
    place.harness("run suite tasks-first --sandbox docker --agent oracle").exits(3);
    place.room.write("harness.toml", "");
    place.harness("clean --images").exits(0);
}
