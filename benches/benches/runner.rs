//! The runner itself: whole runs on the memory sandbox, the journal's reader, and the writer alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::counters::cpu;
use benches::runner::Bench;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness_core::journal::Journal;
use harness_core::{Event, RunId};
use harness_engine::journal_writer::{JournalWriter, Opening};
use harness_gateway::redact::Redactor;

/// Trials in one measured run: enough that starting it does not show.
const TRIALS: usize = 200;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started")
}

fn trials(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("run");
    group.throughput(Throughput::Elements(TRIALS as u64)).sample_size(10);
    for agent in ["noop", "oracle"] {
        group.bench_function(format!("{agent}/wall"), |bencher| {
            let mut bench = Bench::new(agent);
            bencher.iter(|| runtime.block_on(bench.run(TRIALS, 2)));
        });
        group.bench_function(format!("{agent}/cpu"), |bencher| {
            let mut bench = Bench::new(agent);
            bencher.iter_custom(|times| {
                let before = cpu();
                for _ in 0..times {
                    runtime.block_on(bench.run(TRIALS, 2));
                }
                cpu() - before
            });
        });
    }
    group.finish();
}

fn journal(criterion: &mut Criterion) {
    let mut bench = Bench::new("noop");
    let run = runtime().block_on(bench.run(500, 2));
    let bytes = std::fs::read(run.join("journal.jsonl")).expect("the run has a journal");
    // The journal of 10,000 trials: the same records with numbers that go on.
    let one = Journal::parse(&bytes).expect("the journal reads");
    let header = one.header.clone().expect("the journal has a header");
    let mut large = harness_core::journal::line(&header);
    let mut next = 0;
    for _ in 0..20 {
        for entry in &one.entries {
            next += 1;
            let entry = harness_core::journal::Entry { seq: next, ..entry.clone() };
            large.extend(harness_core::journal::line(&entry));
        }
    }
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Bytes(large.len() as u64)).sample_size(10);
    group.bench_function("parse/10000 trials", |bencher| {
        bencher.iter(|| Journal::parse(black_box(&large)).expect("the journal reads"));
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("write/1000 events, synced", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| write_events()).sum());
    });
    group.finish();
}

/// How long a thousand events take until the last of them is safe.
fn write_events() -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let run = RunId::new("bench").expect("a valid id");
    let file = folder.path().join("journal.jsonl");
    let began = Instant::now();
    let opening = Opening {
        file,
        run: &run,
        read: &Journal::default(),
        watcher: Box::new(|_| {}),
        redactor: Redactor::new([]),
    };
    let (writer, thread) = JournalWriter::start(opening, || {}).expect("the journal can be started");
    for _ in 0..1000 {
        writer.write(Event::Warning { message: "something of the usual length".into() });
    }
    drop(writer);
    thread.join().expect("the disk takes it");
    began.elapsed()
}

criterion_group!(benches, trials, journal);
criterion_main!(benches);
