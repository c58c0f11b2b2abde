//! The runner's limits, each in a process of its own: processor time a trial, and memory that does not grow with trials.
//! Asserted only in release builds; a debug build runs fewer trials and checks that memory is flat.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// One field of the line that `trials` prints.
fn field(line: &str, name: &str) -> f64 {
    let rest = line.split_once(&format!("\"{name}\":")).unwrap().1;
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

fn trials(count: usize) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_trials")).arg(count.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn runner_costs_at_most_a_millisecond_a_trial_and_its_memory_is_flat() {
    let (few, many) = if cfg!(debug_assertions) { (100, 500) } else { (2_000, 10_000) };
    let (few, many) = (trials(few), trials(many));
    let memory = |line: &str| field(line, "peak_memory_bytes") / f64::from(1 << 20);
    // The plan itself is held: some hundred bytes a trial.
    assert!(memory(&many) < memory(&few) + 12.0, "{few}{many}");
    assert!(memory(&many) < 60.0, "{many}");
    if !cfg!(debug_assertions) {
        assert!(field(&many, "cpu_us_per_trial") < 1000.0, "{many}");
    }
}
