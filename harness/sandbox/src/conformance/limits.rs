//! Cases: upper bounds.

use std::time::Duration;

use harness_core::Limits;
use tokio::time::Instant;

use super::context::{is_lost, ok, script, secs, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, ProcessSpec, Sandbox};

pub(super) const CASES: &[Case] = &[
    case!(alone "limit-cpus", "a part of a processor is that part, for all processes together", cpus),
    case!("limit-memory", "who takes too much memory is ended; the sandbox lives", memory),
    case!("limit-memory-child", "a child that takes too much is ended; its parent can tell", memory_child),
    case!("limit-pids", "no more processes than allowed; the next command runs", pids),
    case!("limit-disk", "a full disk is full inside and nowhere else", disk),
];

async fn cpus(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.limited(Limits { milli_cpus: Some(60), ..Limits::default() }).await?;
    let started = Instant::now();
    let burn = "while :; do :; done";
    let process = ProcessSpec {
        deadline: Some(Duration::from_secs(4)),
        grace: Duration::ZERO,
        ..ProcessSpec::shell(&format!("{burn} & {burn} & {burn}"))
    };
    sandbox.exec(ExecSpec::new(process)).await?;
    let used = sandbox.usage().await?.cpu.ok_or(Failure("processor time is not known".into()))?;
    let wall = started.elapsed();
    // Three busy loops would take two processors; even where a busy machine gives them a fraction, that is far more than this.
    let share = used.as_secs_f64() / wall.as_secs_f64();
    ensure!(share < 0.13, "{share:.2} of a processor was used where 0.06 is allowed");
    ensure!(share > 0.005, "{share:.2} of a processor was used where 0.06 is allowed");
    Ok(())
}

/// Holds 400 MB, filled by the kernel at once: a slow machine is not slower to be caught.
const HOG: &str = "dd if=/dev/zero of=/dev/null bs=400000000 count=1";

async fn with_memory(ctx: &Ctx) -> Result<std::sync::Arc<dyn Sandbox>, Failure> {
    ctx.limited(Limits { memory_bytes: Some(96 << 20), ..Limits::default() }).await
}

async fn memory(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = with_memory(ctx).await?;
    let process = ProcessSpec::shell(&format!("exec {HOG}"));
    let started = Instant::now();
    // Filling what it may have takes an emulated processor its time.
    let spec = ExecSpec::new(ProcessSpec { deadline: Some(secs(50)), ..process });
    let result = sandbox.exec(spec).await?;
    ensure_eq!(result.exit, Exit::OutOfMemory, "how it ended after {:?}", started.elapsed());
    ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "the next command");
    let kills = sandbox.usage().await?.oom_kills.ok_or(Failure("kills are not known".into()))?;
    ensure!(kills >= 1, "no kill was counted");
    Ok(())
}

async fn memory_child(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = with_memory(ctx).await?;
    let result = sh(&*sandbox, &format!("({HOG} && echo fitted); echo status $?")).await?;
    ensure!(!result.stdout.text().contains("fitted"), "400 MB fitted into 96 MB");
    match result.exit {
        Exit::Code(0) => {
            ensure!(result.stdout.text().ends_with("status 137\n"), "{:?}", result.stdout.text())
        }
        Exit::OutOfMemory | Exit::Signal(9) => {}
        other => return Err(Failure(format!("how it ended: {other:?}"))),
    }
    ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "the next command");
    Ok(())
}

async fn pids(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.limited(Limits { pids: Some(40), ..Limits::default() }).await?;
    // Each says that it is there, and stays. Counted in a file, since whoever would look needs a place too.
    let text = "i=0; while [ $i -lt 100 ]; do (echo >> /tmp/there; exec sleep 60) & i=$((i+1)); done; wait";
    let process = ProcessSpec { deadline: Some(secs(40)), grace: Duration::ZERO, ..ProcessSpec::shell(text) };
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.exec(ExecSpec::new(process)).await }
    });
    let count = async || {
        let there = sandbox.read("/tmp/there", 1 << 10).await;
        there.map(|said| said.unwrap_or_default().len())
    };
    // Until no more come for a while; on a busy machine the first ones take their time. Where the bound refuses us too, it holds.
    let (began, mut most, mut grew) = (Instant::now(), 0, Instant::now());
    while began.elapsed() < secs(30) && (most <= 15 || grew.elapsed() < Duration::from_secs(2)) {
        match count().await {
            Ok(there) if there > most => (most, grew) = (there, Instant::now()),
            Ok(_) => {}
            Err(_) => most = most.max(16),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A shell that cannot fork may end by itself, and leave what it had started.
    sandbox.kill_all().await?;
    let _ = running.await.map_err(|error| Failure(error.to_string()))?;
    let most = count().await?;
    ensure!(most > 15, "only {most} processes ever came to be");
    // PID 1 and helpers of the backend may not count.
    ensure!(most <= 44, "{most} processes where 40 are allowed");
    let after = ok(&*sandbox, "for i in 1 2 3 4 5; do sleep 0.1 & done; wait; echo on").await?;
    ensure_eq!(after, "on\n", "the next command");
    Ok(())
}

async fn disk(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.limited(Limits { disk_bytes: Some(32 << 20), ..Limits::default() }).await?;
    let other = ctx.limited(Limits { disk_bytes: Some(32 << 20), ..Limits::default() }).await?;
    ok(&*sandbox, "head -c 4000000 /dev/urandom > /srv/fits").await?;
    for folder in ["/srv", "/tmp", "/var/tmp", "/dev/shm", "/root"] {
        let text = format!("mkdir -p {folder} && head -c 200000000 /dev/urandom > {folder}/big");
        // Lost as a whole is allowed, too.
        match sandbox.exec(script(&text)).await {
            Err(error) if is_lost(&error) => break,
            result => ensure!(result?.exit != Exit::Code(0), "200 MB fitted into 32 MB in {folder}"),
        }
        match sandbox.exec(script("rm -f /srv/big /tmp/big /var/tmp/big /dev/shm/big /root/big")).await {
            Err(error) if is_lost(&error) => break,
            result => ensure_eq!(result?.exit, Exit::Code(0), "making room again after {folder}"),
        }
    }
    ok(&*other, "head -c 4000000 /dev/zero > /srv/fits").await?;
    std::fs::write(ctx.dir.join("host"), vec![0; 1 << 20])?;
    Ok(())
}
