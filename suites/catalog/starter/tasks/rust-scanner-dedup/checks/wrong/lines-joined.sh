#!/bin/sh
# Gets fewer lines by joining them.
set -e
patch -s -p1 <<'PATCH'
--- a/src/header.rs
+++ b/src/header.rs
@@ -4,193 +4,18 @@
 //! semicolons may be empty. Names and bare values are tokens: ASCII letters, digits and `!#$%&'*+-.^_|~/`. Names become small
 //! letters. In quotes a backslash stands before any character that is meant as it is; control characters other than tabs are not allowed.
 //! When a name comes twice, the first value counts.
-use std::fmt;
-
-#[derive(Debug, Clone, PartialEq, Eq)]
-enum Problem {
-    End,
-    Unexpected(char),
-}
-
-/// Why a text is not a header, and where.
-#[derive(Debug, Clone, PartialEq, Eq)]
-pub struct HeaderError {
-    at: usize,
-    problem: Problem,
-}
-
-impl HeaderError {
-    /// Byte position of the problem in the text.
-    pub fn position(&self) -> usize {
-        self.at
-    }
-
-    /// Whether the text merely ends too early.
-    pub fn is_incomplete(&self) -> bool {
-        self.problem == Problem::End
-    }
-}
-
-impl fmt::Display for HeaderError {
-    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
-        match &self.problem {
-            Problem::End => write!(f, "header: unexpected end at {}", self.at),
-            Problem::Unexpected(c) => write!(f, "header: unexpected {:?} at {}", c, self.at),
-        }
-    }
-}
-
-impl std::error::Error for HeaderError {}
-
-/// A parsed header.
-#[derive(Debug, Clone, PartialEq, Eq, Default)]
-pub struct Header {
-    pub value: String,
-    pub parameters: Vec<(String, String)>,
-}
-
-enum State {
-    Start,
-    Main,
-    Between,
-    Name,
-    InName,
-    Value,
-    Bare,
-    Quoted,
-    Escape,
-}
-
-fn is_token(c: char) -> bool {
-    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~/".contains(c)
-}
-
-fn add(header: &mut Header, name: &str, value: &str) {
-    if !header.parameters.iter().any(|(known, _)| known == name) {
-        header.parameters.push((name.to_string(), value.to_string()));
-    }
-}
-
-pub fn parse(text: &str) -> Result<Header, HeaderError> {
-    let mut state = State::Start;
-    let mut header = Header::default();
-    let mut name = String::new();
-    let mut value = String::new();
-    let mut chars = text.char_indices().peekable();
-    loop {
-        let (at, next) = match chars.peek() {
-            Some((at, c)) => (*at, Some(*c)),
-            None => (text.len(), None),
-        };
-        match state {
-            State::Start => match next {
-                None => return Err(HeaderError { at, problem: Problem::End }),
-                Some(' ' | '\t') => {}
-                Some(c) if is_token(c) => {
-                    header.value.push(c);
-                    state = State::Main;
-                }
-                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::Main => match next {
-                Some(c) if is_token(c) => header.value.push(c),
-                _ => {
-                    state = State::Between;
-                    continue;
-                }
-            },
-            State::Between => match next {
-                None => return Ok(header),
-                Some(' ' | '\t') => {}
-                Some(';') => state = State::Name,
-                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::Name => match next {
-                None => return Ok(header),
-                Some(' ' | '\t' | ';') => {}
-                Some(c) if is_token(c) => {
-                    name.clear();
-                    name.push(c.to_ascii_lowercase());
-                    state = State::InName;
-                }
-                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::InName => match next {
-                None => return Err(HeaderError { at, problem: Problem::End }),
-                Some(c) if is_token(c) => name.push(c.to_ascii_lowercase()),
-                Some('=') => state = State::Value,
-                Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::Value => {
-                value.clear();
-                match next {
-                    None => return Err(HeaderError { at, problem: Problem::End }),
-                    Some('"') => state = State::Quoted,
-                    Some(c) if is_token(c) => {
-                        value.push(c);
-                        state = State::Bare;
-                    }
-                    Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }),
-                }
-            }
-            State::Bare => match next {
-                Some(c) if is_token(c) => value.push(c),
-                _ => {
-                    add(&mut header, &name, &value);
-                    state = State::Between;
-                    continue;
-                }
-            },
-            State::Quoted => match next {
-                None => return Err(HeaderError { at, problem: Problem::End }),
-                Some('"') => {
-                    add(&mut header, &name, &value);
-                    state = State::Between;
-                }
-                Some('\\') => state = State::Escape,
-                Some(c) if c.is_control() && c != '\t' => {
-                    return Err(HeaderError { at, problem: Problem::Unexpected(c) });
-                }
-                Some(c) => value.push(c),
-            },
-            State::Escape => match next {
-                None => return Err(HeaderError { at, problem: Problem::End }),
-                Some(c) => {
-                    value.push(c);
-                    state = State::Quoted;
-                }
-            },
-        }
-        chars.next();
-    }
-}
-
-pub fn write(header: &Header) -> String {
-    let mut text = header.value.clone();
-    for (name, value) in &header.parameters {
-        text.push_str("; ");
-        text.push_str(name);
-        text.push('=');
-        if !value.is_empty() && value.chars().all(is_token) {
-            text.push_str(value);
-        } else {
-            text.push_str(&quote(value));
-        }
-    }
-    text
-}
-
-/// Writes a value in quotes.
-pub fn quote(value: &str) -> String {
-    let mut text = String::with_capacity(value.len() + 2);
-    text.push('"');
-    for c in value.chars() {
-        match c {
-            '"' => text.push_str("\\\""),
-            '\\' => text.push_str("\\\\"),
-            c => text.push(c),
-        }
-    }
-    text.push('"');
-    text
-}
+use std::fmt; #[derive(Debug, Clone, PartialEq, Eq)] enum Problem { End, Unexpected(char), } #[derive(Debug, Clone, PartialEq, Eq)] pub struct HeaderError { at: usize, problem: Problem, } impl HeaderError { pub fn position(&self) -> usize { self.at } pub fn is_incomplete(&self) -> bool {
+self.problem == Problem::End } } impl fmt::Display for HeaderError { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { match &self.problem { Problem::End => write!(f, "header: unexpected end at {}", self.at), Problem::Unexpected(c) => write!(f, "header: unexpected {:?} at {}", c, self.at), }
+} } impl std::error::Error for HeaderError {} #[derive(Debug, Clone, PartialEq, Eq, Default)] pub struct Header { pub value: String, pub parameters: Vec<(String, String)>, } enum State { Start, Main, Between, Name, InName, Value, Bare, Quoted, Escape, } fn is_token(c: char) -> bool {
+c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~/".contains(c) } fn add(header: &mut Header, name: &str, value: &str) { if !header.parameters.iter().any(|(known, _)| known == name) { header.parameters.push((name.to_string(), value.to_string())); } }
+pub fn parse(text: &str) -> Result<Header, HeaderError> { let mut state = State::Start; let mut header = Header::default(); let mut name = String::new(); let mut value = String::new(); let mut chars = text.char_indices().peekable(); loop { let (at, next) = match chars.peek() {
+Some((at, c)) => (*at, Some(*c)), None => (text.len(), None), }; match state { State::Start => match next { None => return Err(HeaderError { at, problem: Problem::End }), Some(' ' | '\t') => {} Some(c) if is_token(c) => { header.value.push(c); state = State::Main; }
+Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }), }, State::Main => match next { Some(c) if is_token(c) => header.value.push(c), _ => { state = State::Between; continue; } }, State::Between => match next { None => return Ok(header), Some(' ' | '\t') => {}
+Some(';') => state = State::Name, Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }), }, State::Name => match next { None => return Ok(header), Some(' ' | '\t' | ';') => {} Some(c) if is_token(c) => { name.clear(); name.push(c.to_ascii_lowercase()); state = State::InName; }
+Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }), }, State::InName => match next { None => return Err(HeaderError { at, problem: Problem::End }), Some(c) if is_token(c) => name.push(c.to_ascii_lowercase()), Some('=') => state = State::Value,
+Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }), }, State::Value => { value.clear(); match next { None => return Err(HeaderError { at, problem: Problem::End }), Some('"') => state = State::Quoted, Some(c) if is_token(c) => { value.push(c); state = State::Bare; }
+Some(c) => return Err(HeaderError { at, problem: Problem::Unexpected(c) }), } } State::Bare => match next { Some(c) if is_token(c) => value.push(c), _ => { add(&mut header, &name, &value); state = State::Between; continue; } }, State::Quoted => match next {
+None => return Err(HeaderError { at, problem: Problem::End }), Some('"') => { add(&mut header, &name, &value); state = State::Between; } Some('\\') => state = State::Escape, Some(c) if c.is_control() && c != '\t' => { return Err(HeaderError { at, problem: Problem::Unexpected(c) }); }
+Some(c) => value.push(c), }, State::Escape => match next { None => return Err(HeaderError { at, problem: Problem::End }), Some(c) => { value.push(c); state = State::Quoted; } }, } chars.next(); } } pub fn write(header: &Header) -> String { let mut text = header.value.clone();
+for (name, value) in &header.parameters { text.push_str("; "); text.push_str(name); text.push('='); if !value.is_empty() && value.chars().all(is_token) { text.push_str(value); } else { text.push_str(&quote(value)); } } text } pub fn quote(value: &str) -> String {
+let mut text = String::with_capacity(value.len() + 2); text.push('"'); for c in value.chars() { match c { '"' => text.push_str("\\\""), '\\' => text.push_str("\\\\"), c => text.push(c), } } text.push('"'); text }
--- a/src/labels.rs
+++ b/src/labels.rs
@@ -2,214 +2,22 @@
 //!
 //! Keys are ASCII letters, digits and `_`, not beginning with a digit. Values are always quoted and may hold line breaks. Blanks and tabs
 //! are allowed between all parts; a comma may follow the last pair. No key may come twice.
-use std::fmt;
-
-#[derive(Debug, Clone, PartialEq, Eq)]
-enum Problem {
-    End,
-    Unexpected(char),
-    Escape,
-    Duplicate(String),
-}
-
-/// Why a text is not a list of labels, and where.
-#[derive(Debug, Clone, PartialEq, Eq)]
-pub struct LabelError {
-    at: usize,
-    problem: Problem,
-}
-
-impl LabelError {
-    /// Byte position of the problem in the text.
-    pub fn position(&self) -> usize {
-        self.at
-    }
-
-    /// Whether the text merely ends too early.
-    pub fn is_incomplete(&self) -> bool {
-        self.problem == Problem::End
-    }
-}
-
-impl fmt::Display for LabelError {
-    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
-        match &self.problem {
-            Problem::End => write!(f, "labels: unexpected end at {}", self.at),
-            Problem::Unexpected(c) => write!(f, "labels: unexpected {:?} at {}", c, self.at),
-            Problem::Escape => write!(f, "labels: bad escape at {}", self.at),
-            Problem::Duplicate(key) => write!(f, "labels: duplicate {:?} at {}", key, self.at),
-        }
-    }
-}
-
-impl std::error::Error for LabelError {}
-
-enum State {
-    Start,
-    Key,
-    InKey,
-    Equals,
-    Open,
-    Quoted,
-    Escape,
-    Brace,
-    Digits,
-    AfterValue,
-    End,
-}
-
-pub fn parse(text: &str) -> Result<Vec<(String, String)>, LabelError> {
-    let mut state = State::Start;
-    let mut pairs: Vec<(String, String)> = Vec::new();
-    let mut key = String::new();
-    let mut key_at = 0;
-    let mut value = String::new();
-    let mut digits = String::new();
-    let mut escape_at = 0;
-    let mut chars = text.char_indices().peekable();
-    loop {
-        let (at, next) = match chars.peek() {
-            Some((at, c)) => (*at, Some(*c)),
-            None => (text.len(), None),
-        };
-        match state {
-            State::Start => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some(' ' | '\t') => {}
-                Some('{') => state = State::Key,
-                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::Key => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some(' ' | '\t') => {}
-                Some('}') => state = State::End,
-                Some(c) if c.is_ascii_alphabetic() || c == '_' => {
-                    key.clear();
-                    key.push(c);
-                    key_at = at;
-                    state = State::InKey;
-                }
-                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::InKey => match next {
-                Some(c) if c.is_ascii_alphanumeric() || c == '_' => key.push(c),
-                _ => {
-                    if pairs.iter().any(|(known, _)| *known == key) {
-                        return Err(LabelError { at: key_at, problem: Problem::Duplicate(key) });
-                    }
-                    state = State::Equals;
-                    continue;
-                }
-            },
-            State::Equals => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some(' ' | '\t') => {}
-                Some('=') => state = State::Open,
-                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::Open => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some(' ' | '\t') => {}
-                Some('"') => {
-                    value.clear();
-                    state = State::Quoted;
-                }
-                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::Quoted => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some('"') => {
-                    pairs.push((key.clone(), value.clone()));
-                    state = State::AfterValue;
-                }
-                Some('\\') => {
-                    escape_at = at;
-                    state = State::Escape;
-                }
-                Some(c) => value.push(c),
-            },
-            State::Escape => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some('n') => {
-                    value.push('\n');
-                    state = State::Quoted;
-                }
-                Some('t') => {
-                    value.push('\t');
-                    state = State::Quoted;
-                }
-                Some(c @ ('"' | '\\')) => {
-                    value.push(c);
-                    state = State::Quoted;
-                }
-                Some('u') => state = State::Brace,
-                Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
-            },
-            State::Brace => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some('{') => {
-                    digits.clear();
-                    state = State::Digits;
-                }
-                Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
-            },
-            State::Digits => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
-                Some('}') => match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
-                    Some(c) => {
-                        value.push(c);
-                        state = State::Quoted;
-                    }
-                    None => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
-                },
-                Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }),
-            },
-            State::AfterValue => match next {
-                None => return Err(LabelError { at, problem: Problem::End }),
-                Some(' ' | '\t') => {}
-                Some(',') => state = State::Key,
-                Some('}') => state = State::End,
-                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::End => match next {
-                None => return Ok(pairs),
-                Some(' ' | '\t') => {}
-                Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }),
-            },
-        }
-        chars.next();
-    }
-}
-
-pub fn write(pairs: &[(String, String)]) -> String {
-    let mut text = String::from("{");
-    for (i, (key, value)) in pairs.iter().enumerate() {
-        if i > 0 {
-            text.push_str(", ");
-        }
-        text.push_str(key);
-        text.push('=');
-        text.push_str(&quote(value));
-    }
-    text.push('}');
-    text
-}
-
-/// Writes a value in quotes, with everything escaped that has to be.
-pub fn quote(value: &str) -> String {
-    let mut text = String::with_capacity(value.len() + 2);
-    text.push('"');
-    for c in value.chars() {
-        match c {
-            '"' => text.push_str("\\\""),
-            '\\' => text.push_str("\\\\"),
-            '\n' => text.push_str("\\n"),
-            '\t' => text.push_str("\\t"),
-            c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
-            c => text.push(c),
-        }
-    }
-    text.push('"');
-    text
-}
+use std::fmt; #[derive(Debug, Clone, PartialEq, Eq)] enum Problem { End, Unexpected(char), Escape, Duplicate(String), } #[derive(Debug, Clone, PartialEq, Eq)] pub struct LabelError { at: usize, problem: Problem, } impl LabelError { pub fn position(&self) -> usize { self.at }
+pub fn is_incomplete(&self) -> bool { self.problem == Problem::End } } impl fmt::Display for LabelError { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { match &self.problem { Problem::End => write!(f, "labels: unexpected end at {}", self.at),
+Problem::Unexpected(c) => write!(f, "labels: unexpected {:?} at {}", c, self.at), Problem::Escape => write!(f, "labels: bad escape at {}", self.at), Problem::Duplicate(key) => write!(f, "labels: duplicate {:?} at {}", key, self.at), } } } impl std::error::Error for LabelError {} enum State { Start,
+Key, InKey, Equals, Open, Quoted, Escape, Brace, Digits, AfterValue, End, } pub fn parse(text: &str) -> Result<Vec<(String, String)>, LabelError> { let mut state = State::Start; let mut pairs: Vec<(String, String)> = Vec::new(); let mut key = String::new(); let mut key_at = 0;
+let mut value = String::new(); let mut digits = String::new(); let mut escape_at = 0; let mut chars = text.char_indices().peekable(); loop { let (at, next) = match chars.peek() { Some((at, c)) => (*at, Some(*c)), None => (text.len(), None), }; match state { State::Start => match next {
+None => return Err(LabelError { at, problem: Problem::End }), Some(' ' | '\t') => {} Some('{') => state = State::Key, Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }), }, State::Key => match next { None => return Err(LabelError { at, problem: Problem::End }),
+Some(' ' | '\t') => {} Some('}') => state = State::End, Some(c) if c.is_ascii_alphabetic() || c == '_' => { key.clear(); key.push(c); key_at = at; state = State::InKey; } Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }), }, State::InKey => match next {
+Some(c) if c.is_ascii_alphanumeric() || c == '_' => key.push(c), _ => { if pairs.iter().any(|(known, _)| *known == key) { return Err(LabelError { at: key_at, problem: Problem::Duplicate(key) }); } state = State::Equals; continue; } }, State::Equals => match next {
+None => return Err(LabelError { at, problem: Problem::End }), Some(' ' | '\t') => {} Some('=') => state = State::Open, Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }), }, State::Open => match next { None => return Err(LabelError { at, problem: Problem::End }),
+Some(' ' | '\t') => {} Some('"') => { value.clear(); state = State::Quoted; } Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }), }, State::Quoted => match next { None => return Err(LabelError { at, problem: Problem::End }), Some('"') => {
+pairs.push((key.clone(), value.clone())); state = State::AfterValue; } Some('\\') => { escape_at = at; state = State::Escape; } Some(c) => value.push(c), }, State::Escape => match next { None => return Err(LabelError { at, problem: Problem::End }), Some('n') => { value.push('\n');
+state = State::Quoted; } Some('t') => { value.push('\t'); state = State::Quoted; } Some(c @ ('"' | '\\')) => { value.push(c); state = State::Quoted; } Some('u') => state = State::Brace, Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }), }, State::Brace => match next {
+None => return Err(LabelError { at, problem: Problem::End }), Some('{') => { digits.clear(); state = State::Digits; } Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }), }, State::Digits => match next { None => return Err(LabelError { at, problem: Problem::End }),
+Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c), Some('}') => match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) { Some(c) => { value.push(c); state = State::Quoted; } None => return Err(LabelError { at: escape_at, problem: Problem::Escape }), },
+Some(_) => return Err(LabelError { at: escape_at, problem: Problem::Escape }), }, State::AfterValue => match next { None => return Err(LabelError { at, problem: Problem::End }), Some(' ' | '\t') => {} Some(',') => state = State::Key, Some('}') => state = State::End,
+Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }), }, State::End => match next { None => return Ok(pairs), Some(' ' | '\t') => {} Some(c) => return Err(LabelError { at, problem: Problem::Unexpected(c) }), }, } chars.next(); } }
+pub fn write(pairs: &[(String, String)]) -> String { let mut text = String::from("{"); for (i, (key, value)) in pairs.iter().enumerate() { if i > 0 { text.push_str(", "); } text.push_str(key); text.push('='); text.push_str(&quote(value)); } text.push('}'); text } pub fn quote(value: &str) -> String {
+let mut text = String::with_capacity(value.len() + 2); text.push('"'); for c in value.chars() { match c { '"' => text.push_str("\\\""), '\\' => text.push_str("\\\\"), '\n' => text.push_str("\\n"), '\t' => text.push_str("\\t"), c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
+c => text.push(c), } } text.push('"'); text }
--- a/src/logfmt.rs
+++ b/src/logfmt.rs
@@ -3,211 +3,20 @@
 //! Keys and bare values are any characters but blanks, tabs, quotes, `=` and control characters. Pairs are separated by blanks or tabs.
 //! A key alone has the value `true`, and a key with nothing behind the `=` an empty one. Line breaks and other control characters
 //! must be escaped. When a key comes twice, the last value counts, in the place of the first.
-use std::fmt;
-
-#[derive(Debug, Clone, PartialEq, Eq)]
-enum Problem {
-    End,
-    Unexpected(char),
-    Escape,
-}
-
-/// Why a text is not a log line, and where.
-#[derive(Debug, Clone, PartialEq, Eq)]
-pub struct LogfmtError {
-    at: usize,
-    problem: Problem,
-}
-
-impl LogfmtError {
-    /// Byte position of the problem in the text.
-    pub fn position(&self) -> usize {
-        self.at
-    }
-
-    /// Whether the text merely ends too early.
-    pub fn is_incomplete(&self) -> bool {
-        self.problem == Problem::End
-    }
-}
-
-impl fmt::Display for LogfmtError {
-    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
-        match &self.problem {
-            Problem::End => write!(f, "logfmt: unexpected end at {}", self.at),
-            Problem::Unexpected(c) => write!(f, "logfmt: unexpected {:?} at {}", c, self.at),
-            Problem::Escape => write!(f, "logfmt: bad escape at {}", self.at),
-        }
-    }
-}
-
-impl std::error::Error for LogfmtError {}
-
-enum State {
-    Between,
-    InKey,
-    Value,
-    Bare,
-    Quoted,
-    Escape,
-    Brace,
-    Digits,
-    AfterValue,
-}
-
-fn is_word(c: char) -> bool {
-    !matches!(c, ' ' | '"' | '=') && !c.is_control()
-}
-
-fn set(pairs: &mut Vec<(String, String)>, key: &str, value: &str) {
-    match pairs.iter_mut().find(|(known, _)| known == key) {
-        Some(pair) => pair.1 = value.to_string(),
-        None => pairs.push((key.to_string(), value.to_string())),
-    }
-}
-
-pub fn parse(text: &str) -> Result<Vec<(String, String)>, LogfmtError> {
-    let mut state = State::Between;
-    let mut pairs: Vec<(String, String)> = Vec::new();
-    let mut key = String::new();
-    let mut value = String::new();
-    let mut digits = String::new();
-    let mut escape_at = 0;
-    let mut chars = text.char_indices().peekable();
-    loop {
-        let (at, next) = match chars.peek() {
-            Some((at, c)) => (*at, Some(*c)),
-            None => (text.len(), None),
-        };
-        match state {
-            State::Between => match next {
-                None => return Ok(pairs),
-                Some(' ' | '\t') => {}
-                Some(c) if is_word(c) => {
-                    key.clear();
-                    key.push(c);
-                    state = State::InKey;
-                }
-                Some(c) => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
-            },
-            State::InKey => match next {
-                Some(c) if is_word(c) => key.push(c),
-                Some('=') => state = State::Value,
-                _ => {
-                    set(&mut pairs, &key, "true");
-                    state = State::AfterValue;
-                    continue;
-                }
-            },
-            State::Value => {
-                value.clear();
-                match next {
-                    Some('"') => state = State::Quoted,
-                    _ => {
-                        state = State::Bare;
-                        continue;
-                    }
-                }
-            }
-            State::Bare => match next {
-                Some(c) if is_word(c) => value.push(c),
-                _ => {
-                    set(&mut pairs, &key, &value);
-                    state = State::AfterValue;
-                    continue;
-                }
-            },
-            State::Quoted => match next {
-                None => return Err(LogfmtError { at, problem: Problem::End }),
-                Some('"') => {
-                    set(&mut pairs, &key, &value);
-                    state = State::AfterValue;
-                }
-                Some('\\') => {
-                    escape_at = at;
-                    state = State::Escape;
-                }
-                Some(c) if c.is_control() => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
-                Some(c) => value.push(c),
-            },
-            State::Escape => match next {
-                None => return Err(LogfmtError { at, problem: Problem::End }),
-                Some('n') => {
-                    value.push('\n');
-                    state = State::Quoted;
-                }
-                Some('t') => {
-                    value.push('\t');
-                    state = State::Quoted;
-                }
-                Some(c @ ('"' | '\\')) => {
-                    value.push(c);
-                    state = State::Quoted;
-                }
-                Some('u') => state = State::Brace,
-                Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
-            },
-            State::Brace => match next {
-                None => return Err(LogfmtError { at, problem: Problem::End }),
-                Some('{') => {
-                    digits.clear();
-                    state = State::Digits;
-                }
-                Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
-            },
-            State::Digits => match next {
-                None => return Err(LogfmtError { at, problem: Problem::End }),
-                Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
-                Some('}') => match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
-                    Some(c) => {
-                        value.push(c);
-                        state = State::Quoted;
-                    }
-                    None => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
-                },
-                Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }),
-            },
-            State::AfterValue => match next {
-                None => return Ok(pairs),
-                Some(' ' | '\t') => state = State::Between,
-                Some(c) => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
-            },
-        }
-        chars.next();
-    }
-}
-
-pub fn write(pairs: &[(String, String)]) -> String {
-    let mut text = String::new();
-    for (i, (key, value)) in pairs.iter().enumerate() {
-        if i > 0 {
-            text.push(' ');
-        }
-        text.push_str(key);
-        text.push('=');
-        if value.chars().all(is_word) {
-            text.push_str(value);
-        } else {
-            text.push_str(&quote(value));
-        }
-    }
-    text
-}
-
-/// Writes a value in quotes, with everything escaped that has to be.
-pub fn quote(value: &str) -> String {
-    let mut text = String::with_capacity(value.len() + 2);
-    text.push('"');
-    for c in value.chars() {
-        match c {
-            '"' => text.push_str("\\\""),
-            '\\' => text.push_str("\\\\"),
-            '\n' => text.push_str("\\n"),
-            '\t' => text.push_str("\\t"),
-            c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
-            c => text.push(c),
-        }
-    }
-    text.push('"');
-    text
-}
+use std::fmt; #[derive(Debug, Clone, PartialEq, Eq)] enum Problem { End, Unexpected(char), Escape, } #[derive(Debug, Clone, PartialEq, Eq)] pub struct LogfmtError { at: usize, problem: Problem, } impl LogfmtError { pub fn position(&self) -> usize { self.at } pub fn is_incomplete(&self) -> bool {
+self.problem == Problem::End } } impl fmt::Display for LogfmtError { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { match &self.problem { Problem::End => write!(f, "logfmt: unexpected end at {}", self.at), Problem::Unexpected(c) => write!(f, "logfmt: unexpected {:?} at {}", c, self.at),
+Problem::Escape => write!(f, "logfmt: bad escape at {}", self.at), } } } impl std::error::Error for LogfmtError {} enum State { Between, InKey, Value, Bare, Quoted, Escape, Brace, Digits, AfterValue, } fn is_word(c: char) -> bool { !matches!(c, ' ' | '"' | '=') && !c.is_control() }
+fn set(pairs: &mut Vec<(String, String)>, key: &str, value: &str) { match pairs.iter_mut().find(|(known, _)| known == key) { Some(pair) => pair.1 = value.to_string(), None => pairs.push((key.to_string(), value.to_string())), } } pub fn parse(text: &str) -> Result<Vec<(String, String)>, LogfmtError> {
+let mut state = State::Between; let mut pairs: Vec<(String, String)> = Vec::new(); let mut key = String::new(); let mut value = String::new(); let mut digits = String::new(); let mut escape_at = 0; let mut chars = text.char_indices().peekable(); loop { let (at, next) = match chars.peek() {
+Some((at, c)) => (*at, Some(*c)), None => (text.len(), None), }; match state { State::Between => match next { None => return Ok(pairs), Some(' ' | '\t') => {} Some(c) if is_word(c) => { key.clear(); key.push(c); state = State::InKey; }
+Some(c) => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }), }, State::InKey => match next { Some(c) if is_word(c) => key.push(c), Some('=') => state = State::Value, _ => { set(&mut pairs, &key, "true"); state = State::AfterValue; continue; } }, State::Value => { value.clear();
+match next { Some('"') => state = State::Quoted, _ => { state = State::Bare; continue; } } } State::Bare => match next { Some(c) if is_word(c) => value.push(c), _ => { set(&mut pairs, &key, &value); state = State::AfterValue; continue; } }, State::Quoted => match next {
+None => return Err(LogfmtError { at, problem: Problem::End }), Some('"') => { set(&mut pairs, &key, &value); state = State::AfterValue; } Some('\\') => { escape_at = at; state = State::Escape; } Some(c) if c.is_control() => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }),
+Some(c) => value.push(c), }, State::Escape => match next { None => return Err(LogfmtError { at, problem: Problem::End }), Some('n') => { value.push('\n'); state = State::Quoted; } Some('t') => { value.push('\t'); state = State::Quoted; } Some(c @ ('"' | '\\')) => { value.push(c);
+state = State::Quoted; } Some('u') => state = State::Brace, Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }), }, State::Brace => match next { None => return Err(LogfmtError { at, problem: Problem::End }), Some('{') => { digits.clear(); state = State::Digits; }
+Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }), }, State::Digits => match next { None => return Err(LogfmtError { at, problem: Problem::End }), Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
+Some('}') => match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) { Some(c) => { value.push(c); state = State::Quoted; } None => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }), }, Some(_) => return Err(LogfmtError { at: escape_at, problem: Problem::Escape }), },
+State::AfterValue => match next { None => return Ok(pairs), Some(' ' | '\t') => state = State::Between, Some(c) => return Err(LogfmtError { at, problem: Problem::Unexpected(c) }), }, } chars.next(); } } pub fn write(pairs: &[(String, String)]) -> String { let mut text = String::new();
+for (i, (key, value)) in pairs.iter().enumerate() { if i > 0 { text.push(' '); } text.push_str(key); text.push('='); if value.chars().all(is_word) { text.push_str(value); } else { text.push_str(&quote(value)); } } text } pub fn quote(value: &str) -> String {
+let mut text = String::with_capacity(value.len() + 2); text.push('"'); for c in value.chars() { match c { '"' => text.push_str("\\\""), '\\' => text.push_str("\\\\"), '\n' => text.push_str("\\n"), '\t' => text.push_str("\\t"), c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
+c => text.push(c), } } text.push('"'); text }
PATCH
