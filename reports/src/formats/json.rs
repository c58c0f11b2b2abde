//! The result fields themselves: one object for one run, an array for several.

use serde::Serialize;

use super::{FormatError, Look, ReportFormat};
use crate::compare::Comparison;
use crate::results::Results;

/// JSON.
pub struct Json;

impl ReportFormat for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn about(&self) -> &'static str {
        "every field, for programs"
    }

    fn report(&self, results: &[Results], _: &Look) -> Result<Vec<u8>, FormatError> {
        match results {
            [one] => write(one),
            several => write(several),
        }
    }

    fn comparison(&self, comparison: &Comparison, _: &Look) -> Result<Vec<u8>, FormatError> {
        write(comparison)
    }
}

fn write(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, FormatError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| FormatError::Write { format: "json", message: error.to_string() })?;
    // JSON lets through some characters that a terminal obeys. They stand in strings only, so escaping them anywhere is
    // escaping them there, and every reader gets them back.
    let obeyed =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut bytes = Vec::with_capacity(text.len() + 1);
    for part in text.split_inclusive(obeyed) {
        match part.char_indices().next_back().filter(|(_, c)| obeyed(*c)) {
            Some((at, c)) => {
                bytes.extend_from_slice(&part.as_bytes()[..at]);
                bytes.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            None => bytes.extend_from_slice(part.as_bytes()),
        }
    }
    bytes.push(b'\n');
    Ok(bytes)
}
