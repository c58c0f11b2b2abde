//! Lines of a log: `level=info msg="two words" retry`.
//!
//! Keys and bare values are any characters but blanks, tabs, quotes, `=` and control characters. Pairs are separated by blanks or tabs.
//! A key alone has the value `true`, and a key with nothing behind the `=` an empty one. Line breaks and other control characters
//! must be escaped. When a key comes twice, the last value counts, in the place of the first.
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    End,
    Unexpected(char),
    Escape,
}

/// Why a text is not a log line, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogfmtError {
    at: usize,
    problem: Problem,
}

impl LogfmtError {
    /// Byte position of the problem in the text.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether the text merely ends too early.
    pub fn is_incomplete(&self) -> bool {
        self.problem == Problem::End
    }
}

impl fmt::Display for LogfmtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::End => write!(f, "logfmt: unexpected end at {}", self.at),
            Problem::Unexpected(c) => write!(f, "logfmt: unexpected {:?} at {}", c, self.at),
            Problem::Escape => write!(f, "logfmt: bad escape at {}", self.at),
        }
    }
}

impl std::error::Error for LogfmtError {}

enum State {
    Between,
    InKey,
    Value,
    Bare,
    Quoted,
    Escape,
    Brace,
    Digits,
    AfterValue,
}

fn is_word(c: char) -> bool {
    !matches!(c, ' ' | '"' | '=') && !c.is_control()
}

fn set(pairs: &mut Vec<(String, String)>, key: &str, value: &str) {
    match pairs.iter_mut().find(|(known, _)| known == key) {
        Some(pair) => pair.1 = value.to_string(),
        None => pairs.push((key.to_string(), value.to_string())),
    }
}

pub fn parse(text: &str) -> Result<Vec<(String, String)>, LogfmtError> {
    let mut state = State::Between;
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut key = String::new();
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
            State::Between => match next {
                None => return Ok(pairs),
                Some(' ' | '\t') => {}
                Some(c) if is_word(c) => {
                    key.clear();
                    key.push(c);
                    state = State::InKey;
                }
                Some(c) => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
            },
            State::InKey => match next {
                Some(c) if is_word(c) => key.push(c),
                Some('=') => state = State::Value,
                _ => {
                    set(&mut pairs, &key, "true");
                    state = State::AfterValue;
                    continue;
                }
            },
            State::Value => {
                value.clear();
                match next {
                    Some('"') => state = State::Quoted,
                    _ => {
                        state = State::Bare;
                        continue;
                    }
                }
            }
            State::Bare => match next {
                Some(c) if is_word(c) => value.push(c),
                _ => {
                    set(&mut pairs, &key, &value);
                    state = State::AfterValue;
                    continue;
                }
            },
            State::Quoted => match next {
                None => return Err(LogfmtError { at, problem: Problem::End }),
                Some('"') => {
                    set(&mut pairs, &key, &value);
                    state = State::AfterValue;
                }
                Some('\\') => {
                    escape_at = at;
                    state = State::Escape;
                }
                Some(c) if c.is_control() => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
                Some(c) => value.push(c),
            },
            State::Escape => match next {
                None => return Err(LogfmtError { at, problem: Problem::End }),
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
                Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
            },
            State::Brace => match next {
                None => return Err(LogfmtError { at, problem: Problem::End }),
                Some('{') => {
                    digits.clear();
                    state = State::Digits;
                }
                Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
            },
            State::Digits => match next {
                None => return Err(LogfmtError { at, problem: Problem::End }),
                Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
                Some('}') => match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(c) => {
                        value.push(c);
                        state = State::Quoted;
                    }
                    None => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
                },
                Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
            },
            State::AfterValue => match next {
                None => return Ok(pairs),
                Some(' ' | '\t') => state = State::Between,
                Some(c) => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
            },
        }
        chars.next();
    }
}

pub fn write(pairs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(key);
        text.push('=');
        if value.chars().all(is_word) {
            text.push_str(value);
        } else {
            text.push_str(&quote(value));
        }
    }
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
