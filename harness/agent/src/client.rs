//! Asking a model: bytes out, an answer in the words of [`crate::wires`] back, and what went wrong in terms of what to do about it.
//!
//! The other end is the gateway, which has tried again, waited and counted already; what it finally says is final here too. Only
//! an answer that broke off in the middle is worth asking for again, because the gateway cannot take back what it passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use harness_gateway::meter::Framing;
use harness_gateway::stream::sse::{DataSink, SseReader};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::wires::{Dialect, Heard, Prompt, Unread};

/// Largest answer that is read.
const MAX_ANSWER: u64 = 32 << 20;
/// Most of an error's body that is looked at.
const MAX_ERROR: u64 = 64 << 10;
/// Until the first byte of an answer: the gateway waits out a provider's outages.
const FIRST: Duration = Duration::from_secs(900);
/// Between two pieces of one: longer than the gateway waits itself.
const IDLE: Duration = Duration::from_secs(300);

/// Carries a request to where models are asked. In tests a few canned bytes.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// Sends one request and returns when its answer begins.
    ///
    /// # Errors
    /// A sentence: nobody is there.
    async fn send(&self, outgoing: Outgoing) -> Result<Incoming, String>;
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Path and query.
    pub path: String,
    /// The header that carries the key, and what stands before the key in it.
    pub key_header: (&'static str, &'static str),
    /// What the request is for, where it is not the work itself.
    pub label: Option<&'static str>,
    /// JSON.
    pub body: Bytes,
}

/// An answer that begins.
pub struct Incoming {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// Its body.
    pub pieces: Box<dyn Pieces>,
}

/// A body as it comes.
#[async_trait]
pub trait Pieces: Send {
    /// The next piece; `None` at the end, `Err` when it was cut.
    async fn next(&mut self) -> Option<Result<Bytes, String>>;
}

/// A model that can be asked.
#[derive(Clone)]
pub struct Model {
    /// The wire.
    pub dialect: &'static dyn Dialect,
    /// As the provider calls it.
    pub name: String,
    /// The way there.
    pub exchange: Arc<dyn Exchange>,
}

/// An answer, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What was said.
    pub heard: Heard,
    /// Bytes of the request.
    pub sent: usize,
    /// Bytes of the answer.
    pub received: u64,
    /// How long it took.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A budget is spent: asking again gets the same.
    #[error("{0}")]
    Budget(String),
    /// The conversation does not fit into the model's window.
    #[error("the conversation does not fit into the model's window: {0}")]
    Overflow(String),
    /// The request itself was refused.
    #[error("the model refused the request ({status}): {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// What was said.
        message: String,
    },
    /// The provider is away, or does not know us: nobody's fault here.
    #[error("the model cannot be reached: {0}")]
    Away(String),
    /// The answer broke off or cannot be read; another try may do.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// The answer is longer than anybody reads.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLarge,
}

impl Model {
    /// Asks once. `label` names what the request is for in the gateway's records, `heard_something` is called whenever a piece comes.
    ///
    /// # Errors
    /// [`ModelError`], sorted by what can be done.
    pub async fn ask(
        &self,
        body: &Bytes,
        label: Option<&'static str>,
        heard_something: &(dyn Fn() + Sync),
    ) -> Result<Asked, ModelError> {
        let began = Instant::now();
        let sent = body.len();
        let path = self.dialect.path(&self.name);
        let outgoing = Outgoing { path, key_header: self.dialect.key_header(), label, body: body.clone() };
        let incoming = tokio::time::timeout(FIRST, self.exchange.send(outgoing)).await;
        let mut incoming = match incoming {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(message)) => return Err(ModelError::Away(message)),
            Err(_) => return Err(ModelError::Away(format!("no answer for {} s", FIRST.as_secs()))),
        };
        heard_something();
        if incoming.status >= 400 {
            let body = collect(&mut *incoming.pieces, MAX_ERROR).await;
            return Err(refusal(self.dialect.name(), incoming.status, &body));
        }
        let mut reading =
            Reading { dialect: self.dialect, unread: Unread::default(), event: Vec::new(), strange: 0 };
        let framing = Framing::of(true, incoming.content_type.as_deref());
        let mut events = SseReader::default();
        let mut received = 0_u64;
        let mut cut = None;
        loop {
            let piece = match tokio::time::timeout(IDLE, incoming.pieces.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(message))) => {
                    cut = Some(message);
                    break;
                }
                Err(_) => return Err(ModelError::Broken(format!("silence for {} s", IDLE.as_secs()))),
            };
            heard_something();
            received += piece.len() as u64;
            if received > MAX_ANSWER {
                return Err(ModelError::TooLarge);
            }
            match framing {
                Framing::Events => events.push(&piece, &mut reading),
                Framing::Whole => reading.data(&piece),
            }
        }
        let heard = reading.finish(framing, events, cut)?;
        Ok(Asked { heard, sent, received, took: began.elapsed() })
    }

    /// The request for a prompt.
    pub fn body(&self, prompt: &Prompt<'_>) -> Vec<u8> {
        self.dialect.body(prompt).to_string().into_bytes()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.dialect.name(), self.name)
    }
}

struct Reading {
    dialect: &'static dyn Dialect,
    unread: Unread,
    event: Vec<u8>,
    strange: u32,
}

/// Reads an answer that was kept: as it came, unpacked.
pub(crate) fn whole(
    dialect: &'static dyn Dialect,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Heard, ModelError> {
    let mut reading = Reading { dialect, unread: Unread::default(), event: Vec::new(), strange: 0 };
    // What was asked for is not known any more; what it calls itself, or how it begins, is.
    let begins = body.trim_ascii_start();
    let streams = begins.starts_with(b"data:") || begins.starts_with(b"event:");
    let framing = if streams { Framing::Events } else { Framing::of(false, content_type) };
    let mut events = SseReader::default();
    match framing {
        Framing::Events => events.push(body, &mut reading),
        Framing::Whole => reading.data(body),
    }
    reading.finish(framing, events, None)
}

impl Reading {
    /// The answer is over.
    fn finish(
        mut self,
        framing: Framing,
        mut events: SseReader,
        cut: Option<String>,
    ) -> Result<Heard, ModelError> {
        match framing {
            Framing::Events => events.finish(&mut self),
            Framing::Whole => self.end(),
        }
        let Unread { document, complete, failed } = self.unread;
        if let Some(message) = failed {
            return Err(in_stream(message));
        }
        if !complete {
            let why = cut.unwrap_or_else(|| match self.strange {
                0 => "it ended before its end".to_owned(),
                strange => format!("{strange} of its events are no JSON"),
            });
            return Err(ModelError::Broken(why));
        }
        Ok(self.dialect.read(document))
    }
}

impl DataSink for Reading {
    fn data(&mut self, piece: &[u8]) {
        self.event.extend_from_slice(piece);
    }

    fn end(&mut self) {
        let event = std::mem::take(&mut self.event);
        if event == b"[DONE]" {
            return;
        }
        // What is no UTF-8 is replaced: half a letter is no reason to lose an answer.
        match serde_json::from_str::<Value>(&String::from_utf8_lossy(&event)) {
            Ok(event @ (Value::Object(_) | Value::Array(_))) => self.dialect.fold(&mut self.unread, event),
            _ => self.strange += 1,
        }
    }
}

async fn collect(pieces: &mut dyn Pieces, limit: u64) -> String {
    let mut all = Vec::new();
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(IDLE, pieces.next()).await {
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(all.len());
        all.extend_from_slice(&piece[..piece.len().min(room)]);
        if room == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// What a refused request means. The forms of a spent budget are the gateway's own, one for each wire.
fn refusal(wire: &str, status: u16, body: &str) -> ModelError {
    let document: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &document["error"];
    let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let message: String = match error.get("message").and_then(Value::as_str) {
        Some(message) => message.chars().take(500).collect(),
        None => body.chars().take(500).collect(),
    };
    let spent = match (wire, status) {
        ("openai", 429) => word("code") == "insufficient_quota",
        ("openai-chat", 401) => word("code") == "trial_budget_exhausted",
        ("anthropic", 402) => word("type") == "billing_error",
        ("google", 403) => word("status") == "PERMISSION_DENIED",
        _ => false,
    };
    // A provider's own quota has the same form: what our budgets say names them.
    if spent && (message.contains("budget") || message.contains("'s time of")) {
        return ModelError::Budget(message);
    }
    if is_overflow(status, &message, word("code")) {
        return ModelError::Overflow(message);
    }
    match status {
        401..=404 | 429 | 407 | 408 | 500..=599 => ModelError::Away(format!("{status}: {message}")),
        _ => ModelError::Rejected { status, message },
    }
}

fn is_overflow(status: u16, message: &str, code: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    let said = [
        "context length",
        "context window",
        "prompt is too long",
        "maximum number of tokens",
        "too many tokens",
        "input is too long",
        "exceeds the limit of tokens",
        "exceeds the maximum",
    ];
    status == 413
        || code == "context_length_exceeded"
        || (status == 400 && said.iter().any(|words| lower.contains(words)))
}

/// An error in the middle of an answer, after the status said that all was well.
fn in_stream(message: String) -> ModelError {
    let lower = message.to_ascii_lowercase();
    if is_overflow(400, &message, "") || lower.contains("context_length_exceeded") {
        return ModelError::Overflow(message);
    }
    if lower.contains("insufficient_quota") {
        return ModelError::Away(message);
    }
    ModelError::Broken(message)
}

/// The way to a gateway: plain HTTP, connections kept. One value serves many trials; what differs is the key.
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// One trial's way through it.
pub struct HttpExchange {
    http: Arc<Http>,
    base_url: String,
    key: String,
}

impl Default for Http {
    fn default() -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(15)));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(Duration::from_secs(60)).pool_timer(TokioTimer::new());
        Http { client: builder.build(connector) }
    }
}

impl HttpExchange {
    /// The way to the gateway at this address, such as `http://127.0.0.1:4000`, with a key that it knows.
    ///
    /// # Errors
    /// A sentence, for an address that is not a plain one: real providers are reached through a gateway alone, which counts.
    pub fn new(http: Arc<Http>, base_url: &str, key: &str) -> Result<HttpExchange, String> {
        if !base_url.starts_with("http://") {
            return Err(format!("{base_url:?} is no address of a gateway: it must begin with http://"));
        }
        Ok(HttpExchange { http, base_url: base_url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }
}

#[async_trait]
impl Exchange for HttpExchange {
    async fn send(&self, outgoing: Outgoing) -> Result<Incoming, String> {
        let (name, prefix) = outgoing.key_header;
        let request = Request::post(format!("{}{}", self.base_url, outgoing.path))
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
            .header("user-agent", concat!("harness-core/", env!("CARGO_PKG_VERSION")))
            .header(name, format!("{prefix}{}", self.key));
        let request =
            outgoing.label.iter().fold(request, |request, label| request.header("x-harness-label", *label));
        let request = request
            .body(Full::new(outgoing.body))
            .map_err(|error| format!("the request cannot be made: {error}"))?;
        let response = self.http.client.request(request).await.map_err(|error| {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        })?;
        let content_type = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        Ok(Incoming {
            status: response.status().as_u16(),
            content_type: content_type.map(str::to_owned),
            pieces: Box::new(HttpPieces(response.into_body())),
        })
    }
}

struct HttpPieces(hyper::body::Incoming);

#[async_trait]
impl Pieces for HttpPieces {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            match self.0.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_tells_a_budget_from_a_providers_quota_and_a_full_window() {
        use harness_gateway::wire::{ErrorKind, WIRES};
        for wire in WIRES {
            let spent = wire.error(ErrorKind::BudgetExhausted, "the trial's budget of 9 tokens has no room");
            assert!(
                matches!(refusal(wire.name(), spent.status, &spent.body), ModelError::Budget(_)),
                "{wire:?}"
            );
            for kind in [
                ErrorKind::UpstreamFailed,
                ErrorKind::UpstreamTimeout,
                ErrorKind::Unauthorized,
                ErrorKind::NotFound,
            ] {
                let away = wire.error(kind, "gone");
                assert!(
                    matches!(refusal(wire.name(), away.status, &away.body), ModelError::Away(_)),
                    "{wire:?}"
                );
            }
            let bad = wire.error(ErrorKind::BadRequest, "no such parameter");
            assert!(matches!(refusal(wire.name(), bad.status, &bad.body), ModelError::Rejected { .. }));
            let full =
                wire.error(ErrorKind::BadRequest, "Prompt is too long: 210000 tokens > 200000 maximum");
            assert!(matches!(refusal(wire.name(), full.status, &full.body), ModelError::Overflow(_)));
        }
        let quota = r#"{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}"#;
        assert!(matches!(refusal("openai", 429, quota), ModelError::Away(_)));
    }
}
