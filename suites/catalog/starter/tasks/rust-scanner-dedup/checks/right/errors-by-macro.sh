#!/bin/sh
# Keeps three error types, made by a macro, over a shared reader with a different cut.
set -e
patch -s -p1 <<'PATCH'
--- a/src/header.rs
+++ b/src/header.rs
@@ -4,43 +4,9 @@
 //! semicolons may be empty. Names and bare values are tokens: ASCII letters, digits and `!#$%&'*+-.^_|~/`. Names become small
 //! letters. In quotes a backslash stands before any character that is meant as it is; control characters other than tabs are not allowed.
 //! When a name comes twice, the first value counts.
-use std::fmt;
+use crate::text::Reader;
 
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
+error_type!(HeaderError, "header");
 
 /// A parsed header.
 #[derive(Debug, Clone, PartialEq, Eq, Default)]
@@ -49,119 +15,35 @@
     pub parameters: Vec<(String, String)>,
 }
 
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
 fn is_token(c: char) -> bool {
     c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~/".contains(c)
 }
 
-fn add(header: &mut Header, name: &str, value: &str) {
-    if !header.parameters.iter().any(|(known, _)| known == name) {
-        header.parameters.push((name.to_string(), value.to_string()));
-    }
-}
-
 pub fn parse(text: &str) -> Result<Header, HeaderError> {
-    let mut state = State::Start;
+    let mut reader = Reader::new(text);
+    reader.blanks();
     let mut header = Header::default();
-    let mut name = String::new();
-    let mut value = String::new();
-    let mut chars = text.char_indices().peekable();
+    header.value.push(reader.one(is_token)?);
+    header.value += &reader.while_in(is_token);
     loop {
-        let (at, next) = match chars.peek() {
-            Some((at, c)) => (*at, Some(*c)),
-            None => (text.len(), None),
+        reader.blanks();
+        if reader.next_char().is_none() {
+            return Ok(header);
+        }
+        reader.sign(';')?;
+        reader.while_in(|c| " \t;".contains(c));
+        if reader.next_char().is_none() {
+            return Ok(header);
+        }
+        let name = (reader.one(is_token)?.to_string() + &reader.while_in(is_token)).to_ascii_lowercase();
+        reader.sign('=')?;
+        let value = match reader.sign('"') {
+            Ok(_) => reader.quoted(false, |c| c.is_control() && c != '\t')?,
+            Err(_) => reader.one(is_token)?.to_string() + &reader.while_in(is_token),
         };
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
+        if header.parameters.iter().all(|(known, _)| *known != name) {
+            header.parameters.push((name, value));
         }
-        chars.next();
     }
 }
 
--- a/src/labels.rs
+++ b/src/labels.rs
@@ -2,183 +2,41 @@
 //!
 //! Keys are ASCII letters, digits and `_`, not beginning with a digit. Values are always quoted and may hold line breaks. Blanks and tabs
 //! are allowed between all parts; a comma may follow the last pair. No key may come twice.
-use std::fmt;
+use crate::text::{Problem, Reader};
 
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
+pub use crate::text::quote;
 
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
+error_type!(LabelError, "labels");
 
 pub fn parse(text: &str) -> Result<Vec<(String, String)>, LabelError> {
-    let mut state = State::Start;
+    let mut reader = Reader::new(text);
     let mut pairs: Vec<(String, String)> = Vec::new();
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
+    reader.blanks();
+    reader.sign('{')?;
+    reader.blanks();
+    while reader.next_char() != Some('}') {
+        let at = reader.at();
+        let mut key = reader.one(|c| c.is_ascii_alphabetic() || c == '_')?.to_string();
+        key += &reader.while_in(|c| c.is_ascii_alphanumeric() || c == '_');
+        if pairs.iter().any(|(known, _)| *known == key) {
+            return Err((at, Problem::Duplicate(key)).into());
         }
-        chars.next();
+        for sign in ['=', '"'] {
+            reader.blanks();
+            reader.sign(sign)?;
+        }
+        pairs.push((key, reader.quoted(true, |_| false)?));
+        reader.blanks();
+        if reader.sign(',').is_err() {
+            break;
+        }
+        reader.blanks();
+    }
+    reader.sign('}')?;
+    reader.blanks();
+    match reader.next_char() {
+        None => Ok(pairs),
+        Some(_) => Ok(reader.stop()?),
     }
 }
 
@@ -195,21 +53,3 @@
     text.push('}');
     text
 }
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
--- a/src/lib.rs
+++ b/src/lib.rs
@@ -1,4 +1,6 @@
 //! Attributes in three notations: labels of metrics, log lines and header parameters.
+#[macro_use]
+mod text;
 pub mod header;
 pub mod labels;
 pub mod logfmt;
--- a/src/logfmt.rs
+++ b/src/logfmt.rs
@@ -3,57 +3,11 @@
 //! Keys and bare values are any characters but blanks, tabs, quotes, `=` and control characters. Pairs are separated by blanks or tabs.
 //! A key alone has the value `true`, and a key with nothing behind the `=` an empty one. Line breaks and other control characters
 //! must be escaped. When a key comes twice, the last value counts, in the place of the first.
-use std::fmt;
+use crate::text::Reader;
 
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
+pub use crate::text::quote;
 
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
+error_type!(LogfmtError, "logfmt");
 
 fn is_word(c: char) -> bool {
     !matches!(c, ' ' | '"' | '=') && !c.is_control()
@@ -67,113 +21,25 @@
 }
 
 pub fn parse(text: &str) -> Result<Vec<(String, String)>, LogfmtError> {
-    let mut state = State::Between;
-    let mut pairs: Vec<(String, String)> = Vec::new();
-    let mut key = String::new();
-    let mut value = String::new();
-    let mut digits = String::new();
-    let mut escape_at = 0;
-    let mut chars = text.char_indices().peekable();
+    let mut reader = Reader::new(text);
+    let mut pairs = Vec::new();
     loop {
-        let (at, next) = match chars.peek() {
-            Some((at, c)) => (*at, Some(*c)),
-            None => (text.len(), None),
+        reader.blanks();
+        if reader.next_char().is_none() {
+            return Ok(pairs);
+        }
+        let key = reader.one(is_word)?.to_string() + &reader.while_in(is_word);
+        let value = if reader.sign('=').is_err() {
+            "true".to_string()
+        } else if reader.sign('"').is_ok() {
+            reader.quoted(true, char::is_control)?
+        } else {
+            reader.while_in(is_word)
         };
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
+        set(&mut pairs, &key, &value);
+        if reader.next_char().map_or(false, |c| c != ' ' && c != '\t') {
+            return Ok(reader.stop()?);
         }
-        chars.next();
     }
 }
 
@@ -193,21 +59,3 @@
     }
     text
 }
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
--- a/src/text.rs
+++ b/src/text.rs
@@ -0,0 +1,150 @@
+//! Reading and writing of values that may be quoted, for all notations. A position and a problem become each notation's own error.
+use std::{fmt, iter::Peekable, str::CharIndices};
+
+#[derive(Debug, Clone, PartialEq, Eq)]
+pub enum Problem {
+    End,
+    Unexpected(char),
+    Escape,
+    Duplicate(String),
+}
+
+impl fmt::Display for Problem {
+    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
+        match self {
+            Problem::End => write!(f, "unexpected end"),
+            Problem::Unexpected(c) => write!(f, "unexpected {c:?}"),
+            Problem::Escape => write!(f, "bad escape"),
+            Problem::Duplicate(key) => write!(f, "duplicate {key:?}"),
+        }
+    }
+}
+
+macro_rules! error_type {
+    ($name:ident, $format:literal) => {
+        /// Why a text cannot be read, and where.
+        #[derive(Debug, Clone, PartialEq, Eq)]
+        pub struct $name(usize, crate::text::Problem);
+
+        impl $name {
+            /// Byte position of the problem in the text.
+            pub fn position(&self) -> usize {
+                self.0
+            }
+
+            /// Whether the text merely ends too early.
+            pub fn is_incomplete(&self) -> bool {
+                self.1 == crate::text::Problem::End
+            }
+        }
+
+        impl std::fmt::Display for $name {
+            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
+                write!(f, "{}: {} at {}", $format, self.1, self.0)
+            }
+        }
+
+        impl std::error::Error for $name {}
+
+        impl From<(usize, crate::text::Problem)> for $name {
+            fn from((at, problem): (usize, crate::text::Problem)) -> Self {
+                $name(at, problem)
+            }
+        }
+    };
+}
+
+pub type Step<T> = Result<T, (usize, Problem)>;
+
+pub struct Reader<'a>(usize, Peekable<CharIndices<'a>>);
+
+impl<'a> Reader<'a> {
+    pub fn new(text: &'a str) -> Self {
+        Reader(text.len(), text.char_indices().peekable())
+    }
+
+    pub fn next_char(&mut self) -> Option<char> {
+        self.1.peek().map(|(_, c)| *c)
+    }
+
+    pub fn at(&mut self) -> usize {
+        self.1.peek().map_or(self.0, |(at, _)| *at)
+    }
+
+    pub fn stop<T>(&mut self) -> Step<T> {
+        Err((self.at(), self.next_char().map_or(Problem::End, Problem::Unexpected)))
+    }
+
+    /// Takes the next character if it is one of these.
+    pub fn one(&mut self, of: impl Fn(char) -> bool) -> Step<char> {
+        match self.1.next_if(|(_, c)| of(*c)) {
+            Some((_, c)) => Ok(c),
+            None => self.stop(),
+        }
+    }
+
+    pub fn sign(&mut self, sign: char) -> Step<char> {
+        self.one(|c| c == sign)
+    }
+
+    pub fn while_in(&mut self, of: impl Fn(char) -> bool) -> String {
+        std::iter::from_fn(|| self.one(&of).ok()).collect()
+    }
+
+    pub fn blanks(&mut self) {
+        self.while_in(|c| c == ' ' || c == '\t');
+    }
+
+    /// Reads on behind the opening quote. With `named`, escapes are those of `quote`; otherwise a backslash protects one character.
+    pub fn quoted(&mut self, named: bool, refused: impl Fn(char) -> bool) -> Step<String> {
+        let mut value = String::new();
+        loop {
+            let at = self.at();
+            value.push(match self.one(|c| matches!(c, '"' | '\\') || !refused(c))? {
+                '"' => return Ok(value),
+                '\\' => match (self.one(|_| true)?, named) {
+                    ('n', true) => '\n',
+                    ('t', true) => '\t',
+                    ('u', true) => self.code(at)?,
+                    (c, _) if !named || c == '"' || c == '\\' => c,
+                    _ => return Err((at, Problem::Escape)),
+                },
+                c => c,
+            });
+        }
+    }
+
+    fn code(&mut self, at: usize) -> Step<char> {
+        let mut digits = String::new();
+        let mut expected = '{';
+        loop {
+            match self.one(|_| true)? {
+                '{' if expected == '{' => expected = '}',
+                c if expected == '}' && c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
+                '}' if expected == '}' => {
+                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
+                    return code.ok_or((at, Problem::Escape));
+                }
+                _ => return Err((at, Problem::Escape)),
+            }
+        }
+    }
+}
+
+/// Writes a value in quotes, with everything escaped that has to be.
+pub fn quote(value: &str) -> String {
+    let mut text = String::with_capacity(value.len() + 2);
+    text.push('"');
+    for c in value.chars() {
+        match c {
+            '"' => text.push_str("\\\""),
+            '\\' => text.push_str("\\\\"),
+            '\n' => text.push_str("\\n"),
+            '\t' => text.push_str("\\t"),
+            c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
+            c => text.push(c),
+        }
+    }
+    text.push('"');
+    text
+}
PATCH
