//! The gateway as a run has it: prices, budgets, a journal that writes its lines to a file, and perhaps a recorder.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use harness_gateway::budget::{Budgets, Ledger, Limits, Line};
use harness_gateway::proxy::{
    Access, Caller, ExchangeRecord, Gateway, Journal, Parts, Patience, Target, Timeouts, Upstream,
    UpstreamSpec,
};
use harness_gateway::recording::Recorder;
use harness_gateway::redact::Redactor;
use harness_gateway::wire::WIRES;
use harness_prices::PriceTable;

const KEY: &str = "sk-a-key-that-is-looked-for-everywhere";

/// Writes lines as a run's journal does, without waiting for the disk: a reservation has left this process before its request
/// does, and what else is to be written goes with the next one.
struct File(Mutex<std::io::BufWriter<std::fs::File>>);

impl File {
    fn write(&self, line: &impl serde::Serialize, at_once: bool) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_writer(&mut *file, line).expect("a line can be written");
        file.write_all(b"\n").expect("a temporary file can be written");
        if at_once {
            file.flush().expect("a temporary file can be written");
        }
    }
}

impl Journal for File {
    fn ledger(&self, line: &Line) {
        self.write(line, matches!(line, Line::Reserved { .. }));
    }
    fn exchange(&self, record: ExchangeRecord) {
        self.write(&record, false);
    }
}

/// Serves until it is killed, where a run serves: on a thread of the gateway's own.
pub(crate) async fn run(upstream: &str, recording: Option<&str>) {
    let upstream = Arc::new(
        Upstream::new(UpstreamSpec {
            name: "up".to_owned(),
            price_provider: "openai".to_owned(),
            target: Target::Http {
                base_url: format!("http://{upstream}/v1"),
                key: Some(KEY.to_owned()),
                key_from: "nowhere".to_owned(),
                key_header: None,
                headers: Vec::new(),
            },
            concurrency: 4096,
            patience: Patience::default(),
            timeouts: Timeouts::default(),
            drain: std::time::Duration::from_secs(5),
            old_cap_name: false,
            margin_percent: 10,
        })
        .expect("an upstream without TLS needs nothing"),
    );
    let large = Limits { tokens: Some(u64::MAX / 4), ..Limits::default() };
    let redactor = Redactor::new([KEY.as_bytes()]);
    let gateway = Gateway::new(Parts {
        prices: PriceTable::bundled(),
        ledger: Ledger::new(Budgets { trial: large, run: large, ..Budgets::default() }),
        redactor: redactor.clone(),
        journal: Arc::new(File(Mutex::new(std::io::BufWriter::new(
            tempfile::tempfile().expect("a temporary file can be made"),
        )))),
    });
    let upstreams: BTreeMap<_, _> = WIRES.iter().map(|wire| (wire.name(), Arc::clone(&upstream))).collect();
    let mut caller = Caller::new("task/variant/1", "variant", upstreams);
    if let Some(folder) = recording {
        caller = caller
            .with_recorder(Recorder::open(Path::new(folder), redactor).expect("the folder can be written"));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    println!("{}", listener.local_addr().expect("it listens"));
    gateway.serve(listener, Access::Own(Arc::new(caller))).await;
}
