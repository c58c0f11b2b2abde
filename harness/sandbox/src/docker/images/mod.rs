//! Images for tasks: built or pulled once, however many trials, runs and processes want them at once, found again by content,
//! and removed when there are too many.
//!
//! An image that we build is named after everything that decides what is in it. Whether it is there is asked of the engine, so
//! nothing that we remember can be wrong about it; a name exists only when a build came to its end, so a process that is killed
//! leaves nothing that could be taken for an image.

mod build;
mod context;
mod credentials;
mod disk;
mod fault;
mod ignore;
mod inventory;
mod log;
mod pull;
mod recipe;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bollard::models::ImageInspect;
use harness_core::Digest;
use tokio::sync::{OnceCell, Semaphore};

pub use inventory::Entry;
pub use recipe::BuildOptions;
pub use store::{Made, UseLock};

use self::build::BuildCall;
use self::credentials::Credentials;
use self::disk::Disk;
use self::fault::Shared;
use self::log::Log;
use self::pull::PullCall;
use self::recipe::{BuildRecipe, Recipe};
use self::store::Store;
use super::client::{Client, EngineKind, failed, is_missing};
use crate::{EnvironmentPlan, EnvironmentRequest, Progress, SandboxError};

/// What images that we build carry: the digest that names them.
pub const LABEL: &str = "harness.image";
/// The digest of what they were built from, whatever its bases were.
pub const LABEL_DESCRIPTION: &str = "harness.image.description";
/// What they were built from, for people.
pub const LABEL_ABOUT: &str = "harness.image.about";
/// No registry is called that, so that no engine ever asks one for an image of ours.
const NAME_PREFIX: &str = "localhost/harness-env:";

/// Builds at once, in this process.
const BUILDS: usize = 2;
/// Pulls at once, in this process.
const PULLS: usize = 4;

/// How much of the engine's disk we may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Bytes of layers that only our images have; `None` means no quota.
    pub quota_bytes: Option<u64>,
    /// Bytes that must stay free on the engine's disk.
    pub keep_free_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> ImageLimits {
        ImageLimits { quota_bytes: Some(100_000_000_000), keep_free_bytes: 1_000_000_000 }
    }
}

/// The images of one engine.
#[derive(Debug)]
pub struct Images {
    client: Client,
    store: Store,
    disk: Disk,
    limits: ImageLimits,
    /// In force now; begins as the limits say.
    quota: Mutex<Option<u64>>,
    credentials: Credentials,
    builds: Semaphore,
    pulls: Semaphore,
    /// What is being made right now, by name.
    flights: Mutex<HashMap<String, Weak<Flight>>>,
    /// What images are made of; they never change.
    layers: Mutex<HashMap<String, Vec<(Digest, u64)>>>,
}

type Flight = OnceCell<Result<(), Shared>>;

/// An image that is there, and stays for as long as this lives.
#[derive(Debug)]
pub struct ImageRef {
    /// The engine's id: what containers are made of, because a name may come to mean another image.
    pub id: String,
    /// For people: the task's image, or what its Dockerfile starts from.
    pub name: String,
    /// The name that the engine knows it by.
    pub tag: String,
    /// Equal for equal images.
    pub digest: Digest,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// Working folder, `/` where it has none.
    pub workdir: String,
    /// `None` means root.
    pub user: Option<String>,
    /// What it wants to be started through.
    pub entrypoint: Vec<String>,
    /// What it starts by itself.
    pub command: Vec<String>,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// Bytes of its layers.
    pub size: u64,
    _in_use: Vec<UseLock>,
}

impl Images {
    /// Opens the images of an engine. `state_dir` is where locks and notes are kept: processes that share an engine and this
    /// folder share builds.
    ///
    /// # Errors
    /// When the folder cannot be used, or the engine does not answer.
    pub async fn open(client: Client, state_dir: &Path, limits: ImageLimits) -> Result<Images, SandboxError> {
        let info = client.ask(client.short().info()).await;
        let info = info.map_err(|error| failed("ask the engine about itself", error))?;
        // Podman makes up another id for each answer.
        let named = info.id.filter(|_| client.engine().kind == EngineKind::Docker);
        let engine = named.unwrap_or_else(|| client.engine().address.to_string());
        let store = Store::open(state_dir, &engine)
            .map_err(|error| SandboxError::host(format!("use {}", state_dir.display()), error))?;
        // An engine elsewhere names a folder of its own machine.
        let local = matches!(client.engine().address, super::client::Address::Socket(_));
        let folder = info.docker_root_dir.map(PathBuf::from).filter(|folder| local && folder.is_dir());
        Ok(Images {
            store,
            disk: Disk { folder, keep_free: limits.keep_free_bytes },
            quota: Mutex::new(limits.quota_bytes),
            limits,
            credentials: Credentials::load(),
            builds: Semaphore::new(BUILDS),
            pulls: Semaphore::new(PULLS),
            flights: Mutex::default(),
            layers: Mutex::default(),
            client,
        })
    }

    /// Whether the description can be understood at all. Reads the context; asks the engine nothing.
    ///
    /// # Errors
    /// [`SandboxError::Environment`].
    pub fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        Recipe::read(request, &BuildOptions::default()).map(drop)
    }

    /// Makes an environment's image ready. Many callers, one build. The description's time for building is counted from when
    /// building begins, not while others are waited for.
    ///
    /// # Errors
    /// [`SandboxError::Environment`] with the end of the log where the description is at fault, else [`SandboxError::Host`].
    pub async fn ensure(
        &self,
        request: &EnvironmentRequest,
        progress: &Progress,
    ) -> Result<ImageRef, SandboxError> {
        self.ensure_with(request, &BuildOptions::default(), progress).await
    }

    /// The same with build arguments and a stage to stop at.
    ///
    /// # Errors
    /// As for [`Images::ensure`].
    pub async fn ensure_with(
        &self,
        request: &EnvironmentRequest,
        options: &BuildOptions,
        progress: &Progress,
    ) -> Result<ImageRef, SandboxError> {
        let order = Order { log: request.log.clone(), timeout: request.spec.build_timeout, progress };
        match read(request, options).await? {
            Recipe::Pull(name) => self.pulled(&name, &order).await,
            Recipe::Build(recipe) => self.built(&recipe, &order).await,
        }
    }

    /// What making it ready would take, without doing it.
    ///
    /// # Errors
    /// As for [`Images::ensure`].
    pub async fn plan(&self, request: &EnvironmentRequest) -> Result<EnvironmentPlan, SandboxError> {
        let recipe = match read(request, &BuildOptions::default()).await? {
            Recipe::Pull(name) => {
                return Ok(match self.look(&name).await? {
                    Some(found) => EnvironmentPlan::Present { bytes: Some(size(&found)) },
                    None => EnvironmentPlan::Pull { name, bytes: None },
                });
            }
            Recipe::Build(recipe) => recipe,
        };
        let (mut ids, mut pulls) = (Vec::new(), Vec::new());
        for base in &recipe.bases {
            match self.look(base).await? {
                Some(found) => ids.push(found.id.unwrap_or_default()),
                None => pulls.push(base.clone()),
            }
        }
        let found = if pulls.is_empty() {
            self.ours(&self.name_of(&recipe, &ids)).await?
        } else {
            self.same_description(&recipe).await?.map(|(_, found)| found)
        };
        Ok(match found {
            Some(found) => EnvironmentPlan::Present { bytes: Some(size(&found)) },
            None => EnvironmentPlan::Build { context_bytes: recipe.context.bytes, pulls },
        })
    }

    async fn pulled(&self, name: &str, order: &Order<'_>) -> Result<ImageRef, SandboxError> {
        loop {
            let lock = self.using(name).await?;
            if let Some(found) = self.look(name).await? {
                self.store.touch(name);
                return Ok(image_ref(name.to_owned(), name.to_owned(), found, vec![lock]));
            }
            // Making room must not wait for our own use.
            drop(lock);
            self.once(name, self.pull(name, order)).await?;
        }
    }

    async fn pull(&self, name: &str, order: &Order<'_>) -> Result<(), SandboxError> {
        let progress = order.progress;
        let waiting = || progress(&format!("waiting for another process that pulls {name}"));
        let lock = self.store.making(name, waiting).await;
        let _lock = lock.map_err(|error| SandboxError::host("lock an image", error))?;
        if self.look(name).await?.is_some() {
            return Ok(());
        }
        let _turn = self.pulls.acquire().await.map_err(|_| SandboxError::Cancelled)?;
        if self.disk.check(name, 0).is_err() {
            self.make_room(self.limits.keep_free_bytes).await?;
            self.disk.check(name, 0)?;
        }
        let mut log = Log::open(order.log.as_deref());
        let call = PullCall {
            client: &self.client,
            name,
            credentials: &self.credentials,
            disk: &self.disk,
            timeout: order.timeout,
            progress,
        };
        // Before it is there: a process that is killed in between must not leave an image that nobody counts.
        self.store.remember(name, "", Made::Pulled);
        if let Err(error) = call.run(&mut log).await {
            self.store.forget(name);
            return Err(error);
        }
        let found = self.look(name).await?;
        let id = found.and_then(|found| found.id).unwrap_or_default();
        self.store.remember(name, &id, Made::Pulled);
        self.keep_within_quota().await;
        Ok(())
    }

    async fn built(&self, recipe: &BuildRecipe, order: &Order<'_>) -> Result<ImageRef, SandboxError> {
        let about = recipe.bases.first().unwrap_or(&recipe.about);
        let mut missing = false;
        for base in &recipe.bases {
            missing |= self.look(base).await?.is_none();
        }
        // A base that was removed is not pulled again for an image that is there.
        if missing && let Some((name, found)) = self.same_description(recipe).await? {
            let lock = self.using(&name).await?;
            if self.ours(&name).await?.is_some() {
                self.store.remember(&name, found.id.as_deref().unwrap_or_default(), Made::Built);
                return Ok(image_ref(about.clone(), name, found, vec![lock]));
            }
        }
        let mut bases = Vec::new();
        for base in &recipe.bases {
            bases.push(self.pulled(base, order).await?);
        }
        let ids: Vec<String> = bases.iter().map(|base| base.id.clone()).collect();
        let name = self.name_of(recipe, &ids);
        loop {
            let lock = self.using(&name).await?;
            if let Some(found) = self.ours(&name).await? {
                self.store.remember(&name, found.id.as_deref().unwrap_or_default(), Made::Built);
                return Ok(image_ref(about.clone(), name, found, vec![lock]));
            }
            self.once(&name, self.build(recipe, &name, order)).await?;
        }
    }

    async fn build(&self, recipe: &BuildRecipe, name: &str, order: &Order<'_>) -> Result<(), SandboxError> {
        let progress = order.progress;
        let about = &recipe.about;
        let waiting = || progress(&format!("waiting for another process that builds {about}"));
        let lock = self.store.making(name, waiting).await;
        let _lock = lock.map_err(|error| SandboxError::host("lock an image", error))?;
        if self.ours(name).await?.is_some() {
            return Ok(());
        }
        let _turn = self.builds.acquire().await.map_err(|_| SandboxError::Cancelled)?;
        if self.disk.check(about, recipe.context.bytes).is_err() {
            self.make_room(self.limits.keep_free_bytes.saturating_add(recipe.context.bytes)).await?;
            self.disk.check(about, recipe.context.bytes)?;
        }
        let digest = name.strip_prefix(NAME_PREFIX).unwrap_or(name);
        let labels = HashMap::from([
            (LABEL.to_owned(), digest.to_owned()),
            (LABEL_DESCRIPTION.to_owned(), recipe.description.as_str().to_owned()),
            (LABEL_ABOUT.to_owned(), about.chars().take(200).collect()),
        ]);
        let mut log = Log::open(order.log.as_deref());
        progress(&format!("building {about}"));
        let call = BuildCall {
            client: &self.client,
            recipe,
            name,
            labels,
            credentials: &self.credentials,
            timeout: order.timeout,
            progress,
        };
        let before = self.look(name).await?.and_then(|found| found.id);
        self.store.remember(name, "", Made::Built);
        let made = match call.run(&mut log).await {
            Ok(()) => self.look(name).await.map(|found| found.filter(|found| found.id != before)),
            Err(error) => Err(error),
        };
        let found = match made {
            Ok(Some(found)) => found,
            failed => {
                self.store.forget(name);
                return Err(failed.err().unwrap_or_else(|| call.without_image(&log)));
            }
        };
        self.store.remember(name, found.id.as_deref().unwrap_or_default(), Made::Built);
        self.keep_within_quota().await;
        Ok(())
    }

    /// Lets one of many callers in this process do the work, and gives all of them what came of it. When that one is dropped,
    /// the next takes over.
    async fn once(
        &self,
        name: &str,
        work: impl Future<Output = Result<(), SandboxError>>,
    ) -> Result<(), SandboxError> {
        let flight = {
            let mut flights = self.flights.lock().expect("nothing panics while it is held");
            flights.retain(|_, flight| flight.strong_count() > 0);
            match flights.get(name).and_then(Weak::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight = Arc::new(Flight::new());
                    flights.insert(name.to_owned(), Arc::downgrade(&flight));
                    flight
                }
            }
        };
        let done = flight.get_or_init(|| async { work.await.map_err(Shared::from) }).await;
        done.clone().map_err(SandboxError::from)
    }

    /// Sets another quota from now on; `None` for none.
    pub fn limit(&self, quota_bytes: Option<u64>) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota_bytes;
    }

    /// Losing the count is no reason to fail a trial.
    async fn keep_within_quota(&self) {
        // Read before anything is waited for.
        let quota = *self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = quota {
            let _evicted = self.evict(quota).await;
        }
    }

    async fn using(&self, name: &str) -> Result<UseLock, SandboxError> {
        self.store.using(name).await.map_err(|error| SandboxError::host("lock an image", error))
    }

    /// Asks again while the engine trips over an image that somebody is removing at that moment, as Podman does.
    async fn patient<T, Q: Future<Output = Result<T, bollard::errors::Error>>>(
        &self,
        question: impl Fn() -> Q,
    ) -> Result<T, bollard::errors::Error> {
        let mut tries = 0;
        loop {
            match self.client.ask(question()).await {
                Err(error) if tries < 10 && fault::is_in_between(&error) => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(50 * tries)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn list(
        &self,
        filters: &HashMap<&str, Vec<&str>>,
    ) -> Result<Vec<bollard::models::ImageSummary>, SandboxError> {
        let options = bollard::query_parameters::ListImagesOptionsBuilder::default().filters(filters).build();
        let listed = self.patient(|| self.client.short().list_images(Some(options.clone()))).await;
        listed.map_err(|error| failed("list the engine's images", error))
    }

    /// What the engine has under a name.
    async fn look(&self, name: &str) -> Result<Option<ImageInspect>, SandboxError> {
        match self.patient(|| self.client.short().inspect_image(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(format!("look for the image {name}"), error)),
        }
    }

    /// The image of this name, if it is what the name says: names can be given to anything. Podman gives an image whose steps
    /// it remembers without the labels that were asked for; there our own note of the id stands for them.
    async fn ours(&self, name: &str) -> Result<Option<ImageInspect>, SandboxError> {
        let found = self.look(name).await?;
        let noted = || self.store.note(name).filter(|note| note.made == Made::Built).map(|note| note.id);
        Ok(found.filter(|found| {
            label(found, LABEL) == name.strip_prefix(NAME_PREFIX)
                || (found.id.is_some() && found.id == noted())
        }))
    }

    /// An image that was built from the same description over bases that are not there any more.
    async fn same_description(
        &self,
        recipe: &BuildRecipe,
    ) -> Result<Option<(String, ImageInspect)>, SandboxError> {
        let wanted = format!("{LABEL_DESCRIPTION}={}", recipe.description.as_str());
        let filters = HashMap::from([("label", vec![wanted.as_str()])]);
        let mut listed = self.list(&filters).await?;
        listed.sort_by_key(|image| std::cmp::Reverse(image.created));
        for image in listed {
            for name in image.repo_tags.iter().filter(|tag| tag.starts_with(NAME_PREFIX)) {
                if let Some(found) = self.ours(name).await? {
                    return Ok(Some((name.clone(), found)));
                }
            }
        }
        Ok(None)
    }

    fn name_of(&self, recipe: &BuildRecipe, base_ids: &[String]) -> String {
        let engine = self.client.engine();
        let builder = format!("{:?} {:?} {}", engine.kind, engine.builder, engine.arch);
        format!("{NAME_PREFIX}{}", &recipe.tag(base_ids, &builder).as_str()[..40])
    }

    /// How many names an image has that nobody but one pull has named: Podman adds one of its own.
    fn names_of_one_pull(&self) -> usize {
        match self.client.engine().kind {
            EngineKind::Docker => 1,
            EngineKind::Podman => 2,
        }
    }
}

/// What every step of one call needs.
struct Order<'a> {
    log: Option<PathBuf>,
    timeout: Duration,
    progress: &'a Progress,
}

async fn read(request: &EnvironmentRequest, options: &BuildOptions) -> Result<Recipe, SandboxError> {
    let (request, options) = (request.clone(), options.clone());
    let read = tokio::task::spawn_blocking(move || Recipe::read(&request, &options)).await;
    read.map_err(|_| SandboxError::Cancelled)?
}

fn label<'a>(found: &'a ImageInspect, name: &str) -> Option<&'a str> {
    found.config.as_ref()?.labels.as_ref()?.get(name).map(String::as_str)
}

fn size(found: &ImageInspect) -> u64 {
    found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

fn image_ref(name: String, tag: String, found: ImageInspect, in_use: Vec<UseLock>) -> ImageRef {
    let size = size(&found);
    let id = found.id.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let variable = |text: String| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    ImageRef {
        digest: Digest::of(id.as_bytes()),
        id,
        name,
        tag,
        env: config.env.unwrap_or_default().into_iter().filter_map(variable).collect(),
        workdir: config.working_dir.filter(|folder| !folder.is_empty()).unwrap_or_else(|| "/".to_owned()),
        user: config.user.filter(|user| !user.is_empty()),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        architecture: found.architecture.unwrap_or_default(),
        size,
        _in_use: in_use,
    }
}
