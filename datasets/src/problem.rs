//! What is wrong with a file, where, and the way out: the one shape of every complaint about input.

use std::fmt;
use std::path::{Path, PathBuf};

use harness_core::manifest;
use harness_core::task::Traits;

/// Something wrong, or merely odd, in a file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub file: PathBuf,
    /// Line and column, both from 1, where they are known; columns count characters.
    pub position: Option<(usize, usize)>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The way out, where there is one to offer.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn new(file: impl Into<PathBuf>, message: impl Into<String>) -> Problem {
        Problem { file: file.into(), position: None, message: message.into(), hint: None }
    }

    /// The same problem with a way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The same problem at a byte offset of the file's text.
    pub fn at(mut self, text: &str, offset: usize) -> Problem {
        self.position = Some(position(text, offset));
        self
    }

    /// `FILE`, `FILE:LINE:COLUMN`: what editors and terminals open.
    pub fn place(&self) -> String {
        let file = printable(&self.file);
        match self.position {
            Some((line, column)) => format!("{file}:{line}:{column}"),
            None => file,
        }
    }

    /// Message and hint, without the place.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.text())
    }
}

impl std::error::Error for Problem {}

/// A task that could not be read: counted and shown, never dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTask {
    /// Its folder's name, made printable.
    pub id: String,
    /// Its folder.
    pub origin: PathBuf,
    /// The dataset or suite that it was selected from.
    pub dataset: String,
    /// What selections can ask for, when so much of it could be read.
    pub traits: Option<Traits>,
    /// Everything found wrong, in the order of the file; at least one.
    pub problems: Vec<Problem>,
}

impl InvalidTask {
    /// What the manifest and the reports keep: the first problem, and how many more there are.
    pub fn note(&self) -> manifest::InvalidTask {
        let (file, mut message) = match self.problems.first() {
            Some(first) => (first.place(), first.text()),
            None => (printable(&self.origin), "cannot be read".to_owned()),
        };
        if self.problems.len() > 1 {
            message.push_str(&format!("; and {} more", self.problems.len() - 1));
        }
        manifest::InvalidTask { task: self.id.clone(), file, message }
    }
}

/// A path without characters that a terminal could take for a command.
pub fn printable(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Line and column, both from 1, of a byte offset; an offset inside a character counts as its start.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_counts_lines_and_characters_from_one() {
        let text = "a\nüb = 1\n";
        for (offset, place) in [(0, (1, 1)), (1, (1, 2)), (2, (2, 1)), (3, (2, 1)), (4, (2, 2)), (99, (3, 1))]
        {
            assert_eq!(position(text, offset), place, "offset {offset}");
        }
    }

    #[test]
    fn problem_reads_as_file_line_column_message_and_way_out() {
        let problem = Problem::new("t/task.toml", "no").at("x\ny", 2).hint("write yes");
        assert_eq!(problem.to_string(), "t/task.toml:2:1: no (write yes)");
        assert_eq!(Problem::new("t\u{1b}[2J", "no").to_string(), "t\u{fffd}[2J: no");
    }

    #[test]
    fn invalid_task_note_says_how_many_problems_there_are() {
        let problems = vec![Problem::new("f", "one"), Problem::new("f", "two"), Problem::new("f", "three")];
        let task =
            InvalidTask { id: "t".into(), origin: "t".into(), dataset: "d".into(), traits: None, problems };
        assert_eq!(task.note().message, "one; and 2 more");
    }
}
