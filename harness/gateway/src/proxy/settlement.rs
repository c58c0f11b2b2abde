//! What a forwarded request ends in, whatever happens to it: a charge or a release, a line of the ledger, and a record.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use harness_core::{Usage, UsageSource};
use harness_prices::{Buckets, Call, Served, ServiceTier};

use super::record::{Ended, ExchangeRecord};
use super::upstream::Upstream;
use super::{Gateway, millis};
use crate::budget::{Amounts, Grant};
use crate::meter::Metered;
use crate::recording::{Cost, Ending, Tape};
use crate::wire::Finish;

/// A reservation until it is settled. Dropped without, because the gateway stops or a task dies, it is charged in full.
pub(super) struct Settlement {
    pub(super) gateway: Arc<Gateway>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) grant: Option<Grant>,
    pub(super) record: ExchangeRecord,
    pub(super) asked_tier: Option<String>,
    pub(super) begun: Instant,
    /// Records the exchange.
    pub(super) tape: Option<Tape>,
    /// How a recording of it ends; `Complete` until the answer turns out to have broken off.
    pub(super) ending: Ending,
    /// What it cost when it was recorded, for one that is replayed.
    pub(super) kept: Option<Cost>,
}

impl Settlement {
    /// An answer was read as far as it went.
    pub(super) fn answered(&mut self, metered: Metered, ended: Ended, broken: Option<&io::Error>) {
        let read = metered.usage_or_estimate(self.record.estimated_input);
        let usage = self.kept.as_ref().and_then(|kept| kept.usage).unwrap_or(read);
        let whole = broken.is_none() && (ended == Ended::Answered || metered.answer.complete);
        self.ending =
            if whole || ended == Ended::Cut && broken.is_none() { Ending::Complete } else { Ending::Cut };
        let record = &mut self.record;
        record.ended = ended;
        let broken = broken.map(ToString::to_string);
        record.error =
            metered.answer.error.clone().or(broken).map(|text| self.gateway.redactor.redact_text(&text));
        record.finish = metered.answer.finish.iter().map(word).collect();
        record.cut_by_budget =
            record.lowered_cap.is_some() && metered.answer.finish.contains(&Finish::Length);
        let tier = metered.answer.tier.clone();
        let web_searches = metered.answer.web_searches();
        record.answered_by = metered.answer.model;
        record.response_id = metered.answer.id;
        record.raw_usage = metered.answer.raw_usage;
        // What is served counts; where the answer does not say, what was asked for is the best guess.
        let tier = tier.or(self.asked_tier.take());
        record.tier.clone_from(&tier);
        self.charge(usage, tier.as_deref(), web_searches);
    }

    /// Nothing came back.
    pub(super) fn unanswered(&mut self, message: &str, timed_out: bool, maybe_charged: bool) {
        let said = Ending::Unanswered { message: message.to_owned(), timed_out, charged: maybe_charged };
        self.ending = said;
        self.record.ended = Ended::UpstreamDown;
        self.record.status = 502;
        self.record.error = Some(message.to_owned());
        if maybe_charged {
            let usage = Usage {
                requests: Some(1),
                uncached_input_tokens: Some(self.record.estimated_input),
                output_tokens: Some(0),
                total_tokens: Some(self.record.estimated_input),
                source: Some(UsageSource::Estimate),
                ..Usage::default()
            };
            let tier = self.asked_tier.take();
            self.charge(usage, tier.as_deref(), 0);
        } else {
            self.release();
        }
    }

    /// The provider said no; that costs nothing.
    pub(super) fn upstream_error(&mut self, said: Option<String>) {
        self.record.ended = Ended::UpstreamError;
        self.record.error = said;
        self.release();
    }

    pub(super) fn release(&mut self) {
        if let Some(grant) = self.grant.take() {
            let line = self.gateway.ledger().release(grant.id);
            self.gateway.write(line);
            self.finish();
        }
    }

    fn charge(&mut self, usage: Usage, tier: Option<&str>, web_searches: u64) {
        let Some(grant) = self.grant.take() else { return };
        let record = &mut self.record;
        // The name that was asked for is the one that prices and scripts go by; answers name dated versions of it.
        let answered_by = record.answered_by.clone().filter(|_| !record.simulated);
        let price = |model: &str| {
            self.gateway.prices.price(&Call {
                served: Served {
                    provider: Some(&self.upstream.spec.price_provider),
                    model,
                    tier: ServiceTier::parse(tier.unwrap_or_default()),
                    at_ms: record.at_ms,
                },
                usage,
                web_searches,
            })
        };
        let priced = match answered_by.as_deref().filter(|model| *model != record.model) {
            // Whoever answered is charged for; a name that no table knows is taken for the one that was asked for.
            Some(model) => Some(price(model)).filter(|priced| priced.billed.is_some()),
            None => None,
        };
        let priced = priced.unwrap_or_else(|| price(&record.model));
        record.cost = priced.billed;
        record.list_cost = priced.list;
        record.prices = priced.source.map(|source| format!("{} ({})", source.table, source.date));
        record.price_warnings = priced.warnings.iter().map(ToString::to_string).collect();
        if let Some(kept) = self.kept.take() {
            record.cost = kept.billed;
            record.list_cost = kept.list;
            record.prices = kept.prices;
        }
        record.usage = Some(usage);
        record.web_searches = web_searches;
        let tokens = Buckets::of(&usage).map_or(grant.reserved.tokens, |buckets| {
            buckets.input().saturating_add(buckets.visible).saturating_add(buckets.reasoning)
        });
        let cost = Amounts {
            tokens,
            nano_usd: record.cost.map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0)),
            requests: 1,
        };
        let estimated = usage.source != Some(UsageSource::Gateway);
        let line = self.gateway.ledger().settle(grant.id, cost, estimated);
        self.gateway.write(line);
        self.finish();
    }

    fn finish(&mut self) {
        self.record.total_ms = millis(self.begun);
        // What the end of the gateway itself cut is not an answer to play again.
        if let Some(tape) = self.tape.take()
            && self.record.ended != Ended::Stopped
        {
            let record = &self.record;
            let cost = Cost {
                usage: record.usage,
                billed: record.cost,
                list: record.list_cost,
                prices: record.prices.clone(),
            };
            tape.end(self.ending.clone(), cost);
        }
        self.gateway.journal.exchange(std::mem::take(&mut self.record));
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            let line = self.gateway.ledger().settle_unknown(grant.id);
            self.gateway.write(line);
            self.finish();
        }
    }
}

fn word(finish: &Finish) -> String {
    match finish {
        Finish::Stop => "stop".to_owned(),
        Finish::Tools => "tools".to_owned(),
        Finish::Length => "length".to_owned(),
        Finish::Filtered => "filtered".to_owned(),
        Finish::Failed(word) | Finish::Other(word) => word.clone(),
    }
}
