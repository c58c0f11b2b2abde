//! Looks at the engine for `doctor`: what it is, what it limits and isolates, and whether a container really runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use harness_core::{Limits, NetworkMode};

use super::backend::Inner;
use super::engine::Engine;
use super::{client, environment, owner};
use crate::link::program;
use crate::{
    ExecSpec, Exit, Labels, Place, Probe, ProbeStatus, ProcessSpec, Sandbox, SandboxError, SandboxSpec,
};

/// How long the whole may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// See [`crate::Backend::doctor`].
pub(crate) async fn probes(backend: &Arc<Inner>) -> Vec<Probe> {
    let engine = &backend.starter.engine;
    let ran = tokio::time::timeout(PATIENCE, run_true(backend)).await;
    let ran = ran.unwrap_or_else(|_| {
        let error = std::io::ErrorKind::TimedOut.into();
        Err(SandboxError::host("run a container within two minutes", error))
    });
    vec![true_in_container(ran), answering(engine), storage(engine), groups(engine), isolation(engine)]
}

fn probe(name: &str, status: ProbeStatus, detail: impl Into<String>, remedy: Option<&str>) -> Probe {
    Probe { name: name.to_owned(), status, detail: detail.into(), remedy: remedy.map(str::to_owned) }
}

fn true_in_container(ran: Result<Duration, SandboxError>) -> Probe {
    const NAME: &str = "/bin/true in a sandbox";
    match ran {
        Ok(took) => probe(
            NAME,
            ProbeStatus::Good,
            format!("ran and ended with status 0 within {:.0} ms", took.as_secs_f64() * 1e3),
            None,
        ),
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
            let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            let remedy =
                "see what the engine says of `docker run` with a local image; else use --sandbox native";
            probe(NAME, ProbeStatus::Broken, format!("did not run: {text}"), Some(remedy))
        }
    }
}

fn answering(engine: &Engine) -> Probe {
    probe("engine", ProbeStatus::Good, engine.client.engine().to_string(), None)
}

fn storage(engine: &Engine) -> Probe {
    let facts = &engine.facts;
    match &facts.layers {
        Some(_) => probe("storage", ProbeStatus::Good, format!("{}: layers are seen", facts.storage), None),
        None => probe(
            "storage",
            ProbeStatus::Weak,
            format!(
                "{}: what changed is not listed, and programs that the agent replaced are not put back for its tests",
                facts.storage
            ),
            Some("let the engine store images by overlay2 (Docker) or overlay (Podman)"),
        ),
    }
}

fn groups(engine: &Engine) -> Probe {
    let facts = &engine.facts;
    let version =
        facts.cgroups.map_or("of unknown version".to_owned(), |version| format!("version {version}"));
    if facts.rootless && facts.cgroups != Some(2) {
        let remedy = "boot with control groups version 2 (`systemd.unified_cgroup_hierarchy=1`)";
        let detail = format!("{version}: an engine without root's rights sets no limits");
        return probe("control groups", ProbeStatus::Weak, detail, Some(remedy));
    }
    probe(
        "control groups",
        ProbeStatus::Good,
        format!("{version}: processors, memory and processes are limited"),
        None,
    )
}

fn isolation(engine: &Engine) -> Probe {
    let facts = &engine.facts;
    let (status, detail) = match (facts.rootless, facts.user_namespaces) {
        (true, _) => (
            ProbeStatus::Good,
            "the engine runs without root's rights: root inside is an ordinary user outside",
        ),
        (false, true) => (ProbeStatus::Good, "user namespaces: root inside is an ordinary id outside"),
        (false, false) => (
            ProbeStatus::Weak,
            "no user namespaces: root inside is root's id outside, held by capabilities and a system call filter",
        ),
    };
    let remedy = (status == ProbeStatus::Weak)
        .then_some("an engine without root's rights, or `userns-remap` in Docker's configuration");
    probe("isolation", status, detail, remedy)
}

/// Really runs it; how long it took from nothing to nothing, but for the image.
async fn run_true(backend: &Arc<Inner>) -> Result<Duration, SandboxError> {
    let engine = &backend.starter.engine;
    let labels = Labels { run: "doctor".into(), trial: "doctor".into(), role: "doctor".into() };
    let name = tiny_image(engine, &labels).await?;
    let image = environment::present(engine, &name).await?;
    let begun = Instant::now();
    let spec = SandboxSpec {
        labels,
        image,
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    };
    let ran = async {
        let sandbox = backend.start(spec, || true).await?;
        let process =
            ProcessSpec { deadline: Some(Duration::from_secs(20)), ..ProcessSpec::new(["/bin/true"]) };
        let exit = sandbox.exec(ExecSpec::new(process)).await?.exit;
        sandbox.destroy().await?;
        Ok::<Exit, SandboxError>(exit)
    }
    .await;
    // Whatever became of it.
    let took = begun.elapsed();
    engine.remove_image(&name).await?;
    match ran? {
        Exit::Code(0) => Ok(took),
        other => Err(SandboxError::Inside { message: format!("/bin/true ended with {other:?}") }),
    }
}

/// An image of nothing but our guest program under the name of `/bin/true`, sent to the engine as an archive: no registry is
/// needed. Returns its id.
async fn tiny_image(engine: &Engine, labels: &Labels) -> Result<String, SandboxError> {
    let refused = |error| SandboxError::host("make an archive", error);
    let mut header = tar::Header::new_gnu();
    header.set_size(program::PROGRAM.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "bin/true", program::PROGRAM).map_err(refused)?;
    let archive = archive.into_inner().map_err(refused)?;
    let changes: Vec<String> =
        owner::labels(labels).iter().map(|(name, value)| format!("LABEL {name}={value:?}")).collect();
    let options =
        CreateImageOptions { from_src: Some("-".to_owned()), changes, ..CreateImageOptions::default() };
    let body = bollard::body_full(archive.into());
    let mut answers = engine.client.long().create_image(Some(options), Some(body), None);
    let mut made = None;
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|error| client::failed("make an image for the probe", error))?;
        made = answer.status.filter(|status| status.starts_with("sha256:")).or(made);
    }
    made.ok_or_else(|| {
        let error = std::io::Error::other("the engine did not say which image it made");
        SandboxError::host("make an image for the probe", error)
    })
}
