//! Making environments ready: the root that they start from, and what a Dockerfile does to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use harness_core::{Digest, EnvironmentSource, Limits, NetworkMode, digest::DigestBuilder};

use super::NAME;
use super::backend::Native;
use super::dockerfile::context::Context;
use super::dockerfile::parse::{self, Dockerfile};
use super::dockerfile::steps::{self, Settings};
use super::hostroot::{self, HostView};
use super::layers::build::{Build, Built, StepRunner, StepSandbox, build};
use super::layers::store::{Begun, Layer, Note};
use super::layers::unpack::{self, Owners, UnpackLimits};
use super::root::{Lower, Root, RootOverlay};
use super::sandbox::NativeSandbox;
use super::skeleton;
use crate::{EnvironmentRequest, Image, Labels, Place, Progress, RootFs, SandboxError, SandboxSpec};

/// PATH where nothing else says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest Dockerfile.
const DOCKERFILE_BYTES: u64 = 1 << 20;
/// Raised when a step comes to mean something else, so that no layer made before is taken for it.
const STEPS_VERSION: &[u8] = b"1";

/// What an environment starts from.
#[derive(Clone)]
pub(super) struct Base {
    root: Arc<Root>,
    digest: Digest,
    path: String,
    name: String,
    weaknesses: Vec<String>,
}

impl Native {
    /// See [`crate::Backend::admit`].
    pub(super) fn admitted(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        let description = Description::of(request)?;
        if self.options.rootfs == RootFs::FromTask && !request.spec.host_root {
            let what = match &request.spec.source {
                EnvironmentSource::Image { reference, .. } => reference.clone(),
                EnvironmentSource::Dockerfile { .. } => {
                    steps::base(&description.dockerfile, &BTreeMap::new())
                        .map_err(|error| description.wrong(&error))?
                }
            };
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!(
                    "the image {what} cannot be had without a container engine: use --rootfs host, DIR or TAR, or \
                     another --sandbox"
                ),
            });
        }
        if let NetworkMode::Allowlist(_) = request.spec.network {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!("the network {}: use --network none, gateway or open", request.spec.network),
            });
        }
        Ok(())
    }

    /// See [`crate::Backend::prepare`].
    pub(super) async fn prepared(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        self.admitted(request)?;
        let base = self.base().await?;
        let settings = Settings {
            env: BTreeMap::from([("PATH".to_owned(), base.path.clone()), ("HOME".into(), "/root".into())]),
            workdir: "/".to_owned(),
            ..Settings::default()
        };
        let (built, settings) = self.carry_out(request, &base, settings, progress).await?;
        let root = self.with_layers(&base.root, &built.layers).await?;
        let mut env = settings.env;
        env.extend(request.spec.env.clone());
        let workdir = request.spec.workdir.clone().unwrap_or(settings.workdir);
        let mut weaknesses = base.weaknesses.clone();
        weaknesses.extend(built.layers.iter().flat_map(|layer| layer.note.weaknesses.clone()));
        Ok(Arc::new(Image {
            digest: built.digest,
            name: base.name.clone(),
            env,
            workdir,
            user: settings.user,
            entrypoint: settings.entrypoint.unwrap_or_default(),
            weaknesses,
            handle: Box::new(root),
        }))
    }

    async fn base(&self) -> Result<Base, SandboxError> {
        let mut known = self.base.lock().await;
        if let Some(base) = &*known {
            return Ok(base.clone());
        }
        let base = match &self.options.rootfs {
            RootFs::FromTask | RootFs::Host => self.host_base().await?,
            RootFs::Dir(folder) => self.folder_base(folder).await?,
            RootFs::Tar(archive) => self.archive_base(archive).await?,
        };
        *known = Some(base.clone());
        Ok(base)
    }

    async fn host_base(&self) -> Result<Base, SandboxError> {
        let mut hidden = self.options.hidden.clone();
        hidden.push(self.options.state_dir.clone());
        let plan =
            blocking("look at the host's root", move || hostroot::plan(&HostView::here(hidden))).await?;
        let mut overlays = vec![RootOverlay::new("/", vec![self.skeleton(&plan.skeleton).await?])];
        let mut binds = Vec::new();
        for (shown, writable) in plan
            .overlays
            .iter()
            .map(|shown| (shown, true))
            .chain(plan.binds.iter().map(|shown| (shown, false)))
        {
            let at = shown.at.to_string_lossy();
            let attached = self.attach(&shown.host).await?;
            if !writable && shown.masked.is_empty() {
                binds.push((at.into_owned(), attached));
                continue;
            }
            // What is masked takes an overlay, though nobody has to write there.
            let mut lowers = Vec::new();
            if !shown.masked.is_empty() {
                lowers.push(self.skeleton(&skeleton::mask(&shown.masked)).await?);
            }
            lowers.push(Lower::whole(attached));
            overlays.push(RootOverlay::new(&at, lowers));
        }
        let root = Arc::new(Root { overlays, binds, layers: Vec::new() });
        let mut weaknesses = vec![
            "the root is this machine's own: what its programs are differs from machine to machine".into(),
        ];
        if !self.spawner.privileged {
            weaknesses.push("files of the machine's root cannot be changed inside, only added to".to_owned());
        }
        Ok(Base { root, digest: plan.digest, path: plan.path, name: "host".to_owned(), weaknesses })
    }

    async fn folder_base(&self, folder: &Path) -> Result<Base, SandboxError> {
        let refused = |error| SandboxError::host(format!("use {} as root", folder.display()), error);
        let folder = std::fs::canonicalize(folder).map_err(refused)?;
        let data = std::fs::metadata(&folder).map_err(refused)?;
        let attached = self.attach(&folder).await?;
        let overlays = vec![RootOverlay::new("/", vec![Lower::whole(attached)])];
        let root = Arc::new(Root { overlays, binds: Vec::new(), layers: Vec::new() });
        // A folder's content is its owner's to keep: it is told from others by where it is and what it was when we began.
        let changed = data.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mut digest = DigestBuilder::new();
        digest.part("folder", folder.as_os_str().as_encoded_bytes());
        digest.part("changed", format!("{changed:?}").as_bytes());
        Ok(Base {
            root,
            digest: digest.finish(),
            path: DEFAULT_PATH.to_owned(),
            name: folder.display().to_string(),
            weaknesses: Vec::new(),
        })
    }

    async fn archive_base(&self, archive: &Path) -> Result<Base, SandboxError> {
        let what = format!("unpack {}", archive.display());
        let own = archive.to_owned();
        let content = blocking(&what, move || unpack::digest(&own)).await?;
        let owners = if self.spawner.privileged { Owners::Shifted(0) } else { Owners::Ours };
        let mut digest = DigestBuilder::new();
        digest.part("archive", content.as_str().as_bytes()).part("owners", format!("{owners:?}").as_bytes());
        let digest = digest.finish();
        let begun = self.layers.begin(&digest).await;
        let layer = match begun.map_err(|error| SandboxError::host(&*what, error))? {
            Begun::Ready(layer) => layer,
            Begun::Ours(making) => {
                let (own, key) = (archive.to_owned(), digest.clone());
                blocking(&what, move || {
                    let done = unpack::unpack(&own, &making.tree(), owners, UnpackLimits::default())?;
                    let note =
                        Note { about: own.display().to_string(), bytes: done.bytes, weaknesses: done.notes };
                    making.commit(&key, &note)
                })
                .await?
            }
        };
        let overlays = vec![RootOverlay::new("/", vec![self.layer(&layer, None).await?])];
        let root = Arc::new(Root { overlays, binds: Vec::new(), layers: vec![layer.clone()] });
        Ok(Base {
            root,
            digest,
            path: DEFAULT_PATH.to_owned(),
            name: archive.display().to_string(),
            weaknesses: layer.note.weaknesses,
        })
    }

    /// A small tree of our own, as a layer.
    async fn skeleton(&self, tree: &skeleton::Skeleton) -> Result<Lower, SandboxError> {
        let store = self.options.state_dir.join("skeletons");
        let owner = self.spawner.privileged.then_some(0);
        let refused = |error| SandboxError::host(format!("use {}", store.display()), error);
        let made = tree.make(&store, owner).map_err(refused)?;
        self.below(&store, &made).await
    }

    /// A layer of the store, or the part of it that belongs to one overlay.
    async fn layer(&self, layer: &Layer, overlay: Option<usize>) -> Result<Lower, SandboxError> {
        let path = match overlay {
            Some(index) => layer.path().join(format!("{index}u")),
            None => layer.path().to_owned(),
        };
        self.below(&self.options.state_dir.join("layers"), &path).await
    }

    /// All layers are reached through one attachment: what every sandbox's namespace is cloned from stays small.
    async fn below(&self, store: &Path, path: &Path) -> Result<Lower, SandboxError> {
        let attached = self.attach(store).await?;
        let below = path.strip_prefix(store).map(|below| below.to_string_lossy().into_owned());
        Ok(Lower { attached, below: below.expect("what a store made lies in it") })
    }

    async fn with_layers(&self, base: &Arc<Root>, layers: &[Layer]) -> Result<Arc<Root>, SandboxError> {
        if layers.is_empty() {
            return Ok(Arc::clone(base));
        }
        let mut overlays = base.overlays.clone();
        for layer in layers {
            for (index, overlay) in overlays.iter_mut().enumerate() {
                overlay.push(self.layer(layer, Some(index)).await?);
            }
        }
        let layers = base.layers.iter().chain(layers).cloned().collect();
        Ok(Arc::new(Root { overlays, binds: base.binds.clone(), layers }))
    }

    async fn carry_out(
        &self,
        request: &EnvironmentRequest,
        base: &Base,
        settings: Settings,
        progress: Progress,
    ) -> Result<(Built, Settings), SandboxError> {
        let description = Description::of(request)?;
        let steps = steps::steps(&description.dockerfile, settings, &BTreeMap::new())
            .map_err(|error| description.wrong(&error))?;
        let name = Path::new(&description.name).file_name().unwrap_or_default();
        let context = description
            .context
            .as_ref()
            .map(|folder| Context::open(folder, &name.to_string_lossy()))
            .transpose()
            .map_err(|error| description.wrong(&error))?;
        let runner = Runner { native: self, base, limits: request.spec.limits };
        let mut digest = DigestBuilder::new();
        digest.part("base", base.digest.as_str().as_bytes()).part("steps", STEPS_VERSION);
        digest.part("owners", if self.spawner.privileged { b"real" } else { b"pretended" });
        let what = Build {
            store: &self.layers,
            runner: &runner,
            base: digest.finish(),
            steps: &steps,
            context: context.as_ref(),
            file: &description.name,
            log: request.log.clone(),
            deadline: Instant::now() + request.spec.build_timeout,
            progress,
        };
        let built = build(&what).await?;
        Ok((built, steps.settings.clone()))
    }
}

/// What an environment's description comes to.
struct Description {
    dockerfile: Dockerfile,
    context: Option<PathBuf>,
    /// For messages.
    name: String,
}

impl Description {
    /// The task's Dockerfile, or one that says the same as an image's name with the files beside it. What is not understood
    /// is refused, by name.
    fn of(request: &EnvironmentRequest) -> Result<Description, SandboxError> {
        let (bytes, context, name) = match &request.spec.source {
            EnvironmentSource::Dockerfile { file, context } => {
                (read_dockerfile(file)?, Some(context.clone()), file.display().to_string())
            }
            EnvironmentSource::Image { reference, files } => {
                let mut text = "FROM image\n".to_owned();
                if let Some(workdir) = &request.spec.workdir {
                    text += &format!("WORKDIR {workdir}\n");
                }
                if files.is_some() {
                    text += "COPY . ./\n";
                }
                (text.into_bytes(), files.clone(), reference.clone())
            }
        };
        match parse::parse(&bytes) {
            Ok(dockerfile) => Ok(Description { dockerfile, context, name }),
            Err(error) => {
                Err(SandboxError::Environment { message: format!("{name}: {error}"), log: String::new() })
            }
        }
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> SandboxError {
        SandboxError::Environment { message: format!("{}: {error}", self.name), log: String::new() }
    }
}

fn read_dockerfile(file: &Path) -> Result<Vec<u8>, SandboxError> {
    use std::io::Read;
    let missing = |error: std::io::Error| SandboxError::Environment {
        message: format!("{}: {error}", file.display()),
        log: String::new(),
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(missing)?;
    opened.take(DOCKERFILE_BYTES + 1).read_to_end(&mut bytes).map_err(missing)?;
    if bytes.len() as u64 > DOCKERFILE_BYTES {
        return Err(missing(std::io::Error::other(format!("larger than {DOCKERFILE_BYTES} bytes"))));
    }
    Ok(bytes)
}

async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| SandboxError::Cancelled)?
        .map_err(|error| SandboxError::host(what, error))
}

/// Starts the sandboxes in which a Dockerfile's steps run. They have no network: what a build fetched could not be kept by
/// content, and `open` is for the task's own time.
struct Runner<'a> {
    native: &'a Native,
    base: &'a Base,
    limits: Limits,
}

#[async_trait]
impl StepRunner for Runner<'_> {
    async fn begin(&self, layers: &[Layer]) -> Result<Box<dyn StepSandbox>, SandboxError> {
        let root = self.native.with_layers(&self.base.root, layers).await?;
        let image = Image {
            digest: self.base.digest.clone(),
            name: self.base.name.clone(),
            env: BTreeMap::from([("PATH".to_owned(), self.base.path.clone())]),
            workdir: "/".to_owned(),
            user: None,
            entrypoint: Vec::new(),
            weaknesses: Vec::new(),
            handle: Box::new(root),
        };
        let spec = SandboxSpec {
            labels: Labels {
                run: "build".to_owned(),
                trial: self.base.name.clone(),
                role: "build".to_owned(),
            },
            image: Arc::new(image),
            snapshot: None,
            // Its changes must lie in the state folder to become a layer; the watchdog looks after them.
            limits: Limits { disk_bytes: None, ..self.limits },
            network: NetworkMode::None,
            mounts: Vec::new(),
        };
        Ok(Box::new(Step(self.native.start(spec).await?)))
    }
}

struct Step(NativeSandbox);

#[async_trait]
impl StepSandbox for Step {
    fn place(&self) -> &dyn Place {
        &self.0
    }

    async fn finish(self: Box<Self>, to: &Path) -> Result<u64, SandboxError> {
        let (running, overlays) = (Arc::clone(&self.0.running), self.0.root.overlays.len());
        let to = to.to_owned();
        tokio::task::spawn_blocking(move || {
            let store = running.stop("a layer was made of it")?;
            let refused = |error| SandboxError::host("keep what a step made", error);
            std::fs::create_dir(&to).map_err(refused)?;
            for index in 0..overlays {
                let from = store.uppers().join(index.to_string());
                std::fs::rename(from, to.join(format!("{index}u"))).map_err(refused)?;
            }
            Ok(super::disk::watchdog::count(&to, u64::MAX).bytes)
        })
        .await
        .map_err(|_| SandboxError::Cancelled)?
    }
}
