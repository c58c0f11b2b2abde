//! The proxy around the pure half: listens, forwards, meters, reserves and settles. One [`Gateway`] for a run; each trial is a
//! [`Caller`], known by its listener or by its virtual key. Real keys are in an [`Upstream`] and go nowhere else.

mod address;
mod body;
mod connections;
mod detached;
mod exchange;
mod faults;
mod feeder;
mod flow;
mod http;
mod preflight;
mod queue;
mod record;
mod replay;
mod retry;
mod server;
mod settlement;
mod source;
mod thread;
mod upstream;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use harness_prices::PriceTable;
use tokio::sync::Notify;

pub use connections::{HttpProxy, Roots};
pub use faults::FaultRates;
pub use preflight::PreflightError;
pub use queue::Rates;
pub use record::{Ended, ExchangeRecord, Replayed};
pub use retry::Patience;
pub use server::Access;
pub use thread::GatewayThread;
pub use upstream::{Health, Target, Timeouts, Upstream, UpstreamOptions, UpstreamSpec};

use crate::budget::{Ask, Ledger, Line, Verdict};
use crate::recording::{Mode, Player, Recorder};
use crate::redact::Redactor;
use crate::tokens::Counter;

/// Whoever writes down what the gateway did. Both are called on the gateway's own threads and must not wait for a disk.
pub trait Journal: Send + Sync {
    /// A line of the ledger. A reservation is told before its request is forwarded.
    fn ledger(&self, line: &Line);
    /// A request is over.
    fn exchange(&self, record: ExchangeRecord);
    /// Reserves. Whoever shares a budget with others, such as that of a day, looks here at what they have spent
    /// ([`Ledger::set_elsewhere`]) and tells them of the line, before anybody else can ask. The line is told again by
    /// [`Journal::ledger`].
    fn reserve(&self, ledger: &mut Ledger, ask: &Ask) -> (Verdict, Option<Line>) {
        ledger.reserve(ask)
    }
}

/// What a gateway is made of.
pub struct Parts {
    /// What tokens cost.
    pub prices: PriceTable,
    /// The budgets, and what was spent of them before.
    pub ledger: Ledger,
    /// Knows every real key.
    pub redactor: Redactor,
    /// Writes down.
    pub journal: Arc<dyn Journal>,
}

/// The gateway of one run.
pub struct Gateway {
    prices: PriceTable,
    ledger: Mutex<Ledger>,
    /// Told whenever a reservation ends: somebody may be waiting for what it held.
    settled: Notify,
    redactor: Redactor,
    journal: Arc<dyn Journal>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that nobody calls yet.
    pub fn new(parts: Parts) -> Arc<Gateway> {
        // Both tables are read when they are first needed; the first request should not wait for it.
        std::thread::spawn(|| {
            crate::tokens::count("");
            harness_prices::PriceTable::bundled().names().len()
        });
        Arc::new(Gateway {
            prices: parts.prices,
            ledger: Mutex::new(parts.ledger),
            settled: Notify::new(),
            redactor: parts.redactor,
            journal: parts.journal,
        })
    }

    /// The budgets as they stand. Held for a moment only.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tokens cost.
    pub fn prices(&self) -> &PriceTable {
        &self.prices
    }

    fn write(&self, line: Option<Line>) {
        if let Some(line) = line {
            self.journal.ledger(&line);
        }
        self.settled.notify_waiters();
    }
}

/// One trial as the gateway knows it.
#[derive(Debug)]
pub struct Caller {
    /// Whose requests they are.
    pub trial: String,
    /// Of which variant.
    pub variant: String,
    /// Where requests of each wire go.
    pub upstreams: BTreeMap<&'static str, Arc<Upstream>>,
    requests: AtomicU64,
    counter: Mutex<Counter>,
    /// Faults that were played for each turn of a script.
    faults: Mutex<HashMap<usize, u32>>,
    recorder: Option<Recorder>,
    player: Option<Arc<Player>>,
}

impl Caller {
    /// A trial that has asked nothing yet.
    pub fn new(trial: &str, variant: &str, upstreams: BTreeMap<&'static str, Arc<Upstream>>) -> Caller {
        Caller {
            trial: trial.to_owned(),
            variant: variant.to_owned(),
            upstreams,
            requests: AtomicU64::new(0),
            counter: Mutex::new(Counter::default()),
            faults: Mutex::new(HashMap::new()),
            recorder: None,
            player: None,
        }
    }

    /// The same, with everything that it asks, and what it is answered, recorded.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Recorder) -> Caller {
        self.recorder = Some(recorder);
        self
    }

    /// The same, answered from a recording. Nothing is forwarded, so that upstreams need neither key nor network; but
    /// for what a player in passthrough has not got.
    #[must_use]
    pub fn with_player(mut self, player: Player) -> Caller {
        self.player = Some(Arc::new(player));
        self
    }

    /// Whether a recording answers all that it asks, so that nothing of it costs money: outside of days' budgets, and no reason
    /// to want a key. In passthrough some of it may be forwarded.
    pub fn is_replayed(&self) -> bool {
        self.player.as_ref().is_some_and(|player| player.mode() != Mode::Passthrough)
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}

fn millis(since: std::time::Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Now, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The day of a moment, `YYYY-MM-DD` in UTC.
fn day_of(at_ms: u64) -> String {
    // Howard Hinnant's civil_from_days, for days that are not negative.
    let days = at_ms / 86_400_000 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn day_of_a_moment_is_the_calendars() {
        for (at_ms, day) in [
            (0, "1970-01-01"),
            (86_399_999, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_795_262_400_000, "2026-11-21"),
            (1_798_761_599_999, "2026-12-31"),
        ] {
            assert_eq!(super::day_of(at_ms), day);
        }
    }
}
