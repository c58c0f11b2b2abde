//! One line a finished trial, for logs and for people who are not there.

use harness_core::Event;

use super::{Tally, time};
use crate::printer;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Lines {
    tally: Tally,
}

impl Lines {
    /// The line for an event, where it is worth one.
    pub(super) fn line(&mut self, event: &Event) -> Option<String> {
        self.tally.count(event);
        match event {
            Event::RunStarted { planned, finished, .. } if *finished > 0 => {
                Some(format!("{finished} of {planned} trials are finished already"))
            }
            Event::TrialFinished { record } => {
                let Tally { planned, finished, .. } = self.tally;
                let digits = planned.to_string().len();
                let name = record.outcome.name();
                let took = time(record.durations.total);
                let reason = record
                    .outcome
                    .reason()
                    .map(|reason| format!(": {}", first_line(reason)))
                    .unwrap_or_default();
                let spent = self.tally.spending().map(|spent| format!(" [{spent}]")).unwrap_or_default();
                Some(format!(
                    "[{finished:>digits$}/{planned}] {name:<10} {} ({took}){spent}{reason}",
                    printer::plain(&record.id.path())
                ))
            }
            Event::TryFailed { id, record } if record.cut_by.is_some() => {
                let reason = record.outcome.reason().map(first_line).unwrap_or_default();
                Some(format!(
                    "cut short {}, which `resume` tries again: {reason}",
                    printer::plain(&id.path())
                ))
            }
            Event::TryFailed { id, record } => {
                let reason = record.outcome.reason().map(first_line).unwrap_or_default();
                Some(format!(
                    "try {} of {id} failed by the harness's fault and is repeated: {reason}",
                    record.number
                ))
            }
            Event::Heartbeat { id, working_ms, silent_ms, stalled: true } => Some(format!(
                "stalled? {} has worked for {}, without output or model traffic for {}",
                printer::plain(&id.path()),
                time(*working_ms),
                time(*silent_ms)
            )),
            // A sign of life now and then is enough for a log.
            Event::Heartbeat { id, working_ms, .. }
                if *working_ms >= 600_000 && *working_ms / 60_000 % 10 == 0 =>
            {
                Some(format!("at work: {} ({})", printer::plain(&id.path()), time(*working_ms)))
            }
            Event::TaskSkipped { task, reason } => Some(format!("skipped {task}: {reason}")),
            Event::Warning { message } => Some(format!("warning: {}", printer::plain(message))),
            _ => None,
        }
    }
}

/// The first line of a reason, short enough for one line.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let clean = printer::plain(line);
    if clean.chars().count() > 200 { clean.chars().take(199).chain(['…']).collect() } else { clean }
}
