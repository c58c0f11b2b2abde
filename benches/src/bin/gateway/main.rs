//! What the gateway costs, against an upstream of ours on loopback. The gateway runs in a process of its own, so that its
//! processor time and memory are its own; load and upstream share this one.
//!
//! `gateway` prints one line of JSON a figure, `gateway calls` the first of them. `gateway peer URL PID` measures another proxy that listens at URL, as process
//! PID with its children, and speaks Chat Completions to the upstream that `gateway upstream ADDRESS` is.
#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod load;
mod serve;
mod upstream;

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::{Case, Figures};

/// What one call may cost, and the other limits of the issue.
const LIMITS: &str = "4 KB call 60 us, 1 MB request 1 ms, added p50 0.3 ms and p99 2 ms, 5000 requests/s, 200 MB/s, 64 KB a stream";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // How many threads the gateway has; none is the one that waits for it.
    let threads: Option<usize> = std::env::var("THREADS").ok().and_then(|count| count.parse().ok());
    let threads = match words.first() {
        Some(&"serve") => threads.unwrap_or(2),
        _ => 1,
    };
    let mut builder = match threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 0 {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build().expect("a runtime can be started");
    runtime.block_on(async {
        match words.as_slice() {
            [] => all().await,
            ["serve", upstream] => serve::run(upstream, None).await,
            ["serve", upstream, recording] => serve::run(upstream, Some(recording)).await,
            ["upstream", address] => {
                upstream::serve(tokio::net::TcpListener::bind(address).await.expect("the address is free"))
                    .await;
            }
            ["calls"] => calls().await,
            ["peer", url, pid] => peer(url, pid.parse().expect("a process's number")).await,
            _ => panic!("gateway | gateway calls | gateway upstream ADDRESS | gateway peer URL PID"),
        }
    });
}

/// A gateway in a process of its own.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(upstream: &str, recording: Option<&str>) -> Served {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["serve", upstream])
            .args(recording)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is a pipe");
        std::io::BufReader::new(out).read_line(&mut line).expect("it says where it listens");
        Served { child, address: line.trim().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It is gone already, or goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An upstream in a thread of its own: load must not wait for it.
async fn local_upstream() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it listens").to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let listener = listener.into_std().expect("a listener is one");
        runtime.expect("a runtime can be started").block_on(async {
            upstream::serve(tokio::net::TcpListener::from_std(listener).expect("it is a listener")).await;
        });
    });
    address
}

/// What a call costs, and nothing else: for a comparison.
async fn calls() {
    let direct = local_upstream().await;
    let gateway = Served::start(&direct, None);
    let pid = gateway.child.id();
    let case = Case { calls: 4000, bytes: 4 << 10, new: 300, ..Case::default() };
    let without = load::calls(&direct, &case, None).await;
    show(
        "ours: 4 KB call, one after the other, 300 bytes new",
        &case,
        &load::calls(&gateway.address, &case, Some(pid)).await,
        &without,
    );
    println!("{}", serde_json::json!({"figure": "ours: memory", "rss_bytes": load::memory_of(pid)}));
}

async fn all() {
    let direct = local_upstream().await;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}",
        serde_json::json!({"figure": "conditions", "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "load": load.split(' ').next(), "limits": LIMITS})
    );
    let gateway = Served::start(&direct, None);
    let pid = gateway.child.id();
    for (name, case) in [
        (
            "4 KB call, one after the other, 300 bytes new",
            Case { calls: 4000, bytes: 4 << 10, new: 300, ..Case::default() },
        ),
        ("4 KB call, all of it new", Case { calls: 3000, bytes: 4 << 10, new: 4 << 10, ..Case::default() }),
        (
            "4 KB call, 32 at once",
            Case { calls: 20_000, at_once: 32, bytes: 4 << 10, new: 300, ..Case::default() },
        ),
        ("100 KB request, 4 KB new", Case { calls: 1000, bytes: 100 << 10, new: 4 << 10, ..Case::default() }),
        ("1 MB request, 4 KB new", Case { calls: 300, bytes: 1 << 20, new: 4 << 10, ..Case::default() }),
        ("1 MB request, all of it new", Case { calls: 150, bytes: 1 << 20, new: 1 << 20, ..Case::default() }),
    ] {
        let without = load::calls(&direct, &case, None).await;
        let with = load::calls(&gateway.address, &case, Some(pid)).await;
        show(name, &case, &with, &without);
    }
    streams(&direct, &gateway.address).await;
    throughput(&gateway).await;
    memory(&direct).await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let recording = Served::start(&direct, folder.path().to_str());
    let case = Case { calls: 3000, bytes: 4 << 10, new: 300, ..Case::default() };
    let figures = load::calls(&recording.address, &case, Some(recording.child.id())).await;
    show("4 KB call, recorded", &case, &figures, &load::calls(&direct, &case, None).await);
}

fn show(name: &str, case: &Case, with: &Figures, without: &Figures) {
    let us = |time: Duration| time.as_micros() as u64;
    println!(
        "{}",
        serde_json::json!({"figure": name, "calls": case.calls, "at_once": case.at_once,
            "cpu_us_per_call": with.cpu.map(|cpu| (cpu.as_secs_f64() * 1e7 / case.calls as f64).round() / 10.0),
            "requests_per_s": (case.calls as f64 / with.wall.as_secs_f64()).round(),
            "p50_us": us(with.p50), "p99_us": us(with.p99),
            "direct_p50_us": us(without.p50), "direct_p99_us": us(without.p99)})
    );
}

/// How much later an event arrives, with a hundred streams at once.
async fn streams(direct: &str, gateway: &str) {
    let without = load::events(direct, 100).await;
    let with = load::events(gateway, 100).await;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{}",
        serde_json::json!({"figure": "event, 100 streams at once", "events": with.events,
            "p50_us": us(with.p50), "p99_us": us(with.p99), "direct_p50_us": us(without.p50), "direct_p99_us": us(without.p99),
            "added_p50_us": us(with.p50) - us(without.p50), "added_p99_us": us(with.p99) - us(without.p99)})
    );
}

async fn throughput(gateway: &Served) {
    let (cpu, begun) = (load::cpu_of(gateway.child.id()), Instant::now());
    let bytes = load::bulk(&gateway.address, 4, 200).await;
    let (wall, cpu) = (begun.elapsed(), load::cpu_of(gateway.child.id()) - cpu);
    println!(
        "{}",
        serde_json::json!({"figure": "streamed, 4 at once", "bytes": bytes,
            "mb_per_s": (bytes as f64 / 1e6 / wall.as_secs_f64()).round(),
            "cpu_s_per_gb": (cpu.as_secs_f64() * 1e11 / bytes as f64).round() / 100.0})
    );
}

async fn memory(direct: &str) {
    const STREAMS: usize = 1000;
    let gateway = Served::start(direct, None);
    // Tables and pools are there before anything is counted.
    let warm = Case { calls: 200, at_once: 8, bytes: 4 << 10, new: 300, ..Case::default() };
    load::calls(&gateway.address, &warm, None).await;
    let before = load::memory_of(gateway.child.id());
    let open = load::open_streams(&gateway.address, STREAMS).await;
    let after = load::memory_of(gateway.child.id());
    println!(
        "{}",
        serde_json::json!({"figure": "memory of an open stream", "streams": open.len(),
            "bytes_per_stream": after.saturating_sub(before) / STREAMS as u64, "rss_bytes": after})
    );
}

async fn peer(url: &str, pid: u32) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    load::calls(address, &Case { calls: 30, bytes: 4 << 10, new: 300, ..Case::default() }, None).await;
    let case = Case { calls: 300, bytes: 4 << 10, new: 300, ..Case::default() };
    let figures = load::calls(address, &case, Some(pid)).await;
    show("peer: 4 KB call, one after the other, 300 bytes new", &case, &figures, &figures);
    println!("{}", serde_json::json!({"figure": "peer: memory", "rss_bytes": load::memory_of(pid)}));
}
