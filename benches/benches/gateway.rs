//! The parts of a call that are the gateway's own work, each alone: what is done with a request's bytes before it is forwarded,
//! with an answer's as they pass, and with both when they are recorded or played. Whole calls are measured by the program
//! `gateway`, because their processor time is that of a process.
#![expect(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use harness_gateway::meter::{Framing, Meter};
use harness_gateway::recording::{Asked, Cost, Ending, Head, Mode, Pace, Recorder, Recording};
use harness_gateway::redact::Redactor;
use harness_gateway::stream::decode::Encoding;
use harness_gateway::tokens::Counter;
use harness_gateway::wire::{Operation, ReadRequest, recognise};

/// A request of Chat Completions with a history of so many bytes.
fn request(bytes: usize, seed: u64) -> String {
    const WORDS: [&str; 8] =
        ["the", "function", "returns", "value", "assert_eq!(", "let mut", "error", "7f3a"];
    let (mut messages, mut state) = (String::new(), seed);
    while messages.len() < bytes {
        messages.push_str(if messages.is_empty() { "" } else { "," });
        messages.push_str("{\"role\":\"user\",\"content\":\"");
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            messages.push_str(WORDS[(state >> 61) as usize]);
            messages.push(' ');
        }
        messages.push_str("\"}");
    }
    format!("{{\"model\":\"gpt-4.1\",\"max_tokens\":1000,\"messages\":[{messages}]}}")
}

fn stream(bytes: usize) -> String {
    let event = "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a few words of an answer\"}}]}\n\n";
    let end = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":20}}\n\ndata: [DONE]\n\n";
    event.repeat(bytes / event.len()) + end
}

fn bodies(c: &mut Criterion) {
    let (wire, route) = recognise("POST", "/v1/chat/completions").expect("a path of its own");
    let redactor = Redactor::new([&b"sk-a-key-that-is-looked-for"[..]]);
    for (name, bytes) in [("4 KB", 4 << 10), ("1 MB", 1 << 20)] {
        let body = request(bytes, 1);
        let mut group = c.benchmark_group(format!("request of {name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("read", |b| {
            b.iter(|| ReadRequest::read(wire, &route, black_box(body.as_bytes())).is_ok())
        });
        let mut counter = Counter::default();
        // So often that all of it is known.
        for _ in 0..40 {
            counter.request(body.as_bytes());
        }
        group.bench_function("count, known", |b| b.iter(|| counter.request(black_box(body.as_bytes()))));
        group.bench_function("count, new", |b| {
            b.iter_batched(
                Counter::default,
                |mut counter| counter.request(black_box(body.as_bytes())),
                BatchSize::LargeInput,
            );
        });
        group.bench_function("redact", |b| b.iter(|| redactor.redact(black_box(body.as_bytes()))));
        group.bench_function("find in a recording", |b| {
            let asked = Asked {
                wire: "openai-chat",
                operation: Operation::Generate,
                model: "m",
                stream: false,
                body: body.as_bytes(),
            };
            b.iter(|| black_box(&asked).key());
        });
        group.finish();
    }
    let answer = stream(1 << 20);
    let mut group = c.benchmark_group("answer of 1 MB");
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("meter", |b| {
        b.iter(|| {
            let mut meter = Meter::new(wire, Framing::Events, Encoding::Identity);
            for piece in answer.as_bytes().chunks(8 << 10) {
                meter.push(black_box(piece));
            }
            meter.finish().usage
        });
    });
    group.finish();
}

fn recordings(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let recorder = Recorder::open(folder.path(), Redactor::new(None)).expect("the folder can be written");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be started");
    let answer = Bytes::from(stream(4 << 10));
    let record = |number: u64, body: &str| {
        let head = Head {
            trial: "t".to_owned(),
            request: number,
            at_ms: 0,
            wire: "openai-chat".to_owned(),
            operation: Operation::Generate,
            model: "m".to_owned(),
            stream: true,
        };
        runtime.block_on(async {
            let mut tape = recorder.begin(head, Bytes::from(body.to_owned())).await;
            tape.answered(200, &[], 1);
            tape.piece(&answer).await;
            tape.end(Ending::Complete, Cost::default());
        });
        recorder.flush().expect("it is written");
    };
    for number in 0..1000 {
        record(number, &request(4 << 10, number));
    }
    let recording = Recording::open(folder.path()).expect("it was recorded");
    let mut group = c.benchmark_group("recording of 1000 exchanges");
    group.bench_function("open", |b| {
        b.iter(|| {
            let recording = Recording::open(folder.path()).expect("it was recorded");
            recording.player("t", Mode::Strict, Pace::AtOnce).expect("it can be read")
        });
    });
    let body = request(4 << 10, 500);
    let asked = Asked {
        wire: "openai-chat",
        operation: Operation::Generate,
        model: "m",
        stream: true,
        body: body.as_bytes(),
    };
    group.bench_function("play the 500th", |b| {
        b.iter_batched(
            || recording.player("t", Mode::Strict, Pace::AtOnce).expect("it can be read"),
            |player| player.play(&asked).expect("it was recorded"),
            BatchSize::SmallInput,
        );
    });
    let mut number = 1000;
    group.bench_function("record one of 4 KB", |b| {
        b.iter(|| {
            number += 1;
            record(number, &request(4 << 10, number));
        });
    });
    group.finish();
}

criterion_group!(benches, bodies, recordings);
criterion_main!(benches);
