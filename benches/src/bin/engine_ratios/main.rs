//! The promises about containers as ratios to the docker program, measured in one interleaved run:
//! `engine_ratios [ROUNDS] [IMAGE]` (8 rounds, `debian:12`); needs `docker`, and `harness` beside this program.
//!
//! Each round does one of everything, so that what else the machine does weighs on all of it alike; the figures are medians over
//! rounds. An engine's own processor time is counted with its program's. Whole trials are those of the harness as a program,
//! from its start to its end, shared among its trials. Exits with 1 when a promise is not kept.
#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod by_hand;
mod daemon;
mod listener;
mod sandboxes;
mod trials;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::account::Account;
use benches::table::{Limit, Table};
use harness_core::NetworkMode;
use harness_sandbox::{RootFs, SandboxError};

use by_hand::Standing;
use daemon::Daemon;
use sandboxes::Sandboxes;
use trials::Trials;

/// Trials of one run of the harness at `--jobs 1`, and as many by hand.
const ALONE: usize = 5;
/// Shells at once, and trials of each.
const SHELLS: usize = 4;
const EACH: usize = 4;
/// Execs of a round.
const EXECS: usize = 5;
/// Requests of a round.
const REQUESTS: usize = 300;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode, SandboxError> {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some("ask") {
        let times = args.next().and_then(|text| text.parse().ok()).expect("a number of requests");
        println!("{}", listener::ask(times));
        return Ok(ExitCode::SUCCESS);
    }
    let rounds: usize = first.map_or(8, |text| text.parse().expect("a number of rounds"));
    let image = args.next().unwrap_or_else(|| "debian:12".to_owned());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let table = measure(rounds, &image, folder.path()).await?;
    print!("{table}");
    Ok(if table.all_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(rounds: usize, image: &str, folder: &std::path::Path) -> Result<Table, SandboxError> {
    let program = std::env::current_exe().expect("this program has a file");
    let harness = program.with_file_name("harness");
    assert!(harness.is_file(), "{} is missing: build harness-cli with the same profile", harness.display());
    let shown = folder.join("shown");
    std::fs::create_dir(&shown).expect("folders can be made");
    std::fs::copy(&program, shown.join("engine_ratios")).expect("this program can be copied");
    let file = folder.join("file");
    std::fs::write(&file, "content").expect("files can be written");

    let mut whole = Trials::new(harness, folder, image);
    let docker = Sandboxes::open("docker", folder, image, &shown, RootFs::FromTask).await?;
    // The same files for both.
    let root = by_hand::export(image, &folder.join("root.tar"));
    let native = Sandboxes::open("native", folder, image, &shown, RootFs::Tar(root.clone())).await?;
    let rootfs = root.to_string_lossy().into_owned();
    let standing = (docker.start(NetworkMode::Gateway).await?, native.start(NetworkMode::Gateway).await?);
    let by_cli = Standing::start(image);
    let (account, daemon) = (Account::open(), Daemon::open());
    println!("{rounds} interleaved rounds, medians; {image}; state in {}", folder.display());

    let mut table = Table::default();
    for round in 0..=rounds {
        // The first round fills caches.
        let mut keep = |what: &str, time: Duration| {
            if round > 0 {
                table.keep(what, time);
            }
        };
        for at in 0..ALONE {
            let name = format!("harness-ratios-{}-{at}", std::process::id());
            keep("by hand: a trial", timed(|| by_hand::trial(image, &file, &name)));
        }
        let took = whole.run(&["docker"], ALONE, 1);
        keep("a trial, --jobs 1", took.wall / ALONE as u32);
        let (first, rest) = took.prepare.split_first().expect("there are trials");
        keep("preparing the first trial of a run", *first);
        rest.iter().for_each(|time| keep("preparing a later one", *time));

        let many = (SHELLS * EACH) as u32;
        keep("by hand: a trial, four shells", timed(|| by_hand::shells(SHELLS, EACH, image, &file)) / many);
        keep("a trial, --jobs 4", whole.run(&["docker"], SHELLS * EACH, SHELLS).wall / many);

        for _ in 0..EXECS {
            keep("docker exec", timed(|| by_cli.exec()));
            let began = Instant::now();
            sandboxes::run_true(&*standing.0).await?;
            keep("an exec", began.elapsed());
        }

        let spent = || Some(account.spent()? + daemon.as_ref()?.spent()?);
        for _ in 0..EXECS {
            let before = spent();
            keep(
                "docker run --rm",
                timed(|| by_hand::docker(&["run", "--rm", "--network", "none", image, "/bin/true"])),
            );
            if let Some((before, after)) = before.zip(spent()) {
                keep("docker run --rm, processor", after - before);
            }
            let (before, began) = (account.spent(), Instant::now());
            native.cycle().await?;
            keep("a native sandbox", began.elapsed());
            if let Some((before, after)) = before.zip(account.spent()) {
                keep("a native sandbox, processor", after - before);
            }
        }
        keep(
            "a native trial, --jobs 1",
            whole.run(&["native", "--rootfs", &rootfs], ALONE, 1).wall / ALONE as u32,
        );

        keep("a request, docker", listener::measure(&*standing.0, REQUESTS).await?);
        keep("a request, native", listener::measure(&*standing.1, REQUESTS).await?);
    }
    standing.0.destroy().await?;
    standing.1.destroy().await?;

    for line in [
        "by hand: a trial",
        "a trial, --jobs 1",
        "preparing the first trial of a run",
        "preparing a later one",
    ] {
        table.show(line);
    }
    table.times("a trial / by hand", "a trial, --jobs 1", "by hand: a trial", Limit::AtMost(1.1));
    table.show("by hand: a trial, four shells");
    table.show("a trial, --jobs 4");
    table.times(
        "trials a second, --jobs 4 / four shells",
        "by hand: a trial, four shells",
        "a trial, --jobs 4",
        Limit::AtLeast(1.0),
    );
    table.show("docker exec");
    table.show("an exec");
    table.times("docker exec / an exec", "docker exec", "an exec", Limit::AtLeast(25.0));
    for line in [
        "docker run --rm",
        "docker run --rm, processor",
        "a native sandbox",
        "a native sandbox, processor",
        "a native trial, --jobs 1",
    ] {
        table.show(line);
    }
    table.times("docker run --rm / native", "docker run --rm", "a native sandbox", Limit::AtLeast(30.0));
    table.times(
        "docker run --rm / native, processor",
        "docker run --rm, processor",
        "a native sandbox, processor",
        Limit::AtLeast(50.0),
    );
    table.milliseconds("a request, docker", Limit::AtMost(0.3));
    table.milliseconds("a request, native", Limit::AtMost(0.3));
    Ok(table)
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
