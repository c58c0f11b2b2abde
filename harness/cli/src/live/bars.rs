//! Bars on a terminal: one for the run, one line for each trial that is under way.

use std::collections::HashMap;
use std::time::Duration;

use harness_core::{Event, Outcome, TrialId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain::first_line;
use super::{Tally, Voice, time};
use crate::printer;

/// Most trials that have a line of their own.
const MAX_LINES: usize = 12;

/// The bars of one run.
pub(super) struct Bars {
    all: MultiProgress,
    run: ProgressBar,
    trials: HashMap<TrialId, ProgressBar>,
    tally: Tally,
}

impl Bars {
    pub(super) fn new() -> Bars {
        let all = MultiProgress::new();
        let run = all.add(ProgressBar::new(0));
        // `wide_msg` is cut at the terminal's edge, whatever its width is at that moment.
        run.set_style(style("{bar:16} {pos}/{len} {wide_msg}"));
        run.enable_steady_tick(Duration::from_millis(200));
        Bars { all, run, trials: HashMap::new(), tally: Tally::default() }
    }

    /// Says lines above the bars.
    pub(super) fn voice(&self) -> Voice {
        let all = self.all.clone();
        Box::new(move |line| {
            // Bars that are done draw nothing, and then nothing above them either.
            if all.println(line).is_err() || all.is_hidden() {
                printer::say(line);
            }
        })
    }

    pub(super) fn show(&mut self, event: &Event) {
        self.tally.count(event);
        match event {
            Event::RunStarted { planned, finished, .. } => {
                self.run.set_length(*planned as u64);
                self.run.set_position(*finished as u64);
                self.run.reset_eta();
            }
            Event::TrialStarted { id, number } => {
                let again = if *number > 1 { format!(" (try {number})") } else { String::new() };
                self.line(id, &format!("start{again}"));
            }
            Event::PhaseEntered { id, phase } => self.line(id, phase.name()),
            Event::Heartbeat { id, silent_ms, stalled, .. } => {
                let silent = if *stalled {
                    format!("stalled? silent for {}", time(*silent_ms))
                } else {
                    "solve".to_owned()
                };
                self.line(id, &silent);
            }
            Event::TryFailed { id, record } if record.cut_by.is_some() => {
                if let Some(bar) = self.trials.remove(id) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                let reason = record.outcome.reason().map(first_line).unwrap_or_default();
                self.above(&format!("cut        {}: {reason}", printer::plain(&id.path())));
            }
            Event::TryFailed { id, record } => {
                let reason = record.outcome.reason().map(first_line).unwrap_or_default();
                self.above(&format!("again      {}: {reason}", printer::plain(&id.path())));
            }
            Event::TrialFinished { record } => {
                if let Some(bar) = self.trials.remove(&record.id) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                self.run.inc(1);
                let name = printer::plain(&record.id.path());
                let took = time(record.durations.total);
                let line = match &record.outcome {
                    Outcome::Resolved => format!("resolved   {name} ({took})"),
                    Outcome::Unresolved { reason } => {
                        format!("unresolved {name} ({took}): {}", first_line(reason))
                    }
                    Outcome::Stopped { blame, phase, reason } => {
                        format!("stopped    {name} ({blame}, {phase}): {}", first_line(reason))
                    }
                };
                self.above(&line);
            }
            Event::TaskSkipped { task, reason } => self.above(&format!("skipped    {task}: {reason}")),
            Event::Warning { message } => self.above(&format!("warning: {}", printer::plain(message))),
            Event::Spent { .. } | Event::ModelChecked { .. } => {}
            Event::RunEnded { .. } => {
                for (_, bar) in self.trials.drain() {
                    bar.finish_and_clear();
                }
                self.run.finish_and_clear();
            }
        }
        let Tally { resolved, unresolved, stopped, .. } = self.tally;
        let left = self.run.eta().as_millis() as u64;
        let eta = if left > 0 && self.run.position() > 0 {
            format!(" · about {} left", time(left))
        } else {
            String::new()
        };
        let stopped = if stopped > 0 { format!(" · {stopped} stopped") } else { String::new() };
        let spent = self.tally.spending().map(|spent| format!(" · {spent}")).unwrap_or_default();
        self.run.set_message(format!("{resolved} resolved · {unresolved} not{stopped}{spent}{eta}"));
    }

    fn line(&mut self, id: &TrialId, what: &str) {
        if !self.trials.contains_key(id) {
            if self.trials.len() >= MAX_LINES {
                return;
            }
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.set_style(style("  {elapsed:>4} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_secs(1));
            self.trials.insert(id.clone(), bar);
        }
        if let Some(bar) = self.trials.get(id) {
            bar.set_message(format!("{what:<8} {}", printer::plain(&id.path())));
        }
    }

    /// Prints a line above the bars, cut at the edge: all of it is in the report. A terminal that is gone changes nothing.
    fn above(&self, line: &str) {
        let _gone = self.all.println(printer::fitted(line, printer::talk_width()));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are ours").progress_chars("━╸ ")
}
