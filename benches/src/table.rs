//! What was measured, what was promised, and whether the one keeps the other.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A promise.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Shown only.
    None,
}

/// Times by name, and the lines to show.
#[derive(Debug, Default)]
pub struct Table {
    times: BTreeMap<String, Vec<Duration>>,
    lines: Vec<String>,
    missed: usize,
}

impl Table {
    /// Keeps one time.
    pub fn keep(&mut self, name: &str, time: Duration) {
        self.times.entry(name.to_owned()).or_default().push(time);
    }

    /// The middle one of a name, in milliseconds.
    pub fn median(&self, name: &str) -> Option<f64> {
        let mut all = self.times.get(name)?.clone();
        all.sort();
        Some(all.get(all.len() / 2)?.as_secs_f64() * 1e3)
    }

    /// Adds a line with the middle one of a name.
    pub fn show(&mut self, name: &str) {
        self.milliseconds(name, Limit::None);
    }

    /// The same, with a promise.
    pub fn milliseconds(&mut self, name: &str, limit: Limit) {
        let median = self.median(name);
        self.add(&format!("{name}, ms"), median, limit);
    }

    /// Adds two lines: the middle one of a name, and how it stands to that of another.
    pub fn ratio(&mut self, name: &str, base: &str, limit: Limit) {
        let ratio = self.median(name).zip(self.median(base)).map(|(time, base)| time / base);
        self.show(name);
        self.add(&format!("{name} / {}", base.rsplit(": ").next().unwrap_or(base)), ratio, limit);
    }

    /// Adds a line: how much longer one takes than another.
    pub fn difference(&mut self, name: &str, base: &str, limit: Limit) {
        let more = self.median(name).zip(self.median(base)).map(|(time, base)| time - base);
        self.add(&format!("{name} - {}, ms", base.rsplit(": ").next().unwrap_or(base)), more, limit);
    }

    /// Adds a line: how often the middle one of `part` goes into that of `whole`.
    pub fn times(&mut self, line: &str, whole: &str, part: &str, limit: Limit) {
        let times = self.median(whole).zip(self.median(part)).map(|(whole, part)| whole / part);
        self.add(line, times, limit);
    }

    /// Adds a line; a value that is missing keeps no promise and breaks none.
    pub fn add(&mut self, name: &str, value: Option<f64>, limit: Limit) {
        let value_text = value.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
        let (limit_text, kept) = match (limit, value) {
            (Limit::None, _) => (String::new(), true),
            (Limit::AtMost(limit), value) => {
                (format!("at most {limit}"), value.is_none_or(|value| value <= limit))
            }
            (Limit::AtLeast(limit), value) => {
                (format!("at least {limit}"), value.is_none_or(|value| value >= limit))
            }
        };
        self.missed += usize::from(!kept);
        let verdict = if kept { "" } else { "  MISSED" };
        self.lines.push(format!("{name:<58} {value_text:>12}  {limit_text}{verdict}"));
    }

    /// Adds words.
    pub fn note(&mut self, text: &str) {
        self.lines.push(text.to_owned());
    }

    /// Whether no promise was broken.
    pub fn all_kept(&self) -> bool {
        self.missed == 0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", line.trim_end()))?;
        match self.missed {
            0 => writeln!(f, "every promise is kept"),
            missed => writeln!(f, "{missed} promises are not kept"),
        }
    }
}
