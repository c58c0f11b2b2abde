//! Model traffic of a run: one gateway, an identity for each trial, and what to do when money, tokens or a provider run out.

mod access;
mod days;
mod earlier;
mod files;
mod kept;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use harness_core::{TaskId, TrialId, VariantName};
use harness_gateway::budget::{Budgets, Ledger, Limits, Refusal, Resource, Scope};
use harness_gateway::proxy::{Access, Caller, Gateway, GatewayThread, Health, Parts, Upstream};
use harness_gateway::recording::{Mode, Pace, Recorder, Recording};
use harness_gateway::redact::Redactor;
use harness_prices::PriceTable;
use tokio::task::JoinHandle;

pub use access::{Endpoint, ModelAccess};
pub(crate) use earlier::Earlier;
pub(crate) use kept::{Fault, Kept, Tally, TryOf};

use crate::cancel::{Cancel, Stage};
use crate::journal_writer::JournalWriter;
use crate::trial::Trouble;

/// What a run needs to serve models.
pub struct ModelsSpec {
    /// What tokens cost.
    pub prices: PriceTable,
    /// What may be spent.
    pub budgets: Budgets,
    /// Knows every real key.
    pub redactor: Redactor,
    /// Who answers whom; a variant that is not there uses no model.
    pub routes: HashMap<(VariantName, TaskId), Arc<Route>>,
    /// Folder in which all runs write down what they spend on a day; `None` counts no days.
    pub days: Option<PathBuf>,
    /// Whether each exchange is recorded, for replays.
    pub record: bool,
    /// Answers come from this recording instead of from upstreams.
    pub replay: Option<Replay>,
    /// Whether each model that costs money is asked for a few tokens before the first trial.
    pub preflight: bool,
}

/// A recording that is played.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The recording of another run.
    pub recording: Recording,
    /// What is done with a request that was not recorded.
    pub mode: Mode,
    /// How fast answers come.
    pub pace: Pace,
}

/// Who answers a trial.
#[derive(Debug, Clone)]
pub struct Route {
    /// `PROVIDER/MODEL`.
    pub model: String,
    /// The model's name alone, as requests name it.
    pub name: String,
    /// The upstream of each wire that the provider speaks.
    pub upstreams: BTreeMap<&'static str, Arc<Upstream>>,
}

impl Route {
    /// Whether a script answers: no money is spent.
    pub fn is_simulated(&self) -> bool {
        self.upstreams.values().all(|upstream| upstream.is_simulated())
    }
}

/// Why a run ends before all was tried, though nobody told it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// A budget is spent.
    Budget(String),
    /// A provider refuses, or was away for too long.
    Upstream(String),
}

impl Halt {
    /// In a sentence.
    pub fn reason(&self) -> &str {
        match self {
            Halt::Budget(reason) | Halt::Upstream(reason) => reason,
        }
    }
}

/// The models of a run that goes on.
pub(crate) struct Models {
    gateway: Arc<Gateway>,
    kept: Arc<Kept>,
    routes: HashMap<(VariantName, TaskId), Arc<Route>>,
    /// For programs on the host: one listener for all, and a key for each.
    keys: Arc<RwLock<HashMap<String, Arc<Caller>>>>,
    host: SocketAddr,
    server: JoinHandle<()>,
    /// Serves all listeners.
    thread: GatewayThread,
    recorder: Option<Recorder>,
    replay: Option<Replay>,
    run_dir: PathBuf,
    cancel: Cancel,
    halt: OnceLock<Halt>,
    /// Variants whose own budget is spent.
    spent: Mutex<HashSet<VariantName>>,
}

impl Drop for Models {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Where a run keeps what its models did.
pub(crate) struct Place<'a> {
    pub(crate) run: &'a str,
    pub(crate) dir: &'a crate::RunDir,
    pub(crate) journal: JournalWriter,
    pub(crate) trouble: Trouble,
    pub(crate) cancel: Cancel,
}

impl Models {
    /// Opens the gateway, going on with what earlier processes spent.
    pub(crate) async fn open(spec: ModelsSpec, place: Place<'_>) -> std::io::Result<(Arc<Models>, Earlier)> {
        let (ledger_file, recovered) = files::LedgerFile::open(&place.dir.path().join("ledger.jsonl"))?;
        let earlier = Earlier::new(&recovered);
        let days = spec.days.map(|folder| days::Days::new(folder, place.run, spec.budgets.day));
        let simulated = spec.routes.values().all(|route| route.is_simulated());
        let folder = place.dir.path().join("recording");
        let recorder = if spec.record { Some(Recorder::open(&folder, spec.redactor.clone())?) } else { None };
        let kept = Arc::new(Kept::new(kept::Parts {
            ledger: ledger_file,
            days,
            redactor: spec.redactor.clone(),
            journal: place.journal,
            trouble: place.trouble,
            cancel: place.cancel.clone(),
            limits: spec.budgets.run,
            spent: recovered.spent.get(&Scope::Run).copied().unwrap_or_default(),
            simulated,
        })?);
        let gateway = Gateway::new(Parts {
            prices: spec.prices,
            ledger: Ledger::recovered(spec.budgets, &recovered),
            redactor: spec.redactor,
            journal: Arc::clone(&kept) as Arc<dyn harness_gateway::proxy::Journal>,
        });
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let host = listener.local_addr()?;
        let keys = Arc::new(RwLock::new(HashMap::new()));
        let thread = GatewayThread::start()?;
        let server = thread.serve(&gateway, listener, Access::Keys(Arc::clone(&keys)))?;
        let models = Models {
            gateway,
            kept,
            routes: spec.routes,
            keys,
            host,
            server,
            thread,
            recorder,
            replay: spec.replay,
            run_dir: place.dir.path().to_owned(),
            cancel: place.cancel,
            halt: OnceLock::new(),
            spent: Mutex::default(),
        };
        Ok((Arc::new(models), earlier))
    }

    /// Asks each model that costs money for a few tokens: what is wrong with a key, a name or an address shows before any trial
    /// begins. What that used is told by name.
    pub(crate) async fn preflight(&self, journal: &JournalWriter) {
        if self.replay.is_some() {
            return;
        }
        let routes: BTreeMap<&str, &Arc<Route>> = self
            .routes
            .values()
            .filter(|route| !route.is_simulated())
            .map(|route| (route.model.as_str(), route))
            .collect();
        for (model, route) in routes {
            if self.halt.get().is_some() {
                return;
            }
            let trial = format!("preflight/{model}");
            let Some((wire, upstream)) = route.upstreams.iter().next() else { continue };
            let dir = self.run_dir.join("preflight");
            // Without the folder its line is lost, and its cost is in the journal all the same.
            let _made = std::fs::create_dir_all(&dir);
            let of = (route.model.clone(), route.name.clone());
            self.kept.begin(TryOf { trial: trial.clone(), dir, number: 1, model: of });
            let caller = Arc::new(Caller::new(&trial, "preflight", route.upstreams.clone()));
            // Where its connection is then used.
            let asked = self.thread.runtime().spawn({
                let (gateway, wire, name) = (Arc::clone(&self.gateway), *wire, route.name.clone());
                async move { gateway.preflight(&caller, wire, &name).await.map_err(|error| error.to_string()) }
            });
            let asked = asked.await.unwrap_or_else(|error| Err(error.to_string()));
            let refusal = self.stopped_by(&trial);
            let tally = self.kept.end(&trial);
            journal.write(harness_core::Event::ModelChecked {
                model: model.to_owned(),
                usage: tally.usage(),
                cost: tally.cost(),
            });
            let Err(error) = asked else { continue };
            let halt = match (refusal, upstream.health()) {
                (Some(refusal), _) => Halt::Budget(refusal.message()),
                (None, Health::Refusing(said)) => Halt::Upstream(said),
                (None, Health::Down(_) | Health::Up) => Halt::Upstream(error),
            };
            self.halt(halt);
        }
    }

    /// The run is over: everything that was kept is on disk.
    pub(crate) fn close(&self, journal: &JournalWriter) {
        if let Some(Err(fault)) = self.recorder.as_ref().map(Recorder::flush) {
            let message = format!("the recording is not whole and cannot be played to its end: {fault}");
            journal.write(harness_core::Event::Warning { message });
        }
        self.kept.close();
    }

    /// Who answers this trial; `None` when it uses no model.
    pub(crate) fn route(&self, id: &TrialId) -> Option<&Arc<Route>> {
        self.routes.get(&(id.variant.clone(), id.task.clone()))
    }

    /// What was kept of its requests.
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// The budget that stopped a trial, if one did.
    pub(crate) fn stopped_by(&self, trial: &str) -> Option<Refusal> {
        self.gateway.ledger().stopped_by(trial).cloned()
    }

    /// Limits a trial beside what limits every trial.
    pub(crate) fn limit(&self, trial: &str, limits: Limits) {
        self.gateway.ledger().limit_trial(trial, limits);
    }

    /// Whether a trial may begin: not while a provider of its is down, unless nothing runs that would notice its return.
    pub(crate) fn admits(&self, id: &TrialId, idle: bool) -> bool {
        idle || self.route(id).is_none_or(|route| {
            route.upstreams.values().all(|upstream| !matches!(upstream.health(), Health::Down(_)))
        })
    }

    /// Whether nothing more of this variant is begun because its budget is spent.
    pub(crate) fn is_spent(&self, variant: &VariantName) -> bool {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).contains(variant)
    }

    /// Takes note of a budget that cut a trial: whose it is decides what else ends. `None` when it was the trial's own.
    pub(crate) fn cut(&self, id: &TrialId, refusal: &Refusal) -> Option<String> {
        // A model without a price is the agent's choice among models; it stops no other trial.
        if refusal.resource == Resource::Price {
            return None;
        }
        match &refusal.scope {
            Scope::Request | Scope::Trial(_) => return None,
            Scope::Variant(_) => {
                self.spent.lock().unwrap_or_else(PoisonError::into_inner).insert(id.variant.clone());
            }
            Scope::Run | Scope::Day(_) => self.halt(Halt::Budget(refusal.message())),
        }
        Some(refusal.message())
    }

    /// Ends the run in order; the first word counts.
    pub(crate) fn halt(&self, halt: Halt) {
        let _first = self.halt.set(halt);
        self.cancel.raise(Stage::Drain);
    }

    /// Why the run ended before its time, if it did.
    pub(crate) fn halted(&self) -> Option<Halt> {
        let variant = || {
            let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            spent.iter().next().map(|name| Halt::Budget(format!("the budget of the variant {name} is spent")))
        };
        self.halt.get().cloned().or_else(variant)
    }

    /// An identity at the gateway for one try of a trial, reached from the host until it is dropped.
    pub(crate) fn caller(self: &Arc<Self>, id: &TrialId, route: &Route) -> std::io::Result<Identity> {
        let mut caller = Caller::new(&id.path(), id.variant.as_str(), route.upstreams.clone());
        if let Some(recorder) = &self.recorder {
            caller = caller.with_recorder(recorder.clone());
        }
        if let Some(replay) = &self.replay {
            caller = caller.with_player(replay.recording.player(&id.path(), replay.mode, replay.pace)?);
        }
        let (caller, key) = (Arc::new(caller), virtual_key()?);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.clone(), Arc::clone(&caller));
        Ok(Identity { models: Arc::clone(self), caller, key })
    }
}

/// A try's identity at the gateway.
pub(crate) struct Identity {
    models: Arc<Models>,
    caller: Arc<Caller>,
    key: String,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.models.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Identity {
    /// How an agent reaches the model, from a listener inside where there is one.
    pub(crate) fn access(&self, route: &Route, inside: Option<u16>) -> ModelAccess {
        ModelAccess {
            model: route.model.clone(),
            name: route.name.clone(),
            wires: route.upstreams.keys().copied().collect(),
            inside: inside.map(|port| Endpoint {
                base_url: format!("http://127.0.0.1:{port}"),
                key: access::PLACEHOLDER.to_owned(),
            }),
            host: Endpoint { base_url: format!("http://{}", self.models.host), key: self.key.clone() },
            gateway: Arc::clone(&self.models.gateway),
            caller: Arc::clone(&self.caller),
        }
    }

    /// Serves a listener inside a sandbox, whose only user is this trial, until the guard is dropped.
    pub(crate) fn serve(&self, listener: TcpListener) -> std::io::Result<Serving> {
        let access = Access::Own(Arc::clone(&self.caller));
        self.models.thread.serve(&self.models.gateway, listener, access).map(Serving)
    }

    /// Whether no request of its is on its way to being forwarded.
    pub(crate) fn is_idle(&self) -> bool {
        // One is ours, one the map's of keys; each exchange and each connection has one of its own.
        Arc::strong_count(&self.caller) <= 2
    }
}

/// A listener that is served; dropping it closes the listener and its connections.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A key that nobody guesses: whoever shows it on the host's loopback is the trial.
fn virtual_key() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold("sk-harness-".to_owned(), |key, byte| format!("{key}{byte:02x}")))
}
