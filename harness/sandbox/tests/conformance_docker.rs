//! The conformance suite on Docker, where it answers.

mod support;
mod support_engine;

use std::process::ExitCode;

use support_engine::Wanted;

fn main() -> ExitCode {
    support_engine::conformance(&Wanted {
        as_root: "docker_as_root",
        as_member: "docker_as_member",
        sabotaged: true,
        variable: "HARNESS_TEST_DOCKER",
        socket: "/var/run/docker.sock",
    })
}
