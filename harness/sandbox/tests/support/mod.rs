//! Gives each conformance case a test of its own.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::conformance::{self, Setup, Verdict, sabotage};
use harness_sandbox::{Backend, EnvironmentRequest, SandboxError};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Makes the environment that the cases run in, with a variable of the image's own and a folder.
pub(crate) async fn setup(backend: Arc<dyn Backend>) -> Result<Setup, SandboxError> {
    setup_of(backend, "conformance").await
}

/// The same of an image.
pub(crate) async fn setup_of(backend: Arc<dyn Backend>, reference: &str) -> Result<Setup, SandboxError> {
    let spec = EnvironmentSpec {
        source: EnvironmentSource::Image { reference: reference.into(), files: None },
        build_timeout: Duration::from_secs(120),
        limits: Limits::default(),
        env: BTreeMap::from([("LANG".into(), "C".into()), ("FROM_IMAGE".into(), "yes".into())]),
        workdir: Some("/srv".into()),
        network: NetworkMode::None,
        healthcheck: None,
        host_root: true,
    };
    let request = EnvironmentRequest { spec, digest: Digest::of(b"conformance"), log: None };
    let image = backend.prepare(&request, Arc::new(|_| {})).await?;
    Ok(Setup { backend, image, orphans: None })
}

/// One test for each case, called `PREFIX::CASE`.
pub(crate) fn tests(prefix: &str, setup: &Setup, runtime: &tokio::runtime::Handle) -> Vec<Trial> {
    conformance::cases()
        .map(|case| {
            let (setup, runtime) = (setup.clone(), runtime.clone());
            Trial::ignorable_test(format!("{prefix}::{}", case.name), move || {
                match runtime.block_on(conformance::run_case(&setup, case)).verdict {
                    Verdict::Passed => Ok(Completion::Completed),
                    Verdict::Declared(reason) => Ok(Completion::ignored_with(format!("declared: {reason}"))),
                    Verdict::Failed(why) => Err(Failed::from(format!("{}: {why}", case.about))),
                    Verdict::DeclaredYetPassed(reason) => {
                        Err(Failed::from(format!("it passes, yet was declared not to: {reason}")))
                    }
                }
            })
        })
        .collect()
}

/// Runs the tests on a few threads: most cases wait more than they compute.
pub(crate) fn conclude(tests: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// One test for each saboteur, called `PREFIX_saboteur::CASE`: its case has to fail. Cases that the backend declares away are
/// left out by name; so are those that hold there whatever is done.
pub(crate) fn saboteurs(
    prefix: &str,
    setup: &Setup,
    runtime: &tokio::runtime::Handle,
    vacuous: &'static [&'static str],
) -> Vec<Trial> {
    conformance::cases()
        .filter(|case| !vacuous.contains(&case.name))
        .map(|case| {
            let (setup, runtime) = (setup.clone(), runtime.clone());
            Trial::ignorable_test(format!("{prefix}_saboteur::{}", case.name), move || {
                if setup.backend.caps().declared.iter().any(|declared| declared.case == case.name) {
                    return Ok(Completion::ignored_with("the case is declared"));
                }
                let how = sabotage::for_case(case.name).ok_or("no saboteur for this case")?;
                let _inside = runtime.enter();
                let broken = Setup { backend: sabotage::saboteur(setup.backend.clone(), how), ..setup };
                match runtime.block_on(conformance::run_case(&broken, case)).verdict {
                    Verdict::Failed(_) => Ok(Completion::Completed),
                    other => Err(Failed::from(format!("the case did not notice: {other:?}"))),
                }
            })
        })
        .collect()
}

/// One test for each thing that must happen when calls fail, called `PREFIX_fault::CASE`.
pub(crate) fn faults(prefix: &str, setup: &Setup, runtime: &tokio::runtime::Handle) -> Vec<Trial> {
    conformance::FAULT_CASES
        .iter()
        .map(|case| {
            let (setup, runtime) = (setup.clone(), runtime.clone());
            Trial::test(format!("{prefix}_fault::{}", case.name), move || {
                let bound = Duration::from_secs(60);
                match runtime.block_on(async { tokio::time::timeout(bound, (case.run)(&setup)).await }) {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(conformance::Failure(why))) => Err(Failed::from(why)),
                    Err(_) => Err(Failed::from("not done after a minute")),
                }
            })
        })
        .collect()
}
