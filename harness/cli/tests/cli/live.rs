//! The live view in a real terminal, and what Ctrl-C, a second Ctrl-C and SIGTERM do.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use insta::assert_snapshot;
use rustix::process::{Signal, kill_process};

use crate::room::{Room, neutral, until, words};
use crate::screen::Terminal;

/// Four quick tasks and four that take this long.
fn room(seconds: f64) -> Room {
    let room = Room::with(&["quick-1", "quick-2", "quick-3", "quick-4"]);
    for id in ["slow-1", "slow-2", "slow-3", "slow-4"] {
        room.slow_task(id, seconds);
    }
    room
}

fn start(room: &Room, columns: u16, line: &str) -> Terminal {
    let mut command = room.command();
    command.args(words(line));
    Terminal::start(command, columns)
}

const RUN: &str = "run suite tasks --agent oracle --sandbox memory -j 2 --run-id r";

/// All trials, each once, all resolved.
fn finishes(room: &Room) {
    room.harness("resume r").exits(0);
    let report = room.harness("report r --format json").exits(0).json();
    let mut tasks: Vec<_> = report["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| format!("{} {}", trial["task"].as_str().unwrap(), trial["outcome"].as_str().unwrap()))
        .collect();
    tasks.sort();
    let expected: Vec<_> = ["quick", "slow"]
        .iter()
        .flat_map(|kind| (1..=4).map(move |n| format!("{kind}-{n} resolved")))
        .collect();
    assert_eq!(tasks, expected);
    // The journal itself says each once, whatever the report makes of it.
    let journal = room.read(".harness/runs/r/journal.jsonl");
    assert_eq!(journal.matches("\"event\":\"trial_finished\"").count(), 8);
}

#[test]
fn progress_is_shown_below_and_results_scroll_above_at_every_width() {
    for columns in [40, 80] {
        let room = room(1.0);
        let mut terminal = start(&room, columns, RUN);
        // While it runs: what is done above, what runs in which phase below, and how far it is.
        terminal.shows("/8 ");
        terminal.shows("solve    slow-");
        assert_eq!(terminal.wrapped(), Vec::<String>::new(), "at {columns} columns");
        let lines = terminal.lines();
        let result = lines.iter().position(|line| line.starts_with("resolved   quick-")).expect("a result");
        let bar = lines.iter().position(|line| line.contains("/8 ")).expect("a bar");
        let trial = lines.iter().position(|line| line.contains("solve    slow-")).expect("a trial");
        assert!(result < bar && bar < trial, "{lines:#?}");

        let status = terminal.ends_within(Duration::from_secs(60));
        assert_eq!(status.code(), Some(0), "{}", terminal.all());
        // Nothing at the end is longer than the screen is wide.
        assert_eq!(terminal.wrapped(), Vec::<String>::new(), "at {columns} columns");
        // At the end no bar is left, every result is there once, then the report.
        let all = terminal.all();
        assert!(!all.contains("solve  ") && !all.contains("━"), "{all}");
        for id in ["quick-1", "quick-4", "slow-1", "slow-4"] {
            assert_eq!(all.matches(&format!("resolved   {id}/oracle/1")).count(), 1, "{all}");
        }
    }
}

#[test]
fn a_window_that_is_resized_keeps_a_readable_screen() {
    let room = room(1.5);
    let mut terminal = start(&room, 80, RUN);
    terminal.shows("solve    slow-1");
    terminal.resize(40);
    // The bars are drawn again for the new width.
    std::thread::sleep(Duration::from_millis(1200));
    let bars = |terminal: &Terminal| {
        let lines = terminal.lines();
        lines.iter().filter(|line| line.starts_with('━') || line.contains("solve  ")).count()
    };
    assert!((2..=3).contains(&bars(&terminal)), "{:#?}", terminal.lines());
    terminal.resize(80);
    let status = terminal.ends_within(Duration::from_secs(60));
    assert_eq!(status.code(), Some(0));
    assert_eq!(bars(&terminal), 0, "{:#?}", terminal.lines());
}

#[test]
fn one_interrupt_lets_the_running_trials_finish_and_says_how_to_go_on() {
    let room = room(2.0);
    let mut terminal = start(&room, 80, RUN);
    terminal.shows("solve    slow-1");
    terminal.interrupt();
    terminal.shows("interrupted: letting the running");
    let status = terminal.ends_within(Duration::from_secs(30));
    assert_eq!(status.code(), Some(130), "{}", terminal.all());
    let all = terminal.all();
    // What ran was not thrown away.
    assert!(all.contains("resolved   slow-1/oracle/1"), "{all}");
    let last = terminal.lines().pop().unwrap();
    // Five or six: whether both slow trials had begun is chance.
    let last = neutral(&last, room.root()).replace("5 of", "6 of");
    assert_snapshot!(last, @"interrupted: 6 of 8 trials finished; go on with `harness resume r`");
    finishes(&room);
}

#[test]
fn an_interrupt_while_the_last_trials_run_still_completes() {
    let room = Room::new();
    room.slow_task("only", 2.0);
    let mut terminal = start(&room, 80, RUN);
    terminal.shows("solve    only");
    terminal.interrupt();
    terminal.shows("interrupted: letting the running");
    assert_eq!(terminal.ends_within(Duration::from_secs(30)).code(), Some(0), "{}", terminal.all());
}

#[test]
fn a_second_interrupt_stops_within_seconds_and_loses_nothing() {
    let room = room(600.0);
    let mut terminal = start(&room, 80, RUN);
    terminal.shows("solve    slow-1");
    terminal.interrupt();
    terminal.shows("interrupted: letting the running");
    terminal.interrupt();
    let status = terminal.ends_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(130), "{}", terminal.all());
    let last = terminal.lines().pop().unwrap();
    assert!(last.contains("harness resume r"), "{last}");
    let report = room.harness("report r --format json").exits(0).json();
    assert_eq!(report["trials"].as_array().unwrap().len(), 4, "the quick ones are kept");
}

#[test]
fn interrupted_again_and_again_a_run_ends_with_every_trial_once() {
    let room = room(1.0);
    let mut terminal = start(&room, 80, RUN);
    terminal.shows("solve    slow-1");
    for _ in 0..3 {
        terminal.interrupt();
        terminal.shows("interrupted: letting the running");
        terminal.interrupt();
        assert_eq!(terminal.ends_within(Duration::from_secs(5)).code(), Some(130), "{}", terminal.all());
        terminal = start(&room, 40, "resume r");
        terminal.shows("solve    slow-");
    }
    drop(terminal);
    finishes(&room);
}

#[test]
fn sigterm_ends_in_order_within_seconds() {
    let room = room(600.0);
    let mut terminal = start(&room, 80, RUN);
    terminal.shows("solve    slow-1");
    kill_process(terminal.pid(), Signal::TERM).unwrap();
    let status = terminal.ends_within(Duration::from_secs(5));
    assert_eq!((status.code(), status.signal()), (Some(130), None), "{}", terminal.all());
    assert!(terminal.lines().pop().unwrap().contains("harness resume r"), "{}", terminal.all());
    // In order: the journal says that the run ended and why.
    let journal = room.read(".harness/runs/r/journal.jsonl");
    assert!(journal.lines().last().unwrap().contains("run_ended"), "{journal}");
}

#[test]
fn signals_without_a_terminal_do_the_same() {
    let room = room(600.0);
    let mut command = room.command();
    command.args(words(RUN)).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    until("a slow trial began", || {
        let journal = std::fs::read_to_string(room.path(".harness/runs/r/journal.jsonl"));
        journal.is_ok_and(|text| text.contains("slow-1"))
    });
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    kill_process(pid, Signal::INT).unwrap();
    let done = room.end_of(child, RUN).exits(130);
    // Which of two trials that run at once ends first is chance.
    let said = done.said();
    let said: Vec<_> = said.lines().filter(|line| !line.starts_with('[')).collect();
    assert_snapshot!(said.join("\n"), @"
    run r in .harness/runs/r
    interrupted: letting the running trials finish; Ctrl-C again to stop them
    stopping the running trials
    interrupted: 4 of 8 trials finished; go on with `harness resume r`
    ");
}

#[test]
fn colours_are_for_terminals_and_no_color_is_respected() {
    let room = Room::with(&["one"]);
    room.harness("run suite tasks --sandbox memory --run-id r").exits(0);
    for (no_color, coloured) in [("", true), ("1", false)] {
        let mut command = room.command();
        command.env("NO_COLOR", no_color).args(["report", "nowhere"]);
        let mut terminal = Terminal::start(command, 80);
        terminal.ends_within(Duration::from_secs(10));
        assert_eq!(terminal.is_coloured(), coloured);
        assert_eq!(terminal.lines()[0].split(':').next(), Some("error"));
    }
}
