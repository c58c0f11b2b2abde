//! Parameters of a header: `text/html; charset=utf-8; title="a \"b\""`.
//!
//! The first part is the main value, then come parameters, each behind a `;`, with blanks and tabs around them. Parts between two
//! semicolons may be empty. Names and bare values are tokens: ASCII letters, digits and `!#$%&'*+-.^_|~/`. Names become small
//! letters. In quotes a backslash stands before any character that is meant as it is; control characters other than tabs are not allowed.
//! When a name comes twice, the first value counts.
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    End,
    Unexpected(char),
}

/// Why a text is not a header, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderError {
    at: usize,
    problem: Problem,
}

impl HeaderError {
    /// Byte position of the problem in the text.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether the text merely ends too early.
    pub fn is_incomplete(&self) -> bool {
        self.problem == Problem::End
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::End => write!(f, "header: unexpected end at {}", self.at),
            Problem::Unexpected(c) => write!(f, "header: unexpected {:?} at {}", c, self.at),
        }
    }
}

impl std::error::Error for HeaderError {}

/// A parsed header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    pub value: String,
    pub parameters: Vec<(String, String)>,
}

enum State {
    Start,
    Main,
    Between,
    Name,
    InName,
    Value,
    Bare,
    Quoted,
    Escape,
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~/".contains(c)
}

fn add(header: &mut Header, name: &str, value: &str) {
    if !header.parameters.iter().any(|(known, _)| known == name) {
        header.parameters.push((name.to_string(), value.to_string()));
    }
}

pub fn parse(text: &str) -> Result<Header, HeaderError> {
    let mut state = State::Start;
    let mut header = Header::default();
    let mut name = String::new();
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    loop {
        let (at, next) = match chars.peek() {
            Some((at, c)) => (*at, Some(*c)),
            None => (text.len(), None),
        };
        match state {
            State::Start => match next {
                None => return Err(HeaderError { at, problem: Problem::End }),
                Some(' ' | '\t') => {}
                Some(c) if is_token(c) => {
                    header.value.push(c);
                    state = State::Main;
                }
                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
            },
            State::Main => match next {
                Some(c) if is_token(c) => header.value.push(c),
                _ => {
                    state = State::Between;
                    continue;
                }
            },
            State::Between => match next {
                None => return Ok(header),
                Some(' ' | '\t') => {}
                Some(';') => state = State::Name,
                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
            },
            State::Name => match next {
                None => return Ok(header),
                Some(' ' | '\t' | ';') => {}
                Some(c) if is_token(c) => {
                    name.clear();
                    name.push(c.to_ascii_lowercase());
                    state = State::InName;
                }
                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
            },
            State::InName => match next {
                None => return Err(HeaderError { at, problem: Problem::End }),
                Some(c) if is_token(c) => name.push(c.to_ascii_lowercase()),
                Some('=') => state = State::Value,
                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
            },
            State::Value => {
                value.clear();
                match next {
                    None => return Err(HeaderError { at, problem: Problem::End }),
                    Some('"') => state = State::Quoted,
                    Some(c) if is_token(c) => {
                        value.push(c);
                        state = State::Bare;
                    }
                    Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
                }
            }
            State::Bare => match next {
                Some(c) if is_token(c) => value.push(c),
                _ => {
                    add(&mut header, &name, &value);
                    state = State::Between;
                    continue;
                }
            },
            State::Quoted => match next {
                None => return Err(HeaderError { at, problem: Problem::End }),
                Some('"') => {
                    add(&mut header, &name, &value);
                    state = State::Between;
                }
                Some('\\') => state = State::Escape,
                Some(c) if c.is_control() && c != '\t' => {
                    return Err(HeaderError { at, problem: Problem::Unexpected(c) });
                }
                Some(c) => value.push(c),
            },
            State::Escape => match next {
                None => return Err(HeaderError { at, problem: Problem::End }),
                Some(c) => {
                    value.push(c);
                    state = State::Quoted;
                }
            },
        }
        chars.next();
    }
}

pub fn write(header: &Header) -> String {
    let mut text = header.value.clone();
    for (name, value) in &header.parameters {
        text.push_str("; ");
        text.push_str(name);
        text.push('=');
        if !value.is_empty() && value.chars().all(is_token) {
            text.push_str(value);
        } else {
            text.push_str(&quote(value));
        }
    }
    text
}

/// Writes a value in quotes.
pub fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
