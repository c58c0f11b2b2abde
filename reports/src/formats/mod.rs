//! The formats of a report. Each is one file here and one line in [`FORMATS`]; all give bytes and print nothing.

use crate::compare::Comparison;
use crate::results::Results;

pub mod csv;
mod document;
pub mod json;
pub mod markdown;
pub mod terminal;

/// Every format, in the order in which they are listed.
pub const FORMATS: &[&dyn ReportFormat] = &[&terminal::Terminal, &markdown::Markdown, &json::Json, &csv::Csv];

/// How a document should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; taken as at least 40 and at most 200.
    pub width: usize,
    /// Whether colours may be used: a terminal, and `NO_COLOR` not set.
    pub color: bool,
    /// Most rows of a table for people; the rest is counted. Data formats give all.
    pub rows: usize,
}

impl Default for Look {
    fn default() -> Look {
        Look { width: 80, color: false, rows: 200 }
    }
}

impl Look {
    /// The width that is used.
    pub fn columns(&self) -> usize {
        self.width.clamp(40, 200)
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// No such format.
    #[error("there is no format {name}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The format cannot say this.
    #[error("{format} has no form for a comparison; use terminal, markdown, json or csv")]
    NoComparison {
        /// Which format.
        format: &'static str,
    },
    /// Values that the format cannot hold.
    #[error("cannot write {format}: {message}")]
    Write {
        /// Which format.
        format: &'static str,
        /// Why.
        message: String,
    },
}

/// One format.
///
/// Implementations write for readers who trust nothing: text in results was chosen by tasks and agents, so every
/// format neutralises what its readers would obey. They take no time, no environment and no terminal into account
/// except what [`Look`] says.
pub trait ReportFormat: Sync {
    /// What `--format` calls it.
    fn name(&self) -> &'static str;

    /// One line for lists.
    fn about(&self) -> &'static str;

    /// One run or several.
    ///
    /// # Errors
    /// [`FormatError::Write`].
    fn report(&self, results: &[Results], look: &Look) -> Result<Vec<u8>, FormatError>;

    /// Variants side by side.
    ///
    /// # Errors
    /// [`FormatError::NoComparison`] where the format has no form for it, as is the case unless it says otherwise.
    fn comparison(&self, comparison: &Comparison, look: &Look) -> Result<Vec<u8>, FormatError> {
        let _ = (comparison, look);
        Err(FormatError::NoComparison { format: self.name() })
    }
}

/// The format of a name.
///
/// # Errors
/// [`FormatError::Unknown`] lists those that there are.
pub fn format(name: &str) -> Result<&'static dyn ReportFormat, FormatError> {
    FORMATS.iter().copied().find(|format| format.name() == name).ok_or_else(|| FormatError::Unknown {
        name: name.to_owned(),
        known: FORMATS.iter().map(|format| format.name()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_format_of_this_folder_is_in_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/formats");
        let names: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|name| name != "mod" && name != "document")
            .collect();
        assert_eq!(names, FORMATS.iter().map(|format| format.name().to_owned()).collect());
    }

    #[test]
    fn a_format_is_found_by_its_name_and_a_wrong_name_lists_them() {
        for known in FORMATS {
            assert_eq!(format(known.name()).unwrap().name(), known.name());
            assert!(!known.about().is_empty() && !known.about().ends_with('.'));
        }
        let error = format("pdf").err().unwrap().to_string();
        assert_eq!(error, "there is no format pdf; there are: terminal, markdown, json, csv");
    }
}
