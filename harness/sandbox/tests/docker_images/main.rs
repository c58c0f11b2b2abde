//! Images on real engines: Docker and Podman, each where it answers. A test whose engine is missing is skipped by name, or
//! fails where HARNESS_REQUIRE_ENGINES=1 says that none may be missing.

#![expect(clippy::unwrap_used, reason = "tests")]

mod builds;
mod evictions;
mod faults;
mod kills;
mod pulls;
mod support;

use std::process::ExitCode;

use harness_sandbox::docker::client::Address;
use libtest_mimic::{Arguments, Trial};

use support::{Bench, Test};

fn main() -> ExitCode {
    if let Some(code) = kills::be_a_process_if_asked() {
        return code;
    }
    let arguments = Arguments::from_args();
    let required = std::env::var("HARNESS_REQUIRE_ENGINES").is_ok_and(|value| value == "1");
    let engines = [("docker", "/var/run/docker.sock"), ("podman", "/run/podman/podman.sock")];
    let mut trials = Vec::new();
    for (engine, socket) in engines {
        let address = match std::env::var(format!("HARNESS_TEST_{}_SOCKET", engine.to_uppercase())) {
            Ok(path) => Address::Socket(path.into()),
            Err(_) => Address::Socket(socket.into()),
        };
        let missing = support::missing(&address);
        for Test { name, only, run } in tests() {
            if only.is_some_and(|only| only != engine) {
                continue;
            }
            let (address, missing) = (address.clone(), missing.clone());
            let skipped = missing.is_some() && !required;
            let shown = match &missing {
                Some(why) if skipped => format!("{engine}: {name} (skipped: {why})"),
                _ => format!("{engine}: {name}"),
            };
            let trial = Trial::test(shown, move || match missing {
                Some(why) => Err(format!("{engine} is required and does not answer: {why}").into()),
                None => Bench::new(engine, address).run(run).map_err(Into::into),
            });
            trials.push(trial.with_ignored_flag(skipped));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn tests() -> Vec<Test> {
    [builds::TESTS, evictions::TESTS, faults::TESTS, kills::TESTS, pulls::TESTS].concat()
}
