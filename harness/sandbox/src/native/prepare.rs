//! Makes environments ready: the root that they stand on, and over it the layers that a Dockerfile's steps leave.
//!
//! A layer is what a sandbox wrote in all its overlays: one folder for each, named as in a sandbox's own store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use harness_core::digest::DigestBuilder;
use harness_core::{Digest, EnvironmentSource, Limits, NetworkMode};

use super::NAME;
use super::backend::Native;
use super::disk::watchdog;
use super::dockerfile::context::Context;
use super::dockerfile::parse::{Dockerfile, parse};
use super::dockerfile::steps::{self, Settings};
use super::layers::build::{Build, StepRunner, StepSandbox, build};
use super::layers::store::{Begun, Layer, Note};
use super::layers::unpack::{self, Owners, UnpackLimits};
use super::root::{Root, RootOverlay};
use super::sandbox::{NativeSandbox, stacked};
use super::spawner::Attached;
use crate::{EnvironmentRequest, Image, Labels, Place, Progress, RootFs, Sandbox, SandboxError, SandboxSpec};

/// Part of every layer's key. Raise it when this program comes to carry out a step differently.
const BUILDER: &str = "native builder 1";
/// PATH where nothing else says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest Dockerfile that is read, in bytes.
const MAX_DOCKERFILE: u64 = 1 << 20;

/// What an environment stands on.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) root: Arc<Root>,
    pub(super) digest: Digest,
    /// PATH inside.
    pub(super) path: String,
    /// For people.
    pub(super) name: String,
    pub(super) weaknesses: Vec<String>,
}

/// Whether an environment can be made at all, without making it.
pub(super) fn admit(rootfs: &RootFs, request: &EnvironmentRequest) -> Result<(), SandboxError> {
    if *rootfs == RootFs::FromTask && !request.spec.host_root {
        let what = match &request.spec.source {
            EnvironmentSource::Image { reference, .. } => format!("fetch the image {reference}"),
            EnvironmentSource::Dockerfile { .. } => {
                "fetch the image that the Dockerfile starts from".to_owned()
            }
        };
        let what = format!("{what}; give --rootfs host, a folder or a tar archive");
        return Err(SandboxError::Unsupported { backend: NAME, what });
    }
    // What is not understood is refused here, by name, and not in the middle of a run.
    description(request)?;
    Ok(())
}

/// The Dockerfile, or what an image with files beside it comes to.
fn description(request: &EnvironmentRequest) -> Result<(Dockerfile, Option<PathBuf>, String), SandboxError> {
    let wrong = |message: String| SandboxError::Environment { message, log: String::new() };
    let (bytes, context, file) = match &request.spec.source {
        EnvironmentSource::Dockerfile { file, context } => {
            let size = std::fs::metadata(file).map(|data| data.len());
            let bytes = match size {
                Ok(size) if size > MAX_DOCKERFILE => {
                    return Err(wrong(format!("{} has more than {MAX_DOCKERFILE} bytes", file.display())));
                }
                _ => std::fs::read(file).map_err(|error| wrong(format!("{}: {error}", file.display())))?,
            };
            (bytes, Some(context.clone()), file.display().to_string())
        }
        EnvironmentSource::Image { reference, files } => {
            let mut text = format!("FROM {reference}\n");
            if let Some(workdir) = &request.spec.workdir {
                text += &format!("WORKDIR {workdir}\n");
            }
            if files.is_some() {
                text += "COPY . ./\n";
            }
            (text.into_bytes(), files.clone(), reference.clone())
        }
    };
    let parsed = parse(&bytes).map_err(|error| wrong(format!("{file}: {error}")))?;
    Ok((parsed, context, file))
}

impl Native {
    /// See [`crate::Backend::prepare`].
    pub(super) async fn environment(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        admit(&self.options.rootfs, request)?;
        let base = self.base().await?;
        let (dockerfile, context, file) = description(request)?;
        let wrong = |message: String| SandboxError::Environment {
            message: format!("{file}: {message}"),
            log: String::new(),
        };
        let env = BTreeMap::from([("PATH".to_owned(), base.path.clone())]);
        let settings = Settings { env, workdir: "/".to_owned(), ..Settings::default() };
        let steps = steps::steps(&dockerfile, settings, &BTreeMap::new())
            .map_err(|error| wrong(error.to_string()))?;
        let name = Path::new(&file)
            .file_name()
            .map_or_else(|| file.clone(), |name| name.to_string_lossy().into_owned());
        let context = context.map(|folder| Context::open(&folder, &name)).transpose();
        let context = context.map_err(|error| wrong(error.to_string()))?;
        let runner = Runner { native: self, base: &base, limits: request.spec.limits };
        let built = build(&Build {
            store: &self.layers,
            runner: &runner,
            base: DigestBuilder::new()
                .part("builder", BUILDER.as_bytes())
                .part("base", base.digest.as_str().as_bytes())
                .finish(),
            steps: &steps,
            context: context.as_ref(),
            file: &file,
            log: request.log.clone(),
            deadline: Instant::now() + request.spec.build_timeout,
            progress,
        })
        .await?;
        let root = self.stack(&base.root, &built.layers).await?;
        let mut env = steps.settings.env;
        env.extend(request.spec.env.clone());
        let mut weaknesses = base.weaknesses.clone();
        if steps.settings.entrypoint.is_some() {
            weaknesses.push("the environment's ENTRYPOINT is not run".to_owned());
        }
        for layer in &built.layers {
            weaknesses.extend(layer.note.weaknesses.iter().cloned());
        }
        Ok(Arc::new(Image {
            digest: built.digest,
            name: base.name,
            env,
            workdir: request.spec.workdir.clone().unwrap_or(steps.settings.workdir),
            user: steps.settings.user,
            weaknesses,
            handle: Box::new(Arc::new(root)),
        }))
    }

    /// What `--rootfs` says.
    async fn base(&self) -> Result<Base, SandboxError> {
        match &self.options.rootfs {
            RootFs::FromTask | RootFs::Host => {
                let (root, digest, path) = self.host_root().await?;
                let weakness = "the root file system is this machine's own (what is safe to show of it, read-only below), not the image that the task names".to_owned();
                Ok(Base { root, digest, path, name: "host".to_owned(), weaknesses: vec![weakness] })
            }
            RootFs::Dir(folder) => {
                let attached = self.attach(folder).await?;
                // A folder has no version: what it is called and when it last changed at the top is what can be known cheaply.
                let changed = std::fs::metadata(folder).and_then(|data| data.modified()).ok();
                let mut digest = DigestBuilder::new();
                digest
                    .part("folder", folder.as_os_str().as_encoded_bytes())
                    .part("changed", format!("{changed:?}").as_bytes());
                Ok(alone(attached, Vec::new(), digest.finish(), folder))
            }
            RootFs::Tar(archive) => {
                let layer = self.unpacked(archive).await?;
                let attached = self.attach(layer.path()).await?;
                let digest = Digest::of(layer.path().as_os_str().as_encoded_bytes());
                let mut base = alone(attached, vec![layer.clone()], digest, archive);
                base.weaknesses.extend(layer.note.weaknesses.iter().cloned());
                Ok(base)
            }
        }
    }

    /// An archive as a layer, unpacked once.
    async fn unpacked(&self, archive: &Path) -> Result<Layer, SandboxError> {
        let failed = |what: String| move |error: std::io::Error| SandboxError::host(what, error);
        let (path, owners) =
            (archive.to_owned(), if self.spawner.privileged { Owners::Shifted(0) } else { Owners::Ours });
        let read = format!("read {}", archive.display());
        let digest = tokio::task::spawn_blocking({
            let path = path.clone();
            move || unpack::digest(&path)
        });
        let digest = digest.await.map_err(|_| SandboxError::Cancelled)?.map_err(failed(read.clone()))?;
        let key = DigestBuilder::new()
            .part("archive", digest.as_str().as_bytes())
            .part("owners", format!("{owners:?}").as_bytes())
            .finish();
        match self.layers.begin(&key).await.map_err(failed("look for an unpacked archive".to_owned()))? {
            Begun::Ready(layer) => Ok(layer),
            Begun::Ours(making) => {
                let unpacked = tokio::task::spawn_blocking(move || {
                    let done = unpack::unpack(&path, &making.tree(), owners, UnpackLimits::default())?;
                    let note =
                        Note { about: path.display().to_string(), bytes: done.bytes, weaknesses: done.notes };
                    making.commit(&key, &note)
                });
                unpacked.await.map_err(|_| SandboxError::Cancelled)?.map_err(failed(read))
            }
        }
    }

    /// The base with layers over it, the last on top.
    async fn stack(&self, base: &Arc<Root>, layers: &[Layer]) -> Result<Root, SandboxError> {
        let mut overlays = Vec::new();
        for (index, below) in base.overlays.iter().enumerate() {
            let mut lowers: Vec<Arc<Attached>> = Vec::new();
            for layer in layers.iter().rev() {
                let folder = layer.path().join(format!("{index}u"));
                let empty = std::fs::read_dir(&folder).map(|mut entries| entries.next().is_none());
                // Most steps write to one overlay only; an empty layer would cost every sandbox a mount.
                if !empty.map_err(|error| SandboxError::host(format!("read {}", folder.display()), error))? {
                    lowers.push(self.attach(&folder).await?);
                }
            }
            lowers.extend(below.lowers.iter().cloned());
            overlays.push(RootOverlay { at: below.at.clone(), lowers, mode: below.mode });
        }
        let kept = base.kept.iter().chain(layers).cloned().collect();
        Ok(Root { overlays, binds: base.binds.clone(), kept })
    }
}

/// A root that is one folder.
fn alone(attached: Arc<Attached>, kept: Vec<Layer>, digest: Digest, name: &Path) -> Base {
    let root = Root { overlays: vec![RootOverlay::new("/", vec![attached])], binds: Vec::new(), kept };
    Base {
        root: Arc::new(root),
        digest,
        path: DEFAULT_PATH.to_owned(),
        name: name.display().to_string(),
        weaknesses: Vec::new(),
    }
}

/// Starts the sandboxes that steps run in.
struct Runner<'a> {
    native: &'a Native,
    base: &'a Base,
    limits: Limits,
}

#[async_trait]
impl StepRunner for Runner<'_> {
    async fn begin(&self, layers: &[Layer]) -> Result<Box<dyn StepSandbox>, SandboxError> {
        let root = Arc::new(self.native.stack(&self.base.root, layers).await?);
        let overlays = root.overlays.len();
        let image = Image {
            digest: self.base.digest.clone(),
            name: self.base.name.clone(),
            env: BTreeMap::from([("PATH".to_owned(), self.base.path.clone())]),
            workdir: "/".to_owned(),
            user: None,
            weaknesses: Vec::new(),
            handle: Box::new(root),
        };
        let spec = SandboxSpec {
            labels: Labels { run: "build".to_owned(), trial: "build".to_owned(), role: "build".to_owned() },
            image: Arc::new(image),
            snapshot: None,
            // Its changes are moved, not copied: they must lie on the layers' own file system, not on one of a size.
            limits: Limits { disk_bytes: None, ..self.limits },
            network: NetworkMode::None,
            mounts: Vec::new(),
        };
        let sandbox = self.native.start(spec).await?;
        Ok(Box::new(BuildStep { sandbox, overlays }))
    }
}

struct BuildStep {
    sandbox: NativeSandbox,
    overlays: usize,
}

#[async_trait]
impl StepSandbox for BuildStep {
    fn place(&self) -> &dyn Place {
        &self.sandbox
    }

    async fn finish(self: Box<Self>, to: &Path) -> Result<u64, SandboxError> {
        let snapshot = self.sandbox.snapshot().await?;
        let (to, overlays) = (to.to_owned(), self.overlays);
        let moved = tokio::task::spawn_blocking(move || {
            let frozen = stacked(Some(&snapshot));
            let store = &frozen.first().expect("a snapshot of this backend was just taken").store;
            let from = store.scratch.path();
            std::fs::create_dir(&to)?;
            let mut bytes = 0;
            for index in 0..overlays {
                let name = format!("{index}u");
                std::fs::rename(from.join(&name), to.join(&name))?;
                bytes += watchdog::count(&to.join(&name), u64::MAX).bytes;
            }
            Ok(bytes)
        });
        let moved: std::io::Result<u64> = moved.await.map_err(|_| SandboxError::Cancelled)?;
        moved.map_err(|error| SandboxError::host("keep what a step wrote", error))
    }
}
