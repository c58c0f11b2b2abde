//! What must happen when something goes wrong outside: checked on a backend whose calls fail on purpose.

use std::sync::Arc;
use std::time::Duration;

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use tokio::time::Instant;

use super::context::{is_lost, refused, script, secs};
use super::{Failure, Setup, ensure, ensure_eq};
use crate::fault::{Call, Fault, FaultBackend, FaultPlan};
use crate::{
    Backend, EnvironmentRequest, Exit, GetOptions, Labels, PutOptions, ReapFilter, SandboxError, SandboxSpec,
    Source,
};

/// One thing that must happen.
pub struct FaultCase {
    /// What it is called.
    pub name: &'static str,
    /// Checks it.
    pub run: for<'a> fn(&'a Setup) -> super::CaseFuture<'a>,
}

/// All of them.
pub const FAULT_CASES: &[FaultCase] = &[
    FaultCase { name: "lost-during-a-command", run: |setup| Box::pin(lost_during_a_command(setup)) },
    FaultCase { name: "lost-during-any-call", run: |setup| Box::pin(lost_during_any_call(setup)) },
    FaultCase { name: "refused-calls-leave-the-rest", run: |setup| Box::pin(refused_calls(setup)) },
    FaultCase { name: "create-refused-leaves-nothing", run: |setup| Box::pin(create_refused(setup)) },
    FaultCase { name: "streams-that-end-early", run: |setup| Box::pin(streams_end(setup)) },
    FaultCase { name: "slow-calls", run: |setup| Box::pin(slow_calls(setup)) },
    FaultCase { name: "destroy-refused-once", run: |setup| Box::pin(destroy_refused(setup)) },
];

/// Prepares a small environment and says how to start a sandbox of it.
///
/// # Errors
/// The backend's own.
pub async fn be_ready(backend: &dyn Backend, run: &str) -> Result<SandboxSpec, SandboxError> {
    let spec = EnvironmentSpec {
        source: EnvironmentSource::Image { reference: "conformance".into(), files: None },
        build_timeout: Duration::from_secs(120),
        limits: Limits::default(),
        env: Default::default(),
        workdir: None,
        network: NetworkMode::None,
        healthcheck: None,
        host_root: true,
    };
    let request = EnvironmentRequest { spec, digest: Digest::of(b"faults"), log: None };
    let image = backend.prepare(&request, Arc::new(|_| {})).await?;
    Ok(SandboxSpec {
        labels: Labels { run: run.into(), trial: "conformance/fault/1".into(), role: "test".into() },
        image,
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    })
}

fn faulty(setup: &Setup, plan: FaultPlan) -> FaultBackend {
    FaultBackend::new(setup.backend.clone(), plan)
}

fn spec(setup: &Setup, run: &str) -> SandboxSpec {
    SandboxSpec {
        labels: Labels {
            run: format!("{run}-{}", std::process::id()),
            trial: "conformance/fault/1".into(),
            role: "test".into(),
        },
        image: setup.image.clone(),
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    }
}

async fn lost_during_a_command(setup: &Setup) -> Result<(), Failure> {
    for text in ["exit 0", "echo fine; exit 0", "sleep 1; exit 0"] {
        let backend = faulty(setup, FaultPlan::nth_of(Call::Spawn, 1, Fault::Lose));
        let sandbox = backend.create(spec(setup, "lost")).await?;
        refused(text, sandbox.exec(script(text)).await, is_lost)?;
        refused("the next command", sandbox.exec(script("true")).await, is_lost)?;
        refused("what is there to read", sandbox.read("/etc/passwd", 1 << 20).await, is_lost)?;
        sandbox.destroy().await?;
    }
    Ok(())
}

async fn lost_during_any_call(setup: &Setup) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    for call in [
        Call::Put,
        Call::Get,
        Call::Read,
        Call::KillAll,
        Call::Freeze,
        Call::Snapshot,
        Call::Changes,
        Call::Usage,
    ] {
        let backend = faulty(setup, FaultPlan::nth_of(call, 1, Fault::Lose));
        let sandbox = backend.create(spec(setup, "lost")).await?;
        let result = match call {
            Call::Put => sandbox.put("/tmp/x", Source::Bytes(vec![1]), PutOptions::default()).await,
            Call::Get => sandbox.get("/etc/passwd", &dir.path().join("x"), GetOptions::default()).await,
            Call::Read => sandbox.read("/etc/passwd", 1 << 20).await.map(drop),
            Call::KillAll => sandbox.kill_all().await,
            Call::Freeze => sandbox.freeze(true).await,
            Call::Snapshot => sandbox.snapshot().await.map(drop),
            Call::Changes => sandbox.changes(10).await.map(drop),
            _ => sandbox.usage().await.map(drop),
        };
        refused(&format!("{call:?}"), result, is_lost)?;
        refused(&format!("a command after {call:?}"), sandbox.exec(script("true")).await, is_lost)?;
        sandbox.destroy().await?;
    }
    Ok(())
}

async fn refused_calls(setup: &Setup) -> Result<(), Failure> {
    for call in [Call::Put, Call::Read, Call::Spawn, Call::KillAll] {
        for fault in [Fault::Refuse, Fault::RefuseAfterwards] {
            let backend = faulty(setup, FaultPlan::nth_of(call, 1, fault));
            let sandbox = backend.create(spec(setup, "refused")).await?;
            let result = match call {
                Call::Put => sandbox.put("/tmp/x", Source::Bytes(vec![1]), PutOptions::default()).await,
                Call::Read => sandbox.read("/etc/passwd", 1 << 20).await.map(drop),
                Call::Spawn => sandbox.exec(script("true")).await.map(drop),
                _ => sandbox.kill_all().await,
            };
            refused(&format!("{call:?}"), result, |error| matches!(error, SandboxError::Host { .. }))?;
            let after = sandbox.exec(script("exit 3")).await?;
            ensure_eq!(after.exit, Exit::Code(3), "a command after {call:?} was refused");
            sandbox.destroy().await?;
        }
    }
    Ok(())
}

async fn create_refused(setup: &Setup) -> Result<(), Failure> {
    for fault in [Fault::Refuse, Fault::RefuseAfterwards, Fault::Lose] {
        let backend = faulty(setup, FaultPlan::nth_of(Call::Create, 1, fault));
        let spec = spec(setup, "create");
        let run = spec.labels.run.clone();
        refused("create", backend.create(spec).await, |_| true)?;
        let until = Instant::now() + secs(8);
        loop {
            let left = backend
                .reap(ReapFilter { run: Some(run.clone()), dry_run: true, ..ReapFilter::default() })
                .await?
                .sandboxes;
            if left.is_empty() {
                break;
            }
            ensure!(Instant::now() < until, "{fault:?} left {left:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn streams_end(setup: &Setup) -> Result<(), Failure> {
    let backend = faulty(setup, FaultPlan::nth_of(Call::Spawn, 1, Fault::StreamsEnd));
    let sandbox = backend.create(spec(setup, "streams")).await?;
    let result = sandbox.exec(script("echo gone; sleep 1; exit 9")).await?;
    ensure_eq!(result.exit, Exit::Code(9), "the status");
    ensure!(result.duration >= Duration::from_millis(900), "it was over after {:?}", result.duration);
    sandbox.destroy().await?;
    Ok(())
}

async fn slow_calls(setup: &Setup) -> Result<(), Failure> {
    let slow = Duration::from_millis(700);
    let backend = faulty(setup, FaultPlan::nth_of(Call::Create, 1, Fault::Delay(slow)));
    let spec = spec(setup, "slow");
    let run = spec.labels.run.clone();
    // Given up while it was delayed: nothing starts later.
    let given_up = tokio::time::timeout(slow / 4, backend.create(spec)).await;
    ensure!(given_up.is_err(), "it was not slow");
    tokio::time::sleep(slow).await;
    let left =
        backend.reap(ReapFilter { run: Some(run), dry_run: true, ..ReapFilter::default() }).await?.sandboxes;
    ensure_eq!(left, [""; 0], "what started after it was given up");
    let backend = faulty(setup, FaultPlan::nth_of(Call::Spawn, 1, Fault::Delay(slow)));
    let sandbox = backend.create(self::spec(setup, "slow")).await?;
    ensure_eq!(sandbox.exec(script("exit 5")).await?.exit, Exit::Code(5), "a slow command");
    sandbox.destroy().await?;
    Ok(())
}

async fn destroy_refused(setup: &Setup) -> Result<(), Failure> {
    let backend = faulty(setup, FaultPlan::nth_of(Call::Destroy, 1, Fault::Refuse));
    let spec = spec(setup, "destroy");
    let filter = ReapFilter { run: Some(spec.labels.run.clone()), dry_run: true, ..ReapFilter::default() };
    let sandbox = backend.create(spec).await?;
    refused("destroy", sandbox.destroy().await, |error| matches!(error, SandboxError::Host { .. }))?;
    ensure_eq!(
        backend.reap(filter.clone()).await?.sandboxes,
        [sandbox.id().to_owned()],
        "what reaping finds"
    );
    sandbox.destroy().await?;
    ensure_eq!(backend.reap(filter).await?.sandboxes, [""; 0], "what reaping finds afterwards");
    Ok(())
}
