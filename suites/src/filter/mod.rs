//! `--filter`: a small language that picks tasks.
//!
//! ```text
//! language == "rust" && !(tag == "slow") || name ~ "fix-*"
//! tag:git difficulty:easy          short forms; side by side means both
//! fix-*                            a bare word is a pattern for the name
//! ```
//!
//! | | |
//! |---|---|
//! | fields | `name` (or `id`), `tag` (`tags`), `difficulty`, `category`, `language` (`lang`), `dataset` |
//! | comparisons | `==` `!=` equal or not, `~` `!~` matches a pattern or not, where `*` is any text and `?` one character; `field:pattern` is short for `field ~ pattern` |
//! | values | `"text"` with `\"` and `\\`, or a bare word |
//! | connectives | `!` or `not`, then `&&` or `and` or nothing, then `\|\|` or `or`; parentheses |
//!
//! Letters of names must match in case, those of other fields need not. A task has many tags: `tag == "x"` asks whether
//! one of them is x, and `tag != "x"` whether none is. A field that a task does not have equals and matches nothing.

pub(crate) mod glob;
mod parse;
mod token;

use datasets::InvalidTask;
use harness_core::Task;
use harness_core::task::Traits;

/// A filter, ready to ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Expr);

/// Why a text is no filter: a message and where in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter, character {column}: {message}\n  {text}\n  {mark:>column$}", mark = "^")]
pub struct FilterError {
    /// What is wrong, and the way out.
    pub message: String,
    /// From 1, in characters.
    pub column: usize,
    /// The filter, as typed.
    pub text: String,
}

/// Longest filter in bytes.
const MAX_BYTES: usize = 8192;

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] with the place in the text.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let error = |offset: usize, message: String| FilterError {
            message,
            column: text.get(..offset).unwrap_or(text).chars().count() + 1,
            // On one line, and nothing that a terminal could take for a command.
            text: text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        };
        if text.len() > MAX_BYTES {
            let message = format!("a filter may have at most {MAX_BYTES} bytes");
            return Err(FilterError { message, column: 1, text: String::new() });
        }
        let tokens = token::tokens(text).map_err(|(offset, message)| error(offset, message))?;
        parse::parse(&tokens, text.len()).map(Filter).map_err(|(offset, message)| error(offset, message))
    }

    /// Whether a task is picked.
    pub fn picks(&self, task: &Task) -> bool {
        let facts = Facts { name: task.id.as_str(), dataset: &task.dataset, traits: Some(&task.traits) };
        self.0.ask(&facts) == Some(true)
    }

    /// Whether a task that could not be read is perhaps picked: what is known of it decides, and the rest may be.
    pub fn may_pick(&self, task: &InvalidTask) -> bool {
        let facts = Facts { name: &task.id, dataset: &task.dataset, traits: task.traits.as_ref() };
        self.0.ask(&facts) != Some(false)
    }
}

/// What a filter can ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Tag,
    Difficulty,
    Category,
    Language,
    Dataset,
}

/// Every name of every field.
const FIELDS: &[(&str, Field)] = &[
    ("name", Field::Name),
    ("id", Field::Name),
    ("tag", Field::Tag),
    ("tags", Field::Tag),
    ("difficulty", Field::Difficulty),
    ("category", Field::Category),
    ("language", Field::Language),
    ("lang", Field::Language),
    ("dataset", Field::Dataset),
];

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Any(Vec<Expr>),
    All(Vec<Expr>),
    Not(Box<Expr>),
    Equals(Field, String),
    Matches(Field, String),
}

/// What is known of one task.
struct Facts<'a> {
    name: &'a str,
    dataset: &'a str,
    /// `None` when nobody knows.
    traits: Option<&'a Traits>,
}

impl<'a> Facts<'a> {
    /// The values that a field has, none or many; `None` when nobody knows.
    fn values(&self, field: Field) -> Option<Vec<&'a str>> {
        let one = |value: &'a Option<String>| value.as_deref().into_iter().collect();
        Some(match field {
            Field::Name => vec![self.name],
            Field::Dataset => vec![self.dataset],
            Field::Tag => self.traits?.tags.iter().map(String::as_str).collect(),
            Field::Difficulty => one(&self.traits?.difficulty),
            Field::Category => one(&self.traits?.category),
            Field::Language => one(&self.traits?.language),
        })
    }
}

impl Expr {
    /// True, false, or not to be told from what is known.
    fn ask(&self, facts: &Facts<'_>) -> Option<bool> {
        match self {
            Expr::Not(inner) => inner.ask(facts).map(|answer| !answer),
            Expr::Any(parts) => decide(parts, facts, true),
            Expr::All(parts) => decide(parts, facts, false),
            Expr::Equals(field, wanted) => compare(*field, facts, |value, fold| {
                if fold { value.to_lowercase() == wanted.to_lowercase() } else { value == wanted }
            }),
            Expr::Matches(field, pattern) => compare(*field, facts, |value, fold| {
                if fold {
                    glob::matches(&pattern.to_lowercase(), &value.to_lowercase())
                } else {
                    glob::matches(pattern, value)
                }
            }),
        }
    }
}

/// Three-valued "or" (`decisive` true) and "and" (`decisive` false).
fn decide(parts: &[Expr], facts: &Facts<'_>, decisive: bool) -> Option<bool> {
    let mut unknown = false;
    for part in parts {
        match part.ask(facts) {
            Some(answer) if answer == decisive => return Some(decisive),
            Some(_) => {}
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(!decisive) }
}

fn compare(field: Field, facts: &Facts<'_>, test: impl Fn(&str, bool) -> bool) -> Option<bool> {
    let fold = field != Field::Name;
    Some(facts.values(field)?.into_iter().any(|value| test(value, fold)))
}

#[cfg(test)]
mod tests;
