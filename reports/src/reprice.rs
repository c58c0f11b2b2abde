//! Old runs at other prices: each request that a run kept is priced again, and the costs of its trials follow.
//!
//! What a script said stays as it was declared: it is no money at any price.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use harness_core::{Event, NanoUsd, TrialId, TryRecord, Usage, UsageSource};
use harness_prices::{Call, PriceTable, Served, ServiceTier};
use serde::Deserialize;

use crate::read::RunFiles;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 16 << 20;
/// Most warnings that are told.
const MAX_WARNINGS: usize = 20;

/// One request, as far as its price depends on it.
#[derive(Deserialize)]
struct WireRequest {
    #[serde(rename = "try")]
    number: u32,
    upstream: String,
    #[serde(default)]
    simulated: bool,
    model: String,
    answered_by: Option<String>,
    tier: Option<String>,
    at_ms: u64,
    ended: String,
    usage: Option<Usage>,
    cost: Option<NanoUsd>,
    #[serde(default)]
    web_searches: u64,
}

/// What the requests of one try come to.
#[derive(Default)]
struct Sum {
    requests: u64,
    cost: NanoUsd,
    unknown: bool,
}

/// Prices every request of a run again. Gives what whoever reads the numbers must know.
pub fn reprice(files: &mut RunFiles, prices: &PriceTable) -> Vec<String> {
    let mut warnings = BTreeSet::new();
    let providers: BTreeMap<&str, &str> = files
        .manifest
        .models
        .iter()
        .map(|(name, note)| (name.as_str(), note.price_provider.as_str()))
        .collect();
    let price = |request: &WireRequest, warnings: &mut BTreeSet<String>| {
        let usage = request.usage?;
        if request.simulated {
            return request.cost;
        }
        let call = |model| {
            prices.price(&Call {
                served: Served {
                    provider: providers.get(request.upstream.as_str()).copied(),
                    model,
                    tier: ServiceTier::parse(request.tier.as_deref().unwrap_or_default()),
                    at_ms: request.at_ms,
                },
                usage,
                web_searches: request.web_searches,
            })
        };
        // As when it was asked: whoever answered is charged for, where a table knows that name.
        let answered = request.answered_by.as_deref().filter(|model| *model != request.model);
        let answered = answered.map(call).filter(|priced| priced.billed.is_some());
        let priced = answered.unwrap_or_else(|| call(&request.model));
        warnings.extend(priced.warnings.iter().map(ToString::to_string));
        priced.billed
    };
    for entry in &mut files.journal.entries {
        match &mut entry.event {
            Event::TryFailed { id, record } if counted(&record.usage) => {
                let sums = sums(&folder(&files.folder, id), |request| price(request, &mut warnings));
                set(record, &sums);
            }
            Event::TrialFinished { record } if counted(&record.usage) => {
                let sums = sums(&folder(&files.folder, &record.id), |request| price(request, &mut warnings));
                for one in &mut record.tries {
                    set(one, &sums);
                }
                let mut known = record.tries.iter().map(|one| one.cost);
                record.cost = known.try_fold(NanoUsd(0), |sum, cost| Some(sum + cost?));
            }
            _ => {}
        }
    }
    warnings.into_iter().take(MAX_WARNINGS).collect()
}

/// Whether the gateway counted: an agent's own account names no request that could be priced.
fn counted(usage: &Usage) -> bool {
    matches!(usage.source, Some(UsageSource::Gateway | UsageSource::Estimate))
}

/// A try's cost is known when every request that it made is there and has a price.
fn set(record: &mut TryRecord, sums: &BTreeMap<u32, Sum>) {
    let nothing = Sum::default();
    let sum = sums.get(&record.number).unwrap_or(&nothing);
    let Some(requests) = record.usage.requests.filter(|_| counted(&record.usage)) else { return };
    record.cost = (!sum.unknown && sum.requests == requests).then_some(sum.cost);
}

fn folder(run: &Path, id: &TrialId) -> std::path::PathBuf {
    run.join("trials").join(id.task.as_str()).join(id.variant.as_str()).join(id.attempt.to_string())
}

/// The requests of all tries of a trial: the last one's in its folder, those before in folders of their own.
fn sums(trial: &Path, mut price: impl FnMut(&WireRequest) -> Option<NanoUsd>) -> BTreeMap<u32, Sum> {
    let mut sums: BTreeMap<u32, Sum> = BTreeMap::new();
    let aside = std::fs::read_dir(trial).into_iter().flatten().flatten().map(|entry| entry.path());
    let aside = aside.filter(|path| {
        path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("try-"))
    });
    for folder in std::iter::once(trial.to_owned()).chain(aside) {
        let file = folder.join("gateway.jsonl");
        // Only a regular file is opened: a pipe in its place would hang us.
        if !std::fs::symlink_metadata(&file).is_ok_and(|about| about.is_file()) {
            continue;
        }
        let Ok(open) = File::open(&file) else { continue };
        let mut lines = BufReader::new(open);
        let mut line = Vec::new();
        loop {
            line.clear();
            if !matches!((&mut lines).take(MAX_LINE).read_until(b'\n', &mut line), Ok(1..)) {
                break;
            }
            // A line that does not read is a request that is missing: the try's cost is unknown then.
            let Ok(request) = serde_json::from_slice::<WireRequest>(&line) else { continue };
            if matches!(request.ended.as_str(), "refused" | "bad_request") {
                continue;
            }
            let sum = sums.entry(request.number).or_default();
            sum.requests += 1;
            if request.usage.is_some() {
                match price(&request) {
                    Some(cost) => sum.cost = sum.cost + cost,
                    None => sum.unknown = true,
                }
            }
        }
    }
    sums
}
