//! That a plan strikes the call that it names, on the memory backend.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use super::{Call, Fault, FaultBackend, FaultPlan};
use crate::conformance::be_ready;
use crate::memory::MemoryBackend;
use crate::{Backend, ExecSpec, Exit, ProcessSpec, SandboxError};

async fn one_life(plan: FaultPlan) -> (FaultBackend, Result<(), SandboxError>) {
    let backend = FaultBackend::new(Arc::new(MemoryBackend::new()), plan);
    let life = async {
        let spec = be_ready(&backend, "run").await?;
        let sandbox = backend.create(spec).await?;
        let result = sandbox.exec(ExecSpec::new(ProcessSpec::shell("sleep 1; echo x > /tmp/x"))).await?;
        assert_eq!(result.exit, Exit::Code(0), "a status that is not there is never made up");
        assert_eq!(sandbox.read("/tmp/x", 10).await?.as_deref(), Some(&b"x\n"[..]));
        sandbox.kill_all().await?;
        sandbox.destroy().await.map(drop)
    };
    let result = life.await;
    (backend, result)
}

#[tokio::test(start_paused = true)]
async fn each_call_of_a_life_can_go_wrong_in_each_way() {
    let (backend, result) = one_life(FaultPlan::none()).await;
    result.unwrap();
    let calls = backend.calls();
    assert_eq!(calls, [Call::Prepare, Call::Create, Call::Spawn, Call::Read, Call::KillAll, Call::Destroy]);
    for at in 1..=calls.len() {
        for fault in Fault::ALL {
            let (backend, result) = one_life(FaultPlan::nth(at, *fault)).await;
            assert!(backend.struck());
            match (fault, result) {
                (Fault::Delay(_) | Fault::StreamsEnd, result) => result.unwrap(),
                (Fault::Lose, result) => {
                    assert!(matches!(result, Err(SandboxError::Lost { .. })), "{at} {fault:?} {result:?}");
                }
                (_, result) => {
                    assert!(matches!(result, Err(SandboxError::Host { .. })), "{at} {fault:?} {result:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_be_tied_to_a_kind_and_repeat() {
    let plan = FaultPlan { repeats: 1, ..FaultPlan::nth_of(Call::Read, 2, Fault::Refuse) };
    let backend = FaultBackend::new(Arc::new(MemoryBackend::new()), plan);
    let spec = be_ready(&backend, "run").await.unwrap();
    let sandbox = backend.create(spec).await.unwrap();
    let mut fine = Vec::new();
    for _ in 0..4 {
        fine.push(sandbox.read("/etc/passwd", 1000).await.is_ok());
    }
    assert_eq!(fine, [true, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn streams_that_end_early_end_nothing_else() {
    let backend = FaultBackend::new(
        Arc::new(MemoryBackend::new()),
        FaultPlan::nth_of(Call::Spawn, 1, Fault::StreamsEnd),
    );
    let sandbox = backend.create(be_ready(&backend, "run").await.unwrap()).await.unwrap();
    let result = sandbox.exec(ExecSpec::new(ProcessSpec::shell("echo x; sleep 3; exit 4"))).await.unwrap();
    assert_eq!((result.exit, result.duration), (Exit::Code(4), Duration::from_secs(3)));
}
