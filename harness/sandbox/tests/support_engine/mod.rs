//! Opens the backend `docker` on one engine for tests, or says by name what is skipped.

#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "shared by tests that each use a part of it"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::conformance::{self, Setup};
use harness_sandbox::docker::client::{Address, Client};
use harness_sandbox::{BACKENDS, Backend, BackendOptions, EnvironmentRequest, Image, RootFs, SandboxError};

use crate::support;

/// An image with a shell and core utilities that engines of tests have.
const IMAGE: &str = "HARNESS_TEST_IMAGE";
/// Set where engines have to be there: what is missing is then a failure.
const REQUIRED: &str = "HARNESS_REQUIRE_ENGINES";
/// Holds the state folder in a copy of this program that was started as an owner that dies.
const STATE: &str = "HARNESS_CONFORMANCE_STATE";

/// Nobody in particular: no entry in any table is needed.
const ORDINARY: u32 = 54321;

/// An engine that tests want.
pub(crate) struct Wanted {
    /// Begins the names of tests, by who runs them.
    pub(crate) as_root: &'static str,
    pub(crate) as_member: &'static str,
    /// Whether the suite is shown to bite here.
    pub(crate) sabotaged: bool,
    /// Variable that may name its socket.
    pub(crate) variable: &'static str,
    /// Its usual socket.
    pub(crate) socket: &'static str,
}

/// Makes the backend ask this engine and no other. To be called first of all, while there is one thread.
pub(crate) fn choose(wanted: &Wanted) {
    let socket = std::env::var(wanted.variable).unwrap_or_else(|_| format!("unix://{}", wanted.socket));
    // SAFETY: nothing else runs in this program yet.
    unsafe { std::env::set_var("DOCKER_HOST", socket) };
}

/// What is to be done where no engine answers.
pub(crate) fn without_engine(prefix: &str, error: &dyn std::fmt::Display) -> ExitCode {
    let required = std::env::var_os(REQUIRED).is_some_and(|value| !value.is_empty() && value != "0");
    if required {
        println!("FAILED: {prefix}: {REQUIRED} is set, and {error}");
        return ExitCode::FAILURE;
    }
    println!("skipped by name: {prefix}: {error}");
    ExitCode::SUCCESS
}

pub(crate) async fn open(state: &Path) -> Result<Setup, SandboxError> {
    let options =
        BackendOptions { state_dir: state.to_owned(), rootfs: RootFs::FromTask, hidden: Vec::new() };
    let kind = BACKENDS.iter().find(|kind| kind.name() == "docker").expect("docker is registered");
    let image = std::env::var(IMAGE).unwrap_or_else(|_| "debian:12".to_owned());
    support::setup_of(kind.open(options).await?, &image).await
}

/// The whole conformance suite on an engine, as whoever runs it; where that is root and a socket can be opened by its group,
/// as a plain member of the group too.
pub(crate) fn conformance(wanted: &Wanted) -> ExitCode {
    choose(wanted);
    let given = std::env::var_os(STATE).map(PathBuf::from);
    let made = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
    let state = given.clone().unwrap_or_else(|| made.path().to_owned());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime
        .block_on(conformance::be_an_orphan_if_asked(|| open(&state)))
        .expect("an owner that should die starts a sandbox");
    let root = rustix::process::geteuid().is_root();
    let prefix = if root { wanted.as_root } else { wanted.as_member };
    let setup = match runtime.block_on(open(&state)) {
        Ok(setup) => setup.with_orphans(vec![(STATE.into(), state.into_os_string())]),
        Err(error) => return without_engine(prefix, &error),
    };
    let mut tests = support::tests(prefix, &setup, runtime.handle());
    tests.extend(support::faults(prefix, &setup, runtime.handle()));
    // What the suite notices does not depend on who runs it: once is enough.
    if given.is_none() && wanted.sabotaged {
        tests.extend(support::saboteurs(prefix, &setup, runtime.handle(), &[]));
    }
    let exit = support::conclude(tests);
    drop(setup);
    if exit != ExitCode::SUCCESS || !root || given.is_some() {
        return exit;
    }
    as_member(wanted)
}

/// The same in a copy of this program that has no rights but to open the engine's socket.
fn as_member(wanted: &Wanted) -> ExitCode {
    let host = std::env::var("DOCKER_HOST").expect("it was set first of all");
    let socket = host.strip_prefix("unix://").and_then(|path| std::fs::metadata(path).ok());
    let Some(group) = socket
        .filter(|socket| socket.mode() & 0o060 == 0o060 && socket.gid() != 0)
        .map(|socket| socket.gid())
    else {
        println!("skipped by name: {}: no group but root's may open {host}", wanted.as_member);
        return ExitCode::SUCCESS;
    };
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
    let (program, state) = (folder.path().join("conformance"), folder.path().join("state"));
    std::fs::copy(std::env::current_exe().expect("this program has a path"), &program)
        .expect("it can be copied");
    std::fs::create_dir(&state).expect("a folder can be made");
    std::os::unix::fs::chown(&state, Some(ORDINARY), Some(group)).expect("root may give files away");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("a folder's mode can be set");
    let status = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .current_dir("/")
        .env(STATE, &state)
        .env("TMPDIR", "/var/tmp")
        .uid(ORDINARY)
        .gid(group)
        .status()
        .expect("this program can be run as an ordinary user");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An engine that answers.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) address: Address,
    /// An image with a shell and core utilities.
    pub(crate) image: String,
    state: Arc<State>,
}

/// A state folder, of its own or given.
enum State {
    Made(tempfile::TempDir),
    Given(PathBuf),
}

impl State {
    fn made() -> Arc<State> {
        Arc::new(State::Made(tempfile::tempdir_in("/var/tmp").unwrap()))
    }

    fn path(&self) -> &Path {
        match self {
            State::Made(folder) => folder.path(),
            State::Given(folder) => folder,
        }
    }
}

/// Those that answer; what is missing is said by name, and is a failure where they have to be there.
pub(crate) async fn engines(test: &str) -> (Vec<Engine>, ExitCode) {
    let mut found = Vec::new();
    let mut exit = ExitCode::SUCCESS;
    for (name, variable, socket) in [
        ("docker", "HARNESS_TEST_DOCKER", "/var/run/docker.sock"),
        ("podman", "HARNESS_TEST_PODMAN", "/run/podman/podman.sock"),
    ] {
        let named = std::env::var(variable).ok();
        let socket = named.as_deref().map_or(socket, |name| name.strip_prefix("unix://").unwrap_or(name));
        let address = Address::Socket(socket.into());
        match Client::connect_to(address.clone()).await {
            Ok(_) => found.push(Engine {
                name,
                address,
                image: std::env::var(IMAGE).unwrap_or_else(|_| "debian:12".to_owned()),
                state: State::made(),
            }),
            Err(why) => {
                if without_engine(&format!("{test}::{name}"), &format!("{address}: {why}"))
                    != ExitCode::SUCCESS
                {
                    exit = ExitCode::FAILURE;
                }
            }
        }
    }
    (found, exit)
}

impl Engine {
    /// At this address.
    pub(crate) fn at(name: &'static str, socket: &Path) -> Engine {
        Engine {
            name,
            address: Address::Socket(socket.to_owned()),
            image: std::env::var(IMAGE).unwrap_or_else(|_| "debian:12".to_owned()),
            state: State::made(),
        }
    }

    /// With another image.
    pub(crate) fn of(self, image: &str) -> Engine {
        Engine { image: image.to_owned(), ..self }
    }

    /// With a state folder that somebody else made.
    pub(crate) fn with_state(name: &'static str, socket: &Path, state: &Path) -> Engine {
        Engine { state: Arc::new(State::Given(state.to_owned())), ..Engine::at(name, socket) }
    }

    /// The same engine behind another socket.
    pub(crate) fn through(&self, socket: &Path) -> Engine {
        Engine { image: self.image.clone(), ..Engine::at(self.name, socket) }
    }

    /// Where backends keep things.
    pub(crate) fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// A backend of its own on it.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Backend>, SandboxError> {
        let state_dir = self.state.path().join("state");
        let options = BackendOptions { state_dir, rootfs: RootFs::FromTask, hidden: Vec::new() };
        harness_sandbox::docker::open(self.address.clone(), options).await
    }

    /// A label that nobody else has.
    pub(crate) fn unique(&self, what: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn request(source: EnvironmentSource) -> EnvironmentRequest {
        let digest = Digest::of(format!("{source:?}").as_bytes());
        let spec = EnvironmentSpec {
            source,
            build_timeout: Duration::from_secs(120),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: None,
            network: NetworkMode::None,
            healthcheck: None,
            host_root: false,
        };
        EnvironmentRequest { spec, digest, log: None }
    }

    /// An image that is there.
    pub(crate) async fn prepare(
        &self,
        backend: &dyn Backend,
        name: &str,
    ) -> Result<Arc<Image>, SandboxError> {
        let source = EnvironmentSource::Image { reference: name.to_owned(), files: None };
        backend.prepare(&Engine::request(source), Arc::new(|_| {})).await
    }

    /// An image of a Dockerfile.
    pub(crate) async fn build(&self, backend: &dyn Backend, text: &str) -> Result<Arc<Image>, SandboxError> {
        self.build_with(backend, text, &[]).await
    }

    /// The same with files beside it.
    pub(crate) async fn build_with(
        &self,
        backend: &dyn Backend,
        text: &str,
        files: &[(&str, &[u8])],
    ) -> Result<Arc<Image>, SandboxError> {
        let folder = tempfile::tempdir_in(self.state.path()).unwrap();
        let context = folder.path().to_owned();
        std::fs::write(context.join("Dockerfile"), text).unwrap();
        for (name, content) in files {
            std::fs::write(context.join(name), content).unwrap();
            std::fs::set_permissions(context.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        let source = EnvironmentSource::Dockerfile { file: context.join("Dockerfile"), context };
        backend.prepare(&Engine::request(source), Arc::new(|_| {})).await
    }

    async fn client(&self) -> Client {
        Client::connect_to(self.address.clone()).await.unwrap()
    }

    /// Loads an image for another architecture that holds one empty layer.
    pub(crate) async fn foreign_image(&self, arch: &str) -> Result<String, bollard::errors::Error> {
        let name = format!("localhost/harness-test-foreign-{arch}:{}", std::process::id());
        let layer = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let file = self.state.path().join("layer.tar");
        std::fs::write(&file, &layer).unwrap();
        let sum = Command::new("sha256sum").arg(&file).output().unwrap().stdout;
        let sum = String::from_utf8_lossy(&sum[..64]).into_owned();
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}},"history":[{{"created_by":"test"}}]}}"#
        );
        let manifest =
            format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in [
            ("layer.tar", &layer[..]),
            ("config.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content).unwrap();
        }
        let body = bollard::body_full(archive.into_inner().unwrap().into());
        let options = bollard::query_parameters::ImportImageOptions { quiet: true, ..Default::default() };
        let client = self.client().await;
        let mut answers = client.long().import_image(options, body, None);
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok(name)
    }

    /// Removes an image.
    pub(crate) async fn forget_image(&self, name: &str) {
        let _ = self
            .client()
            .await
            .short()
            .remove_image(name, None::<bollard::query_parameters::RemoveImageOptions>, None)
            .await;
    }
}
