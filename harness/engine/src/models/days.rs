//! What all runs of a folder spend on a day: one file a day, appended to under a lock, so that runs beside each other share one
//! limit.
//!
//! Reservations of others count in full until they are settled. What a crash left unsettled stays counted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use harness_gateway::budget::{Amounts, Ask, Ledger, Limits, Line, Scope, Verdict};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// Most that is read of what others wrote at once, in bytes.
const MAX_NEW: u64 = 1 << 30;

/// A line of a run's.
#[derive(Serialize, Deserialize)]
struct DayLine {
    run: String,
    #[serde(flatten)]
    line: Line,
}

/// One day.
struct Day {
    file: File,
    /// How much of it was read.
    read: u64,
    /// What others spent and reserved.
    others: Amounts,
    /// Of that, what is only reserved.
    flying: HashMap<(String, u64), Amounts>,
}

/// The days that this run spends on.
pub(super) struct Days {
    folder: PathBuf,
    run: String,
    limits: Limits,
    open: HashMap<String, Day>,
    /// Our reservations, and the days that they belong to.
    ours: HashMap<u64, String>,
}

impl Days {
    pub(super) fn new(folder: PathBuf, run: &str, limits: Limits) -> Days {
        Days { folder, run: run.to_owned(), limits, open: HashMap::new(), ours: HashMap::new() }
    }

    /// Reserves with what all others have spent by now; they see the reservation before they can ask themselves.
    pub(super) fn reserve(&mut self, ledger: &mut Ledger, ask: &Ask) -> io::Result<(Verdict, Option<Line>)> {
        let limited = self.limits != Limits::default();
        let run = self.run.clone();
        let day = self.day(&ask.day)?;
        let _lock = Locked::take(&day.file)?;
        if limited {
            day.catch_up(&run)?;
            ledger.set_elsewhere(Scope::Day(ask.day.clone()), day.others);
        }
        let (verdict, line) = ledger.reserve(ask);
        if let (Verdict::Granted(grant), Some(line)) = (&verdict, &line) {
            day.append(&run, line)?;
            let id = grant.id;
            self.ours.insert(id, ask.day.clone());
        }
        Ok((verdict, line))
    }

    /// Tells the others how a reservation ended.
    pub(super) fn settle(&mut self, line: &Line) -> io::Result<()> {
        let (Line::Settled { id, .. } | Line::Released { id }) = line else { return Ok(()) };
        let Some(day) = self.ours.remove(id) else { return Ok(()) };
        let run = self.run.clone();
        let day = self.day(&day)?;
        let _lock = Locked::take(&day.file)?;
        day.append(&run, line)
    }

    fn day(&mut self, name: &str) -> io::Result<&mut Day> {
        if !self.open.contains_key(name) {
            std::fs::create_dir_all(&self.folder)?;
            let path = self.folder.join(format!("{name}.jsonl"));
            let file = File::options().create(true).truncate(false).read(true).append(true).open(path)?;
            let day = Day { file, read: 0, others: Amounts::default(), flying: HashMap::new() };
            self.open.insert(name.to_owned(), day);
        }
        Ok(self.open.get_mut(name).expect("it was just put there"))
    }
}

impl Day {
    fn append(&mut self, run: &str, line: &Line) -> io::Result<()> {
        let line = DayLine { run: run.to_owned(), line: line.clone() };
        self.file.write_all(&harness_core::journal::line(&line))
    }

    /// Reads what others wrote since. Under the lock every line is whole, but for what a crash tore off: that is skipped, and
    /// the line that then follows it on the same line with it, which is the one thing that may be lost.
    fn catch_up(&mut self, run: &str) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        (&mut self.file).take(MAX_NEW).read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        for line in text[..whole].split(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<DayLine>(line) else { continue };
            if line.run != run {
                self.count(line);
            }
        }
        Ok(())
    }

    fn count(&mut self, DayLine { run, line }: DayLine) {
        match line {
            Line::Reserved { id, amounts, .. } => {
                self.others = self.others.plus(amounts);
                self.flying.insert((run, id), amounts);
            }
            Line::Settled { id, amounts, .. } => self.land(&(run, id), amounts),
            Line::Released { id } => self.land(&(run, id), Amounts { requests: 1, ..Amounts::default() }),
        }
    }

    fn land(&mut self, which: &(String, u64), cost: Amounts) {
        if let Some(reserved) = self.flying.remove(which) {
            self.others = self.others.minus(reserved).plus(cost);
        }
    }
}

/// A lock on an open file, until it is dropped.
struct Locked(File);

impl Locked {
    fn take(file: &File) -> io::Result<Locked> {
        let file = file.try_clone()?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(Locked(file))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // A clone shares the lock with the file that stays open: closing it alone would keep it.
        let _closed = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use harness_gateway::budget::Budgets;

    use super::*;

    const DAY: &str = "2026-11-21";

    fn ask(input: u64, cap: u64) -> Ask {
        Ask {
            trial: "t".into(),
            variant: "v".into(),
            day: DAY.into(),
            now_ms: 0,
            input,
            output_cap: Some(cap),
            max_output: cap,
            answers: 1,
            rates: None,
        }
    }

    #[test]
    fn days_are_shared_between_runs_and_what_was_not_needed_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { tokens: Some(1000), ..Limits::default() };
        let budgets = Budgets { day: limits, ..Budgets::default() };
        let run = |name: &str| (Days::new(dir.path().into(), name, limits), Ledger::new(budgets));
        let ((mut a, mut ledger_a), (mut b, mut ledger_b)) = (run("a"), run("b"));
        let (Verdict::Granted(first), _) = a.reserve(&mut ledger_a, &ask(100, 600)).unwrap() else {
            panic!()
        };
        // 700 of 1000 are another's.
        let (Verdict::Granted(lowered), _) = b.reserve(&mut ledger_b, &ask(10, 600)).unwrap() else {
            panic!()
        };
        assert_eq!(lowered.output_cap, Some(290));
        let cost = Amounts { tokens: 100, nano_usd: 0, requests: 1 };
        let line = ledger_b.settle(lowered.id, cost, false).unwrap();
        b.settle(&line).unwrap();
        let line = ledger_a.settle(first.id, Amounts { tokens: 200, ..cost }, false).unwrap();
        a.settle(&line).unwrap();
        // 300 are spent in all.
        let (Verdict::Granted(last), _) = b.reserve(&mut ledger_b, &ask(100, 600)).unwrap() else { panic!() };
        assert_eq!((last.output_cap, last.reserved.tokens), (None, 700));
        let (verdict, _) = a.reserve(&mut ledger_a, &ask(10, 300)).unwrap();
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    }
}
