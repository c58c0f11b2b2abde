//! What the gateway costs, against an upstream of ours on loopback. The gateway runs in a process of its own, so that its
//! processor time and memory are its own; load and upstream share this one.
//!
//! `gateway` prints one line of JSON a figure, `gateway calls` the first of them. `gateway peer URL PID` measures another proxy that listens at URL, as process
//! PID with its children, and speaks Chat Completions to the upstream that `gateway upstream ADDRESS` is.
#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod bare;
mod load;
mod serve;
mod upstream;

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness_gateway::proxy::GatewayThread;
use load::{Case, Figures, Spent};

/// What one call may cost, and the other limits of the issue.
const LIMITS: &str = "4 KB call 60 us, 1 MB request 1 ms, added p50 0.3 ms and p99 2 ms, 5000 requests/s, 200 MB/s, 64 KB a stream";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Whoever serves does it as a run does: on one thread of its own. Load has one too, besides the one that waits for it.
    let serves = matches!(words.first(), Some(&("serve" | "bare")));
    if serves {
        let thread = GatewayThread::start().expect("a thread can be started");
        let served = thread.runtime().spawn(serve(arguments.clone()));
        let waiting =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be started");
        return waiting.block_on(served).expect("a server does not fail");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    runtime.block_on(async {
        match words.as_slice() {
            [] => all().await,
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

async fn serve(arguments: Vec<String>) {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", upstream] => serve::run(upstream, None).await,
        ["serve", upstream, recording] => serve::run(upstream, Some(recording)).await,
        ["bare", upstream] => bare::run(upstream).await,
        _ => panic!("gateway serve UPSTREAM [RECORDING] | gateway bare UPSTREAM"),
    }
}

/// A gateway in a process of its own.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(upstream: &str, recording: Option<&str>) -> Served {
        let words: Vec<&str> = ["serve", upstream].into_iter().chain(recording).collect();
        Served::spawn(&words)
    }

    fn spawn(words: &[&str]) -> Served {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(words)
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
    let way = Way::to(&direct);
    let case = Case { calls: 4000, bytes: 4 << 10, new: 300, ..Case::default() };
    way.measure("ours: 4 KB call, one after the other, 300 bytes new", &case).await;
    let rss = load::memory_of(way.gateway.child.id());
    println!("{}", serde_json::json!({"figure": "ours: memory", "rss_bytes": rss}));
}

async fn all() {
    let direct = local_upstream().await;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}",
        serde_json::json!({"figure": "conditions", "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "load": load.split(' ').next(), "limits": LIMITS})
    );
    let way = Way::to(&direct);
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
        way.measure(name, &case).await;
    }
    way.events().await;
    throughput("streamed by the bare proxy, 4 at once", &way.bare).await;
    throughput("streamed, 4 at once", &way.gateway).await;
    memory(&direct).await;
    idle(&direct).await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let recording = Served::start(&direct, folder.path().to_str());
    let way = Way { gateway: recording, ..way };
    let case = Case { calls: 3000, bytes: 4 << 10, new: 300, ..Case::default() };
    way.measure("4 KB call, recorded", &case).await;
}

/// The ways to one upstream: directly, through a proxy that does nothing else, and through the gateway.
struct Way {
    direct: String,
    bare: Served,
    gateway: Served,
}

impl Way {
    fn to(upstream: &str) -> Way {
        let bare = Served::spawn(&["bare", upstream]);
        Way { direct: upstream.to_owned(), bare, gateway: Served::start(upstream, None) }
    }

    /// The same calls on all three, in turns, so that whatever else this machine does falls on all alike.
    async fn measure(&self, name: &str, case: &Case) {
        const TURNS: usize = 5;
        let part = Case { calls: case.calls / TURNS, ..*case };
        let (mut direct, mut bare, mut gateway) = <(Figures, Figures, Figures)>::default();
        for turn in 0..TURNS {
            let part = Case { first: turn * part.calls, ..part };
            direct.add(load::calls(&self.direct, &part, None).await);
            bare.add(load::calls(&self.bare.address, &part, Some(self.bare.child.id())).await);
            gateway.add(load::calls(&self.gateway.address, &part, Some(self.gateway.child.id())).await);
        }
        show(name, case, [&direct, &bare, &gateway]);
    }

    /// How much later an event arrives, with a hundred streams at once.
    async fn events(&self) {
        let mut at = Vec::new();
        for address in [&self.direct, &self.bare.address, &self.gateway.address] {
            at.push(load::events(address, 100).await);
        }
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let [direct, bare, gateway] = at.as_slice() else { unreachable!("three were asked") };
        println!(
            "{}",
            serde_json::json!({"figure": "event, 100 streams at once", "events": gateway.times.len(),
                "p50_us": us(gateway.p(50)), "p99_us": us(gateway.p(99)),
                "direct_p50_us": us(direct.p(50)), "direct_p99_us": us(direct.p(99)),
                "bare_p50_us": us(bare.p(50)), "bare_p99_us": us(bare.p(99)),
                "added_p50_us": us(gateway.p(50)) - us(direct.p(50)), "added_p99_us": us(gateway.p(99)) - us(direct.p(99))})
        );
    }
}

fn show(name: &str, case: &Case, [direct, bare, gateway]: [&Figures; 3]) {
    let us = |time: Duration| time.as_micros() as u64;
    let calls = gateway.times.len() as f64;
    let each = |figures: &Figures| figures.cpu.map(|cpu| (cpu.as_secs_f64() * 1e7 / calls).round() / 10.0);
    let least = |figures: &Figures| figures.least.map(|cpu| (cpu.as_secs_f64() * 1e7).round() / 10.0);
    println!(
        "{}",
        serde_json::json!({"figure": name, "calls": gateway.times.len(), "at_once": case.at_once,
            "cpu_us_per_call": each(gateway), "bare_cpu_us_per_call": each(bare),
            "least_cpu_us_per_call": least(gateway), "least_bare_cpu_us_per_call": least(bare),
            "requests_per_s": (calls / gateway.wall.as_secs_f64()).round(),
            "bare_requests_per_s": (calls / bare.wall.as_secs_f64()).round(),
            "p50_us": us(gateway.p(50)), "p99_us": us(gateway.p(99)),
            "bare_p50_us": us(bare.p(50)), "bare_p99_us": us(bare.p(99)),
            "direct_p50_us": us(direct.p(50)), "direct_p99_us": us(direct.p(99))})
    );
}

async fn throughput(name: &str, gateway: &Served) {
    let (spent, begun) = (Spent::of(gateway.child.id()), Instant::now());
    let bytes = load::bulk(&gateway.address, 4, 200).await;
    let (wall, cpu) = (begun.elapsed(), spent.since(gateway.child.id()));
    println!(
        "{}",
        serde_json::json!({"figure": name, "bytes": bytes,
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

/// What connections cost on which nothing happens, and how a call fares beside them.
async fn idle(direct: &str) {
    const CONNECTIONS: usize = 10_000;
    let gateway = Served::start(direct, None);
    let case = Case { calls: 1000, bytes: 4 << 10, new: 300, ..Case::default() };
    let alone = load::calls(&gateway.address, &case, Some(gateway.child.id())).await;
    let before = load::memory_of(gateway.child.id());
    let open = load::open_idle(&gateway.address, CONNECTIONS).await;
    let beside = load::calls(&gateway.address, &case, Some(gateway.child.id())).await;
    let bytes = load::memory_of(gateway.child.id()).saturating_sub(before);
    println!(
        "{}",
        serde_json::json!({"figure": "idle connections", "connections": open.len(),
            "bytes_per_connection": bytes / CONNECTIONS as u64,
            "p50_us": beside.p(50).as_micros() as u64, "alone_p50_us": alone.p(50).as_micros() as u64})
    );
}

async fn peer(url: &str, pid: u32) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    load::calls(address, &Case { calls: 30, bytes: 4 << 10, new: 300, ..Case::default() }, None).await;
    let case = Case { calls: 300, bytes: 4 << 10, new: 300, ..Case::default() };
    let figures = load::calls(address, &case, Some(pid)).await;
    show(
        "peer: 4 KB call, one after the other, 300 bytes new",
        &case,
        [&Figures::default(), &Figures::default(), &figures],
    );
    println!("{}", serde_json::json!({"figure": "peer: memory", "rss_bytes": load::memory_of(pid)}));
}
