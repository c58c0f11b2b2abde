//! Through a real gateway on loopback: its key, its budget, its count.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use harness_agent::Fault;
use harness_agent::client::{Http, HttpExchange};
use harness_core::AgentExit;
use harness_gateway::budget::{Budgets, Ledger, Limits, Line, Scope};
use harness_gateway::proxy::{
    Access, Caller, ExchangeRecord, Gateway, Journal, Parts, Patience, Target, Timeouts, Upstream,
    UpstreamSpec,
};
use harness_gateway::redact::Redactor;
use harness_gateway::scripted::Script;
use harness_gateway::wire::WIRES;
use harness_prices::PriceTable;

use crate::support::{Piece, run, sandbox};

const SCRIPT: &str = r#"
[price]
input = 1.0
output = 5.0
cache_read = 0.1

[[turn]]
say = "I look."
run = "true"
usage = { input = 1000, cache_read = 500, output = 100 }

[[turn]]
fault = { status = 529, times = 2 }
run = "date +%N"
usage = { input = 1000, cache_read = 500, output = 100 }

[[turn]]
finish = "x"
usage = { input = 1000, output = 100 }
"#;

#[derive(Default)]
struct Kept(Mutex<Vec<ExchangeRecord>>);

impl Journal for Kept {
    fn ledger(&self, _: &Line) {}
    fn exchange(&self, record: ExchangeRecord) {
        self.0.lock().unwrap().push(record);
    }
}

struct Room {
    gateway: Arc<Gateway>,
    kept: Arc<Kept>,
    address: String,
    serving: tokio::task::JoinHandle<()>,
}

async fn room(target: Target, limits: Limits) -> Room {
    let script = Script::parse(SCRIPT, "s").unwrap();
    let prices = PriceTable::bundled().with_layer(script.price("scripted", "m").unwrap().unwrap());
    let upstream = Arc::new(
        Upstream::new(UpstreamSpec {
            name: "scripted".to_owned(),
            price_provider: "scripted".to_owned(),
            target,
            concurrency: 64,
            patience: Patience {
                outage: Duration::from_secs(2),
                first: Duration::from_millis(20),
                longest: Duration::from_millis(200),
            },
            timeouts: Timeouts::default(),
            drain: Duration::from_secs(5),
            old_cap_name: false,
            margin_percent: 0,
        })
        .unwrap(),
    );
    let kept = Arc::new(Kept::default());
    let gateway = Gateway::new(Parts {
        prices,
        ledger: Ledger::new(Budgets { trial: limits, ..Budgets::default() }),
        redactor: Redactor::new(None),
        journal: Arc::clone(&kept) as Arc<dyn Journal>,
    });
    let upstreams: BTreeMap<_, _> = WIRES.iter().map(|wire| (wire.name(), Arc::clone(&upstream))).collect();
    let callers = HashMap::from([("k".to_owned(), Arc::new(Caller::new("t", "v", upstreams)))]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving =
        tokio::spawn(Arc::clone(&gateway).serve(listener, Access::Keys(Arc::new(RwLock::new(callers)))));
    Room { gateway, kept, address, serving }
}

fn way(address: &str, key: &str) -> Arc<HttpExchange> {
    Arc::new(HttpExchange::new(Arc::new(Http::default()), address, key).unwrap())
}

fn scripted() -> Target {
    Target::Script(Arc::new(Script::parse(SCRIPT, "s").unwrap()))
}

#[test]
fn what_the_core_counts_is_what_the_gateway_counts_on_every_wire() {
    run(async {
        for wire in WIRES {
            let Some(sandbox) = sandbox("what_the_core_counts").await else { return };
            let room = room(scripted(), Limits::default()).await;
            let piece = Piece { wire: wire.name(), ..Piece::new(&*sandbox, way(&room.address, "k")) };
            let report = piece.work().await.report.unwrap();
            assert_eq!(report.exit, AgentExit::Finished);
            let usage = report.usage;
            assert_eq!(
                (usage.requests, usage.uncached_input_tokens, usage.cache_read_tokens),
                (Some(3), Some(3000), Some(1000))
            );
            assert_eq!((usage.output_tokens, usage.total()), (Some(300), Some(4300)));
            let spent = room.gateway.ledger().spent(&Scope::Trial("t".into()));
            assert_eq!((spent.tokens, spent.requests), (4300, 3), "{wire:?}");
            // 3000 at 1, 1000 at 0.1, 300 at 5 dollars a million.
            assert_eq!(spent.nano_usd, 4_600_000);
            assert_eq!(room.kept.0.lock().unwrap().len(), 3);
            room.serving.abort();
        }
    });
}

#[test]
fn a_budget_of_the_gateways_ends_it_and_a_wrong_key_or_a_dead_upstream_is_no_ones_fault_here() {
    run(async {
        let Some(sandbox) = sandbox("a_budget_of_the_gateways").await else { return };
        for wire in WIRES {
            let tight = room(scripted(), Limits { requests: Some(2), ..Limits::default() }).await;
            let piece = Piece { wire: wire.name(), ..Piece::new(&*sandbox, way(&tight.address, "k")) };
            let report = piece.work().await.report.unwrap();
            assert_eq!((report.exit, report.steps), (AgentExit::Budget, 2), "{}", report.reason);
            assert!(report.reason.contains("budget of 2 requests"), "{}", report.reason);
            let outcome = Piece { wire: wire.name(), ..Piece::new(&*sandbox, way(&tight.address, "other")) }
                .work()
                .await;
            assert!(matches!(outcome.report, Err(Fault::Upstream(_))), "{wire:?}: {:?}", outcome.report);
            tight.serving.abort();
        }
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let gone = Target::Http {
            base_url: format!("http://{closed}/v1"),
            key: None,
            key_from: "nowhere".into(),
            key_header: None,
            headers: Vec::new(),
        };
        let away = room(gone, Limits::default()).await;
        let outcome = Piece::new(&*sandbox, way(&away.address, "k")).work().await;
        assert!(matches!(outcome.report, Err(Fault::Upstream(_))), "{:?}", outcome.report);
        assert!(HttpExchange::new(Arc::new(Http::default()), "https://api.openai.com", "k").is_err());
        away.serving.abort();
    });
}
