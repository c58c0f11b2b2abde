//! What tests of the proxy share: a gateway on loopback with what it wrote, a client, and a provider of a few bytes.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "each test file uses a part of it"
)]

pub use std::collections::{BTreeMap, HashMap};
pub use std::sync::{Arc, Mutex, RwLock};
pub use std::time::Duration;

pub use bytes::Bytes;
pub use harness_core::{NanoUsd, UsageSource};
pub use harness_gateway::budget::{Amounts, Budgets, Ledger, Limits, Line, Recovered, Scope};
pub use harness_gateway::proxy::{
    Access, Caller, Ended, ExchangeRecord, Gateway, Health, Journal, Parts, Patience, Target, Timeouts,
    Upstream, UpstreamSpec,
};
pub use harness_gateway::redact::Redactor;
pub use harness_gateway::scripted::Script;
pub use harness_gateway::wire::WIRES;
pub use harness_prices::PriceTable;
pub use http_body_util::{BodyExt as _, Full};
pub use hyper::Request;
pub use hyper_util::client::legacy::Client;
pub use hyper_util::rt::TokioExecutor;
pub use serde_json::{Value, json};
pub use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
pub use tokio::net::{TcpListener, TcpStream};

pub const REAL_KEY: &str = "sk-real+key/1234567890";
pub const SCRIPT: &str = r#"
[price]
input = 1.0
cache_read = 0.1
output = 5.0

[[turn]]
say = "I look around first, and say so at some length, so that there is something to stream."
run = "ls -la"
usage = { input = 594, cache_read = 509, output = 211, reasoning = 97 }
"#;

#[derive(Default)]
pub struct Kept {
    pub lines: Mutex<Vec<Line>>,
    pub records: Mutex<Vec<ExchangeRecord>>,
}

impl Journal for Kept {
    fn ledger(&self, line: &Line) {
        self.lines.lock().unwrap().push(line.clone());
    }
    fn exchange(&self, record: ExchangeRecord) {
        self.records.lock().unwrap().push(record);
    }
}

impl Kept {
    pub fn records(&self) -> Vec<ExchangeRecord> {
        self.records.lock().unwrap().clone()
    }

    /// The records, once there are so many.
    pub async fn wait(&self, count: usize) -> Vec<ExchangeRecord> {
        for _ in 0..500 {
            if self.records().len() >= count {
                return self.records();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("only {} records after ten seconds", self.records().len());
    }
}

pub fn spec(target: Target) -> UpstreamSpec {
    UpstreamSpec {
        name: "up".to_owned(),
        price_provider: "scripted".to_owned(),
        target,
        concurrency: 64,
        patience: Patience {
            outage: Duration::from_millis(600),
            first: Duration::from_millis(20),
            longest: Duration::from_millis(100),
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            headers: Duration::from_secs(1),
            idle: Duration::from_secs(1),
        },
        drain: Duration::from_secs(5),
        old_cap_name: false,
        margin_percent: 0,
    }
}

pub fn script(text: &str) -> UpstreamSpec {
    spec(Target::Script(Arc::new(Script::parse(text, "script").unwrap())))
}

pub fn http(base_url: &str) -> UpstreamSpec {
    spec(Target::Http {
        base_url: base_url.to_owned(),
        key: Some(REAL_KEY.to_owned()),
        key_from: "TEST_API_KEY".to_owned(),
        key_header: None,
        headers: vec![("x-extra".to_owned(), "1".to_owned())],
    })
}

pub struct Room {
    pub gateway: Arc<Gateway>,
    pub kept: Arc<Kept>,
    pub upstream: Arc<Upstream>,
}

impl Room {
    pub fn new(spec: UpstreamSpec, budgets: Budgets) -> Room {
        let kept = Arc::new(Kept::default());
        let prices = PriceTable::bundled();
        let layer = Script::parse(SCRIPT, "s").unwrap().price("scripted", "asked").unwrap().unwrap();
        let gateway = Gateway::new(Parts {
            prices: prices.with_layer(layer),
            ledger: Ledger::new(budgets),
            redactor: Redactor::new([REAL_KEY.as_bytes()]),
            journal: Arc::clone(&kept) as Arc<dyn Journal>,
        });
        Room { gateway, kept, upstream: Arc::new(Upstream::new(spec).unwrap()) }
    }

    pub fn caller(&self, trial: &str) -> Arc<Caller> {
        Arc::new(self.plain_caller(trial))
    }

    pub fn plain_caller(&self, trial: &str) -> Caller {
        let upstreams: BTreeMap<_, _> =
            WIRES.iter().map(|wire| (wire.name(), Arc::clone(&self.upstream))).collect();
        Caller::new(trial, "v", upstreams)
    }

    /// Its address for a trial of its own.
    pub async fn listen(&self, trial: &str) -> String {
        self.listen_with(Access::Own(self.caller(trial))).await
    }

    pub async fn listen_with(&self, access: Access) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&self.gateway).serve(listener, access));
        format!("http://{address}")
    }
}

pub struct Got {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub broken: bool,
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub async fn send(address: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Got {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::post(format!("{address}{path}")).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let (parts, mut body) = answer.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let (mut all, mut broken) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Got { status: parts.status.as_u16(), headers, body: all, broken }
}

pub async fn post(address: &str, path: &str, body: &Value) -> Got {
    send(address, path, &[("authorization", "Bearer virtual")], body.to_string().into_bytes()).await
}

/// A request on each wire, streamed or not, of an agent with a shell.
pub fn request(wire: &str, stream: bool) -> (&'static str, Value) {
    let schema =
        json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]});
    match wire {
        "openai" => (
            "/v1/responses",
            json!({"model": "asked", "stream": stream, "input": "hello",
            "tools": [{"type": "function", "name": "bash", "parameters": schema}]}),
        ),
        "openai-chat" => (
            "/v1/chat/completions",
            json!({"model": "asked", "stream": stream,
            "messages": [{"role": "user", "content": "hello"}],
            "tools": [{"type": "function", "function": {"name": "bash", "parameters": schema}}]}),
        ),
        "anthropic" => (
            "/v1/messages",
            json!({"model": "asked", "stream": stream, "max_tokens": 4000,
            "messages": [{"role": "user", "content": "hello"}], "tools": [{"name": "bash", "input_schema": schema}]}),
        ),
        _ => (
            if stream {
                "/v1beta/models/asked:streamGenerateContent?alt=sse"
            } else {
                "/v1beta/models/asked:generateContent"
            },
            json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}],
                "tools": [{"functionDeclarations": [{"name": "bash", "parameters": schema}]}]}),
        ),
    }
}

pub fn tokens(limit: u64) -> Limits {
    Limits { tokens: Some(limit), ..Limits::default() }
}

/// A provider of a few bytes: answers every connection's first request with these, and keeps what it was sent.
pub async fn provider(answers: Vec<Vec<u8>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answers[at.min(answers.len() - 1)].clone();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 64 << 10];
                // Until the end of the body that its length tells.
                loop {
                    let read = stream.read(&mut buffer).await.unwrap_or(0);
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let length = text
                        .to_lowercase()
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
                    let whole = text
                        .find("\r\n\r\n")
                        .is_some_and(|head| request.len() >= head + 4 + length.unwrap_or(0));
                    if whole || read == 0 {
                        kept.lock().unwrap().push(text);
                        break;
                    }
                }
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, seen)
}

pub fn http_answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}
