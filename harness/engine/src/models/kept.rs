//! What is kept of model traffic: the ledger's lines, a line for each request with its trial, and a running sum for each try.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use harness_core::{Event, NanoUsd, Usage, UsageSource};
use harness_gateway::budget::{Amounts, Ask, Ledger, Limits, Line, Refusal, Resource, Scope, Verdict};
use harness_gateway::proxy::{Ended, ExchangeRecord, Journal};
use harness_gateway::redact::Redactor;
use serde::Serialize;
use tokio::sync::Notify;

use super::days::Days;
use super::files::{LedgerFile, Lines};
use crate::cancel::Cancel;
use crate::journal_writer::JournalWriter;
use crate::trial::Trouble;

/// A try as its lines name it.
#[derive(Debug, Clone)]
pub(crate) struct TryOf {
    pub(crate) trial: String,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// From 1.
    pub(crate) number: u32,
    /// `PROVIDER/MODEL`, and the model's name alone.
    pub(crate) model: (String, String),
}

/// What went wrong upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The provider could not be had for as long as we wait, or its answer broke off and nothing came after it.
    Failed(String),
    /// It refuses for good: no trial of its will fare better.
    Refusing {
        /// Name of the upstream.
        upstream: String,
    },
}

/// What a try used so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Requests that were forwarded.
    pub(crate) requests: u64,
    /// Of these, under way.
    pub(crate) open: u64,
    /// Of these, over and of unknown cost.
    pub(crate) unpriced: u64,
    /// Requests that were refused because a budget is spent.
    pub(crate) refused: u64,
    /// Of the requests, how many were answered from a recording.
    pub(crate) replayed: u64,
    /// What differed in the first request that the recording has no answer to.
    pub(crate) missed: Option<String>,
    /// What went wrong last, unless an answer came after it.
    pub(crate) fault: Option<Fault>,
    /// Why costs are unknown or weaker than they look; each once.
    pub(crate) warnings: Vec<String>,
    usage: Usage,
    cost: NanoUsd,
}

impl Tally {
    /// All tokens; none at all is a known zero.
    pub(crate) fn usage(&self) -> Usage {
        let none = Usage {
            uncached_input_tokens: Some(0),
            output_tokens: Some(0),
            total_tokens: Some(0),
            source: Some(UsageSource::Gateway),
            ..Usage::default()
        };
        let usage = if self.requests == 0 { none } else { self.usage };
        Usage { requests: Some(self.requests), ..usage }
    }

    /// All money; `None` when any of it is unknown.
    pub(crate) fn cost(&self) -> Option<NanoUsd> {
        (self.unpriced == 0 && self.open == 0).then_some(self.cost)
    }

    /// Counts a request that is over.
    pub(super) fn add(&mut self, record: &ExchangeRecord) {
        if let Some(usage) = &record.usage {
            self.usage = self.usage.plus(&Usage { total_tokens: usage.total(), requests: None, ..*usage });
            match record.cost {
                Some(cost) => self.cost = self.cost + cost,
                None => self.unpriced += 1,
            }
        }
        for warning in &record.price_warnings {
            if self.warnings.len() < 20 && !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
    }
}

struct Trial {
    of: TryOf,
    step: Option<String>,
    tally: Tally,
    changed: Arc<Notify>,
}

/// What the journal of the gateway is made of.
pub(super) struct Parts {
    pub(super) ledger: LedgerFile,
    pub(super) days: Option<Days>,
    pub(super) redactor: Redactor,
    pub(super) journal: JournalWriter,
    pub(super) trouble: Trouble,
    pub(super) cancel: Cancel,
    /// The run's, for showing.
    pub(super) limits: Limits,
    /// What the run spent before.
    pub(super) spent: Amounts,
    /// Whether all models are scripts.
    pub(super) simulated: bool,
}

/// Keeps it.
pub(crate) struct Kept {
    parts: Mutex<Inner>,
    days: Option<Mutex<Days>>,
    lines: Lines,
    redactor: Redactor,
    /// Gone when the run is over: requests that are still under way must not keep its journal open.
    journal: Mutex<Option<JournalWriter>>,
    trouble: Trouble,
    cancel: Cancel,
    limits: Limits,
    simulated: bool,
}

struct Inner {
    ledger: LedgerFile,
    spent: Amounts,
    trials: HashMap<String, Trial>,
}

/// One line of `gateway.jsonl`.
#[derive(Serialize)]
struct Kept1<'a> {
    #[serde(rename = "try")]
    number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(flatten)]
    record: &'a ExchangeRecord,
}

impl Kept {
    pub(super) fn new(parts: Parts) -> std::io::Result<Kept> {
        let (trouble, cancel) = (parts.trouble.clone(), parts.cancel.clone());
        let lines = Lines::start(move |message| trouble.set(message, &cancel))?;
        Ok(Kept {
            parts: Mutex::new(Inner { ledger: parts.ledger, spent: parts.spent, trials: HashMap::new() }),
            days: parts.days.map(Mutex::new),
            lines,
            redactor: parts.redactor,
            journal: Mutex::new(Some(parts.journal)),
            trouble: parts.trouble,
            cancel: parts.cancel,
            limits: parts.limits,
            simulated: parts.simulated,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A try begins: from here on its requests are counted.
    pub(crate) fn begin(&self, of: TryOf) {
        let trial = Trial { step: None, tally: Tally::default(), changed: Arc::default(), of };
        self.inner().trials.insert(trial.of.trial.clone(), trial);
    }

    /// Whether a try of the trial is under way.
    pub(crate) fn knows(&self, trial: &str) -> bool {
        self.inner().trials.contains_key(trial)
    }

    /// The step that its requests belong to from now on.
    pub(crate) fn enter_step(&self, trial: &str, step: Option<String>) {
        if let Some(trial) = self.inner().trials.get_mut(trial) {
            trial.step = step;
            // What went wrong in a step before was judged there.
            trial.tally.fault = None;
        }
    }

    /// What it used so far, and a bell that rings when that changes.
    pub(crate) fn tally(&self, trial: &str) -> (Tally, Arc<Notify>) {
        let inner = self.inner();
        inner
            .trials
            .get(trial)
            .map(|trial| (trial.tally.clone(), Arc::clone(&trial.changed)))
            .unwrap_or_default()
    }

    /// The try is over: everything of it is in its file.
    pub(crate) fn end(&self, trial: &str) -> Tally {
        self.lines.flush();
        self.inner().trials.remove(trial).map(|trial| trial.tally).unwrap_or_default()
    }

    /// The run is over: what was handed over is written, and nobody is told of anything more.
    pub(crate) fn close(&self) {
        self.lines.flush();
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn trouble(&self, what: &str, error: &std::io::Error) {
        self.trouble.set(format!("{what}: {error}"), &self.cancel);
    }

    fn tell_spending(&self, spent: Amounts) {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(journal) = &*journal else { return };
        journal.tell(Event::Spent {
            nano_usd: spent.nano_usd,
            tokens: spent.tokens,
            limit_nano_usd: self.limits.nano_usd,
            limit_tokens: self.limits.tokens,
            simulated: self.simulated,
        });
    }
}

impl Journal for Kept {
    fn ledger(&self, line: &Line) {
        let mut inner = self.inner();
        let written = inner.ledger.write(line);
        let spent = match line {
            Line::Reserved { trial, .. } => {
                if let Some(trial) = inner.trials.get_mut(trial) {
                    trial.tally.open += 1;
                    trial.tally.requests += 1;
                }
                None
            }
            Line::Settled { amounts, .. } => {
                inner.spent = inner.spent.plus(*amounts);
                Some(inner.spent)
            }
            Line::Released { .. } => None,
        };
        drop(inner);
        if let Some(days) = &self.days {
            let told = days.lock().unwrap_or_else(PoisonError::into_inner).settle(line);
            if let Err(error) = told {
                self.trouble("cannot write what the day's spending is", &error);
            }
        }
        if let Err(error) = written {
            self.trouble("cannot write the run's ledger", &error);
        }
        if let Some(spent) = spent {
            self.tell_spending(spent);
        }
    }

    fn exchange(&self, record: ExchangeRecord) {
        let mut inner = self.inner();
        // A try that was dropped has nobody left who asks; its spending is in the ledger.
        let Some(trial) = inner.trials.get_mut(&record.trial) else { return };
        let line = Kept1 { number: trial.of.number, step: trial.step.as_deref(), record: &record };
        let bytes = self.redactor.redact(&harness_core::journal::line(&line));
        self.lines.append(trial.of.dir.join("gateway.jsonl"), bytes);
        let tally = &mut trial.tally;
        tally.replayed += u64::from(record.replayed.is_some());
        match record.ended {
            Ended::Refused => tally.refused += 1,
            Ended::BadRequest => {}
            // Nothing that follows could be answered: to the agent it is the same.
            Ended::Missed => {
                tally.open = tally.open.saturating_sub(1);
                tally.refused += 1;
                if tally.missed.is_none() {
                    tally.missed.clone_from(&record.error);
                }
            }
            _ => tally.open = tally.open.saturating_sub(1),
        }
        tally.add(&record);
        let said = || record.error.clone().unwrap_or_else(|| format!("status {}", record.status));
        match record.ended {
            Ended::Answered => tally.fault = None,
            // A whole answer that does not say why it ended is a server's habit, and no break.
            Ended::Cut if !record.stream && record.error.is_none() => tally.fault = None,
            Ended::Cut | Ended::UpstreamDown => {
                tally.fault = Some(Fault::Failed(format!("{}: {}", record.upstream, said())));
            }
            // A 404 for another model than the one that was asked for is the agent's choice, and its own to mend.
            Ended::UpstreamError
                if matches!(record.status, 401..=403 | 429)
                    || (record.status == 404 && record.model == trial.of.model.1) =>
            {
                tally.fault = Some(Fault::Refusing { upstream: record.upstream.clone() });
            }
            Ended::UpstreamError if record.status >= 500 => {
                tally.fault = Some(Fault::Failed(format!("{}: {}", record.upstream, said())));
            }
            // Who is not to be compared with the recording any more stops by himself, and it is nobody's outage.
            Ended::Missed => {}
            Ended::UpstreamError | Ended::AgentLeft | Ended::Refused | Ended::BadRequest | Ended::Stopped => {
            }
        }
        trial.changed.notify_waiters();
    }

    fn reserve(&self, ledger: &mut Ledger, ask: &Ask) -> (Verdict, Option<Line>) {
        let Some(days) = self.days.as_ref().filter(|_| !ask.day.is_empty()) else {
            return ledger.reserve(ask);
        };
        let mut days = days.lock().unwrap_or_else(PoisonError::into_inner);
        match days.reserve(ledger, ask) {
            Ok(decided) => decided,
            Err(error) => {
                // What others spend is not known: nothing may be spent beside them.
                self.trouble("cannot tell what the day's spending is", &error);
                let refusal = Refusal {
                    scope: Scope::Day(ask.day.clone()),
                    resource: Resource::Money,
                    limit: 0,
                    used: 0,
                };
                (Verdict::Refused(refusal), None)
            }
        }
    }
}
