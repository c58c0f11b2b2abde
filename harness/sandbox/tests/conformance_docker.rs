//! The conformance suite on Docker, where it answers.

mod support;
mod support_engine;

use std::process::ExitCode;

use support_engine::Wanted;

fn main() -> ExitCode {
    support_engine::conformance(&Wanted {
        prefix: "docker",
        variable: "HARNESS_TEST_DOCKER",
        socket: "/var/run/docker.sock",
    })
}
