//! The conformance suite on Podman, by its compatible socket, where it answers.

mod support;
mod support_engine;

use std::process::ExitCode;

use support_engine::Wanted;

fn main() -> ExitCode {
    support_engine::conformance(&Wanted {
        as_root: "podman_as_root",
        as_member: "podman_as_user",
        sabotaged: false,
        variable: "HARNESS_TEST_PODMAN",
        socket: "/run/podman/podman.sock",
    })
}
