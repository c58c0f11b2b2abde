//! One provider: where it is, its key, how patient we are with it, and how many requests it gets at once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Uri};

use super::address::joined;
use super::connections::{Connections, HttpProxy, Roots};
use super::faults::{Fault, FaultRates, Faults, Spoiled};
use super::flow::{Flow, Place};
use super::http::header;
use super::queue::Rates;
use super::retry::{self, Patience};
use super::source::Source;
use crate::scripted::{self, Script};
use crate::wire::{KeyHeader, Wire, replace_key};

/// Longest error body that is read to see what kind it is.
const ERROR_BYTES: usize = 1 << 20;

/// What answers.
#[derive(Clone)]
pub enum Target {
    /// A provider.
    Http {
        /// The beginning of its paths, such as `https://api.openai.com/v1`.
        base_url: String,
        /// The real key; `None` for servers that want none.
        key: Option<String>,
        /// Where the key comes from, for messages: `OPENAI_API_KEY`.
        key_from: String,
        /// Which header carries it, where it is not the wire's own.
        key_header: Option<KeyHeader>,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// A script.
    Script(Arc<Script>),
}

/// How long each part of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From there to the headers of the answer: some agents would wait for ever.
    pub headers: Duration,
    /// Between two pieces of its body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(15),
            headers: Duration::from_secs(300),
            idle: Duration::from_secs(180),
        }
    }
}

/// An upstream as it is set up.
#[derive(Clone)]
pub struct UpstreamSpec {
    /// Its name in settings and records.
    pub name: String,
    /// What price tables call it ([`harness_prices::provider_name`]); its own name when none knows it, so that only a price
    /// file for that name can price it.
    pub price_provider: String,
    /// What answers.
    pub target: Target,
    /// Requests at once.
    pub concurrency: usize,
    /// How long its failures are waited out.
    pub patience: Patience,
    /// How long each part of a request may take.
    pub timeouts: Timeouts,
    /// How long an answer is read on for its usage after its agent went away.
    pub drain: Duration,
    /// Whether it is another's server that speaks Chat Completions, and may know only the old name of the output cap.
    pub old_cap_name: bool,
    /// By how much its tokenizer counts more than ours, in hundredths: what estimates are raised by.
    pub margin_percent: u64,
}

/// What an upstream may have besides; nothing of it is needed.
#[derive(Debug, Clone, Default)]
pub struct UpstreamOptions {
    /// What it allows per minute.
    pub rates: Rates,
    /// Faults put in on purpose.
    pub faults: Option<FaultRates>,
    /// The HTTP proxy before it.
    pub proxy: Option<HttpProxy>,
    /// Who may vouch for it.
    pub roots: Roots,
}

/// How an upstream is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The last answer was one.
    Up,
    /// Nothing but failures for so long.
    Down(Duration),
    /// Trying again does not help; what it said.
    Refusing(String),
}

/// A provider, ready.
pub struct Upstream {
    pub(super) spec: UpstreamSpec,
    client: Connections,
    flow: Arc<Flow>,
    faults: Option<Faults>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    down_since: Option<Instant>,
    refusing: Option<String>,
    gave_up: bool,
}

/// What is sent.
pub(super) struct Outgoing<'a> {
    pub(super) wire: &'static dyn Wire,
    /// Whose request it is: trials take turns.
    pub(super) trial: &'a str,
    /// What it is estimated at, in tokens.
    pub(super) tokens: u64,
    /// The model, for services that have it in their address.
    pub(super) model: &'a str,
    /// Path and query as the agent sent them, without a key.
    pub(super) path: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Which faults of a script were played before, by turn.
    pub(super) faults: &'a Mutex<std::collections::HashMap<usize, u32>>,
}

/// What came back.
pub(super) struct Incoming {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) source: Source,
    pub(super) attempts: u32,
    /// Kept as long as the answer is read; a recording needs none.
    pub(super) permit: Option<Place>,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) timed_out: bool,
    /// Whether the last try may have been carried out, and charged, all the same.
    pub(super) maybe_charged: bool,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is inside.
        f.debug_struct("Upstream").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl Upstream {
    /// An upstream that nothing was sent to yet. Certificates are checked against the system's roots.
    ///
    /// # Errors
    /// The system's roots cannot be read.
    pub fn new(spec: UpstreamSpec) -> std::io::Result<Upstream> {
        Upstream::with_options(spec, UpstreamOptions::default())
    }

    /// The same, with rates, faults, a proxy, or roots of its own.
    ///
    /// # Errors
    /// The roots cannot be read, or the proxy's address is none.
    pub fn with_options(spec: UpstreamSpec, options: UpstreamOptions) -> std::io::Result<Upstream> {
        let is_tls =
            matches!(&spec.target, Target::Http { base_url, .. } if !base_url.starts_with("http://"));
        let client = Connections::new(is_tls, spec.timeouts.connect, options.proxy.as_ref(), &options.roots)?;
        let flow = Flow::new(spec.concurrency, options.rates);
        let faults = options.faults.map(Faults::new);
        Ok(Upstream { spec, client, flow, faults, state: Mutex::default() })
    }

    /// How it is doing. While it is down, trials need not be begun.
    pub fn health(&self) -> Health {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&state.refusing, state.down_since) {
            (Some(said), _) => Health::Refusing(said.clone()),
            (None, Some(since)) => Health::Down(since.elapsed()),
            (None, None) => Health::Up,
        }
    }

    /// Whether it has been down for longer than our patience: since then nothing was answered, and every request fails at once.
    pub fn has_outlasted_patience(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).gave_up
    }

    /// What price tables call its provider.
    pub fn price_provider(&self) -> &str {
        &self.spec.price_provider
    }

    /// Its name in settings and records.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Whether it is a script: simulated, no money spent.
    pub fn is_simulated(&self) -> bool {
        matches!(self.spec.target, Target::Script(_))
    }

    /// Sends, and sends again while that helps and our patience lasts. An answer may still be an error.
    pub(super) async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Incoming, Unanswered> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            // Waiting for a place is no failure of the upstream's.
            let permit = self.flow.enter(outgoing.trial, outgoing.tokens).await;
            let tried = self.try_with_faults(outgoing).await;
            let (message, asked, timed_out, maybe_charged) = match tried {
                Ok((status, headers, mut source)) if status >= 400 => {
                    let body = source.collect(ERROR_BYTES).await;
                    let passing = retry::is_passing(status, &body);
                    let asked = retry::asked(header(&headers, "retry-after"), SystemTime::now());
                    if !passing {
                        self.note_answer(status, &body);
                        let source =
                            Source::Script { frames: [body].into(), ending: scripted::Ending::Complete };
                        return Ok(Incoming { status, headers, source, attempts, permit: Some(permit) });
                    }
                    // What one is asked to wait for, all are.
                    if let Some(asked) = asked.filter(|asked| *asked <= self.spec.patience.outage) {
                        self.flow.hold(asked);
                    }
                    (format!("it answered with {status}"), asked, false, false)
                }
                Ok((status, headers, source)) => {
                    self.note_answer(status, b"");
                    return Ok(Incoming { status, headers, source, attempts, permit: Some(permit) });
                }
                Err(failed) => (failed.message, None, failed.timed_out, failed.sent),
            };
            // The place is another's while we wait.
            drop(permit);
            let name = &self.spec.name;
            let message = format!("the upstream {name} failed: {message}");
            let Some(wait) = self.note_failure(attempts, asked).filter(|_| !(timed_out && maybe_charged))
            else {
                return Err(Unanswered { message, attempts, timed_out, maybe_charged });
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_with_faults(&self, outgoing: &Outgoing<'_>) -> Result<(u16, HeaderMap, Source), Failed> {
        match self.faults.as_ref().and_then(Faults::draw) {
            None => self.try_once(outgoing).await,
            Some(Fault::Status(status)) => {
                let body =
                    format!("{{\"error\":{{\"message\":\"status {status} on purpose\"}}}}").into_bytes();
                let source = Source::Script { frames: [body].into(), ending: scripted::Ending::Complete };
                Ok((status, content_type("application/json"), source))
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                self.try_once(outgoing).await
            }
            Some(fault) => {
                let (status, headers, source) = self.try_once(outgoing).await?;
                Ok((
                    status,
                    headers,
                    Source::Spoiled { source: Box::new(source), spoiled: Spoiled::new(fault) },
                ))
            }
        }
    }

    async fn try_once(&self, outgoing: &Outgoing<'_>) -> Result<(u16, HeaderMap, Source), Failed> {
        match &self.spec.target {
            Target::Script(script) => {
                let faults = |turn: usize| {
                    let faults = outgoing.faults.lock().unwrap_or_else(PoisonError::into_inner);
                    faults.get(&turn).copied().unwrap_or(0)
                };
                let play = |faults_before: u32| {
                    scripted::play(
                        script,
                        &scripted::Request {
                            wire: outgoing.wire,
                            path: outgoing.path,
                            body: &outgoing.body,
                            faults_before,
                        },
                    )
                };
                // Which turn it is shows in the answer; whether its fault is over depends on the turn.
                let first = play(0);
                let before = first.turn.map_or(0, faults);
                let reply = if before == 0 { first } else { play(before) };
                if let (true, Some(turn)) = (reply.fault, reply.turn) {
                    let mut faults = outgoing.faults.lock().unwrap_or_else(PoisonError::into_inner);
                    *faults.entry(turn).or_default() += 1;
                }
                tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
                if reply.ending == scripted::Ending::Hang && reply.frames.is_empty() {
                    tokio::time::sleep(self.spec.timeouts.headers).await;
                    return Err(Failed {
                        message: "no headers came".to_owned(),
                        timed_out: true,
                        sent: true,
                    });
                }
                let headers = content_type(reply.content_type);
                let source = Source::Script { frames: reply.frames.into(), ending: reply.ending };
                Ok((reply.status, headers, source))
            }
            Target::Http { base_url, key, key_header, headers, .. } => {
                let request = request(outgoing, base_url, key.as_deref(), *key_header, headers)?;
                let answer = tokio::time::timeout(self.spec.timeouts.headers, self.client.request(request));
                let answer = match answer.await {
                    Err(_) => {
                        let told = format!("no headers came for {} s", self.spec.timeouts.headers.as_secs());
                        return Err(Failed { message: told, timed_out: true, sent: true });
                    }
                    Ok(Err(error)) => {
                        return Err(Failed {
                            sent: !error.is_connect(),
                            message: causes(&error),
                            timed_out: false,
                        });
                    }
                    Ok(Ok(answer)) => answer,
                };
                let (parts, body) = answer.into_parts();
                Ok((
                    parts.status.as_u16(),
                    parts.headers,
                    Source::Connection { body, idle: self.spec.timeouts.idle },
                ))
            }
        }
    }

    /// It answered; whether we may go on with it is another matter.
    fn note_answer(&self, status: u16, body: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.down_since = None;
        state.gave_up = false;
        let key_from = match &self.spec.target {
            Target::Http { key_from, .. } => key_from.as_str(),
            Target::Script(_) => "the script",
        };
        let name = &self.spec.name;
        state.refusing = match status {
            401 | 403 => Some(format!("the upstream {name} does not take the key of {key_from} ({status})")),
            402 | 429 => {
                Some(format!("the quota of {key_from} at the upstream {name} is exhausted ({status})"))
            }
            404 if memchr::memmem::find(body, b"model").is_some() => {
                Some(format!("the upstream {name} does not have the model (404)"))
            }
            _ => None,
        };
    }

    /// It failed: how long to wait, or not at all.
    fn note_failure(&self, attempts: u32, asked: Option<Duration>) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.down_since.get_or_insert_with(Instant::now);
        // Spreads callers; nothing depends on its quality.
        let luck = f64::from(since.elapsed().subsec_nanos() % 1000) / 1000.0;
        let wait = self.spec.patience.next(attempts, since.elapsed(), asked, luck);
        state.gave_up |= wait.is_none();
        wait
    }
}

/// Why one try failed.
struct Failed {
    message: String,
    timed_out: bool,
    /// Whether the request may have arrived.
    sent: bool,
}

fn request(
    outgoing: &Outgoing<'_>,
    base_url: &str,
    key: Option<&str>,
    key_header: Option<KeyHeader>,
    further: &[(String, String)],
) -> Result<Request<Full<Bytes>>, Failed> {
    let failed = |message: String| Failed { message, timed_out: false, sent: false };
    let uri: Uri = joined(base_url, outgoing.path, outgoing.model)
        .parse()
        .map_err(|error| failed(format!("{base_url} is no address: {error}")))?;
    let mut headers = outgoing.headers.clone();
    let header = key_header.unwrap_or(outgoing.wire.key_header());
    replace_key(&mut headers, header, key)
        .map_err(|_| failed(format!("the value of the header {} cannot be sent", header.name)))?;
    for (name, value) in further {
        // What is no header cannot be sent, and a secret must not be shown.
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(failed(format!("the value of the header {name} cannot be sent")));
        };
        headers.insert(name, value);
    }
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn content_type(kind: &'static str) -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect()
}

/// An error with its causes: the outermost alone says only that something failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
