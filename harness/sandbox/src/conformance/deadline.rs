//! Cases: time that runs out.

use std::time::Duration;

use tokio::time::sleep;

use super::context::{BEAT, HEART, beating, ok, secs, sh, silent};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, Place, ProcessSpec};

pub(super) const CASES: &[Case] = &[
    case!("deadline-reported", "a command whose time is over is reported as that", reported),
    case!("deadline-grace", "TERM comes first, and there is time to act on it", grace),
    case!("deadline-term-ignored", "KILL follows for who ignores TERM", term_ignored),
    case!("deadline-tree", "everything that the command started ends with it, wherever it hides", tree),
    case!("deadline-held-open", "a timed-out command resolves though its streams were given away", held_open),
    case!("deadline-no-late-write", "what was planned for after the deadline does not happen", no_late_write),
    case!(
        "deadline-spares-services",
        "what a command left on purpose outlives its deadline",
        spares_services
    ),
];

fn timed(text: &str, deadline: Duration, grace: Duration) -> ExecSpec {
    ExecSpec::new(ProcessSpec { deadline: Some(deadline), grace, ..ProcessSpec::shell(text) })
}

const SHORT: Duration = Duration::from_secs(1);
/// The clock of the deadline may begin this much before the one of the result.
const STARTING: Duration = Duration::from_millis(100);

async fn reported(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let result = sandbox.exec(timed("echo said; sleep 15", SHORT, SHORT)).await?;
    ensure_eq!((result.exit, &*result.stdout.text()), (Exit::TimedOut, "said\n"), "how it ended");
    ensure!(result.duration + STARTING >= SHORT, "it was ended after {:?} already", result.duration);
    ensure!(result.duration < secs(8), "it was ended only after {:?}", result.duration);
    ok(&*sandbox, "true").await?;
    Ok(())
}

async fn grace(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = "trap 'echo asked; sleep 0.5; echo done; exit 0' TERM; while :; do sleep 0.1; done";
    let result = sandbox.exec(timed(text, SHORT, secs(8))).await?;
    // Well-behaved or not: its time was over.
    ensure_eq!((result.exit, &*result.stdout.text()), (Exit::TimedOut, "asked\ndone\n"), "how it ended");
    ensure!(result.duration < secs(6), "the grace was waited for in vain");
    Ok(())
}

async fn term_ignored(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let result = sandbox.exec(timed("trap '' TERM; while :; do sleep 0.2; done", SHORT, SHORT)).await?;
    ensure_eq!(result.exit, Exit::TimedOut, "how it ended");
    let taken = result.duration;
    ensure!(taken + STARTING >= SHORT * 2 && taken < secs(6), "it was ended after {taken:?}");
    Ok(())
}

/// Ways to get away from a parent: other sessions, double forks, ignored signals, stopped and waiting to be continued.
pub(super) fn fugitives() -> String {
    format!(
        "({HEART}) & \
         setsid sh -c '{HEART}' > /dev/null 2>&1 < /dev/null & \
         (setsid sh -c '({HEART}) &' &) ; \
         (trap '' TERM HUP INT; {HEART}) & \
         sh -c 'kill -STOP $$; {HEART}' & echo $! > /tmp/stopped; "
    )
}

async fn tree(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = format!("{} sleep 1; kill -0 $(cat /tmp/stopped) && echo stopped; sleep 30", fugitives());
    let result = sandbox.exec(timed(&text, SHORT * 3, SHORT)).await?;
    ensure_eq!((result.exit, &*result.stdout.text()), (Exit::TimedOut, "stopped\n"), "how it ended");
    let beats = sandbox.read(BEAT, 1 << 20).await?.unwrap_or_default().len();
    ensure!(beats > 10, "the children did not run: {beats} beats");
    silent(&*sandbox).await?;
    stopped_is_gone(&*sandbox).await
}

/// A stopped process does nothing even when it lives, so it is looked up by its id.
pub(super) async fn stopped_is_gone(place: &dyn Place) -> Result<(), Failure> {
    let result = sh(place, "kill -CONT $(cat /tmp/stopped)").await?;
    ensure!(result.exit != Exit::Code(0), "a stopped process still lives");
    silent(place).await
}

async fn held_open(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = "setsid sleep 25 & trap '' TERM; sleep 25; sleep 25";
    let result = sandbox.exec(timed(text, SHORT, SHORT)).await?;
    ensure_eq!(result.exit, Exit::TimedOut, "how it ended");
    ensure!(result.duration < secs(8), "it took {:?}", result.duration);
    Ok(())
}

async fn no_late_write(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = "(trap '' TERM; sleep 2.3; echo late > /tmp/late) & echo soon > /tmp/soon; sleep 15";
    sandbox.exec(timed(text, SHORT, SHORT)).await?;
    sleep(SHORT * 2).await;
    ensure_eq!(
        sandbox.read("/tmp/soon", 10).await?.as_deref(),
        Some(&b"soon\n"[..]),
        "what was written in time"
    );
    ensure_eq!(sandbox.read("/tmp/late", 10).await?, None, "what was written too late");
    Ok(())
}

async fn spares_services(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = format!("(setsid sh -c '{HEART}' > /dev/null 2>&1 < /dev/null &); exit 0");
    let result = sandbox.exec(timed(&text, SHORT, Duration::ZERO)).await?;
    ensure_eq!(result.exit, Exit::Code(0), "how it ended");
    sleep(SHORT * 2).await;
    beating(&*sandbox).await
}
