//! The speed promises as ratios, measured in one interleaved run: `ratios [ROUNDS] [ROOTFS-DIR]` (200 rounds).
//!
//! Each round does one of everything, so that what else the machine does weighs on all of it alike. The baseline is a
//! direct spawn of the same binary from this process, which is small. Every sandbox that is measured is the one that trials
//! use, and what it isolates is asserted before anything is timed. State lies below `TMPDIR`: the disk counts. Without a
//! folder, a small root file system is put together from this machine's programs. Exits with 1 when a promise is not kept.
#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use harness_sandbox::{RootFs, SandboxError};

use benches::account::Account;
use benches::native::{self, Bench};
use benches::root;
use benches::table::{Limit, Table};

/// Memory that the harness holds in the last part.
const BALLAST: usize = 2 << 30;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode, SandboxError> {
    // As trials do: on a worker of the runtime, not on the thread that waits for all of them.
    tokio::spawn(measure()).await.expect("it does not panic")
}

async fn measure() -> Result<ExitCode, SandboxError> {
    let mut args = std::env::args().skip(1).collect::<Vec<_>>().into_iter();
    let rounds: usize = args.next().map_or(200, |text| text.parse().expect("a number of rounds"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let account = Account::open();
    let unpacked = match args.next() {
        Some(folder) => PathBuf::from(folder),
        None => root::small(&folder.path().join("root")).expect("a small root can be put together"),
    };
    let mut table = Table::default();
    println!("{rounds} interleaved rounds, medians; state in {}", folder.path().display());
    let state = folder.path().join("unpacked");
    one_root(rounds, &state, RootFs::Dir(unpacked.clone()), &account, &mut table).await?;
    let state = folder.path().join("host");
    one_root(rounds, &state, RootFs::Host, &account, &mut table).await?;
    runner(&mut table);
    print!("{table}");
    Ok(if table.all_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything on one root file system.
async fn one_root(
    rounds: usize,
    state: &Path,
    rootfs: RootFs,
    account: &Account,
    table: &mut Table,
) -> Result<(), SandboxError> {
    let host = rootfs == RootFs::Host;
    let baseline = match &rootfs {
        RootFs::Dir(folder) => folder.join("bin/true"),
        _ => PathBuf::from("/bin/true"),
    };
    let name = if host { "host root" } else { "unpacked root" };
    let bench = Bench::open(state, rootfs).await?;
    let standing = bench.start(None).await?;
    native::assert_isolated(&*standing, state).await?;
    let changed = bench.changed().await?;
    let cycle_limit = if host { 10.0 } else { 5.0 };

    for round in 0..rounds + 5 {
        // The first rounds fill caches.
        let mut keep = |what: &str, began: Instant| {
            if round >= 5 {
                table.keep(&format!("{name}: {what}"), began.elapsed());
            }
        };
        let began = Instant::now();
        assert!(Command::new(&baseline).status().expect("there is a true").success());
        keep("spawn", began);

        let began = Instant::now();
        let sandbox = bench.start(None).await?;
        keep("start", began);
        native::run_true(&*sandbox).await?;
        let leaving = Instant::now();
        sandbox.destroy().await?;
        keep("gone", leaving);
        keep("cycle", began);

        let began = Instant::now();
        native::run_true(&*standing).await?;
        keep("exec", began);

        let began = Instant::now();
        let stacked = bench.start(Some(changed.clone())).await?;
        keep("stacked", began);
        stacked.destroy().await?;

        if !host && let Some(harness) = sibling("harness") {
            let began = Instant::now();
            let output = Command::new(harness).arg("--version").output().expect("the harness starts");
            assert!(output.status.success());
            keep("version", began);
        }
    }
    let spawn = format!("{name}: spawn");
    table.show(&spawn);
    table.ratio(&format!("{name}: cycle"), &spawn, Limit::AtMost(cycle_limit));
    table.show(&format!("{name}: start"));
    table.show(&format!("{name}: gone"));
    table.ratio(&format!("{name}: exec"), &spawn, Limit::AtMost(1.5));
    table.milliseconds(&format!("{name}: stacked"), Limit::AtMost(10.0));
    if !host {
        table.difference(&format!("{name}: version"), &spawn, Limit::AtMost(10.0));
    }
    standing.destroy().await?;

    let before = account.spent();
    for _ in 0..rounds {
        bench.cycle().await?;
    }
    let spent = before.zip(account.spent()).map(|(before, after)| (after - before) / rounds as u32);
    // What the host's several overlays cost is not part of that promise.
    let limit = if host { Limit::None } else { Limit::AtMost(4.0) };
    table.add(
        &format!("{name}: processor time of a cycle, ms"),
        spent.map(|time| time.as_secs_f64() * 1e3),
        limit,
    );
    let rate = bench.many(8).await?;
    let limit = if host { Limit::None } else { Limit::AtLeast(330.0) };
    table.add(&format!("{name}: cycles a second with 8 callers"), Some(rate), limit);

    if !host {
        let ballast = vec![1_u8; BALLAST];
        for _ in 0..rounds {
            let began = Instant::now();
            bench.cycle().await?;
            table.keep("a cycle while the harness holds 2 GB", began.elapsed());
        }
        assert_eq!(std::hint::black_box(&ballast)[BALLAST / 2], 1);
        drop(ballast);
        table.ratio("a cycle while the harness holds 2 GB", &format!("{name}: cycle"), Limit::AtMost(1.25));
    }
    Ok(())
}

/// The runner itself, with the memory sandbox.
fn runner(table: &mut Table) {
    let Some(trials) = sibling("trials") else {
        table.add("10,000 trials on memory: not built (`trials`, beside this program)", None, Limit::None);
        return;
    };
    let output = Command::new(trials).arg("10000").output().expect("the program starts");
    assert!(output.status.success());
    table.note(&format!(
        "10,000 trials on memory (at most 1 ms of CPU, 60 MB): {}",
        String::from_utf8_lossy(&output.stdout).trim()
    ));
}

/// A program in this program's own folder.
fn sibling(name: &str) -> Option<PathBuf> {
    let file = std::env::current_exe().ok()?.with_file_name(name);
    file.is_file().then_some(file)
}
