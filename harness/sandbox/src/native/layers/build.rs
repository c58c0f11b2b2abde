//! Carries out a Dockerfile's steps: each group of copies with the command after it runs in one sandbox, whose changes become a
//! layer. What was done before with the same content is not done again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use harness_core::{Digest, digest::DigestBuilder};

use super::store::{Begun, Layer, LayerStore, Note};
use crate::native::dockerfile::context::{Context, Selection};
use crate::native::dockerfile::steps::{Action, Step, Steps};
use crate::{ExecSpec, Exit, OutputSpec, Place, ProcessSpec, Progress, PutOptions, SandboxError, Source};

/// Starts the sandboxes that steps run in.
#[async_trait]
pub(crate) trait StepRunner: Send + Sync {
    /// A sandbox on the base with these layers over it, the last on top.
    async fn begin(&self, layers: &[Layer]) -> Result<Box<dyn StepSandbox>, SandboxError>;
}

/// A sandbox that a group of steps runs in. Dropping it destroys it.
#[async_trait]
pub(crate) trait StepSandbox: Send + Sync {
    /// Where commands run and files are put.
    fn place(&self) -> &dyn Place;

    /// Kills everything in it and gives up its changes as a folder that an overlay can have as a lower one: moves it to `to`,
    /// which does not exist and lies in the backend's state folder. Returns its bytes on disk.
    async fn finish(self: Box<Self>, to: &Path) -> Result<u64, SandboxError>;
}

/// What a build is made of.
pub(crate) struct Build<'a> {
    /// Where layers are kept.
    pub(crate) store: &'a LayerStore,
    /// Starts sandboxes.
    pub(crate) runner: &'a dyn StepRunner,
    /// Digest of what the steps start from, and of everything in this program that changes what a step does.
    pub(crate) base: Digest,
    /// What to do.
    pub(crate) steps: &'a Steps,
    /// The files to copy from; `None` where there are none.
    pub(crate) context: Option<&'a Context>,
    /// The Dockerfile's name, for messages.
    pub(crate) file: &'a str,
    /// Where output goes; appended to.
    pub(crate) log: Option<PathBuf>,
    /// When it must be done.
    pub(crate) deadline: Instant,
    /// Told what is being done.
    pub(crate) progress: Progress,
}

/// What a build gave.
#[derive(Debug)]
pub(crate) struct Built {
    /// The layers over the base, the last on top.
    pub(crate) layers: Vec<Layer>,
    /// Digest of the base and all that was done.
    pub(crate) digest: Digest,
}

/// Most layers: their names must fit an overlay's options.
const MOST_LAYERS: usize = 48;
const ACCOUNT_BYTES: u64 = 1 << 20;

/// Carries it out.
///
/// # Errors
/// [`SandboxError::Environment`] with line and end of the log when a step fails; others as sandboxes have them.
pub(crate) async fn build(build: &Build<'_>) -> Result<Built, SandboxError> {
    let mut built = Built { layers: Vec::new(), digest: build.base.clone() };
    let groups = groups(&build.steps.steps);
    if groups.len() > MOST_LAYERS {
        return Err(wrong(format!(
            "{}: more than {MOST_LAYERS} RUN instructions: join some with &&",
            build.file
        )));
    }
    for group in groups {
        let selections = group.iter().map(|step| select(build, step)).collect::<Result<Vec<_>, _>>()?;
        let key = key(&built.digest, group, &selections)?;
        let last = group.last().map(|step| step.text.clone()).unwrap_or_default();
        let layer = match build
            .store
            .begin(&key)
            .await
            .map_err(|error| SandboxError::host("look for a layer", error))?
        {
            Begun::Ready(layer) => {
                (build.progress)(&format!("have {last}"));
                layer
            }
            Begun::Ours(making) => {
                let sandbox = build.runner.begin(&built.layers).await?;
                for (step, selection) in group.iter().zip(&selections) {
                    (build.progress)(&step.text);
                    carry_out(build, sandbox.place(), step, selection.as_ref()).await?;
                }
                let bytes = sandbox.finish(&making.tree()).await?;
                let note = Note { about: last.chars().take(200).collect(), bytes, weaknesses: Vec::new() };
                let commit = {
                    let key = key.clone();
                    move || making.commit(&key, &note)
                };
                // It waits for the disk.
                let committed = tokio::task::spawn_blocking(commit).await;
                committed
                    .map_err(|_| SandboxError::Cancelled)?
                    .map_err(|error| SandboxError::host("keep a layer", error))?
            }
        };
        built.layers.push(layer);
        built.digest = key;
    }
    Ok(built)
}

fn wrong(message: String) -> SandboxError {
    SandboxError::Environment { message, log: String::new() }
}

/// Each group ends with a command, but for the last: a copy that changes makes the command after it run again anyway.
fn groups(steps: &[Step]) -> Vec<&[Step]> {
    let is_run = |step: &Step| matches!(step.action, Action::Run(_));
    steps.split_inclusive(is_run).filter(|group| !group.is_empty()).collect()
}

fn select(build: &Build<'_>, step: &Step) -> Result<Option<Selection>, SandboxError> {
    let Action::Copy(copy) = &step.action else { return Ok(None) };
    let at = |message| wrong(format!("{} line {}: {message}", build.file, step.line));
    let Some(context) = build.context else { return Err(at("there is no folder to copy from".to_owned())) };
    context.select(copy).map(Some).map_err(at)
}

/// Over what was before, what is done, and everything that it sees.
fn key(before: &Digest, group: &[Step], selections: &[Option<Selection>]) -> Result<Digest, SandboxError> {
    let mut digest = DigestBuilder::new();
    digest.part("before", before.as_str().as_bytes());
    for (step, selection) in group.iter().zip(selections) {
        match &step.action {
            Action::Run(argv) => {
                for argument in argv {
                    digest.part("run", argument.as_bytes());
                }
            }
            Action::Folder => {
                digest.part("folder", b"");
            }
            Action::Copy(copy) => {
                let options = [Some(&copy.to), copy.owner.as_ref(), copy.mode.as_ref()];
                digest.part("copy", format!("{options:?}").as_bytes());
            }
        }
        if let Some(selection) = selection {
            let files =
                selection.digest().map_err(|error| SandboxError::host("read the files to copy", error))?;
            digest.part("files", files.as_str().as_bytes());
        }
        digest.part("workdir", step.workdir.as_bytes());
        digest.part("user", step.user.as_deref().unwrap_or("").as_bytes());
        // A copy does not see variables; they were replaced already.
        if matches!(step.action, Action::Run(_)) {
            for (name, value) in &step.env {
                digest.part("name", name.as_bytes()).part("value", value.as_bytes());
            }
        }
    }
    Ok(digest.finish())
}

async fn carry_out(
    build: &Build<'_>,
    place: &dyn Place,
    step: &Step,
    selection: Option<&Selection>,
) -> Result<(), SandboxError> {
    match (&step.action, selection) {
        (Action::Run(argv), _) => run(build, place, step, argv).await,
        (Action::Folder, _) => {
            let made =
                plain(build, place, &["/bin/sh", "-c", "mkdir -p -- \"$1\"", "sh", &step.workdir]).await?;
            if made { Ok(()) } else { Err(at(build, step, format!("{} cannot be made", step.workdir))) }
        }
        (Action::Copy(copy), Some(selection)) => {
            let owner = match &copy.owner {
                Some(owner) => ids(place, owner)
                    .await?
                    .ok_or_else(|| at(build, step, format!("no user {owner} inside")))?,
                None => (0, 0),
            };
            let mode =
                copy.mode.as_deref().map(octal).transpose().map_err(|message| at(build, step, message))?;
            let staged = Arc::new(
                tempfile::tempdir().map_err(|error| SandboxError::host("make a temporary folder", error))?,
            );
            // Its own bits may be copied along with its content.
            let bits = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(staged.path(), bits)
                .map_err(|error| SandboxError::host("make a temporary folder", error))?;
            let (into, chosen) = (staged.clone(), selection.clone());
            tokio::task::spawn_blocking(move || chosen.stage(into.path(), mode))
                .await
                .map_err(|_| SandboxError::Cancelled)?
                .map_err(|error| SandboxError::host("read the files to copy", error))?;
            let to = copy.to.trim_end_matches('/');
            let mut options = PutOptions { owner, ..PutOptions::default() };
            // A single file takes the destination's name, unless a folder stands there.
            let first = selection.items.first().filter(|_| selection.single_file && !copy.to.ends_with('/'));
            if let Some(file) = first
                && !plain(build, place, &["/bin/sh", "-c", "test -d \"$1\"", "sh", to]).await?
            {
                options.mode = mode;
                return place.put(to, Source::File(staged.path().join(&file.to)), options).await;
            }
            let to = if to.is_empty() { "/" } else { to };
            place.put(to, Source::Folder(staged.path().to_path_buf()), options).await
        }
        (Action::Copy(_), None) => Err(at(build, step, "nothing was selected".to_owned())),
    }
}

fn at(build: &Build<'_>, step: &Step, message: String) -> SandboxError {
    wrong(format!("{} line {}: {message}", build.file, step.line))
}

/// Runs a small command of ours as root; whether it succeeded.
async fn plain(build: &Build<'_>, place: &dyn Place, argv: &[&str]) -> Result<bool, SandboxError> {
    let mut process = ProcessSpec::new(argv);
    process.user = Some("0:0".to_owned());
    process.cwd = Some("/".to_owned());
    process.deadline = Some(left(build)?);
    Ok(place.exec(ExecSpec::new(process)).await?.exit.success())
}

fn left(build: &Build<'_>) -> Result<std::time::Duration, SandboxError> {
    let left = build.deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(wrong(format!("{}: building took longer than it may", build.file)))
    } else {
        Ok(left)
    }
}

async fn run(build: &Build<'_>, place: &dyn Place, step: &Step, argv: &[String]) -> Result<(), SandboxError> {
    let mut process = ProcessSpec::new(argv);
    process.env.clone_from(&step.env);
    process.cwd = Some(step.workdir.clone());
    process.user = Some(step.user.clone().unwrap_or_else(|| "0:0".to_owned()));
    process.deadline = Some(left(build)?);
    let output =
        OutputSpec { file: build.log.clone(), head: 4 << 10, tail: 16 << 10, ..OutputSpec::default() };
    let spec = ExecSpec { stdout: output.clone(), stderr: output, ..ExecSpec::new(process) };
    let result = place.exec(spec).await.map_err(|error| match error {
        // A missing user, folder or shell is the description's fault.
        SandboxError::Inside { message } => at(build, step, message),
        other => other,
    })?;
    let how = match result.exit {
        Exit::Code(0) => return Ok(()),
        Exit::Code(code) => format!("ended with status {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::TimedOut => "took longer than building may".to_owned(),
        Exit::OutOfMemory => "needs more memory than the task allows".to_owned(),
    };
    let text: String = step.text.chars().take(200).collect();
    let log = [result.stdout.text(), result.stderr.text()].concat();
    Err(SandboxError::Environment {
        message: format!("{} line {}: {text}: {how}", build.file, step.line),
        log,
    })
}

fn octal(mode: &str) -> Result<u32, String> {
    let parsed = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
    parsed.ok_or_else(|| format!("--chmod={mode} is not supported: give the bits in octal"))
}

/// `user`, `user:group`, by number or by the names inside. A user without a group has the group that its account has, by number
/// the same number.
async fn ids(place: &dyn Place, owner: &str) -> Result<Option<(u32, u32)>, SandboxError> {
    let (user, group) = match owner.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (owner, None),
    };
    let by_name = |text: &[u8], name: &str, field: usize| {
        let text = String::from_utf8_lossy(text).into_owned();
        let line = text.lines().find(|line| line.split(':').next() == Some(name)).map(str::to_owned)?;
        line.split(':').nth(field)?.parse::<u32>().ok()
    };
    let accounts = || place.read("/etc/passwd", ACCOUNT_BYTES);
    let user_id = match user.parse::<u32>() {
        Ok(id) => Some(id),
        Err(_) => accounts().await?.and_then(|text| by_name(&text, user, 2)),
    };
    let group_id = match group {
        Some(group) => match group.parse::<u32>() {
            Ok(id) => Some(id),
            Err(_) => {
                place.read("/etc/group", ACCOUNT_BYTES).await?.and_then(|text| by_name(&text, group, 2))
            }
        },
        None if user.parse::<u32>().is_ok() => user_id,
        None => accounts().await?.and_then(|text| by_name(&text, user, 3)),
    };
    Ok(user_id.zip(group_id))
}
