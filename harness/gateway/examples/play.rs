//! A gateway on loopback that plays a script, for trying agents and client libraries by hand:
//! `cargo run -p harness-gateway --example play -- SCRIPT [ADDRESS] [TOKEN-BUDGET]`, or an upstream's `http://` address instead
//! of a script. One JSON line a request on stdout.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own, for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use harness_gateway::budget::{Budgets, Ledger, Limits, Line};
use harness_gateway::proxy::{
    Access, Caller, ExchangeRecord, Gateway, Journal, Parts, Patience, Target, Timeouts, Upstream,
    UpstreamSpec,
};
use harness_gateway::redact::Redactor;
use harness_gateway::scripted::Script;
use harness_gateway::wire::WIRES;
use harness_prices::PriceTable;

struct Printed;

impl Journal for Printed {
    fn ledger(&self, _: &Line) {}
    fn exchange(&self, record: ExchangeRecord) {
        println!("{}", serde_json::to_string(&record).unwrap_or_default());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which script?")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let tokens = arguments.next().map(|tokens| tokens.parse()).transpose()?;
    let target = if file.starts_with("http") {
        Target::Http {
            base_url: file,
            key: Some("real".to_owned()),
            key_from: "nowhere".to_owned(),
            key_header: None,
            headers: Vec::new(),
        }
    } else {
        Target::Script(Arc::new(Script::parse(&std::fs::read_to_string(&file)?, &file)?))
    };
    let upstream = Arc::new(Upstream::new(UpstreamSpec {
        name: "scripted".to_owned(),
        price_provider: "scripted".to_owned(),
        target,
        concurrency: 1024,
        patience: Patience::default(),
        timeouts: Timeouts::default(),
        drain: Duration::from_secs(20),
        old_cap_name: false,
        margin_percent: 0,
    })?);
    let gateway = Gateway::new(Parts {
        prices: PriceTable::bundled(),
        ledger: Ledger::new(Budgets { trial: Limits { tokens, ..Limits::default() }, ..Budgets::default() }),
        redactor: Redactor::new(None),
        journal: Arc::new(Printed),
    });
    let upstreams: BTreeMap<_, _> = WIRES.iter().map(|wire| (wire.name(), Arc::clone(&upstream))).collect();
    let listener = tokio::net::TcpListener::bind(address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    gateway.serve(listener, Access::Own(Arc::new(Caller::new("trial", "variant", upstreams)))).await;
    Ok(())
}
