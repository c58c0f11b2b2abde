//! Clients as light as can be: HTTP/1.1 by hand on kept connections, so that what is measured is the proxy.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::upstream::now_ns;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) calls: usize,
    pub(crate) at_once: usize,
    /// Of a request's body.
    pub(crate) bytes: usize,
    /// How much of it no request before had.
    pub(crate) new: usize,
    /// The number of the first call: equal numbers have equal bodies.
    pub(crate) first: usize,
}

impl Default for Case {
    fn default() -> Case {
        Case { calls: 1, at_once: 1, bytes: 4 << 10, new: 0, first: 0 }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Of each call or event, in order.
    pub(crate) times: Vec<Duration>,
    pub(crate) wall: Duration,
    /// Of the process that was named.
    pub(crate) cpu: Option<Duration>,
    /// For each call of the turn that took the least of it: what others do on this machine only adds.
    pub(crate) least: Option<Duration>,
}

impl Figures {
    fn of(mut times: Vec<Duration>, wall: Duration, cpu: Option<Duration>) -> Figures {
        times.sort_unstable();
        let least = cpu.map(|cpu| cpu / u32::try_from(times.len()).unwrap_or(u32::MAX).max(1));
        Figures { times, wall, cpu, least }
    }

    /// Counts more of the same.
    pub(crate) fn add(&mut self, more: Figures) {
        self.times.extend(more.times);
        self.times.sort_unstable();
        self.wall += more.wall;
        self.cpu = more.cpu.map(|cpu| cpu + self.cpu.unwrap_or_default());
        self.least = self.least.into_iter().chain(more.least).min();
    }

    /// The time that so many of a hundred stayed below.
    pub(crate) fn p(&self, share: usize) -> Duration {
        self.times.get(self.times.len() * share / 100).copied().unwrap_or_default()
    }
}

/// Words that are not the same twice, deterministic.
fn words(seed: u64, bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "the", "function", "returns", "value", "if", "error", "let", "mut", "index", "while", "match",
        "file", "test", "assert", "none", "line",
    ];
    let (mut text, mut state) = (String::with_capacity(bytes + 16), seed);
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push(' ');
        if (state >> 40) & 7 == 0 {
            text.push_str(&(state >> 45).to_string());
            text.push(' ');
        }
    }
    text.truncate(bytes);
    text
}

/// The body of call number `call`: a history of messages that it shares with the others, and something new.
fn body(case: &Case, call: u64) -> String {
    let old = case.bytes.saturating_sub(case.new);
    let mut messages = Vec::new();
    let mut left = old;
    while left > 0 {
        let part = left.min(2000);
        messages
            .push(format!("{{\"role\":\"user\",\"content\":\"{}\"}}", words(messages.len() as u64, part)));
        left -= part;
    }
    let mut left = case.new;
    while left > 0 {
        let part = left.min(2000);
        let seed = call.wrapping_mul(1_000_003).wrapping_add(left as u64);
        messages.push(format!("{{\"role\":\"user\",\"content\":\"{}\"}}", words(seed, part)));
        left -= part;
    }
    format!("{{\"model\":\"gpt-4.1\",\"max_tokens\":1000,\"messages\":[{}]}}", messages.join(","))
}

fn request(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sk-virtual\r\naccept: application/json\r\n\
         user-agent: load/1\r\nx-stainless-lang: python\r\nx-stainless-package-version: 1\r\nx-stainless-os: Linux\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Makes the calls of a case, and measures the process that answers.
pub(crate) async fn calls(address: &str, case: &Case, pid: Option<u32>) -> Figures {
    let each = case.calls / case.at_once;
    // Bodies are made before: load must not be what is measured.
    let mut clients = Vec::new();
    for client in 0..case.at_once {
        let kept = each.min((64 << 20) / case.at_once / case.bytes.max(1)).max(1);
        let begin = (case.first + client * each) as u64;
        let bodies: Vec<Vec<u8>> = (0..kept as u64).map(|call| request(&body(case, begin + call))).collect();
        let stream = connect(address).await;
        clients.push((stream, bodies));
    }
    for (stream, bodies) in &mut clients {
        call(stream, &bodies[0]).await;
    }
    let (spent, begun) = (pid.map(Spent::of), Instant::now());
    let mut tasks = Vec::new();
    for (mut stream, bodies) in clients {
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::with_capacity(each);
            for number in 0..each {
                let begun = Instant::now();
                call(&mut stream, &bodies[number % bodies.len()]).await;
                times.push(begun.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client does not fail"));
    }
    let wall = begun.elapsed();
    // What is settled after an answer's end is a part of it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let cpu = spent.zip(pid).map(|(spent, pid)| spent.since(pid));
    Figures::of(times, wall, cpu)
}

async fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.set_nodelay(true).expect("a socket can be set up");
    stream
}

/// One call whose answer says its length, or comes in chunks.
async fn call(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).await.expect("a request can be sent");
    let mut answer = Vec::with_capacity(4096);
    let mut wanted = None;
    loop {
        assert!(
            stream.read_buf(&mut answer).await.expect("an answer can be read") > 0,
            "the answer breaks off"
        );
        if wanted.is_none()
            && let Some(head) = memchr::memmem::find(&answer, b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            assert!(text.contains(" 200 "), "{}", String::from_utf8_lossy(&answer));
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            wanted = Some(length.map(|length| head + 4 + length));
        }
        match wanted {
            Some(Some(length)) if answer.len() >= length => return,
            Some(None) if answer.ends_with(b"0\r\n\r\n") => return,
            _ => {}
        }
    }
}

fn streaming(model: &str) -> Vec<u8> {
    let asked = format!(
        "{{\"model\":\"{model}\",\"stream\":true,\"stream_options\":{{\"include_usage\":true}},\"max_tokens\":100,\"messages\":[{{\"role\":\"user\",\"content\":\"go on\"}}]}}"
    );
    request(&asked)
}

/// How long events take from the upstream to the client, with so many streams at once.
pub(crate) async fn events(address: &str, streams: usize) -> Figures {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let mut stream = connect(address).await;
        tasks.push(tokio::spawn(async move {
            stream.write_all(&streaming("events")).await.expect("a request can be sent");
            let (mut times, mut held) = (Vec::new(), Vec::new());
            loop {
                let read = stream.read_buf(&mut held).await.expect("events can be read");
                let now = now_ns();
                let mut at = 0;
                while let Some(found) = memchr::memmem::find(&held[at..], b"\"sent\":") {
                    let digits = &held[at + found + 7..];
                    let Some(end) = digits.iter().position(|byte| !byte.is_ascii_digit()) else { break };
                    let sent: u64 = String::from_utf8_lossy(&digits[..end]).parse().expect("a number");
                    times.push(Duration::from_nanos(now.saturating_sub(sent)));
                    at += found + 7 + end;
                }
                if read == 0 || held.ends_with(b"0\r\n\r\n") {
                    return times;
                }
                held.drain(..at);
            }
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client does not fail"));
    }
    Figures::of(times, begun.elapsed(), None)
}

/// Reads megabytes from so many streams at once; returns how many bytes came.
pub(crate) async fn bulk(address: &str, streams: usize, megabytes: usize) -> u64 {
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let mut stream = connect(address).await;
        tasks.push(tokio::spawn(async move {
            let (mut buffer, mut all) = (vec![0; 256 << 10], 0_u64);
            for _ in 0..(megabytes / streams).div_ceil(50) {
                stream.write_all(&streaming("bulk")).await.expect("a request can be sent");
                let mut last = Vec::new();
                loop {
                    let read = stream.read(&mut buffer).await.expect("bytes can be read");
                    assert!(read > 0, "the answer breaks off");
                    all += read as u64;
                    last.extend_from_slice(&buffer[read.saturating_sub(8)..read]);
                    last.drain(..last.len().saturating_sub(8));
                    if last.ends_with(b"0\r\n\r\n") {
                        break;
                    }
                }
            }
            all
        }));
    }
    let mut all = 0;
    for task in tasks {
        all += task.await.expect("a client does not fail");
    }
    all
}

/// Opens connections on which nothing is asked.
pub(crate) async fn open_idle(address: &str, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(connect(address).await);
    }
    open
}

/// Opens streams that have begun and go on for as long as they are kept.
pub(crate) async fn open_streams(address: &str, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(address).await;
        stream.write_all(&streaming("open")).await.expect("a request can be sent");
        let mut seen = Vec::new();
        while memchr::memmem::find_iter(&seen, b"\"sent\":").count() < 3 {
            assert!(stream.read_buf(&mut seen).await.expect("events can be read") > 0, "the stream ends");
        }
        open.push(stream);
    }
    open
}

/// Processor time of each thread of a process and its children so far.
#[derive(Debug, Default)]
pub(crate) struct Spent(HashMap<PathBuf, Duration>);

impl Spent {
    pub(crate) fn of(pid: u32) -> Spent {
        let threads = processes(pid)
            .into_iter()
            .flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten());
        let spent = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((thread.path(), Duration::from_nanos(text.split(' ').next()?.parse().ok()?)))
        });
        Spent(spent.collect())
    }

    /// Until now, by the threads that are still there: one that has ended had looked up a name.
    pub(crate) fn since(&self, pid: u32) -> Duration {
        let before = |thread| self.0.get(thread).copied().unwrap_or_default();
        Spent::of(pid).0.iter().map(|(thread, spent)| spent.saturating_sub(before(thread))).sum()
    }
}

/// Resident memory of a process and its children now, in bytes.
pub(crate) fn memory_of(pid: u32) -> u64 {
    processes(pid)
        .into_iter()
        .filter_map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().to_owned();
            Some(line.strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
        })
        .sum()
}

fn processes(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[at]);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    all
}
