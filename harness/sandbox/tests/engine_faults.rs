//! What must happen when an engine fails, is slow, dies or lies, and when we ourselves are killed: no status is made up, nobody
//! else is blamed, nothing of ours is left.

mod support;
mod support_engine;
mod support_private;
mod support_proxy;

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::{Blame, Limits, NetworkMode};
use harness_sandbox::docker::client::Address;
use harness_sandbox::{
    Backend, ExecSpec, Exit, Image, Labels, Place, ProcessSpec, ReapFilter, SandboxError, SandboxSpec,
};
use libtest_mimic::{Completion, Failed, Trial};
use support_engine::{Engine, engines};
use support_private::PrivateEngine;
use support_proxy::{Action, Proxy};

type Checked = std::pin::Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;

/// The checks, by name.
macro_rules! checks {
    ($($name:ident)*) => { &[$((stringify!($name), |engine| Box::pin($name(engine)))),*] };
}

const CHECKS: &[(&str, fn(Engine) -> Checked)] = checks!(
    an_engine_that_answers_slowly_is_waited_for
    an_engine_that_refuses_is_ours_to_answer_for_and_leaves_nothing
    a_connection_that_breaks_at_any_call_leaves_nothing
    a_name_that_is_taken_is_not_used_and_its_owner_is_left_alone
    a_harness_killed_at_any_moment_leaves_nothing_that_reaping_does_not_find
);

/// Holds the run of a copy of this program that starts and ends sandboxes until it is killed.
const CHURN: &str = "HARNESS_TEST_CHURN";
/// And its engine's socket, and its state folder.
const SOCKET: &str = "HARNESS_TEST_CHURN_SOCKET";
const STATE: &str = "HARNESS_TEST_CHURN_STATE";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    if let Ok(run) = std::env::var(CHURN) {
        runtime.block_on(churn(&run));
    }
    let (found, exit) = runtime.block_on(engines("engine_faults"));
    let mut tests = Vec::new();
    for engine in found {
        for (name, check) in CHECKS {
            let (engine, runtime) = (engine.clone(), runtime.handle().clone());
            tests.push(Trial::test(format!("{}::{name}", engine.name), move || {
                runtime.block_on(bounded(check(engine)))
            }));
        }
    }
    let handle = runtime.handle().clone();
    tests.push(Trial::ignorable_test(
        "docker::an_engine_killed_under_running_commands_and_brought_back",
        move || {
            if let Some(reason) = PrivateEngine::missing() {
                return Ok(Completion::ignored_with(reason));
            }
            handle.block_on(bounded(Box::pin(killed_and_brought_back())))?;
            Ok(Completion::Completed)
        },
    ));
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let ran = libtest_mimic::run(&arguments, tests).exit_code();
    if exit == ExitCode::SUCCESS { ran } else { exit }
}

async fn bounded(check: Checked) -> Result<(), Failed> {
    let bounded = tokio::time::timeout(Duration::from_secs(400), check).await;
    bounded.unwrap_or_else(|_| Err("not done after seven minutes".into()))
}

fn spec(image: &Arc<Image>, run: &str) -> SandboxSpec {
    SandboxSpec {
        labels: Labels { run: run.into(), trial: "trial".into(), role: "agent".into() },
        image: Arc::clone(image),
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    }
}

async fn sh(place: &dyn Place, text: &str) -> Result<Exit, SandboxError> {
    let process = ProcessSpec { deadline: Some(Duration::from_secs(60)), ..ProcessSpec::shell(text) };
    Ok(place.exec(ExecSpec::new(process)).await?.exit)
}

fn ensure(holds: bool, what: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(what.into().into()) }
}

async fn left(backend: &dyn Backend, run: &str) -> Result<Vec<String>, SandboxError> {
    Ok(backend
        .reap(ReapFilter { run: Some(run.to_owned()), dry_run: true, ..ReapFilter::default() })
        .await?
        .sandboxes)
}

async fn until_nothing_is_left(backend: &dyn Backend, run: &str) -> Result<(), Failed> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = left(backend, run).await?;
        if found.is_empty() {
            return Ok(());
        }
        ensure(Instant::now() < until, format!("left behind: {found:?}"))?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Start, command, end; what came of each.
async fn cycle(backend: &dyn Backend, image: &Arc<Image>, run: &str) -> Result<Exit, SandboxError> {
    let sandbox = backend.create(spec(image, run)).await?;
    let exit = sh(&*sandbox, "exit 7").await;
    let ended = sandbox.destroy().await;
    let exit = exit?;
    ended?;
    Ok(exit)
}

/// A failure that is nobody's but ours.
fn is_ours(error: &SandboxError) -> bool {
    error.blame() == Blame::Harness
        && matches!(
            error,
            SandboxError::Host { .. } | SandboxError::Lost { .. } | SandboxError::Unsupported { .. }
        )
}

async fn an_engine_that_answers_slowly_is_waited_for(engine: Engine) -> Result<(), Failed> {
    let proxy = Proxy::start(&engine.address, |_| Action::Wait(Duration::from_millis(1500)));
    let slow = engine.through(&proxy.socket());
    let backend = slow.open().await?;
    let image = slow.prepare(&*backend, &engine.image).await?;
    let exit = cycle(&*backend, &image, &engine.unique("slow")).await?;
    ensure(exit == Exit::Code(7), format!("{exit:?}"))
}

async fn an_engine_that_refuses_is_ours_to_answer_for_and_leaves_nothing(
    engine: Engine,
) -> Result<(), Failed> {
    let direct = engine.open().await?;
    for wanted in ["POST create", "POST start", "GET json", "DELETE "] {
        let proxy = Proxy::start(&engine.address, move |request| {
            let (method, end) = wanted.split_once(' ').unwrap();
            let of_containers = request.path.contains("/containers/");
            if of_containers && request.method == method && request.path.ends_with(end) && request.seen < 3 {
                return Action::Refuse(500);
            }
            Action::Pass
        });
        let bad = engine.through(&proxy.socket());
        let backend = bad.open().await?;
        let image = bad.prepare(&*backend, &engine.image).await?;
        let run = engine.unique("refused");
        match cycle(&*backend, &image, &run).await {
            Ok(exit) => ensure(exit == Exit::Code(7), format!("{wanted}: {exit:?}"))?,
            Err(error) => ensure(is_ours(&error), format!("{wanted}: {error:?}"))?,
        }
        until_nothing_is_left(&*direct, &run).await.map_err(|error| format!("{wanted}: {error:?}"))?;
        ensure(proxy.count() > 0, format!("{wanted}: nothing went through the proxy"))?;
    }
    Ok(())
}

async fn a_connection_that_breaks_at_any_call_leaves_nothing(engine: Engine) -> Result<(), Failed> {
    let direct = engine.open().await?;
    let (mut failed, mut fine) = (0, 0);
    for (cut, action) in (0..6).flat_map(|cut| [(cut, Action::CutBefore), (cut, Action::CutAfter(20))]) {
        let proxy = Proxy::start(&engine.address, |_| Action::Pass);
        let broken = engine.through(&proxy.socket());
        let backend = broken.open().await?;
        let image = broken.prepare(&*backend, &engine.image).await?;
        let begun = proxy.count();
        proxy.set(move |request| if request.number == begun + cut { action } else { Action::Pass });
        let run = engine.unique("cut");
        match cycle(&*backend, &image, &run).await {
            Ok(exit) => {
                fine += 1;
                ensure(exit == Exit::Code(7), format!("call {cut}, {action:?}: {exit:?}"))?;
            }
            Err(error) => {
                failed += 1;
                ensure(is_ours(&error), format!("call {cut}, {action:?}: {error:?}"))?;
            }
        }
        until_nothing_is_left(&*direct, &run)
            .await
            .map_err(|error| format!("call {cut}, {action:?}: {error:?}"))?;
    }
    ensure(failed >= 4 && fine >= 2, format!("{failed} failed and {fine} did not: the script does not bite"))
}

async fn a_name_that_is_taken_is_not_used_and_its_owner_is_left_alone(engine: Engine) -> Result<(), Failed> {
    let direct = engine.open().await?;
    let image = engine.prepare(&*direct, &engine.image).await?;
    let owner = engine.unique("owner");
    let owners = direct.create(spec(&image, &owner)).await?;
    // The first name that is chosen is swapped for one that is taken already.
    let taken = owners.id().to_owned();
    let proxy = Proxy::start(&engine.address, move |request| {
        if request.path.contains("/containers/create") && request.seen == 0 {
            return Action::Rename(Box::leak(taken.clone().into_boxed_str()));
        }
        Action::Pass
    });
    let other = engine.through(&proxy.socket());
    let backend = other.open().await?;
    let image = other.prepare(&*backend, &engine.image).await?;
    let exit = cycle(&*backend, &image, &engine.unique("taken")).await?;
    ensure(exit == Exit::Code(7), format!("{exit:?}"))?;
    ensure(proxy.seen("/containers/create") == 2, "no second name was tried")?;
    ensure(sh(&*owners, "true").await? == Exit::Code(0), "the owner's container was touched")?;
    owners.destroy().await?;
    Ok(())
}

async fn churn(run: &str) -> ! {
    let socket = std::env::var(SOCKET).expect("whoever set the one set the other");
    let engine =
        Engine::with_state("churn", socket.as_ref(), std::env::var(STATE).expect("as above").as_ref());
    let backend = engine.open().await.expect("the engine answers");
    let image = engine.prepare(&*backend, &engine.image).await.expect("the image is there");
    rustix::io::write(std::io::stdout(), b"ready\n").expect("somebody listens");
    loop {
        let _ = cycle(&*backend, &image, run).await;
    }
}

async fn a_harness_killed_at_any_moment_leaves_nothing_that_reaping_does_not_find(
    engine: Engine,
) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let run = engine.unique("killed");
    let Address::Socket(socket) = &engine.address else { return Err("no socket".into()) };
    let image = engine.prepare(&*backend, &engine.image).await?;
    let living = backend.create(spec(&image, &engine.unique("living"))).await?;
    for delay in [10, 60, 130, 220, 310, 420, 560, 730] {
        let mut child = tokio::process::Command::new(std::env::current_exe()?)
            .env(CHURN, &run)
            .env(SOCKET, socket)
            .env(STATE, engine.state_dir())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdout = child.stdout.take().ok_or("no stdout")?;
        let mut word = [0; 6];
        tokio::time::timeout(
            Duration::from_secs(60),
            tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut word),
        )
        .await??;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        child.kill().await?;
    }
    // What was asked for may still come to be.
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let reaped = backend.reap(ReapFilter::default()).await?;
        ensure(reaped.failed.is_empty(), format!("what resisted: {:?}", reaped.failed))?;
        ensure(!reaped.sandboxes.iter().any(|id| id == living.id()), "a living sandbox was removed")?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if left(&*backend, &run).await?.is_empty() {
            break;
        }
        ensure(Instant::now() < until, "left behind after reaping")?;
    }
    ensure(sh(&*living, "true").await? == Exit::Code(0), "the living sandbox")?;
    living.destroy().await?;
    Ok(())
}

async fn killed_and_brought_back() -> Result<(), Failed> {
    let mut private = PrivateEngine::start().await?;
    let engine = private.engine();
    let backend = engine.open().await?;
    let image = engine.prepare(&*backend, &engine.image).await?;
    let sandbox = backend.create(spec(&image, "killed")).await?;
    let running = tokio::spawn({
        let sandbox = Arc::clone(&sandbox);
        async move { sh(&*sandbox, "sleep 6; exit 7").await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    private.kill();
    // Nothing of an exec goes through the engine: it goes on, or is lost with the container, and is never taken for done.
    let meanwhile = sh(&*sandbox, "exit 3").await;
    ensure(
        matches!(&meanwhile, Ok(Exit::Code(3)) | Err(SandboxError::Lost { .. })),
        format!("{meanwhile:?}"),
    )?;
    let refused = backend.create(spec(&image, "refused")).await;
    ensure(refused.as_ref().is_err_and(is_ours), "a sandbox on a dead engine")?;
    let orphan = tokio::time::timeout(Duration::from_secs(90), sandbox.destroy());
    private.restart().await?;
    let ended = running.await?;
    ensure(matches!(&ended, Ok(Exit::Code(7)) | Err(SandboxError::Lost { .. })), format!("{ended:?}"))?;
    orphan.await??;
    let again = cycle(&*backend, &image, "again").await?;
    ensure(again == Exit::Code(7), format!("after the engine came back: {again:?}"))?;
    // One whose end fell into the time without an engine is removed when there is one again.
    let sandbox = backend.create(spec(&image, "late")).await?;
    private.kill();
    let refused = sandbox.destroy().await;
    ensure(refused.is_err(), "removing without an engine")?;
    drop(sandbox);
    private.restart().await?;
    for run in ["killed", "refused", "again", "late"] {
        until_nothing_is_left(&*backend, run).await?;
    }
    private.stop();
    Ok(())
}
