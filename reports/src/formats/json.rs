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
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| FormatError::Write { format: "json", message: error.to_string() })?;
    bytes.push(b'\n');
    Ok(bytes)
}
