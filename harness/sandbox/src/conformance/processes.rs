//! Cases: ending, stopping and reaping processes.

use std::time::Duration;

use harness_core::Limits;
use tokio::time::{Instant, sleep, timeout};

use super::context::{HEART, beating, beats, ok, script, secs, sh, silent};
use super::deadline::{fugitives, stopped_is_gone};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, ProcessSpec, Sandbox};

pub(super) const CASES: &[Case] = &[
    case!("process-kill", "a process that was killed is reported as killed", kill),
    case!("process-drop", "dropping a process ends its tree", drop_ends),
    case!("process-cancel", "dropping a command's future ends its tree", cancel),
    case!("process-background", "what a command left running outlives the handle", background),
    case!("kill-all", "everything but PID 1 is gone when it returns, wherever it hides", kill_all),
    case!(
        "kill-all-running",
        "a command that it ended is never a success, and the sandbox can go on",
        kill_all_running
    ),
    case!("kill-all-frozen", "frozen processes are ended too", kill_all_frozen),
    case!("kill-all-fork-bomb", "a fork bomb is ended, and soon", fork_bomb),
    case!("freeze", "frozen processes do nothing, thawed ones go on", freeze),
    case!("reaping", "children without a parent are reaped", reaping),
];

async fn kill(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let process = sandbox.spawn(ProcessSpec::shell("sleep 20")).await?;
    process.control.kill();
    match timeout(secs(8), process.exit).await {
        Ok(exit) => ensure_eq!(exit?, Exit::Signal(9), "its end"),
        Err(_) => return Err(Failure("it was not ended".into())),
    }
    Ok(())
}

async fn drop_ends(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let process = sandbox.spawn(ProcessSpec::shell(&format!("({HEART}) & {HEART}"))).await?;
    beating(&*sandbox).await?;
    drop(process);
    sleep(Duration::from_millis(500)).await;
    silent(&*sandbox).await
}

async fn cancel(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let spec = ExecSpec::new(ProcessSpec::shell(&format!("trap '' TERM; ({HEART}) & {HEART}")));
    let result = timeout(Duration::from_secs(1), sandbox.exec(spec)).await;
    ensure!(result.is_err(), "the command ended by itself: {result:?}");
    sleep(Duration::from_millis(500)).await;
    silent(&*sandbox).await?;
    // Cancelled before it even ran: nothing may start later.
    for millis in [0, 1, 3] {
        let start = sandbox.exec(script(&format!("({HEART}) > /dev/null 2>&1 & sleep 20")));
        let _ = timeout(Duration::from_millis(millis), start).await;
    }
    sleep(Duration::from_millis(700)).await;
    silent(&*sandbox).await
}

async fn background(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let mut process =
        sandbox.spawn(ProcessSpec::shell(&format!("({HEART}) > /dev/null 2>&1 & exit 0"))).await?;
    let exit = timeout(secs(8), &mut process.exit).await;
    ensure!(matches!(exit, Ok(Ok(Exit::Code(0)))), "the command's end: {exit:?}");
    drop(process);
    sleep(Duration::from_millis(300)).await;
    beating(&*sandbox).await
}

async fn kill_all(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // With streams given away, so that the command itself ends.
    ok(&*sandbox, &format!("{{ {} }} > /dev/null 2>&1; sleep 1; kill -0 $(cat /tmp/stopped)", fugitives()))
        .await?;
    beating(&*sandbox).await?;
    sandbox.kill_all().await?;
    silent(&*sandbox).await?;
    stopped_is_gone(&*sandbox).await
}

async fn kill_all_running(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.exec(script(&format!("trap '' TERM; {HEART}"))).await }
    });
    beating(&*sandbox).await?;
    sandbox.kill_all().await?;
    let result = running.await.map_err(|error| Failure(error.to_string()))??;
    ensure_eq!(result.exit, Exit::Signal(9), "the end of a running command");
    ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "the next command");
    Ok(())
}

async fn kill_all_frozen(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, &format!("({HEART}) > /dev/null 2>&1 &")).await?;
    beating(&*sandbox).await?;
    sandbox.freeze(true).await?;
    within(secs(10), &*sandbox).await?;
    // Whether or not killing thaws, thawing afterwards must find nothing.
    sandbox.freeze(false).await?;
    silent(&*sandbox).await?;
    ok(&*sandbox, "true").await?;
    Ok(())
}

async fn within(bound: Duration, sandbox: &dyn Sandbox) -> Result<Duration, Failure> {
    let started = Instant::now();
    match timeout(bound, sandbox.kill_all()).await {
        Ok(result) => result?,
        Err(_) => return Err(Failure(format!("killing everything took more than {bound:?}"))),
    }
    Ok(started.elapsed())
}

async fn fork_bomb(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.limited(Limits { pids: Some(64), ..Limits::default() }).await?;
    // Each process tries for ever to have two children that do the same, and beats.
    let bomb =
        "echo 'echo >> /tmp/beat; while :; do sh /tmp/bomb & sh /tmp/bomb & sleep 0.05; done' > /tmp/bomb";
    ok(&*sandbox, bomb).await?;
    let process =
        ProcessSpec { deadline: Some(Duration::from_secs(2)), ..ProcessSpec::shell("setsid sh /tmp/bomb &") };
    let started = Instant::now();
    sandbox.exec(ExecSpec::new(process)).await?;
    ensure!(started.elapsed() < secs(15), "the command took {:?}", started.elapsed());
    // Until there were ten of them at least. Where the bound refuses our look, they are there.
    sleep(Duration::from_millis(1500)).await;
    let until = Instant::now() + secs(15);
    while Instant::now() < until && beats(&*sandbox).await.is_ok_and(|beats| beats <= 10) {
        sleep(Duration::from_millis(100)).await;
    }
    within(secs(10), &*sandbox).await?;
    // Only now: reading may need a process of its own.
    ensure!(beats(&*sandbox).await? > 10, "the bomb did not go off");
    silent(&*sandbox).await?;
    ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "the next command");
    Ok(())
}

async fn freeze(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, &format!("setsid sh -c '{HEART}' > /dev/null 2>&1 &")).await?;
    beating(&*sandbox).await?;
    sandbox.freeze(true).await?;
    silent(&*sandbox).await?;
    ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "a command started meanwhile");
    silent(&*sandbox).await?;
    sandbox.freeze(false).await?;
    beating(&*sandbox).await
}

async fn reaping(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "for i in 1 2 3 4 5 6 7 8; do (sh -c 'sleep 0.2' &) ; done").await?;
    sleep(secs(1)).await;
    // `[Z]` so that the command does not find itself.
    let table = sh(&*sandbox, "cat /proc/[0-9]*/status 2>/dev/null").await?;
    // What ends between the list and the look is no fault.
    ensure!(table.stdout.text().contains("State:"), "no table of processes");
    let result = sh(&*sandbox, "cat /proc/[0-9]*/status 2>/dev/null | grep -c 'State:.[Z]'").await?;
    ensure_eq!(result.stdout.text().trim_end(), "0", "zombies, {}", result.stderr.text());
    Ok(())
}
