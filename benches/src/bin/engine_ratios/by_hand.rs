//! The same work with the docker command-line program: what our promises are measured against.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The steps of one trial: create, start, copy in, exec, exec, remove.
pub(crate) fn trial(image: &str, file: &Path, name: &str) {
    for step in steps(image, file, name) {
        docker(&step.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// So many shells at once, each doing so many trials.
pub(crate) fn shells(shells: usize, each: usize, image: &str, file: &Path) {
    let running: Vec<_> = (0..shells)
        .map(|shell| {
            let trial = |at: usize| {
                let name = format!("harness-ratios-{}-{shell}-{at}", std::process::id());
                let steps = steps(image, file, &name).map(|step| format!("docker {}", step.join(" ")));
                steps.join(" && ")
            };
            let script = (0..each).map(trial).collect::<Vec<_>>().join(" && ");
            quiet(Command::new("sh").args(["-c", &script])).spawn().expect("there is a shell")
        })
        .collect();
    for mut shell in running {
        assert!(shell.wait().expect("a child can be waited for").success());
    }
}

fn steps(image: &str, file: &Path, name: &str) -> [Vec<String>; 6] {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    [
        words(&format!("create --network none --name {name} {image} sleep 600")),
        words(&format!("start {name}")),
        words(&format!("cp {} {name}:/tmp/file", file.display())),
        words(&format!("exec {name} /bin/true")),
        words(&format!("exec {name} /bin/true")),
        words(&format!("rm -f {name}")),
    ]
}

/// Runs it; its output is of no interest.
pub(crate) fn docker(arguments: &[&str]) {
    let status = quiet(Command::new("docker").args(arguments)).status().expect("there is a docker program");
    assert!(status.success(), "docker {arguments:?}");
}

/// The image's files as an archive.
pub(crate) fn export(image: &str, to: &Path) -> PathBuf {
    let name = format!("harness-ratios-root-{}", std::process::id());
    docker(&["create", "--name", &name, image]);
    docker(&["export", "--output", &to.to_string_lossy(), &name]);
    docker(&["rm", &name]);
    to.to_owned()
}

/// A container that waits for execs; removed when dropped.
pub(crate) struct Standing(String);

impl Standing {
    pub(crate) fn start(image: &str) -> Standing {
        let name = format!("harness-ratios-{}", std::process::id());
        docker(&["run", "-d", "--network", "none", "--name", &name, image, "sleep", "3600"]);
        Standing(name)
    }

    pub(crate) fn exec(&self) {
        docker(&["exec", &self.0, "/bin/true"]);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let _ = quiet(Command::new("docker").args(["rm", "-f", &self.0])).status();
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}
