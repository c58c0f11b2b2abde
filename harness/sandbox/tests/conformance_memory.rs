//! The conformance suite on the memory backend.

mod support;

use std::process::ExitCode;
use std::sync::Arc;

use harness_sandbox::memory::MemoryBackend;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let setup = runtime.block_on(support::setup(Arc::new(MemoryBackend::new()))).expect("the image is made");
    support::conclude(support::tests("memory", &setup, runtime.handle()))
}
