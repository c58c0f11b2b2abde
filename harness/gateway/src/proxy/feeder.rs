//! Reads an upstream's answer to its end, for the agent and for the meter, whether or not the agent still listens.

use bytes::Bytes;
use tokio::time::Instant;

use super::body::Feed;
use super::millis;
use super::record::Ended;
use super::settlement::Settlement;
use super::upstream::Incoming;
use crate::meter::Meter;
use crate::wire::UsageStripper;

/// Between the last piece of an answer that breaks off and the break.
const BREAK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// One answer on its way. `run` is a task of its own.
pub(super) struct Feeder {
    pub(super) incoming: Incoming,
    /// `None` once the agent has gone.
    pub(super) feed: Option<Feed>,
    pub(super) meter: Meter,
    pub(super) stripper: Option<UsageStripper>,
    pub(super) settlement: Settlement,
}

impl Feeder {
    pub(super) async fn run(mut self) {
        let mut broken = None;
        let mut left_at = None;
        loop {
            let next = self.incoming.source.next();
            let piece = match left_at {
                // Its usage comes at the end, and is charged whether anybody listens or not.
                Some(left) => match tokio::time::timeout_at(left, next).await {
                    Ok(piece) => piece,
                    Err(_) => break,
                },
                None => match &self.feed {
                    Some(feed) => tokio::select! {
                        piece = next => piece,
                        () = feed.closed() => {
                            self.feed = None;
                            left_at = Some(Instant::now() + self.settlement.upstream.spec.drain);
                            continue;
                        }
                    },
                    None => next.await,
                },
            };
            let piece = match piece {
                None => break,
                Some(Err(error)) => {
                    broken = Some(error);
                    break;
                }
                Some(Ok(piece)) => piece,
            };
            let record = &mut self.settlement.record;
            record.first_byte_ms.get_or_insert_with(|| millis(self.settlement.begun));
            record.answer_bytes += piece.len() as u64;
            self.meter.push(&piece);
            if let Some(tape) = &mut self.settlement.tape {
                tape.piece(&piece).await;
            }
            let passed = match &mut self.stripper {
                Some(stripper) => Bytes::from(stripper.push(&piece)),
                None => piece,
            };
            self.pass(passed, &mut left_at).await;
        }
        if let Some(rest) = self.stripper.as_mut().map(UsageStripper::finish) {
            self.pass(Bytes::from(rest), &mut left_at).await;
        }
        let metered = self.meter.finish();
        let ended = match (&broken, left_at) {
            (Some(_), _) => Ended::Cut,
            (None, Some(_)) => Ended::AgentLeft,
            (None, None) if !metered.answer.complete && metered.answer.error.is_none() => Ended::Cut,
            (None, None) => Ended::Answered,
        };
        if let Some(permit) = &self.incoming.permit {
            let usage = metered.usage_or_estimate(self.settlement.record.estimated_input);
            permit.used(usage.total_tokens.unwrap_or(0));
        }
        // The agent's next request comes after the end of this answer: what it spent must be known by then.
        self.settlement.answered(metered, ended, broken.as_ref());
        drop(self.incoming.permit);
        if let (Some(error), Some(feed)) = (broken, self.feed) {
            // What came before the break must have left for the agent: an error at once would take it along.
            tokio::time::sleep(BREAK_PAUSE).await;
            // An agent that has left needs no telling, and the record stands already.
            let _ = feed.send(Err(error)).await;
        }
    }

    async fn pass(&mut self, piece: Bytes, left_at: &mut Option<Instant>) {
        if let Some(feed) = &self.feed
            && !piece.is_empty()
            && feed.send(Ok(piece)).await.is_err()
        {
            self.feed = None;
            *left_at = Some(Instant::now() + self.settlement.upstream.spec.drain);
        }
    }
}
