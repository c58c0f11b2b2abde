//! Sandboxes of one backend, as trials use them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::{
    BACKENDS, Backend, BackendOptions, EnvironmentRequest, ExecSpec, Image, Labels, Place, ProcessSpec,
    ReadOnlyMount, RootFs, Sandbox, SandboxError, SandboxSpec,
};

use crate::listener;

/// A backend with an image, and a folder that is shown in every sandbox.
pub(crate) struct Sandboxes {
    backend: Arc<dyn Backend>,
    image: Arc<Image>,
    shown: ReadOnlyMount,
}

impl Sandboxes {
    pub(crate) async fn open(
        name: &str,
        folder: &Path,
        image: &str,
        shown: &Path,
        root: RootFs,
    ) -> Result<Sandboxes, SandboxError> {
        let kind = BACKENDS.iter().find(|kind| kind.name() == name).expect("it is registered");
        let options =
            BackendOptions { state_dir: folder.join("state").join(name), rootfs: root, hidden: Vec::new() };
        let backend = kind.open(options).await?;
        let spec = EnvironmentSpec {
            source: EnvironmentSource::Image { reference: image.to_owned(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: Some("/tmp".into()),
            network: NetworkMode::None,
            healthcheck: None,
            host_root: false,
        };
        let request = EnvironmentRequest { spec, digest: Digest::of(b"ratios"), log: None };
        let image = backend.prepare(&request, Arc::new(|_| {})).await?;
        let shown = ReadOnlyMount { host: shown.to_owned(), at: listener::AT.to_owned() };
        Ok(Sandboxes { backend, image, shown })
    }

    pub(crate) async fn start(&self, network: NetworkMode) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let labels = Labels { run: "ratios".into(), trial: "ratios".into(), role: "agent".into() };
        let spec = SandboxSpec {
            labels,
            image: self.image.clone(),
            snapshot: None,
            limits: Limits::default(),
            network,
            mounts: vec![self.shown.clone()],
        };
        self.backend.create(spec).await
    }

    /// One sandbox from its start to its end, with one command in it.
    pub(crate) async fn cycle(&self) -> Result<(), SandboxError> {
        let sandbox = self.start(NetworkMode::None).await?;
        run_true(&*sandbox).await?;
        sandbox.destroy().await.map(drop)
    }
}

/// One command, as short as can be.
pub(crate) async fn run_true(place: &(impl Place + ?Sized)) -> Result<(), SandboxError> {
    let process = ProcessSpec { deadline: Some(Duration::from_secs(60)), ..ProcessSpec::new(["/bin/true"]) };
    let result = place.exec(ExecSpec::new(process)).await?;
    assert!(result.exit.success(), "{:?}: {}", result.exit, result.stderr.text());
    Ok(())
}
