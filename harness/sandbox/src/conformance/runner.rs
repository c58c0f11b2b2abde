//! Runs cases against a backend and compares with what it declared.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};

use super::context::secs;
use super::{Case, Ctx, Failure, OrphanMaker, cases};
use crate::{Backend, Image};

/// The longest that one case may take.
fn bound() -> Duration {
    secs(60)
}

/// What is tested, and with what help.
#[derive(Clone)]
pub struct Setup {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// An environment with a shell and core utilities.
    pub image: Arc<Image>,
    /// How to leave a sandbox without an owner.
    pub orphans: Option<OrphanMaker>,
}

/// How a case ended.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// Which.
    pub name: &'static str,
    /// How.
    pub verdict: Verdict,
    /// Wall time.
    pub duration: Duration,
}

/// How a case ended, in the light of what was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The promise is kept.
    Passed,
    /// It is not, and nothing was declared.
    Failed(String),
    /// It is not, as was declared, for this reason.
    Declared(String),
    /// It was declared not to be kept, for this reason, yet it is: the declaration is stale.
    DeclaredYetPassed(String),
}

impl Verdict {
    /// Whether the backend is what it says.
    pub fn honest(&self) -> bool {
        matches!(self, Verdict::Passed | Verdict::Declared(_))
    }
}

/// Runs all cases whose name contains the filter, one after the other.
pub async fn run(setup: &Setup, filter: &str) -> Vec<CaseResult> {
    let mut results = Vec::new();
    for case in cases().filter(|case| case.name.contains(filter)) {
        results.push(run_case(setup, case).await);
    }
    results
}

/// Runs one case. Several may run at once; those that must be alone wait for the others.
pub async fn run_case(setup: &Setup, case: &'static Case) -> CaseResult {
    static TURN: RwLock<()> = RwLock::const_new(());
    let (_shared, _alone) = match case.alone {
        true => (None, Some(TURN.write().await)),
        false => (Some(TURN.read().await), None),
    };
    let started = Instant::now();
    let outcome = check(setup, case).await;
    let declared = setup.backend.caps().declared.iter().find(|declared| declared.case == case.name);
    let verdict = match (outcome, declared) {
        (Ok(()), None) => Verdict::Passed,
        (Err(Failure(why)), None) => Verdict::Failed(why),
        (Err(_), Some(declared)) => Verdict::Declared(declared.reason.clone()),
        (Ok(()), Some(declared)) => Verdict::DeclaredYetPassed(declared.reason.clone()),
    };
    CaseResult { name: case.name, verdict, duration: started.elapsed() }
}

async fn check(setup: &Setup, case: &'static Case) -> Result<(), Failure> {
    let dir = tempfile::Builder::new().prefix("conformance-").tempdir()?;
    let ctx = Ctx::new(setup.backend.clone(), setup.image.clone(), setup.orphans.clone(), dir.path());
    let outcome = timeout(bound(), (case.run)(&ctx)).await;
    let cleaned = timeout(bound(), ctx.clean()).await;
    outcome.unwrap_or_else(|_| Err(Failure(format!("not done after {} s", bound().as_secs()))))?;
    cleaned.unwrap_or_else(|_| Err(Failure("destroying its sandboxes does not end".into())))
}
