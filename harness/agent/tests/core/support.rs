//! A sandbox, a model that is played, and what came of a piece of work.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use harness_agent::client::{Exchange, Incoming, Model, Outgoing, Pieces};
use harness_agent::events::{self, Event, EventLog, Line, Sink};
use harness_agent::settings::support;
use harness_agent::{Fault, Job, Report, Settings, wires, work};
use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_gateway::scripted::{self, Ending, Script};
use harness_sandbox::{
    BACKENDS, Backend, BackendOptions, EnvironmentRequest, ExecSpec, Image, Labels, ProcessSpec, RootFs,
    Sandbox, SandboxSpec,
};
use serde_json::{Value, json};

/// Native sandboxes on this machine's own root, one backend for all tests.
struct Native {
    backend: Arc<dyn Backend>,
    image: Arc<Image>,
    _state: tempfile::TempDir,
}

async fn native() -> Result<&'static Native, String> {
    static NATIVE: tokio::sync::OnceCell<Result<Native, String>> = tokio::sync::OnceCell::const_new();
    let made = NATIVE.get_or_init(|| async {
        let state = tempfile::tempdir_in("/var/tmp").unwrap();
        let options =
            BackendOptions { state_dir: state.path().to_owned(), rootfs: RootFs::Host, hidden: Vec::new() };
        let kind = BACKENDS.iter().find(|kind| kind.name() == "native").unwrap();
        let backend = kind.open(options).await.map_err(|error| error.to_string())?;
        let spec = EnvironmentSpec {
            source: EnvironmentSource::Image { reference: "test".into(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: None,
            network: NetworkMode::None,
            healthcheck: None,
            host_root: true,
        };
        let request = EnvironmentRequest { spec, digest: Digest::of(b"test"), log: None };
        let image = backend.prepare(&request, Arc::new(|_| {})).await.map_err(|error| error.to_string())?;
        Ok(Native { backend, image, _state: state })
    });
    made.await.as_ref().map_err(Clone::clone)
}

/// One runtime for all tests: the sandboxes' backend lives in it.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    run_for(Duration::from_secs(120), test)
}

/// The same with another limit.
pub(crate) fn run_for<T>(limit: Duration, test: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let made = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    RUNTIME.get_or_init(made).block_on(async { tokio::time::timeout(limit, test).await.unwrap() })
}

/// A fresh sandbox with an empty `/app`, or `None` with a word on why not.
pub(crate) async fn sandbox(test: &str) -> Option<Arc<dyn Sandbox>> {
    let native = match native().await {
        Ok(native) => native,
        Err(error) => {
            eprintln!("skipped by name: {test}: the native sandbox does not work here: {error}");
            return None;
        }
    };
    let sandbox = native
        .backend
        .create(SandboxSpec {
            labels: Labels { run: "core".into(), trial: test.into(), role: "agent".into() },
            image: Arc::clone(&native.image),
            snapshot: None,
            limits: Limits::default(),
            network: NetworkMode::None,
            mounts: Vec::new(),
        })
        .await
        .unwrap();
    inside(&*sandbox, "mkdir /app").await;
    Some(sandbox)
}

/// What a script prints inside.
pub(crate) async fn inside(sandbox: &dyn Sandbox, script: &str) -> String {
    let process = ProcessSpec {
        deadline: Some(Duration::from_secs(30)),
        cwd: Some("/".into()),
        ..ProcessSpec::shell(script)
    };
    let result = sandbox.exec(ExecSpec::new(process)).await.unwrap();
    format!("{}{}", result.stdout.text(), result.stderr.text())
}

/// Plays a script on any wire, as the gateway does.
pub(crate) struct Played {
    script: Script,
    faults: Mutex<HashMap<usize, u32>>,
    /// Bodies of the requests.
    pub(crate) bodies: Mutex<Vec<Value>>,
    /// What was answered.
    pub(crate) answers: Mutex<Vec<Vec<u8>>>,
    /// Before each answer.
    pub(crate) wait: Duration,
}

impl Played {
    pub(crate) fn new(script: &str) -> Arc<Played> {
        let script = Script::parse(script, "script").unwrap();
        Arc::new(Played {
            script,
            faults: Mutex::default(),
            bodies: Mutex::default(),
            answers: Mutex::default(),
            wait: Duration::ZERO,
        })
    }

    pub(crate) fn slow(script: &str, wait: Duration) -> Arc<Played> {
        Arc::new(Played { wait, ..Arc::into_inner(Played::new(script)).unwrap() })
    }
}

#[async_trait]
impl Exchange for Played {
    async fn send(&self, outgoing: Outgoing) -> Result<Incoming, String> {
        tokio::time::sleep(self.wait).await;
        let (wire, _) = harness_gateway::wire::recognise("POST", &outgoing.path).unwrap();
        let faults = self.faults.lock().unwrap().clone();
        let ask = |faults_before| {
            scripted::play(
                &self.script,
                &scripted::Request { wire, path: &outgoing.path, body: &outgoing.body, faults_before },
            )
        };
        let mut reply = ask(0);
        if let Some(turn) = reply.turn.filter(|_| reply.fault) {
            let before = faults.get(&turn).copied().unwrap_or(0);
            reply = ask(before);
            if reply.fault {
                *self.faults.lock().unwrap().entry(turn).or_default() += 1;
            }
            // The gateway tries again itself where that helps.
            if reply.fault && reply.status >= 500 {
                reply = ask(before + 1);
            }
        }
        if self.bodies.lock().unwrap().len() < 1000 {
            self.bodies.lock().unwrap().push(serde_json::from_slice(&outgoing.body).unwrap());
            self.answers.lock().unwrap().push(reply.body());
        }
        let cut = reply.ending != Ending::Complete;
        let frames = reply.frames.into_iter().map(Bytes::from).collect::<Vec<_>>();
        Ok(Incoming {
            status: reply.status,
            content_type: Some(reply.content_type.to_owned()),
            pieces: Box::new(Frames { frames: frames.into_iter(), cut }),
        })
    }
}

/// Canned answers, one after the other; the last is repeated.
pub(crate) struct Canned {
    answers: Mutex<Vec<(u16, Vec<u8>)>>,
    /// What requests without tools get, beside the others.
    aside: Option<Vec<u8>>,
    /// Bodies of the requests.
    pub(crate) bodies: Mutex<Vec<Value>>,
}

impl Canned {
    /// Whole documents with status 200.
    pub(crate) fn new(answers: impl IntoIterator<Item = Value>) -> Arc<Canned> {
        Canned::raw(answers.into_iter().map(|answer| (200, answer.to_string().into_bytes())))
    }

    /// With an answer of their own for requests without tools.
    pub(crate) fn with_aside(answers: impl IntoIterator<Item = Value>, aside: &Value) -> Arc<Canned> {
        let canned = Arc::into_inner(Canned::new(answers)).unwrap();
        Arc::new(Canned { aside: Some(aside.to_string().into_bytes()), ..canned })
    }

    /// Any bytes with any status.
    pub(crate) fn raw(answers: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Arc<Canned> {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Arc::new(Canned { answers: Mutex::new(answers), aside: None, bodies: Mutex::default() })
    }
}

#[async_trait]
impl Exchange for Canned {
    async fn send(&self, outgoing: Outgoing) -> Result<Incoming, String> {
        let asked: Value = serde_json::from_slice(&outgoing.body).unwrap();
        let is_aside = asked.get("tools").is_none();
        self.bodies.lock().unwrap().push(asked);
        let mut answers = self.answers.lock().unwrap();
        let (status, body) = if let Some(aside) = self.aside.clone().filter(|_| is_aside) {
            (200, aside)
        } else if answers.len() > 1 {
            answers.pop().unwrap()
        } else {
            answers[0].clone()
        };
        if status == 0 {
            return Err("nobody is there".to_owned());
        }
        let frames = vec![Bytes::from(body)];
        let pieces = Box::new(Frames { frames: frames.into_iter(), cut: false });
        Ok(Incoming { status, content_type: Some("application/json".into()), pieces })
    }
}

struct Frames {
    frames: std::vec::IntoIter<Bytes>,
    cut: bool,
}

#[async_trait]
impl Pieces for Frames {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match self.frames.next() {
            Some(frame) => Some(Ok(frame)),
            None if std::mem::take(&mut self.cut) => Some(Err("connection reset".into())),
            None => None,
        }
    }
}

/// An answer on Messages with these blocks.
pub(crate) fn message(blocks: Value, stop: &str) -> Value {
    json!({"type": "message", "role": "assistant", "model": "m", "content": blocks, "stop_reason": stop,
           "usage": {"input_tokens": 1000, "output_tokens": 10}})
}

/// One call on Messages.
pub(crate) fn call(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": input})
}

/// A turn on Messages that makes one call.
pub(crate) fn calls(name: &str, input: Value) -> Value {
    message(json!([call("c", name, input)]), "tool_use")
}

/// A turn on Messages that hands the work in.
pub(crate) fn submit() -> Value {
    calls("submit", json!({"message": "done"}))
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) report: Result<Report, Fault>,
    pub(crate) lines: Vec<Line>,
}

impl Outcome {
    pub(crate) fn report(&self) -> &Report {
        self.report.as_ref().unwrap()
    }

    /// All results of tools.
    pub(crate) fn ran(&self) -> Vec<&str> {
        let ran = self.lines.iter().filter_map(|line| match &line.event {
            Event::Ran { output, .. } => Some(output.as_str()),
            _ => None,
        });
        ran.collect()
    }

    pub(crate) fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.lines.iter().filter(|line| which(&line.event)).count()
    }

    pub(crate) fn nudges(&self) -> Vec<&str> {
        let nudges = self.lines.iter().filter_map(|line| match &line.event {
            Event::Nudged { why, .. } => Some(why.as_str()),
            _ => None,
        });
        nudges.collect()
    }
}

/// Lines that a test can read after the work.
#[derive(Clone, Default)]
pub(crate) struct Shared(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Sink for Shared {
    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(())
    }
}

/// A piece of work to be set up.
pub(crate) struct Piece<'a> {
    pub(crate) sandbox: &'a dyn Sandbox,
    pub(crate) wire: &'a str,
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) settings: &'a [(&'a str, Value)],
    pub(crate) instruction: &'a str,
    pub(crate) workdir: &'a str,
    pub(crate) time: Duration,
    pub(crate) cancel: Option<tokio::sync::watch::Receiver<bool>>,
    pub(crate) spent: Option<&'a (dyn Fn() -> Option<harness_core::NanoUsd> + Send + Sync)>,
}

impl<'a> Piece<'a> {
    pub(crate) fn new(sandbox: &'a dyn Sandbox, exchange: Arc<dyn Exchange>) -> Piece<'a> {
        Piece {
            sandbox,
            wire: "anthropic",
            exchange,
            settings: &[],
            instruction: "Do it.",
            workdir: "/app",
            time: Duration::from_secs(60),
            cancel: None,
            spent: None,
        }
    }

    pub(crate) async fn work(self) -> Outcome {
        let given = self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let settings = Settings::check(&support(self.wire, "m", true), "m", &given).unwrap();
        let kept = Shared::default();
        let log = EventLog::new(Box::new(kept.clone()), Box::new(|_| {}));
        let dialect = wires::by_name(self.wire).unwrap();
        let report = work(Job {
            settings: &settings,
            model: Model { dialect, name: "m".into(), exchange: self.exchange },
            model_name: "scripted/m",
            subtask_model: None,
            spent: self.spent,
            sandbox: self.sandbox,
            instruction: self.instruction,
            workdir: self.workdir,
            user: None,
            env: &BTreeMap::new(),
            skills_dir: None,
            prior: None,
            log: &log,
            time: self.time,
            cancel: self.cancel,
        })
        .await;
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        Outcome { report, lines: events::read(&text).collect() }
    }
}
