//! Runs the tests where nothing that the agent left can reach the verdict, and reads what they say.
//!
//! In place: in a view with mounts of its own, so that tests, reward and logs exist for the verifier alone, and the
//! programs that carry the verdict are the environment's own. Separately: in a fresh sandbox to which only artifacts cross.
//! A verdict that is missing is neither a zero nor a way out: the tests run once more in the untouched environment, and
//! whether *they* give one there says whose doing it was.

use std::sync::Arc;
use std::time::Duration;

use harness_core::task::VerifierMode;
use harness_core::{Blame, EnvironmentSpec, Severity, Step};
use harness_grading::{RewardError, TestReport, read_rewards};
use harness_sandbox::{
    Change, ExecSpec, Exit, GetOptions, Image, OutputSpec, Place, ProcessSpec, PutOptions, Sandbox,
    SandboxError, Source, ViewSpec,
};

use super::attempt::Attempt;
use super::entrypoint::Entrypoint;
use super::programs::{Told, defend};
use super::ready::{Setting, healthy};
use super::step::Judged;
use super::stop::Stop;
use super::{artifacts, packages};

const TESTS: &str = "/tests";
const LOGS: &str = "/logs/verifier";
/// Largest file of the tests' own that is read, in bytes.
const MAX_REPORT: u64 = 16 << 20;

/// `Ok(Err(reason))`: the agent took its own verdict away.
pub(super) type Verified = Result<Result<Judged, String>, Stop>;

/// Verifies in the agent's own sandbox.
pub(super) async fn in_place(
    attempt: &mut Attempt,
    sandbox: &Arc<dyn Sandbox>,
    image: &Arc<Image>,
    step: &Step,
    place: &Setting,
    changes: Option<&[Change]>,
) -> Verified {
    let Some(changes) = changes else {
        let limit = super::capture::MAX_CHANGES;
        let reason = format!(
            "the agent changed more than can be looked at (over {limit} paths, or folders nested without end), so what the tests would run cannot be told apart from what it left"
        );
        return Ok(Err(reason));
    };
    let accounted = packages::accounted(&**sandbox, changes).await?;
    let (view, findings) = {
        let told = Told {
            product: &attempt.context.task.hints.product,
            workdir: &place.workdir,
            accounted: &|path| accounted.contains(path),
            path: &place.path,
        };
        defend(changes, &told, private())
    };
    attempt.details.integrity.extend(findings);
    // What breaks here is ours, and the agent's sandbox still stands: verify again without running the agent again.
    let mut left = attempt.context.settings.retries;
    let run = loop {
        let run = in_view(attempt, &**sandbox, view.clone(), (step, place), "verify.log").await;
        match run {
            Err(error)
                if error.blame() == Blame::Harness
                    && left > 0
                    && !matches!(error, SandboxError::Lost { .. } | SandboxError::Unsupported { .. }) =>
            {
                left -= 1;
                attempt.note(
                    "verify_again",
                    Severity::Info,
                    format!("verification failed by our fault and was repeated: {error}"),
                );
                tokio::time::sleep(attempt.context.settings.back_off).await;
            }
            // A view that cannot be entered or a shell that is not there is the state that the agent left.
            Err(SandboxError::Inside { message }) => {
                break Run { tests: None, rewards: Err(message), exit: None };
            }
            other => break other?,
        }
    };
    match run.rewards {
        Ok(rewards) => Ok(Ok(Judged { rewards, tests: run.tests })),
        Err(why) => untouched(attempt, image, step, place, &why).await,
    }
}

/// The folders that exist for the verifier alone.
fn private() -> ViewSpec {
    ViewSpec { private: vec![TESTS.to_owned(), LOGS.to_owned()], ..ViewSpec::default() }
}

/// One verification in a view. What the agent left running is stopped while the harness puts tests in place and reads what
/// they wrote, and runs only while the tests do: a loop of its own that stops or kills whatever it finds reaches the tests
/// alone, which costs it the verdict, and never the harness's own work.
async fn in_view(
    attempt: &Attempt,
    sandbox: &dyn Sandbox,
    view: ViewSpec,
    (step, place): (&Step, &Setting),
    log: &str,
) -> Result<Run, SandboxError> {
    sandbox.freeze(true).await?;
    attempt.switch(sandbox, &attempt.verifier_network(step)).await?;
    let view = sandbox.view(view).await?;
    let Some(ready) = put(attempt, &*view, step, place).await? else { return Ok(Run::without_tests()) };
    sandbox.freeze(false).await?;
    let exit = run(attempt, &*view, ready, log).await;
    sandbox.freeze(true).await?;
    read_out(attempt, &*view, exit?, step, log).await
}

/// The tests gave no verdict on what the agent left. Do they, where nobody touched anything?
async fn untouched(
    attempt: &mut Attempt,
    image: &Arc<Image>,
    step: &Step,
    place: &Setting,
    why: &str,
) -> Verified {
    let context = attempt.context.clone();
    let network = attempt.verifier_network(step);
    let spec = attempt.spec(image.clone(), "untouched", &context.task.environment, network);
    let sandbox = context.backend.create(spec).await?;
    let entrypoint = Entrypoint::start(&sandbox, image, &context.dir.join("entrypoint-untouched.log"));
    let run = untouched_run(attempt, &*sandbox, step, place).await;
    let gone = sandbox.destroy().await;
    drop(entrypoint);
    attempt.keep_connections(&*sandbox);
    if let Err(error) = gone {
        attempt.note(
            "not_removed",
            Severity::Info,
            format!("a verification sandbox was not removed whole: {error}"),
        );
    }
    match run?.rewards {
        Ok(_) => {
            let reason = format!(
                "the tests gave no verdict on what the agent left ({why}), but they do in the untouched environment"
            );
            attempt.note("verifier_disabled", Severity::Tampered, reason.clone());
            Ok(Err(reason))
        }
        Err(again) => Err(Stop::new(
            Blame::Task,
            format!(
                "the tests give no verdict, in the untouched environment neither: {why}; untouched: {again}"
            ),
        )),
    }
}

/// Nobody touched it, but it is what the agent found: the files of the steps until here are in place, and the tests run in
/// a view as they did beside the agent, so that what they cannot do there they cannot do here.
async fn untouched_run(
    attempt: &Attempt,
    sandbox: &dyn Sandbox,
    step: &Step,
    place: &Setting,
) -> Result<Run, Stop> {
    let log = "verify-untouched.log";
    let run = if step.verifier.mode == VerifierMode::Shared {
        let task = attempt.context.task.clone();
        let before = task.steps.iter().take_while(|other| *other != step);
        for step in before.chain([step]) {
            attempt.make_ready(sandbox, place, step).await?;
        }
        in_view(attempt, sandbox, private(), (step, place), log).await
    } else {
        attempt.switch(sandbox, &attempt.verifier_network(step)).await?;
        tests(attempt, sandbox, step, place, log).await
    };
    match run {
        Ok(run) => Ok(run),
        Err(SandboxError::Inside { message }) => Ok(Run { tests: None, rewards: Err(message), exit: None }),
        Err(error) => Err(error.into()),
    }
}

/// Verifies in a fresh sandbox to which only artifacts cross.
pub(super) async fn separately(
    attempt: &mut Attempt,
    environment: &EnvironmentSpec,
    step: &Step,
) -> Verified {
    let context = attempt.context.clone();
    let image = attempt.image(environment).await?;
    let place = Setting {
        workdir: environment.workdir.clone().unwrap_or_else(|| image.workdir.clone()),
        user: None,
        env: environment.env.clone(),
        path: Vec::new(),
    };
    let mut left = context.settings.retries;
    loop {
        let result = one_separate(attempt, environment, &image, step, &place).await;
        match result {
            Err(stop) if stop.blame == Blame::Harness && left > 0 => {
                left -= 1;
                attempt.note(
                    "verify_again",
                    Severity::Info,
                    format!("verification failed by our fault and was repeated: {}", stop.reason),
                );
                tokio::time::sleep(context.settings.back_off).await;
            }
            other => return other,
        }
    }
}

async fn one_separate(
    attempt: &mut Attempt,
    environment: &EnvironmentSpec,
    image: &Arc<Image>,
    step: &Step,
    place: &Setting,
) -> Verified {
    let spec = attempt.spec(image.clone(), "verifier", environment, attempt.verifier_network(step));
    let sandbox = attempt.context.backend.create(spec).await?;
    let entrypoint = Entrypoint::start(&sandbox, image, &attempt.context.dir.join("entrypoint-verifier.log"));
    let run = separate_run(attempt, &*sandbox, environment, step, place).await;
    let gone = sandbox.destroy().await;
    drop(entrypoint);
    attempt.keep_connections(&*sandbox);
    if let Err(error) = gone {
        attempt.note(
            "not_removed",
            Severity::Info,
            format!("a verification sandbox was not removed whole: {error}"),
        );
    }
    let run = run?;
    match run.rewards {
        Ok(rewards) => Ok(Ok(Judged { rewards, tests: run.tests })),
        // Here the agent's artifacts are the only thing of its own; without them the tests must still say something.
        Err(why) => untouched(attempt, image, step, place, &why).await,
    }
}

async fn separate_run(
    attempt: &Attempt,
    sandbox: &dyn Sandbox,
    environment: &EnvironmentSpec,
    step: &Step,
    place: &Setting,
) -> Result<Run, Stop> {
    artifacts::carry(attempt, sandbox, step).await?;
    if let Some(check) = &environment.healthcheck {
        healthy(sandbox, place, check).await?;
    }
    attempt.switch(sandbox, &attempt.verifier_network(step)).await?;
    match tests(attempt, sandbox, step, place, "verify.log").await {
        Ok(run) => Ok(run),
        Err(SandboxError::Inside { message }) => Ok(Run { tests: None, rewards: Err(message), exit: None }),
        Err(error) => Err(error.into()),
    }
}

/// What one run of the tests left.
struct Run {
    tests: Option<TestReport>,
    rewards: Result<harness_grading::Rewards, String>,
    #[expect(
        dead_code,
        reason = "kept for the story of a trial; the verdict never uses a test script's status"
    )]
    exit: Option<Exit>,
}

impl Run {
    fn without_tests() -> Run {
        Run { tests: None, rewards: Err("the task has no tests/test.sh".into()), exit: None }
    }
}

/// Puts the tests in place, runs them, and reads reward and report, where nobody interferes.
async fn tests(
    attempt: &Attempt,
    place: &dyn Place,
    step: &Step,
    setting: &Setting,
    log: &str,
) -> Result<Run, SandboxError> {
    let Some(ready) = put(attempt, place, step, setting).await? else { return Ok(Run::without_tests()) };
    let exit = run(attempt, place, ready, log).await?;
    read_out(attempt, place, exit, step, log).await
}

/// Puts the tests in place and says how they are started; `None` when there are none. Nothing of an earlier run is there:
/// the place is new.
async fn put(
    attempt: &Attempt,
    place: &dyn Place,
    step: &Step,
    setting: &Setting,
) -> Result<Option<ProcessSpec>, SandboxError> {
    let context = &attempt.context;
    let user = step.verifier.user.clone().or_else(|| setting.user.as_ref().map(|_| "0".to_owned()));
    for folder in &step.tests {
        let files = crate::ignore::selected(folder).map_err(unselected)?;
        place.put(TESTS, Source::Folder(files.path().to_owned()), PutOptions::default()).await?;
    }
    let script = step.tests.iter().rev().map(|folder| folder.join("test.sh")).find(|file| file.is_file());
    let Some(script) = script else { return Ok(None) };
    let inside = format!("{TESTS}/test.sh");
    let put = PutOptions { mode: Some(0o755), ..PutOptions::default() };
    place.put(&inside, Source::File(script.clone()), put).await?;
    let owner = user.clone().unwrap_or_else(|| "0".into());
    let folders = ProcessSpec {
        user: Some("0".into()),
        cwd: Some("/".into()),
        ..ProcessSpec::new([
            "/bin/sh",
            "-c",
            "mkdir -p \"$1\" && chown \"$2\" \"$1\" && chmod 755 \"$1\"",
            "sh",
            LOGS,
            &owner,
        ])
    };
    place.exec(ExecSpec::new(folders)).await?;
    let argv = crate::agents::script_argv(place, &script, &inside).await?;
    let mut env = setting.env.clone();
    // Root's home is said here and not looked up: the file that says it is the agent's by now, and interpreters load code from it.
    if matches!(user.as_deref(), None | Some("0" | "root")) {
        env.entry("HOME".into()).or_insert_with(|| "/root".into());
    }
    env.extend(step.verifier.env.clone());
    Ok(Some(ProcessSpec {
        env,
        user,
        cwd: Some(setting.workdir.clone()),
        deadline: Some(context.settings.verifier_timeout(step.verifier.timeout)),
        grace: Duration::from_secs(1),
        ..ProcessSpec::new(argv)
    }))
}

fn unselected(error: std::io::Error) -> SandboxError {
    SandboxError::host("choose the tests by their .harborignore", error)
}

/// Runs the tests to their end.
async fn run(
    attempt: &Attempt,
    place: &dyn Place,
    process: ProcessSpec,
    log: &str,
) -> Result<Exit, SandboxError> {
    let output = OutputSpec { file: Some(attempt.context.dir.join(log)), ..OutputSpec::default() };
    let spec = ExecSpec { stdout: output.clone(), stderr: output, ..ExecSpec::new(process) };
    Ok(place.exec(spec).await?.exit)
}

/// Keeps the verifier's files and reads what they say.
async fn read_out(
    attempt: &Attempt,
    place: &dyn Place,
    exit: Exit,
    step: &Step,
    log: &str,
) -> Result<Run, SandboxError> {
    let context = &attempt.context;
    keep_logs(context.dir.join(if log == "verify.log" { "verifier" } else { "verifier-untouched" }), place)
        .await?;
    if exit == Exit::TimedOut {
        let timeout = context.settings.verifier_timeout(step.verifier.timeout);
        let reason = format!("the tests did not end within their {} s", timeout.as_secs());
        return Ok(Run { tests: None, rewards: Err(reason), exit: Some(exit) });
    }
    let json = read(place, "reward.json").await?;
    let text = read(place, "reward.txt").await?;
    let rewards = match (json, text) {
        (Err(error), _) | (Ok(None), Err(error)) => Err(error),
        (Ok(json), text) => {
            let text = text.unwrap_or_default();
            read_rewards(json.as_deref(), text.as_deref()).map_err(|error: RewardError| match exit {
                Exit::Code(0) => error.to_string(),
                other => format!("{error}; test.sh ended with {other:?}"),
            })
        }
    };
    let mut report = None;
    for name in ["ctrf.json", "junit.xml", "report.xml"] {
        if let Ok(Some(bytes)) = read(place, name).await? {
            report = TestReport::read(&bytes).ok();
        }
        if report.is_some() {
            break;
        }
    }
    Ok(Run { tests: report, rewards, exit: Some(exit) })
}

/// A file of the verifier's folder; one that is too large is a sentence, not a fault.
async fn read(place: &dyn Place, name: &str) -> Result<Result<Option<Vec<u8>>, String>, SandboxError> {
    match place.read(&format!("{LOGS}/{name}"), MAX_REPORT).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error @ (SandboxError::TooLarge { .. } | SandboxError::Inside { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Keeps what the tests wrote, within limits. More than that is not kept, and changes no verdict.
async fn keep_logs(to: std::path::PathBuf, place: &dyn Place) -> Result<(), SandboxError> {
    if to.exists() {
        // A repeated verification replaces the logs of the one that broke.
        std::fs::remove_dir_all(&to)
            .map_err(|e| SandboxError::host(format!("cannot replace {}", to.display()), e))?;
    }
    let options = GetOptions { limit: 256 << 20, max_entries: 10_000, ..GetOptions::default() };
    match place.get(LOGS, &to, options).await {
        Ok(()) | Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
