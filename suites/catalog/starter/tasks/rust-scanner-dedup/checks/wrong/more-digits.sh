#!/bin/sh
# Loses the limit of six digits in an escape.
set -e
patch -s -p1 <<'PATCH'
--- a/src/header.rs
+++ b/src/header.rs
@@ -4,43 +4,8 @@
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
+pub use crate::scan::Error as HeaderError;
+use crate::scan::Scanner;
 
 /// A parsed header.
 #[derive(Debug, Clone, PartialEq, Eq, Default)]
@@ -49,119 +14,34 @@
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
-    let mut header = Header::default();
-    let mut name = String::new();
-    let mut value = String::new();
-    let mut chars = text.char_indices().peekable();
+    let mut scan = Scanner::new("header", text);
+    scan.blanks();
+    let mut header = Header { value: scan.some(is_token)?.to_string(), ..Header::default() };
     loop {
-        let (at, next) = match chars.peek() {
-            Some((at, c)) => (*at, Some(*c)),
-            None => (text.len(), None),
+        scan.blanks();
+        if scan.peek().is_none() {
+            return Ok(header);
+        }
+        scan.expect(';')?;
+        scan.take(|c| matches!(c, ' ' | '\t' | ';'));
+        if scan.peek().is_none() {
+            return Ok(header);
+        }
+        let name = scan.some(is_token)?.to_ascii_lowercase();
+        scan.expect('=')?;
+        let value = if scan.eat('"') {
+            scan.quoted(|c| c.is_control() && c != '\t', Scanner::any)?
+        } else {
+            scan.some(is_token)?.to_string()
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
+        if !header.parameters.iter().any(|(known, _)| *known == name) {
+            header.parameters.push((name, value));
         }
-        chars.next();
     }
 }
 
--- a/src/labels.rs
+++ b/src/labels.rs
@@ -2,183 +2,37 @@
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
+pub use crate::scan::{quote, Error as LabelError};
+use crate::scan::{Problem, Scanner};
 
 pub fn parse(text: &str) -> Result<Vec<(String, String)>, LabelError> {
-    let mut state = State::Start;
+    let mut scan = Scanner::new("labels", text);
     let mut pairs: Vec<(String, String)> = Vec::new();
-    let mut key = String::new();
-    let mut key_at = 0;
-    let mut value = String::new();
-    let mut digits = String::new();
-    let mut escape_at = 0;
-    let mut chars = text.char_indices().peekable();
+    scan.blanks();
+    scan.expect('{')?;
+    let mut more = true;
     loop {
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
+        scan.blanks();
+        if !more || scan.peek() == Some('}') {
+            scan.expect('}')?;
+            scan.blanks();
+            return scan.peek().map_or(Ok(pairs), |_| Err(scan.unexpected()));
+        }
+        let at = scan.at;
+        if scan.peek().map_or(false, |c| c.is_ascii_digit()) {
+            return Err(scan.unexpected());
+        }
+        let key = scan.some(|c| c.is_ascii_alphanumeric() || c == '_')?.to_string();
+        if pairs.iter().any(|(known, _)| *known == key) {
+            return Err(scan.error(at, Problem::Duplicate(key)));
         }
-        chars.next();
+        scan.blanks();
+        scan.expect('=')?;
+        scan.blanks();
+        scan.expect('"')?;
+        pairs.push((key, scan.quoted(|_| false, Scanner::escape)?));
+        scan.blanks();
+        more = scan.eat(',');
     }
 }
 
@@ -195,21 +49,3 @@
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
@@ -2,3 +2,4 @@
 pub mod header;
 pub mod labels;
 pub mod logfmt;
+mod scan;
--- a/src/logfmt.rs
+++ b/src/logfmt.rs
@@ -3,57 +3,8 @@
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
+use crate::scan::Scanner;
+pub use crate::scan::{quote, Error as LogfmtError};
 
 fn is_word(c: char) -> bool {
     !matches!(c, ' ' | '"' | '=') && !c.is_control()
@@ -67,114 +18,24 @@
 }
 
 pub fn parse(text: &str) -> Result<Vec<(String, String)>, LogfmtError> {
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
+    let mut scan = Scanner::new("logfmt", text);
+    let mut pairs = Vec::new();
+    scan.blanks();
+    while scan.peek().is_some() {
+        let key = scan.some(is_word)?;
+        if !scan.eat('=') {
+            set(&mut pairs, key, "true");
+        } else if scan.eat('"') {
+            set(&mut pairs, key, &scan.quoted(char::is_control, Scanner::escape)?);
+        } else {
+            set(&mut pairs, key, scan.take(is_word));
+        }
+        if !matches!(scan.peek(), None | Some(' ' | '\t')) {
+            return Err(scan.unexpected());
         }
-        chars.next();
+        scan.blanks();
     }
+    Ok(pairs)
 }
 
 pub fn write(pairs: &[(String, String)]) -> String {
@@ -193,21 +54,3 @@
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
--- a/src/scan.rs
+++ b/src/scan.rs
@@ -0,0 +1,161 @@
+//! What the three notations share: a cursor over the text, quoted values, and the error.
+use std::fmt;
+
+#[derive(Debug, Clone, PartialEq, Eq)]
+pub(crate) enum Problem {
+    End,
+    Unexpected(char),
+    Escape,
+    Duplicate(String),
+}
+
+/// Why a text is not in a notation, and where.
+#[derive(Debug, Clone, PartialEq, Eq)]
+pub struct Error {
+    format: &'static str,
+    at: usize,
+    problem: Problem,
+}
+
+impl Error {
+    /// Byte position of the problem in the text.
+    pub fn position(&self) -> usize {
+        self.at
+    }
+
+    /// Whether the text merely ends too early.
+    pub fn is_incomplete(&self) -> bool {
+        self.problem == Problem::End
+    }
+}
+
+impl fmt::Display for Error {
+    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
+        match &self.problem {
+            Problem::End => write!(f, "{}: unexpected end at {}", self.format, self.at),
+            Problem::Unexpected(c) => write!(f, "{}: unexpected {:?} at {}", self.format, c, self.at),
+            Problem::Escape => write!(f, "{}: bad escape at {}", self.format, self.at),
+            Problem::Duplicate(key) => write!(f, "{}: duplicate {:?} at {}", self.format, key, self.at),
+        }
+    }
+}
+
+impl std::error::Error for Error {}
+
+pub(crate) struct Scanner<'a> {
+    format: &'static str,
+    text: &'a str,
+    pub at: usize,
+}
+
+impl<'a> Scanner<'a> {
+    pub fn new(format: &'static str, text: &'a str) -> Self {
+        Scanner { format, text, at: 0 }
+    }
+
+    pub fn peek(&self) -> Option<char> {
+        self.text[self.at..].chars().next()
+    }
+
+    pub fn error(&self, at: usize, problem: Problem) -> Error {
+        Error { format: self.format, at, problem }
+    }
+
+    /// The error of having something else before us than is allowed.
+    pub fn unexpected(&self) -> Error {
+        self.error(self.at, self.peek().map_or(Problem::End, Problem::Unexpected))
+    }
+
+    /// The next character, whatever it is.
+    pub fn any(&mut self) -> Result<char, Error> {
+        let c = self.peek().ok_or_else(|| self.unexpected())?;
+        self.at += c.len_utf8();
+        Ok(c)
+    }
+
+    pub fn eat(&mut self, c: char) -> bool {
+        let found = self.peek() == Some(c);
+        self.at += if found { c.len_utf8() } else { 0 };
+        found
+    }
+
+    pub fn expect(&mut self, c: char) -> Result<(), Error> {
+        if self.eat(c) {
+            Ok(())
+        } else {
+            Err(self.unexpected())
+        }
+    }
+
+    pub fn take(&mut self, inside: impl Fn(char) -> bool) -> &'a str {
+        let rest = &self.text[self.at..];
+        let len = rest.find(|c| !inside(c)).unwrap_or(rest.len());
+        self.at += len;
+        &rest[..len]
+    }
+
+    /// Like `take`, but there must be something.
+    pub fn some(&mut self, inside: impl Fn(char) -> bool) -> Result<&'a str, Error> {
+        match self.take(inside) {
+            "" => Err(self.unexpected()),
+            found => Ok(found),
+        }
+    }
+
+    pub fn blanks(&mut self) {
+        self.take(|c| matches!(c, ' ' | '\t'));
+    }
+
+    /// The value behind an opening quote; `escape` reads what stands behind a backslash.
+    pub fn quoted(
+        &mut self,
+        refused: fn(char) -> bool,
+        escape: fn(&mut Self) -> Result<char, Error>,
+    ) -> Result<String, Error> {
+        let mut value = String::new();
+        loop {
+            value.push_str(self.take(|c| !matches!(c, '"' | '\\') && !refused(c)));
+            if self.eat('"') {
+                return Ok(value);
+            }
+            self.expect('\\')?;
+            value.push(escape(self)?);
+        }
+    }
+
+    /// An escape of the kind that `quote` writes.
+    pub fn escape(&mut self) -> Result<char, Error> {
+        let bad = self.error(self.at - 1, Problem::Escape);
+        match self.any()? {
+            'n' => Ok('\n'),
+            't' => Ok('\t'),
+            c @ ('"' | '\\') => Ok(c),
+            'u' if self.any()? == '{' => {
+                let digits = self.take(|c| c.is_ascii_hexdigit());
+                if self.any()? != '}' {
+                    return Err(bad);
+                }
+                u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or(bad)
+            }
+            _ => Err(bad),
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
