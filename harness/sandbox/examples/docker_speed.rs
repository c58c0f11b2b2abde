//! Measures sandboxes in containers beside the engine's own program doing the same, interleaved, and prints medians and ratios.
//! `cargo run --release -p harness-sandbox --example docker_speed -- [IMAGE] [N]`; needs `docker` for the comparison.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program, not a library")]

use std::process::{Command, Stdio};
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
    let reference = arguments.next().unwrap_or_else(|| "debian:12".to_owned());
    let count: usize = arguments.next().map_or(10, |count| count.parse().unwrap());
    let state = tempfile::tempdir_in("/var/tmp").unwrap();
    let options =
        BackendOptions { state_dir: state.path().to_owned(), rootfs: RootFs::FromTask, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "docker").unwrap();
    let backend = kind.open(options).await.unwrap();
    let image = backend.prepare(&request(&reference), Arc::new(|_| {})).await.unwrap();

    let sandbox = backend.create(spec(&image)).await.unwrap();
    cli(&["run", "-d", "--network", "none", "--name", "harness-speed", &reference, "sleep", "600"]);
    let (mut exec, mut exec_cli) = (vec![], vec![]);
    for _ in 0..count * 4 {
        exec.push(timed(run(&*sandbox)).await);
        exec_cli.push(timed(async { cli(&["exec", "harness-speed", "/bin/true"]) }).await);
    }
    cli(&["rm", "-f", "harness-speed"]);
    sandbox.destroy().await.unwrap();
    compare("exec", &mut exec, &mut exec_cli);

    let file = state.path().join("file");
    std::fs::write(&file, b"content").unwrap();
    let file = file.to_str().unwrap();
    let (mut create, mut destroy, mut whole, mut whole_cli) = (vec![], vec![], vec![], vec![]);
    for _ in 0..count {
        let begun = Instant::now();
        let sandbox = backend.create(spec(&image)).await.unwrap();
        create.push(begun.elapsed());
        sandbox.put("/tmp/file", Source::Bytes(b"content".to_vec()), PutOptions::default()).await.unwrap();
        run(&*sandbox).await;
        run(&*sandbox).await;
        let last = Instant::now();
        sandbox.destroy().await.unwrap();
        destroy.push(last.elapsed());
        whole.push(begun.elapsed());
        let steps = async {
            cli(&["create", "--network", "none", "--name", "harness-speed", &reference, "sleep", "600"]);
            cli(&["start", "harness-speed"]);
            cli(&["cp", file, "harness-speed:/tmp/file"]);
            cli(&["exec", "harness-speed", "/bin/true"]);
            cli(&["exec", "harness-speed", "/bin/true"]);
            cli(&["rm", "-f", "harness-speed"]);
        };
        whole_cli.push(timed(steps).await);
    }
    println!("create {:?}, destroy {:?}", median(&mut create), median(&mut destroy));
    compare("create, copy in, exec, exec, remove", &mut whole, &mut whole_cli);
}

fn compare(what: &str, ours: &mut [Duration], theirs: &mut [Duration]) {
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{what}: {ours:?}, by docker's program {theirs:?}: {:.2} x",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

fn cli(arguments: &[&str]) {
    let status = Command::new("docker").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "docker {arguments:?}");
}

async fn run(place: &dyn Sandbox) {
    let process = ProcessSpec { deadline: Some(Duration::from_secs(60)), ..ProcessSpec::new(["/bin/true"]) };
    let done = place.exec(ExecSpec::new(process)).await.unwrap();
    assert_eq!(done.exit, Exit::Code(0));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
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

fn request(reference: &str) -> EnvironmentRequest {
    EnvironmentRequest {
        spec: EnvironmentSpec {
            source: EnvironmentSource::Image { reference: reference.to_owned(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: Default::default(),
            workdir: None,
            network: NetworkMode::None,
            healthcheck: None,
            host_root: false,
        },
        digest: Digest::of(b"speed"),
        log: None,
    }
}
