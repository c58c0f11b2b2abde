//! Run directories → results: nothing lost, nothing doubled, hostile and torn files, numbers against a naive computation.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use common::{id, record, sample};
use harness_core::plan::Planned;
use harness_core::{Blame, DiffStat, Digest, Event, NanoUsd, Outcome, Phase, Usage};
use proptest::prelude::*;
use reports::measure::Measure;
use reports::{FORMATS, Look, ReadError, Results, RunFiles, Side, compare, derive, fold, format};
use serde_json::Value;

#[test]
fn totals_and_summaries_of_the_sample_are_right() {
    let results = sample("run-1").results();
    let totals = &results.run.totals;
    assert_eq!((totals.selected, totals.run, totals.skipped, totals.invalid), (7, 4, 1, 1));
    assert_eq!((totals.planned, totals.finished, totals.unfinished), (10, 8, 2));
    assert_eq!((totals.resolved, totals.unresolved, totals.stopped), (4, 2, 2));
    // Seven known trials and the failed try of an unfinished one.
    assert_eq!((totals.cost, totals.cost_unknown), (Some(NanoUsd(7 * 12_345_678 + 5_000_000)), 1));
    assert!(!results.run.complete);
    assert_eq!(results.run.ended.as_deref(), Some("interrupted"));
    let late: Vec<_> = results.run.unfinished.iter().map(|one| (one.variant.as_str(), one.started)).collect();
    assert_eq!(late, [("core-small", false), ("core", true)]);

    let small = &results.variants[0];
    assert_eq!((small.name.as_str(), small.n, small.resolved, small.finished), ("core-small", 3, 2, 4));
    assert_eq!((small.excluded.harness, small.excluded.task), (0, 1));
    assert_eq!(small.pass_at_k, BTreeMap::from([(1, 2.0 / 3.0)]));
    let core = &results.variants[1];
    // A trial that the agent itself lost counts against it.
    assert_eq!((core.n, core.resolved, core.unresolved, core.stopped_by_agent), (4, 2, 1, 1));
    // What failures cost is paid for by what was solved.
    assert!((core.cost_usd.per_resolved.unwrap() - 2.0 * 0.012_345_678).abs() < 1e-12);
    assert_eq!((small.cost_usd.known, small.cost_usd.unknown, small.unknown.cost_usd), (3, 1, 1));
    assert!((small.cost_usd.total.unwrap() - 3.0 * 0.012_345_678).abs() < 1e-12);
    assert_eq!((core.unknown.diff, small.unknown.diff), (0, 1));
}

#[test]
fn json_has_the_fields_of_the_interface_and_reads_back() {
    let results = sample("run-1").results();
    let bytes = format("json").unwrap().report(std::slice::from_ref(&results), &Look::default()).unwrap();
    assert_eq!(serde_json::from_slice::<Results>(&bytes).unwrap(), results);
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["run", "variants", "trials", "invalid", "skipped"]);
    let trial = &json["trials"][0];
    for key in [
        "task",
        "variant",
        "agent",
        "model",
        "attempt",
        "outcome",
        "blame",
        "phase",
        "reason",
        "agent_exit",
        "score",
        "rewards",
        "steps",
        "tests",
        "usage",
        "cost_usd",
        "diff",
        "duration_ms",
        "cpu_ms",
        "peak_memory_bytes",
        "integrity",
        "tries",
    ] {
        assert!(trial.get(key).is_some(), "{key}");
    }
    assert_eq!(keys(&trial["tests"]), ["passed", "failed", "fail_to_pass", "pass_to_pass"]);
    assert_eq!(keys(&trial["tests"]["fail_to_pass"]), ["passed", "total"]);
    assert_eq!(keys(&trial["diff"]), ["files", "hunks", "added", "removed", "simplicity"]);
    assert_eq!(keys(&trial["duration_ms"]), ["prepare", "solve", "capture", "verify", "teardown", "total"]);
    let usage = [
        "requests",
        "uncached_input_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
        "reasoning_tokens",
        "total_tokens",
        "source",
    ];
    assert_eq!(keys(&trial["usage"]), usage);
    assert_eq!(trial["usage"]["source"], "gateway");
    assert_eq!(trial["cost_usd"], 0.012_345_678);
    assert_eq!(trial["usage"]["reasoning_tokens"], Value::Null);
    assert_eq!(trial["usage"]["total_tokens"], 34_100);
    let stopped = &json["trials"][6];
    assert_eq!(
        (&stopped["outcome"], &stopped["blame"], &stopped["phase"]),
        (&"stopped".into(), &"task".into(), &"prepare".into())
    );
    assert_eq!(json["trials"][5]["cost_usd"], 0.012_345_678);
    assert_eq!(json["trials"][5]["tries"][0]["outcome"], "stopped");
    assert_eq!(keys(&json["invalid"][0]), ["task", "file", "message"]);
    assert_eq!(keys(&json["skipped"][0]), ["task", "reason"]);
    let run = ["id", "suite", "created", "harness_version", "settings", "totals"];
    assert!(run.iter().all(|key| json["run"].get(key).is_some()));
    let variant = [
        "n",
        "resolved",
        "resolved_rate",
        "pass_at_k",
        "cost_usd",
        "tokens",
        "simplicity",
        "duration_ms",
        "unknown",
    ];
    assert!(variant.iter().all(|key| json["variants"][0].get(key).is_some()));
    assert_eq!(json["variants"][0]["resolved_rate"]["method"], "wilson");

    let several = format("json").unwrap().report(&[results.clone(), results], &Look::default()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&several).unwrap().as_array().unwrap().len(), 2);
}

#[test]
fn journal_cut_at_any_byte_folds_to_a_prefix_that_accounts_for_every_planned_trial() {
    let run = sample("run-1");
    let folder = tempfile::tempdir().unwrap();
    run.write(folder.path());
    let journal = run.journal();
    let whole = run.results();
    for cut in (0..journal.len()).step_by(7).chain(journal.len() - 200..=journal.len()) {
        fs::write(folder.path().join("journal.jsonl"), &journal[..cut]).unwrap();
        let results = fold(&RunFiles::read(folder.path()).unwrap());
        let totals = &results.run.totals;
        assert_eq!(totals.finished + totals.unfinished, 10, "cut at {cut}");
        assert_eq!(results.trials[..], whole.trials[..results.trials.len()]);
    }
}

#[test]
fn plan_torn_or_missing_is_a_run_that_is_not_complete() {
    let mut run = sample("run-1");
    run.events.clear();
    let folder = tempfile::tempdir().unwrap();
    run.write(folder.path());
    let plan = fs::read(folder.path().join("plan.jsonl")).unwrap();
    for cut in [0, 1, plan.len() / 2, plan.len() - 1] {
        fs::write(folder.path().join("plan.jsonl"), &plan[..cut]).unwrap();
        let results = fold(&RunFiles::read(folder.path()).unwrap());
        assert!(!results.run.complete && results.trials.is_empty());
        for known in FORMATS {
            known.report(std::slice::from_ref(&results), &Look::default()).unwrap();
        }
    }
    fs::remove_file(folder.path().join("plan.jsonl")).unwrap();
    fs::remove_file(folder.path().join("journal.jsonl")).unwrap();
    assert!(!fold(&RunFiles::read(folder.path()).unwrap()).run.complete);
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(matches!(RunFiles::read(path), Err(ReadError::NotARun(_))));
    assert!(matches!(RunFiles::read(&path.join("nowhere")), Err(ReadError::NotARun(_))));
    sample("run-1").write(path);
    let say = || RunFiles::read(path).unwrap_err().to_string();

    fs::write(path.join("plan.jsonl"), "{\"task\":\"../x\"}\n").unwrap();
    assert!(say().contains("plan.jsonl, line 1"), "{}", say());
    sample("run-1").write(path);
    let mut journal = fs::read(path.join("journal.jsonl")).unwrap();
    journal[300] = 0;
    fs::write(path.join("journal.jsonl"), journal).unwrap();
    assert!(say().contains("journal.jsonl"), "{}", say());
    fs::write(path.join("journal.jsonl"), sample("run-2").journal()).unwrap();
    assert!(matches!(RunFiles::read(path), Err(ReadError::OtherRun { .. })));
    fs::write(path.join("manifest.json"), "{\"format\": 99}").unwrap();
    assert!(matches!(RunFiles::read(path), Err(ReadError::TooNew { found: 99, .. })));
    fs::remove_file(path.join("manifest.json")).unwrap();
    fs::create_dir(path.join("manifest.json")).unwrap();
    assert!(say().contains("manifest.json"), "{}", say());
}

#[test]
fn a_trial_that_is_in_the_journal_twice_is_counted_once_and_said() {
    let mut run = sample("run-1");
    let again = record(id("fix-off-by-one", "core-small", 1), Outcome::Unresolved { reason: "again".into() });
    run.events.push(Event::TrialFinished { record: Box::new(again) });
    run.events
        .push(Event::TrialFinished { record: Box::new(record(id("stray", "other", 1), Outcome::Resolved)) });
    let results = run.results();
    assert_eq!(results.trials.iter().filter(|trial| trial.task == "fix-off-by-one").count(), 2);
    assert!(
        results.run.warnings.iter().any(|warning| warning.contains("twice")),
        "{:?}",
        results.run.warnings
    );
    assert!(results.run.warnings.iter().any(|warning| warning.contains("not in the plan")));
    assert_eq!(results.variants[2].name, "other");
}

#[test]
fn a_task_skipped_while_running_leaves_the_plan() {
    let mut run = sample("run-1");
    let task = id("late", "core", 1).task;
    run.events.push(Event::TaskSkipped { task, reason: "node is missing".into() });
    let results = run.results();
    assert_eq!((results.run.totals.planned, results.run.totals.unfinished), (8, 0));
    assert_eq!((results.run.totals.skipped, results.skipped.len(), results.run.totals.selected), (2, 2, 7));
    assert!(results.run.complete);
}

#[test]
fn csv_has_one_row_a_trial_and_no_formula() {
    let bytes = format("csv").unwrap().report(&[sample("run-1").results()], &Look::default()).unwrap();
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let names = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 8);
    let field =
        |row: usize, name: &str| rows[row][names.iter().position(|one| one == name).unwrap()].to_owned();
    assert_eq!(field(7, "reason"), "'=cmd|' /C calc'!A0");
    assert_eq!((field(0, "cost_usd"), field(5, "integrity_findings")), ("0.012345678".into(), "0".into()));
    assert_eq!(
        (field(4, "integrity_worst"), field(0, "usage_source")),
        ("tampered".into(), "gateway".into())
    );
    assert_eq!(
        (field(6, "score"), field(6, "blame"), field(0, "total_tokens")),
        ("".into(), "task".into(), "34100".into())
    );
}

#[test]
fn derived_files_are_whole_and_can_be_remade() {
    let folder = tempfile::tempdir().unwrap();
    let results = sample("run-1").results();
    for _ in 0..2 {
        let written = derive(folder.path(), &results).unwrap();
        assert_eq!(written.len(), 2);
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["results.json", "trials.csv"]);
    let read: Results =
        serde_json::from_slice(&fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    assert_eq!(read, results);
    let error = derive(&folder.path().join("nowhere"), &results).unwrap_err().to_string();
    assert!(error.contains("results.json"), "{error}");
}

#[test]
fn comparison_stands_on_the_tasks_that_all_took_part_in() {
    let (mut one, mut two) = (sample("run-1"), sample("run-2"));
    two.manifest.tasks.get_mut("修正-データ").unwrap().digest = Digest::of(b"changed");
    two.manifest.harness_version = "0.2.0".into();
    one.events.retain(
        |event| !matches!(event, Event::TrialFinished { record } if record.id.variant.as_str() == "core"),
    );
    let (one, two) = (one.results(), two.results());
    let base = Side::of(&one, Some("core-small")).unwrap()[0];
    let found = compare(base, &Side::of(&two, None).unwrap()).unwrap();
    let labels: Vec<_> = found.sides.iter().map(|side| side.label.as_str()).collect();
    assert_eq!(labels, ["run-1:core-small", "run-2:core-small", "core"]);
    let left: Vec<_> = found.left_out.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(
        left,
        [
            "no result that counts from run-1:core-small, run-2:core-small",
            "its content is not the same in all runs"
        ]
    );
    assert_eq!((found.tasks, found.sides[0].summary.n), (2, 2));
    assert_eq!((found.sides[1].worse, found.sides[2].worse, found.sides[2].better), (0, 1, 1));
    assert_eq!(found.sides[2].rate_change, Some(0.0));
    assert_eq!(found.rows[0].task, "fix-off-by-one");
    let settings: Vec<_> = found.differences.iter().map(|one| one.setting.as_str()).collect();
    assert_eq!(settings, ["agent.effort", "model", "run.harness_version"]);

    assert!(Side::of(&one, Some("nobody")).unwrap_err().to_string().contains("core-small, core"));
    assert_eq!(compare(base, &[]), Err(reports::CompareError::Alone));
    let never = Side::of(&one, Some("core")).unwrap()[0];
    assert_eq!(compare(base, &[never]), Err(reports::CompareError::NothingShared));
}

#[test]
fn ten_thousand_trials_fold_and_render_fast() {
    let mut run = sample("big");
    run.plan.clear();
    run.events.clear();
    for n in 0..10_000u32 {
        let variant = if n % 2 == 0 { "core" } else { "core-small" };
        let id = id(&format!("task-{}", n / 10), variant, n % 10 / 2 + 1);
        run.plan.push(Planned { id: id.clone(), task_digest: Digest::of(b"x") });
        let outcome =
            if n % 3 == 0 { Outcome::Resolved } else { Outcome::Unresolved { reason: "no".into() } };
        run.events.push(Event::TrialFinished { record: Box::new(record(id, outcome)) });
    }
    let folder = tempfile::tempdir().unwrap();
    run.write(folder.path());
    let start = Instant::now();
    let files = RunFiles::read(folder.path()).unwrap();
    let read = start.elapsed();
    let start = Instant::now();
    let results = fold(&files);
    let folded = start.elapsed();
    assert_eq!((results.trials.len(), results.variants[0].pass_at_k_tasks[&5]), (10_000, 1_000));
    let start = Instant::now();
    for known in FORMATS {
        known.report(std::slice::from_ref(&results), &Look::default()).unwrap();
    }
    let shown = start.elapsed();
    // An optimised build takes a few hundred milliseconds, an unoptimised one beside three others ten seconds; what is quadratic in
    // trials takes minutes.
    assert!(
        folded.as_millis() < 10_000 && read.as_millis() < 30_000 && shown.as_millis() < 40_000,
        "{read:?} {folded:?} {shown:?}"
    );
    // Shown by --nocapture, for whoever measures.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("read {read:?}, fold {folded:?}, render {shown:?}\n").as_bytes(),
    );
}

fn naive(values: &[Option<u64>]) -> Measure {
    let mut known: Vec<f64> = values.iter().flatten().map(|value| *value as f64).collect();
    known.sort_by(f64::total_cmp);
    let unknown = values.len() - known.len();
    if known.is_empty() {
        return Measure { unknown, ..Measure::default() };
    }
    let quantile = |at: f64| {
        let place = at * (known.len() - 1) as f64;
        let (low, high) = (known[place.floor() as usize], known[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    let sum: f64 = known.iter().sum();
    Measure {
        sum: Some(sum),
        mean: Some(sum / known.len() as f64),
        median: Some(quantile(0.5)),
        p95: Some(quantile(0.95)),
        known: known.len(),
        unknown,
    }
}

fn alike(a: &Measure, b: &Measure) -> bool {
    let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        (a, b) => a == b,
    };
    a.sum == b.sum
        && close(a.mean, b.mean)
        && close(a.median, b.median)
        && close(a.p95, b.p95)
        && (a.known, a.unknown) == (b.known, b.unknown)
}

#[derive(Debug, Clone)]
struct Wish {
    task: u8,
    variant: bool,
    outcome: u8,
    cost: Option<u32>,
    output: Option<u32>,
    added: Option<u32>,
    total: u32,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let some = || proptest::option::of(0u32..1_000_000);
    let one = (0u8..5, any::<bool>(), 0u8..5, some(), some(), some(), any::<u32>());
    let wish = one.prop_map(|(task, variant, outcome, cost, output, added, total)| Wish {
        task,
        variant,
        outcome,
        cost,
        output,
        added,
        total,
    });
    proptest::collection::vec(wish, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn summaries_agree_with_a_naive_computation(wishes in wishes()) {
        let mut run = sample("run-1");
        run.events.clear();
        run.plan.clear();
        for (n, wish) in (1u32..).zip(&wishes) {
            let variant = if wish.variant { "core" } else { "core-small" };
            let stop = |blame| Outcome::Stopped { phase: Phase::Solve, blame, reason: "x".into() };
            let outcome = match wish.outcome {
                0 => Outcome::Resolved,
                1 => Outcome::Unresolved { reason: "x".into() },
                2 => stop(Blame::Agent),
                3 => stop(Blame::Harness),
                _ => stop(Blame::Task),
            };
            let mut record = record(id(&format!("t{}", wish.task), variant, n), outcome);
            record.cost = wish.cost.map(|cost| NanoUsd(i64::from(cost)));
            record.usage = Usage { output_tokens: wish.output.map(u64::from), ..Usage::default() };
            record.diff = wish.added.map(|added| DiffStat { added, ..DiffStat::default() });
            record.durations.total = u64::from(wish.total);
            run.plan.push(Planned { id: record.id.clone(), task_digest: Digest::of(b"x") });
            run.events.push(Event::TrialFinished { record: Box::new(record) });
        }
        let results = run.results();
        for (at, core) in [(0, false), (1, true)] {
            let all: Vec<&Wish> = wishes.iter().filter(|wish| wish.variant == core).collect();
            let counted: Vec<&&Wish> = all.iter().filter(|wish| wish.outcome < 3).collect();
            let found = &results.variants[at];
            prop_assert_eq!((found.finished, found.n), (all.len(), counted.len()));
            let ended = |code| counted.iter().filter(|wish| wish.outcome == code).count();
            prop_assert_eq!((found.resolved, found.unresolved, found.stopped_by_agent), (ended(0), ended(1), ended(2)));
            prop_assert_eq!(found.excluded.harness + found.excluded.task, all.len() - counted.len());
            let take = |of: fn(&Wish) -> Option<u32>| {
                naive(&counted.iter().map(|wish| of(wish).map(u64::from)).collect::<Vec<_>>())
            };
            prop_assert!(alike(&found.tokens.output, &take(|wish| wish.output)));
            prop_assert!(alike(&found.diff.added, &take(|wish| wish.added)));
            prop_assert!(alike(&found.duration_ms.total, &take(|wish| Some(wish.total))));
            let nano = |sum: f64| sum / 1e9;
            let spent = naive(&all.iter().map(|wish| wish.cost.map(u64::from)).collect::<Vec<_>>());
            prop_assert_eq!(found.cost_usd.total, spent.sum.map(nano));
            prop_assert_eq!((found.cost_usd.known, found.cost_usd.unknown), (spent.known, spent.unknown));
            let solved = counted.iter().filter(|wish| wish.outcome == 0 && wish.cost.is_some()).count();
            let paid = take(|wish| wish.cost);
            let each = paid.sum.filter(|_| solved > 0).map(|sum| sum / 1e9 / solved as f64);
            prop_assert_eq!(found.cost_usd.per_resolved, each);
            let passes: BTreeMap<u8, (u32, u32)> = counted.iter().fold(BTreeMap::new(), |mut all, wish| {
                let entry = all.entry(wish.task).or_default();
                entry.0 += 1;
                entry.1 += u32::from(wish.outcome == 0);
                all
            });
            for (k, value) in &found.pass_at_k {
                let enough: Vec<f64> = passes.values().filter(|(n, _)| n >= k).map(|(n, c)| {
                    let choose = |n: u32| (0..*k).fold(1.0, |p, i| p * (f64::from(n) - f64::from(i)).max(0.0) / f64::from(i + 1));
                    1.0 - choose(n - c) / choose(*n)
                }).collect();
                prop_assert!((value - enough.iter().sum::<f64>() / enough.len() as f64).abs() < 1e-9);
                prop_assert_eq!(found.pass_at_k_tasks[k] as usize, enough.len());
            }
        }
    }

    #[test]
    fn no_reason_name_or_message_breaks_a_document(reason in any::<String>(), other in ".{0,300}|(\u{1b}\\[[0-9]{1,3}[A-Zm]){1,9}|[א-ת]{1,99}", width in 0usize..300) {
        let mut run = sample("run-1");
        let mut bad = record(id("late", "core", 1), Outcome::Unresolved { reason: reason.clone() });
        bad.agent = other.clone();
        bad.model = Some(reason.clone());
        bad.sandbox.weaknesses = vec![reason.clone(), other.clone()];
        run.events.push(Event::TrialFinished { record: Box::new(bad) });
        run.events.push(Event::Warning { message: other.clone() });
        run.manifest.skipped[0].task = other.clone();
        run.manifest.skipped[0].reason = reason.clone();
        run.manifest.invalid[0].task = other.clone();
        run.manifest.invalid[0].message = other.clone();
        run.manifest.suite.name = reason;
        run.manifest.variants[0].model = Some(other.clone());
        run.manifest.variants[0].settings.insert(other.clone(), other.into());
        let results = run.results();
        let look = Look { width, ..Look::default() };
        let sides = Side::of(&results, None).unwrap();
        let compared = compare(sides[0], &sides[1..]).unwrap();
        let told = reports::story(std::path::Path::new("/nowhere"), &results, &id("late", "core", 1)).unwrap();
        let terminal = format("terminal").unwrap();
        for text in [
            terminal.report(std::slice::from_ref(&results), &look).unwrap(),
            terminal.comparison(&compared, &look).unwrap(),
            told.text(&look).into_bytes(),
        ] {
            for line in String::from_utf8(text).unwrap().split('\n') {
                prop_assert!(reports::text::width(line) <= look.columns(), "{}", line);
                prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            }
        }
        let markdown = format("markdown").unwrap().report(std::slice::from_ref(&results), &look).unwrap();
        let markdown = String::from_utf8(markdown).unwrap();
        prop_assert!(!markdown.chars().any(|c| c.is_control() && c != '\n') && !markdown.contains('<'));
        let bytes = format("csv").unwrap().report(std::slice::from_ref(&results), &look).unwrap();
        prop_assert_eq!(csv::Reader::from_reader(&bytes[..]).records().map(Result::unwrap).count(), 9);
        prop_assert!(!String::from_utf8_lossy(&bytes).contains(|c: char| c.is_control() && c != '\n'));
        let bytes = format("json").unwrap().report(std::slice::from_ref(&results), &look).unwrap();
        prop_assert!(!String::from_utf8_lossy(&bytes).contains(|c: char| c.is_control() && c != '\n'));
        prop_assert_eq!(serde_json::from_slice::<Results>(&bytes).unwrap(), results);
    }
}

#[test]
fn polars_is_known_to_one_module_alone() {
    fn look(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                look(&entry.path(), found);
            } else if fs::read_to_string(entry.path()).unwrap().contains("polars::") {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    look(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
    assert_eq!(found, ["frame.rs"]);
}

#[test]
fn many_sides_stand_below_each_other() {
    let runs: Vec<Results> = (1..=6).map(|n| sample(&format!("run-{n}")).results()).collect();
    let sides: Vec<Side<'_>> = runs.iter().map(|run| Side::of(run, Some("core")).unwrap()[0]).collect();
    let found = compare(sides[0], &sides[1..]).unwrap();
    let text =
        format("terminal").unwrap().comparison(&found, &Look { width: 100, ..Look::default() }).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\nrun-6:core  "), "{text}");
    assert!(text.contains("nothing on record"), "{text}");
    assert!(text.contains("4 tasks are solved equally often"), "{text}");
}

#[test]
fn story_reads_only_the_end_of_a_huge_log() {
    let results = sample("run-1").results();
    let folder = tempfile::tempdir().unwrap();
    let id = id("fix-off-by-one", "core", 1);
    let trial = folder.path().join("trials").join(id.path());
    fs::create_dir_all(&trial).unwrap();
    fs::File::create(trial.join("agent.log")).unwrap().set_len(1 << 40).unwrap();
    fs::write(trial.join("verify.log"), b"\xff\xfe\x00binary\n".repeat(1000)).unwrap();
    let told = reports::story(folder.path(), &results, &id).unwrap();
    assert!(told.logs.iter().all(|log| log.cut && log.lines.len() <= 30), "{:?}", told.logs.len());
    assert!(told.text(&Look::default()).len() < 100_000);
}
