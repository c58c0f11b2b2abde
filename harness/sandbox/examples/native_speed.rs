//! Measures the native sandbox beside a plain spawn of the same program, interleaved, and prints medians and ratios.
//! `cargo run --release -p harness-sandbox --example native_speed -- [DIR] [N]`; without DIR, on the host's own root.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program, not a library")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::{
    BACKENDS, BackendOptions, EnvironmentRequest, ExecSpec, Exit, Image, Labels, ProcessSpec, PutOptions,
    RootFs, Sandbox, SandboxSpec, Source,
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().filter(|name| name != "host").map(PathBuf::from);
    let count: usize = arguments.next().map_or(200, |count| count.parse().unwrap());
    let state = tempfile::tempdir_in(std::env::var("STATE_IN").unwrap_or("/var/tmp".to_owned())).unwrap();
    let options = BackendOptions {
        state_dir: state.path().to_owned(),
        rootfs: folder.map_or(RootFs::Host, RootFs::Dir),
        hidden: Vec::new(),
    };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "native").unwrap();
    let backend = kind.open(options).await.unwrap();
    let image = backend.prepare(&request(), Arc::new(|_| {})).await.unwrap();

    let (mut plain, mut cycle, mut created, mut inside) = (vec![], vec![], vec![], vec![]);
    let (mut fresh, mut destroyed) = (vec![], vec![]);
    let sandbox = backend.create(spec(&image)).await.unwrap();
    for _ in 0..count {
        let start = Instant::now();
        assert!(std::process::Command::new("/bin/true").status().unwrap().success());
        plain.push(start.elapsed());
        let start = Instant::now();
        run(&*sandbox).await;
        inside.push(start.elapsed());
    }
    sandbox.destroy().await.unwrap();
    if std::env::var_os("EXECS").is_some() {
        let sandbox = backend.create(spec(&image)).await.unwrap();
        for _ in 0..count * 10 {
            run(&*sandbox).await;
        }
        return;
    }
    if std::env::var_os("ONLY").is_some() {
        for _ in 0..count {
            let sandbox = backend.create(spec(&image)).await.unwrap();
            run(&*sandbox).await;
            sandbox.destroy().await.unwrap();
        }
        return;
    }
    let cpu = cpu();
    for _ in 0..count {
        let start = Instant::now();
        let sandbox = backend.create(spec(&image)).await.unwrap();
        created.push(start.elapsed());
        let first = Instant::now();
        run(&*sandbox).await;
        fresh.push(first.elapsed());
        let last = Instant::now();
        sandbox.destroy().await.unwrap();
        destroyed.push(last.elapsed());
        cycle.push(start.elapsed());
    }
    let cpu = self::cpu() - cpu;
    let base = median(&mut plain);
    for (name, times) in [
        ("exec in a running sandbox", &mut inside),
        ("create", &mut created),
        ("first exec", &mut fresh),
        ("destroy", &mut destroyed),
        ("cycle", &mut cycle),
    ] {
        let time = median(times);
        println!(
            "{name}: {time:?}, {:.2} x a plain spawn of {base:?}",
            time.as_secs_f64() / base.as_secs_f64()
        );
    }
    println!(
        "cpu of this process per cycle: {:?} (its helpers not counted)",
        cpu / u32::try_from(count).unwrap()
    );
    let changed = backend.create(spec(&image)).await.unwrap();
    let big = ProcessSpec::shell(
        "i=0; while [ $i -lt 20 ]; do cat /bin/sh /bin/sh > /tmp/$i 2> /dev/null; i=$((i+1)); done",
    );
    let wrote = changed.exec(ExecSpec::new(big)).await;
    if wrote.is_ok_and(|done| done.exit == Exit::Code(0)) {
        changed.put("/tmp/big", Source::Bytes(vec![7; 200 << 20]), PutOptions::default()).await.unwrap();
        let snapshot = changed.snapshot().await.unwrap();
        let mut stacked = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            let spec = SandboxSpec { snapshot: Some(Arc::clone(&snapshot)), ..spec(&image) };
            let verifier = backend.create(spec).await.unwrap();
            stacked.push(start.elapsed());
            verifier.destroy().await.unwrap();
        }
        println!("a sandbox stacked on a change of 200 MB: ready in {:?}", median(&mut stacked));
    }
    for callers in [1, 8] {
        let start = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let (backend, image) = (Arc::clone(&backend), Arc::clone(&image));
                tokio::spawn(async move {
                    for _ in 0..count / callers {
                        let sandbox = backend.create(spec(&image)).await.unwrap();
                        run(&*sandbox).await;
                        sandbox.destroy().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let done = (count / callers * callers) as f64;
        println!("{callers} callers: {:.0} cycles/s", done / start.elapsed().as_secs_f64());
    }
}

async fn run(place: &dyn Sandbox) {
    let process = ProcessSpec { deadline: Some(Duration::from_secs(20)), ..ProcessSpec::new(["/bin/true"]) };
    let done = place.exec(ExecSpec::new(process)).await.unwrap();
    assert_eq!(done.exit, Exit::Code(0));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap().split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    Duration::from_millis((fields[11] + fields[12]) * 10)
}

fn spec(image: &Arc<Image>) -> SandboxSpec {
    SandboxSpec {
        labels: Labels { run: "speed".into(), trial: "t".into(), role: "agent".into() },
        image: Arc::clone(image),
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    }
}

fn request() -> EnvironmentRequest {
    EnvironmentRequest {
        spec: EnvironmentSpec {
            source: EnvironmentSource::Image { reference: "host".into(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: Default::default(),
            workdir: None,
            network: NetworkMode::None,
            healthcheck: None,
            host_root: true,
        },
        digest: Digest::of(b"speed"),
        log: None,
    }
}
