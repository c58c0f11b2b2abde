//! Labels of metrics: `{job="api", path="/a b"}`.
//!
//! Keys are ASCII letters, digits and `_`, not beginning with a digit. Values are always quoted and may hold line breaks. Blanks and tabs
//! are allowed between all parts; a comma may follow the last pair. No key may come twice.
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    End,
    Unexpected(char),
    Escape,
    Duplicate(String),
}

/// Why a text is not a list of labels, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelError {
    at: usize,
    problem: Problem,
}

impl LabelError {
    /// Byte position of the problem in the text.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether the text merely ends too early.
    pub fn is_incomplete(&self) -> bool {
        self.problem == Problem::End
    }
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::End => write!(f, "labels: unexpected end at {}", self.at),
            Problem::Unexpected(c) => write!(f, "labels: unexpected {:?} at {}", c, self.at),
            Problem::Escape => write!(f, "labels: bad escape at {}", self.at),
            Problem::Duplicate(key) => write!(f, "labels: duplicate {:?} at {}", key, self.at),
        }
    }
}

impl std::error::Error for LabelError {}

enum State {
    Start,
    Key,
    InKey,
    Equals,
    Open,
    Quoted,
    Escape,
    Brace,
    Digits,
    AfterValue,
    End,
}

pub fn parse(text: &str) -> Result<Vec<(String, String)>, LabelError> {
    let mut state = State::Start;
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut key = String::new();
    let mut key_at = 0;
    let mut value = String::new();
    let mut digits = String::new();
    let mut escape_at = 0;
    let mut chars = text.char_indices().peekable();
    loop {
        let (at, next) = match chars.peek() {
            Some((at, c)) => (*at, Some(*c)),
            None => (text.len(), None),
        };
        match state {
            State::Start => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some(' ' | '\t') => {}
                Some('{') => state = State::Key,
                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
            },
            State::Key => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some(' ' | '\t') => {}
                Some('}') => state = State::End,
                Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                    key.clear();
                    key.push(c);
                    key_at = at;
                    state = State::InKey;
                }
                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
            },
            State::InKey => match next {
                Some(c) if c.is_ascii_alphanumeric() || c == '_' => key.push(c),
                _ => {
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(LabelError { at: key_at, problem: Problem::Duplicate(key) });
                    }
                    state = State::Equals;
                    continue;
                }
            },
            State::Equals => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some(' ' | '\t') => {}
                Some('=') => state = State::Open,
                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
            },
            State::Open => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some(' ' | '\t') => {}
                Some('"') => {
                    value.clear();
                    state = State::Quoted;
                }
                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
            },
            State::Quoted => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some('"') => {
                    pairs.push((key.clone(), value.clone()));
                    state = State::AfterValue;
                }
                Some('\\') => {
                    escape_at = at;
                    state = State::Escape;
                }
                Some(c) => value.push(c),
            },
            State::Escape => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some('n') => {
                    value.push('\n');
                    state = State::Quoted;
                }
                Some('t') => {
                    value.push('\t');
                    state = State::Quoted;
                }
                Some(c @ ('"' | '\\')) => {
                    value.push(c);
                    state = State::Quoted;
                }
                Some('u') => state = State::Brace,
                Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
            },
            State::Brace => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some('{') => {
                    digits.clear();
                    state = State::Digits;
                }
                Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
            },
            State::Digits => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
                Some('}') => match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(c) => {
                        value.push(c);
                        state = State::Quoted;
                    }
                    None => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
                },
                Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
            },
            State::AfterValue => match next {
                None => return Err(LabelError { at, problem: Problem::End }),
                Some(' ' | '\t') => {}
                Some(',') => state = State::Key,
                Some('}') => state = State::End,
                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
            },
            State::End => match next {
                None => return Ok(pairs),
                Some(' ' | '\t') => {}
                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
            },
        }
        chars.next();
    }
}

pub fn write(pairs: &[(String, String)]) -> String {
    let mut text = String::from("{");
    for (i, (key, value)) in pairs.iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        text.push_str(key);
        text.push('=');
        text.push_str(&quote(value));
    }
    text.push('}');
    text
}

/// Writes a value in quotes, with everything escaped that has to be.
pub fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
