//! A harness that is killed in a long trial: on an engine the trial goes on in its container when the run is resumed, natively it
//! starts over, and either is said; what was spent is counted once. What waits unused for a trial goes with its harness.

use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::faults::unique;
use crate::place::{Place, TASK, Task, trial};
use crate::room::until;

/// One turn for every question: 594 tokens in, 211 out.
const SCRIPT: &str = r#"
[price]
input = 1.0
output = 5.0

[[turn]]
say = "Go on."
run = "true"
usage = { input = 594, output = 211 }
"#;
/// Tokens of a question, and what they cost in nano-dollars.
const TOKENS: u64 = 594 + 211;
const NANO_USD: f64 = 594.0 * 1000.0 + 211.0 * 5000.0;

/// An agent inside that asks three questions with pauses between, in a language that every image knows, and says what became of
/// them. A question that is put while nobody is there waits.
const ASKS: &str = r#"#!/bin/bash
echo started >> /srv/starts
at=${OPENAI_BASE_URL#http://}; port=${at#*:}; port=${port%%/*}
ask() {
  body='{"model":"'$HARNESS_MODEL_NAME'","messages":[{"role":"user","content":"'$1'"}],"tools":[{"type":"function","function":{"name":"bash","description":"runs a command","parameters":{"type":"object","properties":{"command":{"type":"string"}}}}}]}'
  exec 3<>/dev/tcp/127.0.0.1/$port || { echo "refused $1"; exit 1; }
  printf 'POST /v1/chat/completions HTTP/1.1\r\nHost: model\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' "$OPENAI_API_KEY" ${#body} "$body" >&3
  case "$(cat <&3)" in *'"choices"'*) echo "answered $1";; *) echo "broken $1";; esac
  exec 3>&-
}
for turn in one two three; do ask $turn; sleep 6; done
echo done > /srv/out
echo over
"#;

/// Only the work of one agent passes.
const ONCE: &str = "[ \"$(cat /srv/starts)\" = started ] && grep -q done /srv/out; echo $((1 - $?)) > /logs/verifier/reward.txt";

fn log(place: &Place, run: &str, variant: &str) -> String {
    let file = place.room.path(&format!(".harness/runs/{run}/trials/good/{variant}/1/agent.log"));
    std::fs::read_to_string(file).unwrap_or_default()
}

/// The only variant of the run.
fn variant(place: &Place, run: &str) -> String {
    let manifest = place.room.read(&format!(".harness/runs/{run}/manifest.json"));
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["variants"][0]["name"].as_str().unwrap().to_owned()
}

/// Starts a run, or goes on with it, and kills it when its agent has said something.
fn killed_when(place: &Place, line: &str, run: &str, said: &str) {
    let mut child: Child = place.spawn(line);
    until("the agent works", || {
        let begun = place.room.path(&format!(".harness/runs/{run}/manifest.json")).exists();
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        begun && log(place, run, &variant(place, run)).contains(said)
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

fn journal(place: &Place, run: &str) -> String {
    place.room.read(&format!(".harness/runs/{run}/journal.jsonl"))
}

/// The trial's record as the journal has it.
fn record(place: &Place, run: &str) -> Value {
    let entries = journal(place, run);
    let mut records = entries
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|entry| entry.to_string().contains("\"trial_finished\""));
    let record = records.next().expect("a record");
    assert!(records.next().is_none(), "several records");
    if record["record"].is_object() { record["record"].clone() } else { record }
}

#[test]
fn killed_twice_in_a_long_trial_it_goes_on_in_its_container_and_all_spending_is_counted_once() {
    let Some(place) = Place::here() else { return };
    let run = unique("again");
    place.task(&Task { test: ONCE, ..TASK });
    place.room.write(".harness/scripts/slow.toml", SCRIPT);
    place.room.write("kit/bin/asks", ASKS);
    let line = format!(
        "run suite tasks --sandbox docker --agent command --agent-set run='bash /opt/agent/bin/asks' --agent-set tools=./kit \
         --model scripted/slow --run-id {run}"
    );
    killed_when(&place, &line, &run, "answered one");
    let name = place.containers(&run);
    assert_eq!(name.len(), 1, "its container lives on");
    let variant = variant(&place, &run);
    let left = place.room.path(&format!(".harness/runs/{run}/trials/good/{variant}/1/left.jsonl"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&left).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let ticket = std::fs::read_to_string(&left).unwrap();
    let secret: String = ticket.split("\"ticket\":\"").nth(1).unwrap().chars().skip(28).take(16).collect();
    let inspected = place.docker(&["inspect", &name[0]]).unwrap();
    assert!(!inspected.contains(&secret), "the secret is for all to see");
    // Long enough that the second question is put while nobody is there.
    sleep(Duration::from_secs(8));
    // Others start and spare it.
    place.task(&Task { tasks: "others", ..TASK });
    place.harness("run suite others --sandbox docker --agent oracle --run-id other").exits(0);
    assert_eq!(place.containers(&run), name);
    killed_when(&place, &format!("resume {run}"), &run, "answered two");
    assert_eq!(place.containers(&run), name);
    let ended = place.harness(&format!("resume {run}")).exits(0);
    assert!(ended.err.contains("goes on there"), "{}", ended.err);
    let said = log(&place, &run, &variant);
    assert_eq!(said, "answered one\nanswered two\nanswered three\nover\n");
    let report = place.report(&run);
    let trial = trial(&report, "good");
    assert_eq!(trial["outcome"], "resolved", "{trial:#}");
    assert_eq!(trial["agent_exit"], "finished");
    assert_eq!(trial["usage"]["requests"], 3, "{trial:#}");
    assert_eq!(trial["usage"]["total_tokens"], 3 * TOKENS);
    assert!(
        (trial["cost_usd"].as_f64().unwrap() * 1e9 - 3.0 * NANO_USD).abs() < 1.0,
        "{}",
        trial["cost_usd"]
    );
    assert!(trial["duration_ms"]["solve"].as_u64().unwrap() > 17_000, "{}", trial["duration_ms"]);
    let about: Vec<&Value> =
        trial["integrity"].as_array().unwrap().iter().filter(|one| one["check"] == "reattached").collect();
    assert!(about.len() == 1 && about[0]["detail"].as_str().unwrap().contains("2 times"), "{about:?}");
    let record = record(&place, &run);
    let tries = record["tries"].as_array().unwrap();
    let attached: Vec<bool> = tries.iter().map(|one| one["reattached"] == true).collect();
    assert_eq!(attached, [false, true, true], "{tries:#?}");
    assert!(tries.iter().all(|one| one["usage"]["requests"] == 1), "{tries:#?}");
    assert_eq!(place.containers(&run), [""; 0]);
    assert!(!left.exists());
}

#[test]
fn an_agent_that_ends_while_nobody_is_there_is_judged_by_how_it_ended_and_nothing_it_said_is_lost() {
    let Some(place) = Place::here() else { return };
    for (status, exit) in [(0, "finished"), (7, "crashed")] {
        let run = unique("ended");
        place.task(&Task { test: ONCE, ..TASK });
        place.room.write(
            "kit/bin/talks",
            &format!(
                "echo started >> /srv/starts; echo begun; sleep 3; seq 1 100000; echo done > /srv/out; echo over; exit {status}\n"
            ),
        );
        let line = format!(
            "run suite tasks --sandbox docker --agent command --agent-set run='bash /opt/agent/bin/talks' --agent-set tools=./kit \
             --run-id {run}"
        );
        killed_when(&place, &line, &run, "begun");
        sleep(Duration::from_secs(5));
        place.harness(&format!("resume {run}")).exits(0);
        let report = place.report(&run);
        let trial = trial(&report, "good");
        assert_eq!(
            (&trial["outcome"], &trial["agent_exit"]),
            (&"resolved".into(), &exit.into()),
            "{trial:#}"
        );
        let said = log(&place, &run, &variant(&place, &run));
        let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
        assert!(said == format!("begun\n{expected}over\n"), "{} bytes", said.len());
        assert_eq!(place.containers(&run), [""; 0]);
    }
}

#[test]
fn a_container_that_is_gone_or_refuses_the_secret_makes_the_trial_start_over_for_that_reason() {
    let Some(place) = Place::here() else { return };
    for (spoil, why) in [("gone", "is gone"), ("secret", "refused the secret"), ("clean", "is gone")] {
        let run = unique(spoil);
        place.task(&TASK);
        let line = format!(
            "run suite tasks --sandbox docker --agent command --agent-set run='echo begun; sleep 4; echo done > /srv/out' \
             --run-id {run}"
        );
        killed_when(&place, &line, &run, "begun");
        match spoil {
            "gone" => drop(place.docker(&["rm", "-f", &place.containers(&run)[0]]).unwrap()),
            "clean" => {
                place.harness("clean").exits(0);
                assert_eq!(place.containers(&run), [""; 0], "`clean` removes what waits");
            }
            _ => {
                let variant = variant(&place, &run);
                let left = format!(".harness/runs/{run}/trials/good/{variant}/1/left.jsonl");
                let text = place.room.read(&left);
                let at = text.find("\",\"port\"").unwrap() - 8;
                place.room.write(&left, &format!("{}00000000{}", &text[..at], &text[at + 8..]));
            }
        }
        let ended = place.harness(&format!("resume {run}")).exits(0);
        assert!(ended.err.contains("starts over") && ended.err.contains(why), "{spoil}: {}", ended.err);
        let record = record(&place, &run);
        let reason = record["tries"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("starts over") && reason.contains(why), "{spoil}: {reason}");
        assert_eq!(record["outcome"], "resolved");
        assert_eq!(record["tries"].as_array().unwrap().len(), 2);
        assert_eq!(place.containers(&run), [""; 0]);
    }
}

#[test]
fn natively_a_trial_whose_harness_was_killed_starts_over_and_keeps_what_it_spent() {
    let Some(place) = Place::here() else { return };
    let run = unique("native");
    place.task(&Task { more: "workdir = \"/srv\"\n[metadata.harness]\nhost_root = true\n", ..TASK });
    place.room.write(".harness/scripts/slow.toml", SCRIPT);
    place.room.write("kit/bin/asks", ASKS);
    let line = format!(
        "run suite tasks --sandbox native --rootfs host --agent command --agent-set run='bash /opt/agent/bin/asks' \
         --agent-set tools=./kit --model scripted/slow --run-id {run}"
    );
    killed_when(&place, &line, &run, "answered one");
    let ended = place.harness(&format!("resume {run}")).exits(0);
    assert!(ended.err.contains("starts over"), "{}", ended.err);
    let report = place.report(&run);
    let trial = trial(&report, "good");
    assert_eq!(trial["outcome"], "resolved", "{trial:#}");
    assert_eq!(trial["usage"]["requests"], 4, "one before, three after");
    assert_eq!(trial["usage"]["total_tokens"], 4 * TOKENS);
    assert!((trial["cost_usd"].as_f64().unwrap() * 1e9 - 4.0 * NANO_USD).abs() < 1.0);
}

#[test]
fn a_container_that_waits_unused_goes_with_a_harness_that_is_killed() {
    let Some(place) = Place::here() else { return };
    let run = unique("warm");
    for id in ["one", "two"] {
        place.task(&Task { id, solution: "sleep 20; echo done > /srv/out", ..TASK });
    }
    let line = format!("run suite tasks --sandbox docker --agent oracle -j 1 --run-id {run}");
    let mut child = place.spawn(&line);
    let running = || {
        let label = format!("label=harness.run={run}");
        place.docker(&["ps", "-q", "--filter", &label]).unwrap().lines().count()
    };
    // The first works, and the second waits to be used.
    until("one works and one waits", || {
        assert!(child.try_wait().unwrap().is_none());
        let left = format!(".harness/runs/{run}/trials/one/oracle/1/left.jsonl");
        running() == 2 && place.room.path(&left).exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    // Its PID 1 ends by itself, and the next start removes what is left of it; the one with an agent waits for `resume`.
    until("the unused one has ended", || running() == 1);
    place.task(&Task { tasks: "others", ..TASK });
    place.harness("run suite others --sandbox docker --agent oracle --run-id other").exits(0);
    until("the unused one is removed", || place.containers(&run).len() == 1);
    place.harness("clean").exits(0);
    assert_eq!(place.containers(&run), [""; 0]);
}
