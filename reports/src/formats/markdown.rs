//! A report as GitHub's Markdown: for comments on changes, job summaries and notes.

use super::document::{Block, compared, reported};
use super::{FormatError, Look, ReportFormat};
use crate::compare::Comparison;
use crate::grid::escape_markdown;
use crate::results::Results;

/// Markdown.
pub struct Markdown;

impl ReportFormat for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn about(&self) -> &'static str {
        "tables for comments and notes"
    }

    fn report(&self, results: &[Results], look: &Look) -> Result<Vec<u8>, FormatError> {
        Ok(write(&results.iter().flat_map(|one| reported(one, look)).collect::<Vec<_>>()))
    }

    fn comparison(&self, comparison: &Comparison, look: &Look) -> Result<Vec<u8>, FormatError> {
        Ok(write(&compared(comparison, look)))
    }
}

fn write(blocks: &[Block]) -> Vec<u8> {
    let parts: Vec<String> = blocks
        .iter()
        .map(|block| match block {
            Block::Title(title) => format!("## {}", escape_markdown(title)),
            Block::Text(_, line) => paragraph(line),
            Block::Table(grid) => grid.markdown().join("\n"),
        })
        .collect();
    let mut text = parts.join("\n\n");
    text.push('\n');
    text.into_bytes()
}

/// A line of text, its first character not one that would begin a list or a rule.
fn paragraph(line: &str) -> String {
    let escaped = escape_markdown(line);
    if escaped.starts_with(['-', '+', '=']) { format!("\\{escaped}") } else { escaped }
}
