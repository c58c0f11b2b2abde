//! Reads an upstream's answer to its end, for the agent and for the meter, whether or not the agent still listens.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::{AnswerBody, Fed};
use super::millis;
use super::record::Ended;
use super::settlement::Settlement;
use super::upstream::Incoming;
use crate::meter::Meter;
use crate::wire::UsageStripper;

/// Between the last piece of an answer that breaks off and the break.
const BREAK_PAUSE: Duration = Duration::from_millis(20);

/// One answer on its way.
pub(super) struct Feeder {
    incoming: Incoming,
    meter: Meter,
    stripper: Option<UsageStripper>,
    settlement: Settlement,
    /// The bytes that its headers promise, if they do.
    promised: Option<u64>,
    /// Told when the agent has gone.
    left: Arc<Notify>,
    /// When patience ends, once it has.
    until: Option<Instant>,
}

/// What was read.
enum Read {
    /// For the agent; perhaps nothing, when all of it was for us.
    Piece(Bytes),
    /// The end, and why it is one.
    End(Option<io::Error>),
}

impl Feeder {
    /// At the beginning of an answer.
    pub(super) fn new(
        incoming: Incoming,
        meter: Meter,
        stripper: Option<UsageStripper>,
        settlement: Settlement,
        promised: Option<u64>,
    ) -> Feeder {
        Feeder { incoming, meter, stripper, settlement, promised, left: Arc::default(), until: None }
    }

    /// The body that it feeds.
    pub(super) fn into_body(self) -> AnswerBody {
        // Nobody looks into a body that is known to be empty.
        if self.promised == Some(0) {
            self.finish(None);
            return AnswerBody::whole(Bytes::new());
        }
        let (length, left) = (self.promised, Arc::clone(&self.left));
        AnswerBody::fed(self, length, left)
    }

    /// The next piece for the agent; for one that has gone, all that is left is read. When the agent gets the last piece,
    /// everything is settled: its next request comes after that, and what this one spent must be known by then.
    pub(super) async fn next(mut self) -> Fed {
        loop {
            match self.read().await {
                Read::Piece(_) if self.until.is_some() => {}
                Read::Piece(piece) if piece.is_empty() => {}
                Read::Piece(piece) => {
                    // Of an answer whose length is known an agent does not wait for an end.
                    if self.promised.is_some_and(|promised| self.settlement.record.answer_bytes >= promised) {
                        self.finish(None);
                        return (Some(Ok(piece)), None);
                    }
                    return (Some(Ok(piece)), Some(self));
                }
                Read::End(Some(broken)) => {
                    self.finish(Some(&broken));
                    // What came before the break must have left for the agent: an error at once would take it along.
                    tokio::time::sleep(BREAK_PAUSE).await;
                    return (Some(Err(broken)), None);
                }
                Read::End(None) => {
                    let rest = self.stripper.as_mut().map(UsageStripper::finish).unwrap_or_default();
                    self.finish(None);
                    return ((!rest.is_empty()).then(|| Ok(Bytes::from(rest))), None);
                }
            }
        }
    }

    /// Reads on what an agent left behind. Its usage comes at the end, and is charged whether anybody listens or not.
    pub(super) async fn read_on(next: impl Future<Output = Fed>) {
        // A piece that was ready before anybody knew is no longer wanted.
        if let (_, Some(mut feeder)) = next.await {
            feeder.until.get_or_insert(Instant::now() + feeder.settlement.upstream.spec.drain);
            feeder.next().await;
        }
    }

    async fn read(&mut self) -> Read {
        let next = loop {
            let next = self.incoming.source.next();
            match self.until {
                Some(until) => match tokio::time::timeout_at(until, next).await {
                    Ok(next) => break next,
                    Err(_) => return Read::End(None),
                },
                None => tokio::select! {
                    biased;
                    next = next => break next,
                    () = self.left.notified() => {
                        self.until = Some(Instant::now() + self.settlement.upstream.spec.drain);
                    }
                },
            }
        };
        let piece = match next {
            None => return Read::End(None),
            Some(Err(error)) => return Read::End(Some(error)),
            Some(Ok(piece)) => piece,
        };
        let record = &mut self.settlement.record;
        record.first_byte_ms.get_or_insert_with(|| millis(self.settlement.begun));
        record.answer_bytes += piece.len() as u64;
        self.meter.push(&piece);
        if let Some(tape) = &mut self.settlement.tape {
            tape.piece(&piece).await;
        }
        Read::Piece(match &mut self.stripper {
            Some(stripper) => Bytes::from(stripper.push(&piece)),
            None => piece,
        })
    }

    fn finish(mut self, broken: Option<&io::Error>) {
        let metered = self.meter.finish();
        let ended = match (broken, self.until.is_some()) {
            (Some(_), _) => Ended::Cut,
            (None, true) => Ended::AgentLeft,
            (None, false) if !metered.answer.complete && metered.answer.error.is_none() => Ended::Cut,
            (None, false) => Ended::Answered,
        };
        if let Some(permit) = &self.incoming.permit {
            let usage = metered.usage_or_estimate(self.settlement.record.estimated_input);
            permit.used(usage.total_tokens.unwrap_or(0));
        }
        self.settlement.answered(metered, ended, broken);
    }
}
