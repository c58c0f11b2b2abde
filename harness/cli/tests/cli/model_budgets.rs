//! Budgets that only settings have: of variants, of single requests, and of days when the clock is set.

use std::process::Command;

use serde_json::Value;

use crate::models::{AGENT, KEY, SCRIPT, Upstream, providers, room, run};
use crate::room::{Room, until, wait, words};

const LINE: &str = "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml";

fn report(room: &Room, run: &str) -> Value {
    room.harness(&format!("report {run} --format json")).exits(0).json()
}

fn requests(room: &Room, variant: &Value) -> Vec<Value> {
    let file = format!(".harness/runs/r/trials/one/{}/1/gateway.jsonl", variant.as_str().unwrap());
    room.read(&file).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_variants_budget_ends_that_variant_and_no_other() {
    let Some(room) = room(&["one", "three", "two"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    // A trial uses 2628 tokens, those of the other variant 160.
    room.write("harness.toml", &format!("variant_budget_tokens = 4000\n{}", providers(&upstream.address)));
    let small = SCRIPT
        .replace("input = 594, cache_read = 509, output = 211, reasoning = 97", "input = 60, output = 20");
    room.write(".harness/scripts/small.toml", &small);
    // One wire, as the others have: of all four the script would be asked eight times.
    let one_wire = AGENT.replace("for wire in wires:", "for wire in wires[:1]:");
    room.write("tools/agent.py", &one_wire);
    let done = run(&room, "--jobs 1 --model up-anthropic/small --model scripted/small").exits(9);
    assert!(done.err.contains("budget of the variant"), "{}", done.err);
    let results = report(&room, "r");
    let of = |list: &Value, model: &str| -> Vec<Value> {
        let list = list.as_array().unwrap().iter();
        list.filter(|one| one["variant"].as_str().unwrap().contains(model)).cloned().collect()
    };
    assert_eq!(of(&results["trials"], "anthropic").len(), 1, "{results}");
    assert_eq!(of(&results["trials"], "scripted").len(), 3, "the other variant goes on: {results}");
    let left = of(&results["run"]["unfinished"], "anthropic");
    assert_eq!(left.len(), 2);
    let cut: Vec<&Value> = left.iter().filter(|one| one["started"] == true).collect();
    assert_eq!((cut.len(), &cut[0]["tries"][0]["cut_by"]), (1, &"variant".into()), "{left:?}");
    let served = Upstream::served(&room);
    let tokens: u64 = served.iter().map(|one| one["usage"]["total_tokens"].as_u64().unwrap()).sum();
    assert!((2628..=4000).contains(&tokens), "{tokens}");
}

#[test]
fn a_budget_of_each_request_lowers_its_cap_or_refuses_it_and_stops_nothing_else() {
    let Some(room) = room(&["one"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    // $0.003 at $5 for a million tokens out leave room for some six hundred; $0.001 for less than the least answer.
    for (settings, resource, fits) in [
        ("request_max_tokens = 600", "tokens", true),
        ("request_max_cost = 0.003", "$0.0030", true),
        ("request_max_tokens = 280", "tokens", false),
        ("request_max_cost = 0.001", "$0.0010", false),
    ] {
        let _old = std::fs::remove_dir_all(room.path(".harness/runs/r"));
        room.write("harness.toml", &format!("{settings}\n{}", providers(&upstream.address)));
        let before = Upstream::served(&room).len();
        run(&room, "--model up-openai/small").exits(0);
        let trial = report(&room, "r")["trials"][0].clone();
        let asked = requests(&room, &trial["variant"]);
        assert!(asked.iter().all(|one| one["budget"] == "request"), "{settings}: {asked:?}");
        let served = Upstream::served(&room).len() - before;
        if fits {
            assert_eq!((&trial["outcome"], asked.len(), served), (&"resolved".into(), 2, 2), "{settings}");
            let caps: Vec<u64> = asked.iter().map(|one| one["lowered_cap"].as_u64().unwrap()).collect();
            assert!(caps.iter().all(|cap| (256..600).contains(cap)), "{settings}: {caps:?}");
        } else {
            assert_eq!((&trial["outcome"], served), (&"unresolved".into(), 0), "{settings}");
            assert!(asked.iter().all(|one| one["ended"] == "refused"), "{settings}: {asked:?}");
            let said = asked[0]["error"].as_str().unwrap();
            assert!(said.contains("the request's budget of") && said.contains(resource), "{said}");
        }
    }
}

/// What a program has between itself and the clock: an offset in seconds, read from a file each time.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int ended = real(id, now);
    const char *path = getenv("CLOCK_OFFSET_FILE");
    if (ended || id != CLOCK_REALTIME || !path) return ended;
    FILE *file = fopen(path, "r");
    long offset = 0;
    if (file) {
        if (fscanf(file, "%ld", &offset) != 1) offset = 0;
        fclose(file);
    }
    now->tv_sec += offset;
    return 0;
}
"#;

/// `harness LINE` by a clock that the file `offset` sets.
fn by_clock(room: &Room, line: &str) -> Command {
    let mut command = room.command();
    command.args(words(line)).env("UP_KEY", KEY);
    command.env("LD_PRELOAD", room.path("clock.so")).env("CLOCK_OFFSET_FILE", room.path("offset"));
    command
}

#[test]
fn a_days_budget_follows_the_calendar_when_the_clock_is_set() {
    let Some(room) = room(&["one"]) else { return };
    room.write("clock.c", CLOCK);
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([room.path("clock.so"), room.path("clock.c")])
        .arg("-ldl")
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped by name: a clock that is set: no C compiler on this machine");
        return;
    }
    let slow = SCRIPT.replace("[[turn]]\nsay", "[[turn]]\nfault = { delay_ms = 1500, times = 1 }\nsay");
    let upstream = Upstream::start(&room, &slow, "127.0.0.1:0");
    room.write("harness.toml", &format!("day_budget_tokens = 4000\n{}", providers(&upstream.address)));
    let tokens = || -> u64 {
        let served = Upstream::served(&room);
        served.iter().map(|one| one["usage"]["total_tokens"].as_u64().unwrap()).sum()
    };
    let days = || {
        let entries = std::fs::read_dir(room.path(".harness/runs/.spending")).unwrap();
        let mut days: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        days.sort();
        days
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // An hour before midnight.
    let evening = i64::try_from(86_400 - now % 86_400).unwrap() - 3600;
    room.write("offset", &evening.to_string());

    // The day ends while a request is under way: it is the old day's, and the next one the new day's.
    let mut child = by_clock(&room, &format!("{LINE} --run-id r --model up-openai/small"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ledger = room.path(".harness/runs/r/ledger.jsonl");
    until("a request is under way", || {
        std::fs::read_to_string(&ledger).is_ok_and(|text| text.contains("reserved"))
    });
    room.write("offset", &(evening + 7200).to_string());
    let status = wait(&mut child, std::time::Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(0));
    let both = days();
    assert_eq!(both.len(), 2, "{both:?}");
    for day in &both {
        let text = room.read(&format!(".harness/runs/.spending/{day}"));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<&Value> = lines.iter().map(|line| &line["ledger"]).collect();
        assert_eq!(kinds, ["reserved", "settled"], "{day}: {text}");
    }
    assert_eq!(tokens(), 2 * 1314);

    // The new day has room for two more answers of 1314 tokens.
    let again = |run: &str| {
        let line = format!("{LINE} --run-id {run} --model up-openai/small");
        room.finish(by_clock(&room, &line), &line)
    };
    again("s").exits(0);
    assert_eq!(tokens(), 4 * 1314);
    let done = again("t").exits(9);
    assert!(done.err.contains("the day's budget of 4000 tokens"), "{}", done.err);
    // Set back, the clock finds what the old day spent: one answer, and room for two.
    room.write("offset", &evening.to_string());
    again("u").exits(0);
    let spent = tokens();
    again("v").exits(9);
    assert_eq!(tokens(), spent, "nothing more is asked on a day that is spent");
    assert_eq!(days(), both);
}
