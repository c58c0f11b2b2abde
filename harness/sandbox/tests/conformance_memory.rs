//! The conformance suite on the memory backend, and its saboteurs there.

mod support;

use std::process::ExitCode;
use std::sync::Arc;

use harness_sandbox::memory::MemoryBackend;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let setup = runtime.block_on(support::setup(Arc::new(MemoryBackend::new()))).expect("the image is made");
    let mut tests = support::tests("memory", &setup, runtime.handle());
    tests.extend(support::faults("memory", &setup, runtime.handle()));
    // There is nothing on the machine that a leaked memory sandbox could leave.
    tests.extend(support::saboteurs("memory", &setup, runtime.handle(), &["churn"]));
    support::conclude(tests)
}
