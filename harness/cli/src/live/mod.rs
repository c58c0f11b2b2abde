//! What people see while a run goes on: bars on a terminal, plain lines elsewhere, JSON events where a script listens.
//!
//! A fold over events, like the journal and every report; it holds no facts of its own.

mod bars;
mod plain;

use std::io::IsTerminal;
use std::sync::Mutex;

use harness_core::{Event, NanoUsd, Outcome};
use harness_engine::journal_writer::Watcher;

use crate::printer;

/// Says a line to people while a run is shown.
pub type Voice = Box<dyn Fn(&str) + Send>;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// Bars on stderr.
    Bars,
    /// One line a finished trial on stderr.
    Plain,
    /// Every event as a line of JSON on stdout.
    Json,
}

impl Display {
    /// Bars on a terminal that is no CI, lines elsewhere; JSON when asked for.
    pub fn choose(json: bool) -> Display {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        match (json, std::io::stderr().is_terminal() && !dumb && !ci) {
            (true, _) => Display::Json,
            (false, true) => Display::Bars,
            (false, false) => Display::Plain,
        }
    }

    /// The fold over events, and a voice for what else is said meanwhile: it does not tear the bars.
    pub fn open(self) -> (Watcher, Voice) {
        match self {
            Display::Bars => {
                let bars = bars::Bars::new();
                let voice = bars.voice();
                let bars = Mutex::new(bars);
                let watcher: Watcher =
                    Box::new(move |event| bars.lock().expect("no holder of this lock panics").show(event));
                (watcher, voice)
            }
            Display::Plain => {
                let lines = Mutex::new(plain::Lines::default());
                let watcher: Watcher = Box::new(move |event| {
                    if let Some(line) = lines.lock().expect("no holder of this lock panics").line(event) {
                        printer::say(&line);
                    }
                });
                (watcher, Box::new(printer::say))
            }
            Display::Json => {
                let watcher: Watcher = Box::new(|event| printer::raw(&harness_core::journal::line(event)));
                (watcher, Box::new(printer::say))
            }
        }
    }
}

/// Results so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    planned: usize,
    finished: usize,
    resolved: usize,
    unresolved: usize,
    stopped: usize,
    spent: Option<Spent>,
}

/// What models have cost so far, against what they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spent {
    nano_usd: u64,
    tokens: u64,
    limit_nano_usd: Option<u64>,
    limit_tokens: Option<u64>,
    simulated: bool,
}

impl Tally {
    /// `$0.1234 of $5.00, 1200 tokens`; `None` while no model was asked.
    fn spending(&self) -> Option<String> {
        let spent = self.spent?;
        let usd = |nano: u64| NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX)).to_string();
        let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        let money = format!("{}{}", usd(spent.nano_usd), of(spent.limit_nano_usd.map(usd)));
        let tokens = format!("{}{} tokens", spent.tokens, of(spent.limit_tokens.map(|n| n.to_string())));
        let simulated = if spent.simulated { ", simulated" } else { "" };
        Some(format!("{money}, {tokens}{simulated}"))
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::RunStarted { planned, finished, .. } => {
                (self.planned, self.finished) = (*planned, *finished);
            }
            Event::TrialFinished { record } => {
                self.finished += 1;
                match record.outcome {
                    Outcome::Resolved => self.resolved += 1,
                    Outcome::Unresolved { .. } => self.unresolved += 1,
                    Outcome::Stopped { .. } => self.stopped += 1,
                }
            }
            Event::Spent { nano_usd, tokens, limit_nano_usd, limit_tokens, simulated } => {
                self.spent = Some(Spent {
                    nano_usd: *nano_usd,
                    tokens: *tokens,
                    limit_nano_usd: *limit_nano_usd,
                    limit_tokens: *limit_tokens,
                    simulated: *simulated,
                });
            }
            _ => {}
        }
    }
}

/// Milliseconds for people: `850ms`, `12.3s`, `4m05s`, `2h10m`.
pub fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_reads_well_at_every_size() {
        let shown: Vec<_> = [0, 999, 1_000, 12_345, 59_999, 60_000, 245_000, 7_800_000].map(time).into();
        assert_eq!(shown, ["0ms", "999ms", "1.0s", "12.3s", "59.9s", "1m00s", "4m05s", "2h10m"]);
    }
}
