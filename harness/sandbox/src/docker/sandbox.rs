//! A container behind the traits of this crate.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harness_core::{Connections, NetworkMode};
use harness_guest::message::{Request, View};

use super::NAME;
use super::changes;
use super::running::Running;
use super::snapshot::DockerSnapshot;
use super::successor::Ticket;
use crate::link::Live;
use crate::link::inside::Inside;
use crate::link::network;
use crate::link::process::{self, Surroundings};
use crate::link::transfer;
use crate::link::way::{Way, Whom};
use crate::{
    Change, GetOptions, Image, Labels, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError,
    SandboxSpec, SandboxUsage, Snapshot, Source, ViewSpec,
};

/// What the private folders of a view may hold, each. It counts as the sandbox's memory.
const PRIVATE_BYTES: u64 = 1 << 30;

/// See [`crate::Sandbox`].
pub(crate) struct DockerSandbox {
    pub(crate) running: Arc<Running>,
    live: Arc<dyn Live>,
    /// Its network, and with which defaults commands start in it.
    way: Way,
    labels: Labels,
    /// Keeps the image from being thrown away.
    _image: Arc<Image>,
    next_view: AtomicU32,
}

impl DockerSandbox {
    /// Of a container whose PID 1 has answered.
    pub(crate) async fn new(
        running: Arc<Running>,
        network: NetworkMode,
        labels: Labels,
        image: Arc<Image>,
    ) -> Result<DockerSandbox, SandboxError> {
        let opens = network == NetworkMode::Open;
        let sandbox = DockerSandbox::quiet(running, network, labels, image);
        if opens {
            network::open(&sandbox.running.guest, &sandbox.way, Whom::Everybody).await?;
        }
        Ok(sandbox)
    }

    /// Of one that was taken over, with the port on which its open network was served.
    pub(crate) async fn again(
        running: Arc<Running>,
        spec: SandboxSpec,
        proxy: Option<u16>,
    ) -> Result<DockerSandbox, SandboxError> {
        let sandbox = DockerSandbox::quiet(running, spec.network, spec.labels, spec.image);
        if let Some(port) = proxy {
            network::go_on(&sandbox.running.guest, &sandbox.way, port).await?;
        }
        Ok(sandbox)
    }

    fn quiet(
        running: Arc<Running>,
        network: NetworkMode,
        labels: Labels,
        image: Arc<Image>,
    ) -> DockerSandbox {
        let env = image.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        let around = Surroundings { env, workdir: image.workdir.clone(), user: image.user.clone(), view: 0 };
        let live: Arc<dyn Live> = Arc::clone(&running) as _;
        let way = Way::new(network, around, running.pid);
        DockerSandbox { running, live, way, labels, _image: image, next_view: AtomicU32::new(1) }
    }

    fn alive(&self) -> Result<(), SandboxError> {
        self.running.guest.lost().map_or(Ok(()), |cause| Err(SandboxError::Lost { cause }))
    }
}

impl Drop for DockerSandbox {
    fn drop(&mut self) {
        self.running.guest.give_up("its last handle was dropped");
        let running = Arc::clone(&self.running);
        self.running.engine.background(async move {
            let _ = running.take_apart().await;
        });
    }
}

#[async_trait]
impl Place for DockerSandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        process::spawn(&self.live, &*self.way.around().await, spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        transfer::put(&self.running.guest, 0, at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        transfer::get(&self.running.guest, 0, from, to, options).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        transfer::read(&self.running.guest, 0, path, limit).await
    }
}

#[async_trait]
impl Sandbox for DockerSandbox {
    fn id(&self) -> &str {
        &self.running.name
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.running.guest.ask(|call| Request::KillAll { call }, &[])?.done().await?;
        Ok(())
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        self.running.guest.ask(|call| Request::Stop { call, on }, &[])?.done().await?;
        Ok(())
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        self.kill_all().await?;
        DockerSnapshot::take(&self.running, &self.labels).await
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        self.alive()?;
        changes::list(&self.running, limit).await
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.alive()?;
        Ok(self.running.usage().await)
    }

    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        self.alive()?;
        let view = self.next_view.fetch_add(1, Ordering::Relaxed);
        let folder = self.running.engine.facts.layers.as_deref();
        let overlay = self.running.layers.as_ref().zip(folder);
        let overlay = overlay.and_then(|(layers, folder)| layers.overlay(Path::new(folder)));
        if overlay.is_none() && !(spec.restore.is_empty() && spec.hide.is_empty()) {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!(
                    "putting the image's own programs back with the storage driver {}",
                    self.running.engine.facts.storage
                ),
            });
        }
        let paths = |paths: Vec<String>| paths.into_iter().map(String::into_bytes).collect();
        let spec = Box::new(View {
            view,
            private: paths(spec.private),
            restore: paths(spec.restore),
            hide: paths(spec.hide),
            private_bytes: PRIVATE_BYTES,
            overlays: overlay.into_iter().collect(),
        });
        self.running.guest.ask(|call| Request::View { call, spec }, &[])?.done().await?;
        let around = Surroundings { view, ..(*self.way.around().await).clone() };
        Ok(Arc::new(Inside { live: Arc::clone(&self.live), around }))
    }

    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        network::listen(&self.running.guest, &self.way, NAME, port).await
    }

    async fn set_network(&self, mode: &NetworkMode) -> Result<(), SandboxError> {
        network::set(&self.running.guest, &self.way, NAME, mode).await
    }

    async fn outlive(&self, linger: Duration) -> Result<String, SandboxError> {
        let proxy = match self.way.served().await {
            None => None,
            Some((port, Whom::Everybody)) => Some(port),
            Some((_, Whom::Later)) => {
                return Err(SandboxError::Unsupported {
                    backend: NAME,
                    what: "outliving the harness in a network that was opened later: its key is nowhere else"
                        .into(),
                });
            }
        };
        let marked = self.running.wait(!linger.is_zero());
        marked.map_err(|error| SandboxError::host("mark a container as waiting", error))?;
        let linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        self.running.guest.ask(|call| Request::Outlive { call, linger_ms }, &[])?.done().await?;
        Ok(Ticket { name: self.running.name.clone(), secret: self.running.secret, proxy }.to_string())
    }

    fn let_go(&self, kept: u64) {
        self.running.guest.tell(&Request::Forget { kept });
    }

    fn connections(&self) -> Option<Connections> {
        self.way.connections()
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        self.way.close(NetworkMode::None).await;
        self.running.take_apart().await
    }
}
