//! What tries used that an earlier process left unfinished: from the lines that it wrote, and what the ledger knows beyond them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use harness_core::record::TryRecord;
use harness_core::{NanoUsd, TrialId, Usage, UsageSource};
use harness_gateway::budget::{Amounts, Recovered, Scope};
use harness_gateway::proxy::{Ended, ExchangeRecord};

use super::kept::Tally;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// What earlier processes spent, by trial.
#[derive(Debug, Default)]
pub(crate) struct Earlier(BTreeMap<String, Amounts>);

impl Earlier {
    pub(super) fn new(recovered: &Recovered) -> Earlier {
        let of_trials = recovered.spent.iter().filter_map(|(scope, amounts)| match scope {
            Scope::Trial(trial) => Some((trial.clone(), *amounts)),
            _ => None,
        });
        Earlier(of_trials.collect())
    }

    /// Fills in what a trial's tries used. `lost` are the numbers of those that no process wrote down: their requests are in
    /// the trial's folder. What the ledger knows beyond all of that was in flight; it is charged as reserved, to the last one.
    pub(crate) fn complete(&self, id: &TrialId, dir: &Path, tries: &mut [TryRecord], lost: &[u32]) {
        let Some(spent) = self.0.get(&id.path()) else { return };
        for record in tries.iter_mut().filter(|record| lost.contains(&record.number)) {
            let aside = dir.join(format!("try-{}", record.number)).join("gateway.jsonl");
            let file = if aside.is_file() { aside } else { dir.join("gateway.jsonl") };
            let tally = read(&file, record.number);
            (record.usage, record.cost) = (tally.usage(), tally.cost());
        }
        let known = tries.iter().fold(Amounts::default(), |sum, record| sum.plus(amounts(record)));
        let flown = spent.minus(known);
        if flown == Amounts::default() {
            return;
        }
        let Some(last) = tries.iter_mut().rev().find(|record| lost.contains(&record.number)) else { return };
        let estimate = Usage {
            requests: Some(flown.requests),
            total_tokens: Some(flown.tokens),
            source: Some(UsageSource::Estimate),
            ..Usage::default()
        };
        last.usage = last.usage.plus(&estimate);
        last.cost = last.cost.map(|cost| cost + NanoUsd(i64::try_from(flown.nano_usd).unwrap_or(i64::MAX)));
    }
}

fn amounts(record: &TryRecord) -> Amounts {
    Amounts {
        tokens: record.usage.total().unwrap_or(0),
        nano_usd: record.cost.map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0)),
        requests: record.usage.requests.unwrap_or(0),
    }
}

/// The requests of one try, as far as its file goes.
fn read(file: &Path, number: u32) -> Tally {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(rename = "try")]
        number: u32,
        #[serde(flatten)]
        record: ExchangeRecord,
    }
    let mut tally = Tally::default();
    let Ok(file) = std::fs::File::open(file) else { return tally };
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = std::io::Read::take(&mut lines, MAX_LINE).read_until(b'\n', &mut line);
        // A torn or damaged line counts nothing here; the ledger makes up for it.
        if !matches!(read, Ok(1..)) || line.last() != Some(&b'\n') {
            return tally;
        }
        let Ok(read) = serde_json::from_slice::<Line>(&line) else { continue };
        let was_reserved = !matches!(read.record.ended, Ended::Refused | Ended::BadRequest);
        if read.number == number && was_reserved {
            tally.requests += 1;
            tally.add(&read.record);
        }
    }
}
