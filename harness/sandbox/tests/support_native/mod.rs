//! Opens the native backend for tests of its own, and makes small roots out of this machine's programs.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "shared by tests that each use a part of it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::{
    BACKENDS, Backend, BackendOptions, EnvironmentRequest, ExecResult, ExecSpec, Image, Labels, Place,
    ProcessSpec, RootFs, Sandbox, SandboxSpec,
};

/// A backend with a state folder of its own.
pub(crate) struct Native {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) state: tempfile::TempDir,
}

/// Opens it, or says by name what is skipped and why.
pub(crate) async fn open(test: &str, rootfs: RootFs) -> Option<Native> {
    let state = tempfile::tempdir_in("/var/tmp").unwrap();
    let options = BackendOptions { state_dir: state.path().to_owned(), rootfs, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "native").unwrap();
    match kind.open(options).await {
        Ok(backend) => Some(Native { backend, state }),
        Err(error) => {
            eprintln!("skipped by name: {test}: the native sandbox does not work here: {error}");
            None
        }
    }
}

/// Whether this runs as root; says by name what is skipped otherwise.
pub(crate) fn needs_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped by name: {test}: it needs root");
    }
    root
}

pub(crate) fn request(source: EnvironmentSource) -> EnvironmentRequest {
    let spec = EnvironmentSpec {
        source,
        build_timeout: Duration::from_secs(60),
        limits: Limits::default(),
        env: BTreeMap::new(),
        workdir: None,
        network: NetworkMode::None,
        healthcheck: None,
        host_root: true,
    };
    EnvironmentRequest { spec, digest: Digest::of(b"test"), log: None }
}

pub(crate) fn plain() -> EnvironmentRequest {
    request(EnvironmentSource::Image { reference: "test".into(), files: None })
}

impl Native {
    pub(crate) async fn image(&self, request: &EnvironmentRequest) -> Arc<Image> {
        self.backend.prepare(request, Arc::new(|_| {})).await.unwrap()
    }

    pub(crate) async fn sandbox(&self) -> Arc<dyn Sandbox> {
        let image = self.image(&plain()).await;
        self.backend.create(spec(&image)).await.unwrap()
    }
}

pub(crate) fn spec(image: &Arc<Image>) -> SandboxSpec {
    SandboxSpec {
        labels: Labels { run: "run".into(), trial: "trial".into(), role: "agent".into() },
        image: Arc::clone(image),
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    }
}

/// Runs a shell script as this user, at most 20 seconds long.
pub(crate) async fn sh_as(place: &dyn Place, user: Option<&str>, script: &str) -> ExecResult {
    let process = ProcessSpec {
        deadline: Some(Duration::from_secs(20)),
        user: user.map(str::to_owned),
        ..ProcessSpec::shell(script)
    };
    place.exec(ExecSpec::new(process)).await.unwrap()
}

/// What a script that succeeds prints.
pub(crate) async fn ok(place: &dyn Place, script: &str) -> String {
    let result = sh_as(place, None, script).await;
    assert!(result.exit.success(), "{script}: {:?}: {}", result.exit, result.stderr.text());
    result.stdout.text()
}

/// A root with a shell and a few programs of this machine's, and the libraries that they need.
pub(crate) fn small_root(folder: &Path) {
    for name in ["bin", "tmp", "etc", "proc", "dev"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    for name in ["sh", "cat", "ls", "mkdir", "true", "id", "touch", "rm"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
        let real = std::fs::canonicalize(String::from_utf8(found.stdout).unwrap().trim())
            .unwrap_or_else(|_| PathBuf::from(format!("/bin/{name}")));
        std::fs::copy(&real, folder.join("bin").join(name)).unwrap();
        let libraries = Command::new("ldd").arg(&real).output().unwrap();
        for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
            if let Some(below) = word.strip_prefix('/') {
                let to = folder.join(below);
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(word, to).unwrap();
            }
        }
    }
    std::fs::write(
        folder.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(folder.join("etc/group"), "root:x:0:\nann:x:1000:\n").unwrap();
}
