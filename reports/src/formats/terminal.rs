//! A report for a terminal: it fits the width it is told, and nothing in it can move a cursor.

use super::document::{Block, compared, reported};
use super::{FormatError, Look, ReportFormat};
use crate::compare::Comparison;
use crate::grid::Paint;
use crate::results::Results;
use crate::text::wrap;

/// Plain text in columns.
pub struct Terminal;

impl ReportFormat for Terminal {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn about(&self) -> &'static str {
        "tables for people, as wide as the terminal"
    }

    fn report(&self, results: &[Results], look: &Look) -> Result<Vec<u8>, FormatError> {
        Ok(write(&results.iter().flat_map(|one| reported(one, look)).collect::<Vec<_>>(), look))
    }

    fn comparison(&self, comparison: &Comparison, look: &Look) -> Result<Vec<u8>, FormatError> {
        Ok(write(&compared(comparison, look), look))
    }
}

fn write(blocks: &[Block], look: &Look) -> Vec<u8> {
    let mut text = String::new();
    for block in blocks {
        let lines: Vec<String> = match block {
            Block::Title(title) => {
                let gap = if text.is_empty() { vec![] } else { vec![String::new()] };
                let title = wrap(title, look.columns()).into_iter();
                gap.into_iter().chain(title.map(|line| Paint::Strong.on(&line, look.color))).collect()
            }
            Block::Text(paint, line) => {
                wrap(line, look.columns()).iter().map(|line| paint.on(line, look.color)).collect()
            }
            Block::Table(grid) => {
                let gap = if text.is_empty() { vec![] } else { vec![String::new()] };
                gap.into_iter().chain(grid.lines(look.columns(), look.color)).collect()
            }
        };
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.into_bytes()
}
