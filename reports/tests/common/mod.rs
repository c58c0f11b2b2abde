//! A small run that has one of everything, and its files on disk.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; tests may unwrap")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use harness_core::journal::{Entry, Header, JOURNAL_FORMAT, line};
use harness_core::manifest::{InvalidTask, Manifest, RUN_FORMAT, Setting, SkippedTask, SuiteRef, TaskNote};
use harness_core::plan::Planned;
use harness_core::record::{Passed, SandboxNote, StepRecord};
use harness_core::{
    AgentExit, Blame, Connection, ConnectionResult, Connections, DiffStat, Digest, Durations, Event, Finding,
    NanoUsd, Outcome, Phase, RunId, Severity, TaskId, TestCounts, TrialId, TrialRecord, TryRecord, Usage,
    UsageSource, Variant, VariantName,
};

/// A run that can be written and changed.
pub(crate) struct Run {
    pub(crate) manifest: Manifest,
    pub(crate) plan: Vec<Planned>,
    pub(crate) events: Vec<Event>,
}

pub(crate) fn id(task: &str, variant: &str, attempt: u32) -> TrialId {
    TrialId { task: TaskId::new(task).unwrap(), variant: VariantName::new(variant).unwrap(), attempt }
}

pub(crate) fn record(id: TrialId, outcome: Outcome) -> TrialRecord {
    let durations =
        Durations { prepare: 12, solve: 61_500, capture: 4, verify: 830, teardown: 9, total: 62_400 };
    let usage = Usage {
        requests: Some(7),
        uncached_input_tokens: Some(1_200),
        cache_read_tokens: Some(30_000),
        cache_write_tokens: Some(2_000),
        output_tokens: Some(900),
        source: Some(UsageSource::Gateway),
        ..Usage::default()
    };
    let resolved = outcome == Outcome::Resolved;
    TrialRecord {
        agent: id.variant.to_string(),
        model: Some("openai/small".into()),
        agent_exit: Some(AgentExit::Finished),
        score: outcome.counts().then_some(if resolved { 1.0 } else { 0.0 }),
        rewards: outcome
            .counts()
            .then(|| BTreeMap::from([("reward".to_owned(), f64::from(u8::from(resolved)))])),
        steps: None,
        tests: outcome.counts().then_some(TestCounts {
            passed: if resolved { 4 } else { 3 },
            failed: u32::from(!resolved),
            fail_to_pass: Passed { passed: u32::from(resolved), total: 1 },
            pass_to_pass: Passed { passed: 3, total: 3 },
        }),
        usage,
        cost: Some(NanoUsd(12_345_678)),
        reported: None,
        simulated: false,
        replayed: false,
        diff: Some(DiffStat { files: 1, hunks: 2, added: 10, removed: 3, simplicity: None }),
        durations,
        cpu_ms: Some(1_500),
        peak_memory_bytes: Some(64 << 20),
        network: None,
        integrity: vec![],
        sandbox: sandbox(),
        tries: vec![TryRecord {
            number: 1,
            outcome: outcome.clone(),
            agent_exit: Some(AgentExit::Finished),
            usage,
            cost: Some(NanoUsd(12_345_678)),
            reported: None,
            cut_by: None,
            reattached: false,
            durations,
        }],
        started_ms: 1_795_269_699_000,
        finished_ms: 1_795_269_761_400,
        outcome,
        id,
    }
}

fn sandbox() -> SandboxNote {
    SandboxNote {
        backend: "native".into(),
        rootfs: "host".into(),
        network: "closed".into(),
        verifier_network: None,
        weaknesses: vec!["shares the host's kernel".into()],
    }
}

fn connections() -> Connections {
    let one = |host: &str, phase, result, reason: Option<&str>| Connection {
        at_ms: 1_795_269_699_500,
        phase: Some(phase),
        host: host.into(),
        port: 443,
        result,
        reason: reason.map(str::to_owned),
        sent_bytes: Some(1_200),
        received_bytes: Some(3_400_000),
    };
    use ConnectionResult::{Allowed, Failed, Refused};
    Connections {
        connections: vec![
            one("pypi.org", Phase::Solve, Allowed, None),
            one("169.254.169.254", Phase::Solve, Refused, Some("169.254.169.254 is not a public address")),
            one("pypi.org", Phase::Solve, Allowed, None),
            one("x\u{1b}[2J.org", Phase::Verify, Failed, Some("cannot be resolved\u{1b}]0;t\u{7}")),
            one("", Phase::Verify, Refused, Some("the request is no text")),
        ],
        left_out: 7,
    }
}

fn unresolved(reason: &str) -> Outcome {
    Outcome::Unresolved { reason: reason.into() }
}

fn stopped(blame: Blame, phase: Phase, reason: &str) -> Outcome {
    Outcome::Stopped { phase, blame, reason: reason.into() }
}

/// Two variants on five tasks with hostile names and reasons: one of every outcome, and two trials unfinished.
pub(crate) fn sample(run: &str) -> Run {
    let tasks = [
        "fix-off-by-one",
        "django__django-a-very-long-name-that-does-not-fit-12345",
        "修正-データ",
        "broken-env",
        "late",
    ];
    let variant = |name: &str, model: Option<&str>| Variant {
        name: VariantName::new(name).unwrap(),
        agent: name.split('-').next().unwrap().into(),
        model: model.map(str::to_owned),
        settings: BTreeMap::from([("effort".to_owned(), serde_json::Value::from(name.len()))]),
    };
    let note = |task: &str| TaskNote {
        digest: Digest::of(task.as_bytes()),
        dataset: "starter".into(),
        difficulty: Some("easy".into()),
        language: None,
        tags: vec![],
    };
    let manifest = Manifest {
        format: RUN_FORMAT,
        run: RunId::new(run).unwrap(),
        harness_version: "0.1.0".into(),
        created_ms: 1_795_269_699_000,
        suite: SuiteRef {
            name: "starter".into(),
            sources: vec!["starter".into()],
            filter: None,
            limit: None,
            digest: Digest::of(b"suite"),
        },
        variants: vec![variant("core-small", Some("openai/small")), variant("core", Some("openai/big"))],
        attempts: 1,
        seed: 7,
        settings: BTreeMap::from([("jobs".to_owned(), Setting { value: 2.into(), source: "flag".into() })]),
        tasks: tasks.iter().map(|task| ((*task).to_owned(), note(task))).collect(),
        invalid: vec![InvalidTask {
            task: "bad|one".into(),
            file: "bad/task.toml:3:1".into(),
            message: "expected `=`\u{1b}[2J".into(),
        }],
        skipped: vec![SkippedTask { task: "needs-node".into(), reason: "node is not found inside".into() }],
        machine: BTreeMap::from([("cpus".to_owned(), "2".to_owned())]),
        sandbox: sandbox(),
        models: BTreeMap::new(),
        prices: None,
        tools: BTreeMap::new(),
    };
    let mut plan = Vec::new();
    for task in tasks {
        for variant in ["core-small", "core"] {
            plan.push(Planned { id: id(task, variant, 1), task_digest: Digest::of(task.as_bytes()) });
        }
    }
    let mut all = vec![
        record(id(tasks[0], "core-small", 1), Outcome::Resolved),
        record(
            id(tasks[0], "core", 1),
            unresolved("1 test did not pass: test_edge\u{1b}]0;pwned\u{7}\u{202e}"),
        ),
        record(id(tasks[1], "core-small", 1), unresolved("reward is 0, below 1")),
        record(id(tasks[1], "core", 1), Outcome::Resolved),
        record(id(tasks[2], "core-small", 1), Outcome::Resolved),
        record(id(tasks[2], "core", 1), Outcome::Resolved),
        record(
            id(tasks[3], "core-small", 1),
            stopped(Blame::Task, Phase::Prepare, "the Dockerfile's line 3 fails"),
        ),
        record(id(tasks[3], "core", 1), stopped(Blame::Agent, Phase::Solve, "=cmd|' /C calc'!A0")),
    ];
    all[2].cost = None;
    all[2].usage = Usage::default();
    all[2].diff = None;
    all[4].integrity = vec![Finding {
        check: "program_restored".into(),
        severity: Severity::Tampered,
        detail: "/bin/cat was replaced\u{1b}[8m".into(),
    }];
    all[5].steps = Some(vec![StepRecord {
        name: "one".into(),
        rewards: Some(BTreeMap::from([("reward".to_owned(), 1.0)])),
        reason: None,
    }]);
    all[5].network = Some(connections());
    let failed = TryRecord {
        outcome: stopped(Blame::Harness, Phase::Prepare, "the sandbox was lost"),
        cost: Some(NanoUsd(5_000_000)),
        ..all[0].tries[0].clone()
    };
    let mut again = all[5].tries[0].clone();
    again.number = 2;
    all[5].tries = vec![failed.clone(), again];
    let mut events = vec![Event::RunStarted { pid: 1, planned: plan.len(), finished: 0 }];
    events.extend(all.into_iter().map(|record| Event::TrialFinished { record: Box::new(record) }));
    events.push(Event::TrialStarted { id: id("late", "core", 1), number: 1 });
    events.push(Event::TryFailed { id: id("late", "core", 1), record: failed });
    events.push(Event::Warning { message: "the disk is nearly full".into() });
    events.push(Event::RunEnded { complete: false, reason: Some("interrupted".into()) });
    Run { manifest, plan, events }
}

impl Run {
    pub(crate) fn journal(&self) -> Vec<u8> {
        let mut bytes = line(&Header { harness_journal: JOURNAL_FORMAT, run: self.manifest.run.clone() });
        for (at, event) in self.events.iter().enumerate() {
            bytes.extend(line(&Entry { seq: at as u64 + 1, at_ms: 5, event: event.clone() }));
        }
        bytes
    }

    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&self.manifest).unwrap()).unwrap();
        fs::write(folder.join("plan.jsonl"), self.plan.iter().flat_map(line).collect::<Vec<u8>>()).unwrap();
        fs::write(folder.join("journal.jsonl"), self.journal()).unwrap();
    }

    pub(crate) fn results(&self) -> reports::Results {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        reports::fold(&reports::RunFiles::read(folder.path()).unwrap())
    }
}
