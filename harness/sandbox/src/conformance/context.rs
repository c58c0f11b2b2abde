//! What a case works with: a backend, an image, folders on the host, and short ways to run things inside.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use harness_core::{Limits, NetworkMode};
use tokio::time::{Instant, sleep};

use super::OrphanMaker;
use crate::{
    Backend, ExecResult, ExecSpec, Exit, Image, Labels, Place, ProcessSpec, PutOptions, Sandbox,
    SandboxError, SandboxSpec, Source,
};

/// Why a case failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Failure {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Failure(format!("unexpected error: {error}{cause}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure(format!("the test's own host operation failed: {error}"))
    }
}

/// What a case gets.
pub struct Ctx {
    /// What is tested.
    pub backend: Arc<dyn Backend>,
    /// An environment that is ready.
    pub image: Arc<Image>,
    /// A folder on the host, for this case alone.
    pub dir: PathBuf,
    /// How to leave a sandbox without an owner; `None` where that cannot be played.
    pub orphans: Option<OrphanMaker>,
    /// Unique in this machine, for names that must not meet.
    pub tag: String,
    made: Mutex<Vec<Arc<dyn Sandbox>>>,
}

/// So many seconds of patience: times as many as `HARNESS_TEST_SLOWNESS` says, for processors that are emulated.
pub(super) fn secs(seconds: u64) -> Duration {
    static SLOWNESS: OnceLock<u64> = OnceLock::new();
    let slowness = SLOWNESS.get_or_init(|| {
        let said = std::env::var("HARNESS_TEST_SLOWNESS").ok();
        said.and_then(|said| said.parse().ok()).unwrap_or(1_u64).clamp(1, 20)
    });
    Duration::from_secs(seconds * slowness)
}

/// The longest that anything harmless may take, on a machine that is busy with other tests.
fn patience() -> Duration {
    secs(30)
}

/// What writes a byte every tenth of a second to [`BEAT`], for ever: the sign that something lives.
pub(super) const HEART: &str = "while :; do echo >> /tmp/beat; sleep 0.1; done";
/// Where hearts beat.
pub(super) const BEAT: &str = "/tmp/beat";

impl Ctx {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        image: Arc<Image>,
        orphans: Option<OrphanMaker>,
        dir: &Path,
    ) -> Ctx {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let tag = format!("{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Ctx { backend, image, dir: dir.to_owned(), orphans, tag, made: Mutex::default() }
    }

    /// What a sandbox is started with unless a case wants something else.
    pub fn spec(&self) -> SandboxSpec {
        SandboxSpec {
            labels: Labels {
                run: format!("run-{}", self.tag),
                trial: "conformance/case/1".into(),
                role: "test".into(),
            },
            image: self.image.clone(),
            snapshot: None,
            limits: Limits::default(),
            network: NetworkMode::None,
            mounts: Vec::new(),
        }
    }

    /// Starts a sandbox; it is destroyed after the case.
    pub async fn start(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, Failure> {
        let sandbox = self.backend.create(spec).await?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(sandbox.clone());
        Ok(sandbox)
    }

    /// Starts an ordinary sandbox; it is destroyed after the case.
    pub async fn sandbox(&self) -> Result<Arc<dyn Sandbox>, Failure> {
        self.start(self.spec()).await
    }

    /// Starts a sandbox with limits; it is destroyed after the case.
    pub async fn limited(&self, limits: Limits) -> Result<Arc<dyn Sandbox>, Failure> {
        self.start(SandboxSpec { limits, ..self.spec() }).await
    }

    /// Destroys what the case started.
    pub(super) async fn clean(&self) -> Result<(), Failure> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        for sandbox in made {
            sandbox.destroy().await?;
        }
        Ok(())
    }
}

/// A script with a bound in time.
pub(super) fn script(text: &str) -> ExecSpec {
    bounded(ProcessSpec::shell(text))
}

/// A process with a bound in time.
pub(super) fn bounded(process: ProcessSpec) -> ExecSpec {
    ExecSpec::new(ProcessSpec { deadline: Some(patience()), ..process })
}

/// Runs a script to its end.
pub(super) async fn sh(place: &dyn Place, text: &str) -> Result<ExecResult, Failure> {
    Ok(place.exec(script(text)).await?)
}

/// Runs a script that has to end well; returns its stdout.
pub(super) async fn ok(place: &dyn Place, text: &str) -> Result<String, Failure> {
    let result = sh(place, text).await?;
    if result.exit != Exit::Code(0) {
        let (out, err) = (result.stdout.text(), result.stderr.text());
        return Err(Failure(format!("{text:?} ended with {:?}: {out}{err}", result.exit)));
    }
    Ok(result.stdout.text())
}

/// Puts a small file.
pub(super) async fn put(place: &dyn Place, at: &str, content: &[u8]) -> Result<(), Failure> {
    Ok(place.put(at, Source::Bytes(content.to_vec()), PutOptions::default()).await?)
}

/// How often the heart has beaten.
pub(super) async fn beats(place: &dyn Place) -> Result<usize, Failure> {
    Ok(place.read(BEAT, 1 << 20).await?.unwrap_or_default().len())
}

/// Waits until the heart beats.
pub(super) async fn beating(place: &dyn Place) -> Result<(), Failure> {
    let before = beats(place).await?;
    let until = Instant::now() + secs(10);
    while beats(place).await? < before + 2 {
        if Instant::now() > until {
            return Err(Failure("a process that should live does nothing for ten seconds".into()));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Checks that no heart beats any more.
pub(super) async fn silent(place: &dyn Place) -> Result<(), Failure> {
    let before = beats(place).await?;
    sleep(Duration::from_millis(700)).await;
    match beats(place).await? {
        after if after == before => Ok(()),
        after => Err(Failure(format!("something still lives: it wrote {} more bytes", after - before))),
    }
}

/// The case's result for a call that has to be refused in one way.
pub(super) fn refused<T>(
    what: &str,
    result: Result<T, SandboxError>,
    right: impl FnOnce(&SandboxError) -> bool,
) -> Result<(), Failure> {
    match result {
        Ok(_) => Err(Failure(format!("{what} was not refused"))),
        Err(error) if right(&error) => Ok(()),
        Err(error) => Err(Failure(format!("{what} was refused in the wrong way: {error:?}"))),
    }
}

/// [`SandboxError::Inside`].
pub(super) fn is_inside(error: &SandboxError) -> bool {
    matches!(error, SandboxError::Inside { .. })
}

/// [`SandboxError::Lost`].
pub(super) fn is_lost(error: &SandboxError) -> bool {
    matches!(error, SandboxError::Lost { .. })
}

/// [`SandboxError::TooLarge`].
pub(super) fn is_too_large(error: &SandboxError) -> bool {
    matches!(error, SandboxError::TooLarge { .. })
}
