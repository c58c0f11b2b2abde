//! From an image to a container whose PID 1 answers.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{CreateContainerOptions, InspectContainerOptions};
use harness_guest::message::{Arrival, Request, SECRET_BYTES};
use harness_guest::recipe::Basis;
use harness_guest::socket;
use tokio::time::{Instant, sleep};

use super::body::{self, DOOR_AT, GUEST_AT, LAYERS_AT, Wanted};
use super::client;
use super::door::{self, DOORS, Door, Doors};
use super::engine::Engine;
use super::layers::Layers;
use super::owner;
use super::running::{Parts, Running};
use super::snapshot::DockerSnapshot;
use super::{ImageHandle, NAME};
use crate::link::capabilities;
use crate::link::guest::Guest;
use crate::link::seccomp::Programs;
use crate::native::cgroup::group::Group;
use crate::{SandboxError, SandboxSpec};

/// How long a container that runs may take to let its PID 1 answer. A share of a processor may be all that it has.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often its state is asked for meanwhile.
const LOOK: Duration = Duration::from_millis(500);
/// How often a name may be taken already.
const MOST_NAMES: u32 = 5;

/// Files that engines bind from folders of their own host.
const COPIED: [&str; 4] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"];
/// Files that Podman lays over those of images that do not know root.
const DROPPED: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// What starting needs beside what is asked.
pub(crate) struct Starter {
    pub(crate) engine: Arc<Engine>,
    pub(crate) doors: Doors,
    pub(crate) filters: Programs,
}

/// A container whose PID 1 listens.
pub(crate) struct Met {
    pub(crate) name: String,
    pub(crate) stream: UnixStream,
    pub(crate) container: ContainerInspectResponse,
    pub(crate) secret: [u8; SECRET_BYTES],
    pub(crate) door: Door,
}

/// A container that was begun and is removed again unless it comes to stand.
struct Begun {
    name: Option<String>,
    /// Whether the engine said that it made it.
    answered: bool,
    engine: Arc<Engine>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        let engine = Arc::clone(&self.engine);
        if !self.answered {
            return engine.remove_if_made(&name);
        }
        self.engine.background(async move {
            let _ = engine.remove(&name).await;
        });
    }
}

impl Starter {
    /// Starts one. `wanted` says whether anybody still waits for it.
    pub(crate) async fn start(
        &self,
        spec: &SandboxSpec,
        handle: &ImageHandle,
        wanted: impl Fn() -> bool,
    ) -> Result<Running, SandboxError> {
        let given_up = || if wanted() { Ok(()) } else { Err(SandboxError::Cancelled) };
        clear_of_volumes(spec, handle)?;
        let (mut begun, door) = self.create(spec, handle).await?;
        given_up()?;
        let name = begun.name.clone().expect("it was just made");
        let client = &self.engine.client;
        let started = client.ask(client.short().start_container(&name, None)).await;
        started
            .map_err(|error| client::failed(format!("start a container of {}", spec.image.name), error))?;
        given_up()?;
        let (stream, container) = tokio::join!(
            self.meet(&name, &door),
            client.ask(client.short().inspect_container(&name, None::<InspectContainerOptions>))
        );
        let stream = stream?;
        let container = container.map_err(|error| client::failed("look at a container", error))?;
        let secret = self.greet(&stream, handle)?;
        let met = Met { name, stream, container, secret, door };
        let running = self.connect(spec, handle, met).await?;
        begun.name = None;
        Ok(running)
    }

    /// The connection to a PID 1 that has been told who we are.
    pub(crate) async fn connect(
        &self,
        spec: &SandboxSpec,
        handle: &ImageHandle,
        met: Met,
    ) -> Result<Running, SandboxError> {
        let Met { name, stream, container, secret, door } = met;
        let layers = container.graph_driver.as_ref().and_then(|driver| Layers::of(driver, handle.layers));
        let pid = door::peer(&stream);
        let guest = Arc::new(Guest::connect(stream.into()).await?);
        // It has answered, so that the number is still its own.
        let pidfd = pid.and_then(open_pid);
        let group = pid.and_then(Group::of_process);
        Ok(Running::new(Parts {
            name,
            engine: Arc::clone(&self.engine),
            guest,
            layers,
            pid,
            pidfd,
            group,
            base: spec.snapshot.clone(),
            secret,
            door,
        }))
    }

    async fn create(&self, spec: &SandboxSpec, handle: &ImageHandle) -> Result<(Begun, Door), SandboxError> {
        let image = match &spec.snapshot {
            None => handle.id.clone(),
            Some(snapshot) => DockerSnapshot::from(snapshot)
                .map(|snapshot| snapshot.image.clone())
                .ok_or_else(|| SandboxError::Unsupported {
                    backend: NAME,
                    what: "starting from another backend's snapshot".to_owned(),
                })?,
        };
        let mut last = None;
        for _ in 0..MOST_NAMES {
            let name = new_name().map_err(|error| SandboxError::host("make a name", error))?;
            let door = self.doors.make(&name).map_err(|error| SandboxError::host("make a door", error))?;
            let wanted = Wanted {
                image: &image,
                volumes: &handle.volumes,
                has_user: spec.image.user.is_some(),
                limits: &spec.limits,
                mounts: &spec.mounts,
                guest: &self.doors.guest().to_string_lossy(),
                door: &door.path().to_string_lossy(),
                labels: owner::labels(&spec.labels),
            };
            let body = body::body(wanted, &self.engine.facts);
            let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
            // From here on there may be something to remove, whatever the answer.
            let engine = Arc::clone(&self.engine);
            let mut begun = Begun { name: Some(name), answered: false, engine };
            let client = &self.engine.client;
            match client.ask(client.short().create_container(Some(options), body)).await {
                Ok(_) => {
                    begun.answered = true;
                    return Ok((begun, door));
                }
                Err(error) if is_taken(&error) => {
                    // That one is somebody else's.
                    begun.name = None;
                    last = Some(error);
                }
                Err(error) => {
                    if client::status(&error).is_some() {
                        begun.name = None;
                    }
                    return Err(self.not_made(spec, error));
                }
            }
        }
        let error = last.expect("it was tried at least once");
        Err(client::failed("find a name for a container that nobody has", error))
    }

    /// An engine that does not find our folder is on another machine, or sees other files than we do.
    fn not_made(&self, spec: &SandboxSpec, error: bollard::errors::Error) -> SandboxError {
        let words = client::plain(&error);
        let guest = self.doors.guest().to_string_lossy().into_owned();
        let missing = ["does not exist", "no such file or directory"].iter().any(|text| words.contains(text));
        if missing && (words.contains(&guest) || words.contains(DOORS)) {
            return SandboxError::Unsupported {
                backend: NAME,
                what: format!(
                    "using an engine that does not see this machine's files ({words}); run harness where the engine runs, or keep \
                     its state folder (HARNESS_STATE_DIR) where both see it"
                ),
            };
        }
        client::failed(format!("make a container of {}", spec.image.name), error)
    }

    /// Waits until PID 1 listens, and connects.
    async fn meet(&self, name: &str, door: &Door) -> Result<UnixStream, SandboxError> {
        let begun = Instant::now();
        let mut look = begun + LOOK;
        let mut pause = Duration::from_micros(500);
        loop {
            match door.knock() {
                Ok(stream) => return Ok(stream),
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(SandboxError::host(
                        format!(
                            "reach PID 1 of the container {name} (does the engine see this machine's files?)"
                        ),
                        error,
                    ));
                }
                Err(_) => {}
            }
            if Instant::now() > look {
                look = Instant::now() + LOOK;
                let client = &self.engine.client;
                let container = client.ask(client.short().inspect_container(name, None)).await;
                let container = container.map_err(|error| client::failed("look at a container", error))?;
                let state = container.state.unwrap_or_default();
                if state.running == Some(false) {
                    return Err(SandboxError::Host {
                        what: format!("keep the container {name} running"),
                        source: std::io::Error::other(format!(
                            "its PID 1 ended with status {}: {}",
                            state.exit_code.unwrap_or(-1),
                            state
                                .error
                                .filter(|error| !error.is_empty())
                                .unwrap_or("no reason was given".into())
                        )),
                    });
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn greet(&self, stream: &UnixStream, handle: &ImageHandle) -> Result<[u8; SECRET_BYTES], SandboxError> {
        let refused = |error| SandboxError::host("greet PID 1", error);
        let mut volumes = handle.volumes.clone();
        // What lies in another goes first.
        volumes.sort_by_key(|at| std::cmp::Reverse(at.matches('/').count()));
        let layers = self.engine.facts.layers.is_some().then(|| LAYERS_AT.as_bytes().to_vec());
        let arrival = Arrival {
            basis: Basis {
                capabilities: capabilities::COMMANDS,
                view_capabilities: capabilities::VIEWS,
                first_filters: self.filters.first.clone(),
                filters: self.filters.commands.clone(),
                ..Basis::default()
            },
            bare: false,
            unmount: [GUEST_AT, DOOR_AT]
                .into_iter()
                .map(str::to_owned)
                .chain(volumes)
                .map(String::into_bytes)
                .collect(),
            copied: COPIED.iter().map(|path| path.as_bytes().to_vec()).collect(),
            dropped: DROPPED.iter().map(|path| path.as_bytes().to_vec()).collect(),
            layers,
            // What a dead owner left does not run, unless it was said that it shall.
            linger_ms: 0,
        };
        let secret = random::<SECRET_BYTES>().map_err(refused)?;
        let request = Request::Arrive { secret, arrival: Box::new(arrival) };
        socket::send(stream.as_fd(), &request.encode(), &[]).map_err(refused)?;
        Ok(secret)
    }
}

/// Whether the name is somebody else's. Podman says so in words only.
fn is_taken(error: &bollard::errors::Error) -> bool {
    match client::status(error) {
        Some(409) => true,
        Some(500) => client::plain(error).contains("already in use"),
        _ => false,
    }
}

/// What is mounted below a volume would go with it.
fn clear_of_volumes(spec: &SandboxSpec, handle: &ImageHandle) -> Result<(), SandboxError> {
    let below = |mount: &str, volume: &String| Path::new(mount).starts_with(volume);
    match spec.mounts.iter().find(|mount| handle.volumes.iter().any(|volume| below(&mount.at, volume))) {
        None => Ok(()),
        Some(mount) => Err(SandboxError::Unsupported {
            backend: NAME,
            what: format!("showing a folder at {}, which lies in a VOLUME of the image", mount.at),
        }),
    }
}

/// A name that nobody has, for a container or a file.
pub(crate) fn new_name() -> std::io::Result<String> {
    Ok(random::<8>()?.iter().fold("harness-".to_owned(), |name, byte| format!("{name}{byte:02x}")))
}

fn random<const COUNT: usize>() -> std::io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

fn open_pid(pid: u32) -> Option<OwnedFd> {
    // SAFETY: no pointers; the new descriptor gets its owner at once.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
    .filter(|fd| fd.as_raw_fd() >= 0)
}
