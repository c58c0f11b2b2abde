//! One request from its first byte to its record: read, reserve, forward, meter, settle.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming as Body;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response};

use harness_prices::{Served, ServiceTier};

use super::body::AnswerBody;
use super::detached::Detached;
use super::feeder::Feeder;
use super::http::{counted, header, listed, plain, read_body, respond, set, upgrade_required};
use super::record::{Ended, ExchangeRecord};
use super::server::Access;
use super::settlement::Settlement;
use super::upstream::{Incoming, Outgoing, Target, Unanswered, Upstream};
use super::{Caller, Gateway, day_of, millis, now_ms};
use crate::budget::{Ask, Grant, Verdict, WorstRates};
use crate::meter::{Framing, Meter};
use crate::recording::{Cost, Ending, Mode};
use crate::stream::decode::Encoding;
use crate::wire::{
    ErrorAnswer, ErrorKind, Operation, ReadRequest, RequestFacts, Route, UsageStripper, Wire, Wish, by_name,
    recognise, without_key,
};

/// Longest error body passed on.
const ERROR_BYTES: usize = 1 << 20;
/// What a model's longest answer is taken for where no table says.
const DEFAULT_OUTPUT: u64 = 32_000;
/// How much longer than estimated a prompt may turn out, in hundredths, when it is near a dearer context tier.
const TIER_MARGIN: u64 = 130;
/// How often a request that waits for others looks again, should it have missed them.
const WAIT_STEP: Duration = Duration::from_millis(250);

/// What an agent may call a request: a phase of its own, or a sub-agent. For the record alone; never forwarded.
const LABEL: &str = "x-harness-label";
/// Longest label that is kept.
const LABEL_CHARS: usize = 100;

/// Headers that belong to one connection, or that we set ourselves. Without `accept-encoding` answers come as they are, so
/// that they can be read as they pass.
const DROPPED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "host",
    "content-length",
    "content-encoding",
    "accept-encoding",
    "expect",
    LABEL,
];
/// The same of answers; their encoding stays what it is.
const DROPPED_OF_ANSWERS: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade"];

/// An answer to whatever was asked.
pub(super) async fn answer(
    gateway: Arc<Gateway>,
    access: &Access,
    request: Request<Body>,
) -> Response<AnswerBody> {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // Some agents try a WebSocket first, and fall back at once when told so.
    if header(&headers, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
        return upgrade_required();
    }
    let Some((wire, route)) = recognise(method.as_str(), &path) else {
        let wire = by_name("openai").expect("the list has it");
        return plain(wire.error(ErrorKind::NotFound, "this gateway has no such path"));
    };
    let Some(caller) = access.caller(&headers, &path) else {
        return plain(wire.error(ErrorKind::Unauthorized, "the key is not one of this gateway's"));
    };
    let Some(upstream) = caller.upstreams.get(wire.name()).cloned() else {
        return plain(wire.error(ErrorKind::NotFound, "no model is set up for this API"));
    };
    if route.operation == Operation::Models {
        let body = serde_json::json!({"object": "list", "data": [], "models": []}).to_string();
        return plain(ErrorAnswer { status: 200, headers: vec![("content-type", "application/json")], body });
    }
    let here = Arc::new(());
    let agent = Arc::downgrade(&here);
    let exchange =
        Exchange { gateway, caller, upstream, wire, route, path, headers, agent, begun: Instant::now() };
    match read_body(body, &exchange.headers).await {
        // When the agent goes away this future is dropped, but what was forwarded is answered and charged all the same.
        Ok(body) => Detached::new(exchange.run(body)).await.unwrap_or_else(|| {
            plain(wire.error(ErrorKind::UpstreamFailed, "the gateway failed; its log says why"))
        }),
        Err(kind) => plain(wire.error(kind, "the body cannot be read, or is larger than 64 MB")),
    }
}

pub(super) struct Exchange {
    pub(super) gateway: Arc<Gateway>,
    pub(super) caller: Arc<Caller>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) wire: &'static dyn Wire,
    pub(super) route: Route,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    /// Alive as long as the agent's connection waits for the answer.
    pub(super) agent: Weak<()>,
    pub(super) begun: Instant,
}

impl Exchange {
    pub(super) async fn run(self, body: Bytes) -> Response<AnswerBody> {
        if self.route.operation == Operation::CountTokens {
            return self.count_tokens(body).await;
        }
        let mut record = ExchangeRecord {
            trial: self.caller.trial.clone(),
            request: self.caller.next_request(),
            at_ms: now_ms(),
            wire: self.wire.name().to_owned(),
            upstream: self.upstream.spec.name.clone(),
            simulated: self.upstream.is_simulated(),
            label: header(&self.headers, LABEL).map(|label| label.chars().take(LABEL_CHARS).collect()),
            request_bytes: body.len() as u64,
            ..ExchangeRecord::default()
        };
        let read = match ReadRequest::read(self.wire, &self.route, &body) {
            Ok(read) if read.facts.background => {
                return self.bad(record, "answers cannot be fetched later through this gateway");
            }
            Ok(read) => read,
            Err(bad) => return self.bad(record, &bad.to_string()),
        };
        record.model.clone_from(&read.facts.model);
        record.stream = read.facts.stream;
        let ask = self.ask(&read.facts, &body);
        record.estimated_input = ask.input;
        let grant = match self.reserve(ask).await {
            Ok(grant) => grant,
            Err(refusal) => {
                record.ended = Ended::Refused;
                record.budget = Some(refusal.scope.kind().to_owned());
                let message = refusal.message();
                return self.refused(record, ErrorKind::BudgetExhausted, &message);
            }
        };
        record.lowered_cap = grant.output_cap;
        record.budget = grant.lowered_by.as_ref().map(|scope| scope.kind().to_owned());
        let asks_usage = self.wire.name() == "openai-chat" && read.facts.stream && !read.facts.stream_usage;
        let wish = Wish {
            output_cap: grant.output_cap,
            stream_usage: asks_usage,
            old_cap_name: self.upstream.spec.old_cap_name,
        };
        let mut settlement = Settlement {
            gateway: Arc::clone(&self.gateway),
            upstream: Arc::clone(&self.upstream),
            grant: Some(grant),
            record,
            asked_tier: read.facts.tier.clone(),
            begun: self.begun,
            tape: None,
            ending: Ending::Complete,
            kept: None,
        };
        if self.agent.strong_count() == 0 {
            // It went away while its request waited for others: nothing is forwarded for nobody.
            settlement.record.ended = Ended::AgentLeft;
            settlement.release();
            return respond(499, AnswerBody::whole(Bytes::new()));
        }
        match self.play(&read.facts.model, read.facts.stream, &body).await {
            Some(Ok(played)) => return self.replay(played, settlement, asks_usage).await,
            Some(Err(miss)) => return self.missed(settlement, &miss),
            None => {}
        }
        settlement.tape = self.tape(&settlement.record, &body).await;
        let outgoing = Outgoing {
            wire: self.wire,
            trial: &self.caller.trial,
            tokens: settlement.record.estimated_input,
            model: &read.facts.model,
            path: &without_key(&self.path),
            headers: self.forwarded_headers(),
            body: if wish == Wish::default() { body.clone() } else { Bytes::from(read.edited(&wish)) },
            faults: &self.caller.faults,
        };
        match self.upstream.send(&outgoing).await {
            Err(unanswered) => self.unanswered(&unanswered, settlement),
            Ok(incoming) if incoming.status >= 400 => self.upstream_error(incoming, settlement).await,
            Ok(incoming) => self.pass_on(incoming, settlement, asks_usage),
        }
    }

    pub(super) fn unanswered(
        &self,
        unanswered: &Unanswered,
        mut settlement: Settlement,
    ) -> Response<AnswerBody> {
        let kind = if unanswered.timed_out { ErrorKind::UpstreamTimeout } else { ErrorKind::UpstreamFailed };
        settlement.record.attempts = unanswered.attempts;
        let message = self.gateway.redactor.redact_text(&unanswered.message);
        settlement.unanswered(&message, unanswered.timed_out, unanswered.maybe_charged);
        plain(self.wire.error(kind, &message))
    }

    /// Whether the answer comes from a script or a recording.
    fn spends_nothing(&self) -> bool {
        let plays = self.caller.player.as_ref().is_some_and(|player| player.mode() != Mode::Passthrough);
        plays || self.upstream.is_simulated()
    }

    /// What the request asks of the budgets.
    fn ask(&self, facts: &RequestFacts, body: &[u8]) -> Ask {
        let counted = self.caller.counter.lock().unwrap_or_else(PoisonError::into_inner).request(body);
        let input = counted.saturating_mul(100 + self.upstream.spec.margin_percent) / 100;
        let now_ms = now_ms();
        let served = Served {
            provider: Some(&self.upstream.spec.price_provider),
            model: &facts.model,
            tier: ServiceTier::parse(facts.tier.as_deref().unwrap_or_default()),
            at_ms: now_ms,
        };
        let prices = &self.gateway.prices;
        let worst = |input| Some(WorstRates::of(&prices.rates(&served, input)?, facts.long_cache));
        let rates = worst(input).map(|rates| {
            worst(input.saturating_mul(TIER_MARGIN) / 100).map_or(rates, |longer| rates.or(longer))
        });
        Ask {
            trial: self.caller.trial.clone(),
            variant: self.caller.variant.clone(),
            // What a script or a recording says costs nobody anything: it is no day's spending.
            day: if self.spends_nothing() { String::new() } else { day_of(now_ms) },
            now_ms,
            input,
            output_cap: facts.output_cap,
            max_output: prices.limits(&served).max_output.unwrap_or(DEFAULT_OUTPUT),
            answers: facts.answers,
            rates,
        }
    }

    /// Reserves, and waits while it is only requests in flight that are in the way.
    async fn reserve(&self, mut ask: Ask) -> Result<Grant, crate::budget::Refusal> {
        loop {
            let settled = self.gateway.settled.notified();
            let (verdict, line) = self.gateway.journal.reserve(&mut self.gateway.ledger(), &ask);
            match verdict {
                Verdict::Granted(grant) => {
                    if let Some(line) = &line {
                        self.gateway.journal.ledger(line);
                    }
                    return Ok(grant);
                }
                Verdict::Refused(refusal) => return Err(refusal),
                Verdict::Wait(_) => {
                    // Settled or not, it is asked again.
                    let _ = tokio::time::timeout(WAIT_STEP, settled).await;
                    ask.now_ms = now_ms();
                }
            }
        }
    }

    fn forwarded_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        for dropped in DROPPED {
            headers.remove(*dropped);
        }
        headers
    }

    fn bad(&self, mut record: ExchangeRecord, message: &str) -> Response<AnswerBody> {
        record.ended = Ended::BadRequest;
        self.refused(record, ErrorKind::BadRequest, message)
    }

    fn refused(&self, mut record: ExchangeRecord, kind: ErrorKind, message: &str) -> Response<AnswerBody> {
        let answer = self.wire.error(kind, message);
        record.status = answer.status;
        record.error = Some(message.to_owned());
        record.total_ms = millis(self.begun);
        self.gateway.journal.exchange(record);
        plain(answer)
    }

    /// The provider's own error, for the agent to see: it may be able to do something about it.
    pub(super) async fn upstream_error(
        &self,
        mut incoming: Incoming,
        mut settlement: Settlement,
    ) -> Response<AnswerBody> {
        let body = self.gateway.redactor.redact(&incoming.source.collect(ERROR_BYTES).await);
        let mut meter = Meter::new(self.wire, Framing::Whole, Encoding::Identity);
        meter.push(&body);
        let said = meter.finish().answer.error;
        settlement.record.attempts = incoming.attempts;
        settlement.record.status = incoming.status;
        if let Some(tape) = &mut settlement.tape {
            // As the agent gets it: unpacked or not, it was read whole.
            let kind = incoming.headers.get("content-type").cloned();
            let headers: HeaderMap = kind.map(|kind| (CONTENT_TYPE, kind)).into_iter().collect();
            tape.answered(incoming.status, &listed(&headers), incoming.attempts);
            tape.piece(&Bytes::from(body.clone())).await;
        }
        settlement.upstream_error(said);
        let mut response = respond(incoming.status, AnswerBody::whole(body));
        if let Some(kind) = header(&incoming.headers, "content-type") {
            set(&mut response, "content-type", kind);
        }
        set(&mut response, "x-should-retry", "false");
        response
    }

    /// Passes an answer on byte for byte, while a task reads it and meters.
    pub(super) fn pass_on(
        &self,
        mut incoming: Incoming,
        mut settlement: Settlement,
        strips: bool,
    ) -> Response<AnswerBody> {
        let record = &mut settlement.record;
        record.attempts = incoming.attempts;
        record.status = incoming.status;
        record.headers_ms = Some(millis(self.begun));
        if let Some(tape) = &mut settlement.tape {
            tape.answered(incoming.status, &listed(&incoming.headers), incoming.attempts);
        }
        let framing = Framing::of(record.stream, header(&incoming.headers, "content-type"));
        let encoding = Encoding::parse(header(&incoming.headers, "content-encoding").unwrap_or_default());
        // A packed stream cannot be stripped; we have not asked for one.
        let strips = strips && framing == Framing::Events && encoding == Some(Encoding::Identity);
        let length = header(&incoming.headers, "content-length").and_then(|length| length.parse().ok());
        let mut response = respond(incoming.status, AnswerBody::whole(Bytes::new()));
        let mut headers = std::mem::take(&mut incoming.headers);
        for dropped in DROPPED_OF_ANSWERS {
            headers.remove(*dropped);
        }
        if strips {
            headers.remove(CONTENT_LENGTH);
        }
        *response.headers_mut() = headers;
        let meter = Meter::new(self.wire, framing, encoding.unwrap_or(Encoding::Identity));
        let stripper = strips.then(UsageStripper::default);
        let promised = length.filter(|_| !strips);
        *response.body_mut() = Feeder::new(incoming, meter, stripper, settlement, promised).into_body();
        response
    }

    /// Costs nothing, and is neither limited nor metered; a script counts by our own tokenizer.
    async fn count_tokens(&self, body: Bytes) -> Response<AnswerBody> {
        match self.play("", false, &body).await {
            Some(Ok(mut played)) => {
                let pieces: Vec<Bytes> = played.frames.drain(..).map(|frame| frame.bytes).collect();
                return counted(played.status, pieces.concat());
            }
            Some(Err(miss)) => {
                let message = format!("replay: {}", miss.message);
                return plain(self.wire.error(ErrorKind::BudgetExhausted, &message));
            }
            None => {}
        }
        let record = ExchangeRecord {
            trial: self.caller.trial.clone(),
            at_ms: now_ms(),
            wire: self.wire.name().to_owned(),
            ..ExchangeRecord::default()
        };
        let tape = self.tape(&record, &body).await;
        let (status, attempts, body) = if matches!(self.upstream.spec.target, Target::Script(_)) {
            let count = self.caller.counter.lock().unwrap_or_else(PoisonError::into_inner).request(&body);
            let body = serde_json::json!({"input_tokens": count, "totalTokens": count}).to_string();
            (200, 1, body.into_bytes())
        } else {
            let outgoing = Outgoing {
                wire: self.wire,
                trial: &self.caller.trial,
                tokens: 0,
                model: self.route.model.as_deref().unwrap_or_default(),
                path: &without_key(&self.path),
                headers: self.forwarded_headers(),
                body,
                faults: &self.caller.faults,
            };
            match self.upstream.send(&outgoing).await {
                Err(unanswered) => {
                    let message = self.gateway.redactor.redact_text(&unanswered.message);
                    return plain(self.wire.error(ErrorKind::UpstreamFailed, &message));
                }
                Ok(mut incoming) => {
                    let body = self.gateway.redactor.redact(&incoming.source.collect(ERROR_BYTES).await);
                    (incoming.status, incoming.attempts, body)
                }
            }
        };
        if let Some(mut tape) = tape {
            tape.answered(status, &[("content-type".to_owned(), "application/json".to_owned())], attempts);
            tape.piece(&Bytes::from(body.clone())).await;
            tape.end(Ending::Complete, Cost::default());
        }
        counted(status, body)
    }
}
