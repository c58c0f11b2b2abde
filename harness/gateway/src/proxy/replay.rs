//! An exchange that is recorded, or answered from a recording instead of an upstream.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;

use super::body::AnswerBody;
use super::exchange::Exchange;
use super::http::{plain, unlisted};
use super::record::{Ended, ExchangeRecord, Replayed};
use super::settlement::Settlement;
use super::source::Source;
use super::upstream::{Incoming, Unanswered};
use crate::recording::{Asked, Ending, Head, Miss, Mode, Pace, Played, Tape};
use crate::redact::{Redactor, SHORTEST};
use crate::wire::{ErrorKind, presented_key};

impl Exchange {
    /// What a recording has for this request; `None` when it is to be forwarded.
    pub(super) async fn play(&self, model: &str, stream: bool, body: &Bytes) -> Option<Result<Played, Miss>> {
        let player = Arc::clone(self.caller.player.as_ref()?);
        let mode = player.mode();
        let (wire, operation, model, body) =
            (self.wire.name(), self.route.operation, model.to_owned(), self.without_key_of_trial(body));
        let gateway = Arc::clone(&self.gateway);
        // It reads files, and a long request takes a while to compare.
        let played = tokio::task::spawn_blocking(move || {
            let body = gateway.redactor.redact(&body);
            player.play(&Asked { wire, operation, model: &model, stream, body: &body })
        });
        match played.await {
            Ok(Ok(played)) => Some(Ok(played)),
            Ok(Err(_)) if mode == Mode::Passthrough => None,
            Ok(Err(miss)) => Some(Err(miss)),
            Err(_) => Some(Err(Miss { message: "the recording could not be played".to_owned() })),
        }
    }

    /// The recorded answer goes the way of any other.
    pub(super) async fn replay(
        &self,
        played: Played,
        mut settlement: Settlement,
        asks_usage: bool,
    ) -> Response<AnswerBody> {
        settlement.record.replayed = Some(Replayed { request: played.request, drift: played.drift });
        settlement.kept = Some(played.cost);
        let pace = self.caller.player.as_ref().map_or(Pace::AtOnce, |player| player.pace());
        if pace == Pace::Recorded {
            tokio::time::sleep(played.headers_after).await;
        }
        if let Ending::Unanswered { message, timed_out, charged } = played.ending {
            let attempts = played.attempts;
            return self.unanswered(
                &Unanswered { message, attempts, timed_out, maybe_charged: charged },
                settlement,
            );
        }
        let incoming = Incoming {
            status: played.status,
            headers: unlisted(&played.headers),
            source: Source::played(played.frames, pace, &played.ending),
            attempts: played.attempts,
            permit: None,
        };
        if incoming.status >= 400 {
            self.upstream_error(incoming, settlement).await
        } else {
            self.pass_on(incoming, settlement, asks_usage)
        }
    }

    /// The agent stops in the way in which it does when a budget is spent: nothing that follows could be answered.
    pub(super) fn missed(&self, mut settlement: Settlement, miss: &Miss) -> Response<AnswerBody> {
        let answer = self.wire.error(ErrorKind::BudgetExhausted, &format!("replay: {}", miss.message));
        settlement.record.ended = Ended::Missed;
        settlement.record.status = answer.status;
        settlement.record.error = Some(miss.message.clone());
        settlement.release();
        plain(answer)
    }

    /// Begins to record, where that is wanted.
    pub(super) async fn tape(&self, record: &ExchangeRecord, body: &Bytes) -> Option<Tape> {
        let head = Head {
            trial: record.trial.clone(),
            request: record.request,
            at_ms: record.at_ms,
            wire: record.wire.clone(),
            operation: self.route.operation,
            model: record.model.clone(),
            stream: record.stream,
        };
        Some(self.caller.recorder.as_ref()?.begin(head, self.without_key_of_trial(body)).await)
    }

    /// The body without the key that the trial was given. Agents print their variables, and every run has other keys.
    fn without_key_of_trial(&self, body: &Bytes) -> Bytes {
        let key = presented_key(&self.headers, &self.path).filter(|key| key.len() >= SHORTEST);
        let Some(key) = key.filter(|key| memchr::memmem::find(body, key.as_bytes()).is_some()) else {
            return body.clone();
        };
        Bytes::from(Redactor::new([key.as_bytes()]).redact(body))
    }
}
