//! Strict TOML: every value is asked for by name and type, and what nobody asked for is an unknown key.
//!
//! A file's problems are gathered rather than ending at the first, each with line and column. A key that was not
//! asked for is a warning that names the nearest key that was.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest::did_you_mean;
use crate::problem::Problem;

/// A key that the author chose, with its value as it stands: for tables whose keys are known to somebody else.
#[derive(Debug, Clone, PartialEq)]
pub struct Free {
    /// The key.
    pub key: At<String>,
    /// The value, as JSON has it.
    pub value: At<Value>,
    /// The same for each of its items, where it is a list.
    pub items: Option<Vec<At<Value>>>,
}

/// A parsed file and everything found wrong with it so far.
pub struct Document<'t> {
    file: PathBuf,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
    found: RefCell<Found>,
}

/// What reading found beside the values.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file cannot be used.
    pub errors: Vec<Problem>,
    /// The file can be used, and somebody should look at this.
    pub warnings: Vec<Problem>,
}

/// A value and the byte offset where it stands, for problems that show only later.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Byte offset in the file.
    pub offset: usize,
}

impl<T> At<T> {
    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), offset: self.offset }
    }
}

impl<'t> Document<'t> {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// One [`Problem`] with the place of the syntax error.
    pub fn parse(file: &Path, text: &'t str) -> Result<Document<'t>, Box<Problem>> {
        let root = DeTable::parse(text).map_err(|error| {
            let problem =
                Problem::new(file, format!("not valid TOML: {}", error.message().replace('\n', ", ")));
            Box::new(match error.span() {
                Some(span) => problem.at(text, span.start),
                None => problem,
            })
        })?;
        Ok(Document { file: file.to_owned(), text, root, found: RefCell::default() })
    }

    /// The file's top level.
    pub fn root(&self) -> Table<'_, 't> {
        Table::new(self, String::new(), 0..0, self.root.get_ref())
    }

    /// Records something that makes the file unusable.
    pub fn error(&self, offset: usize, message: impl Into<String>) {
        self.push_error(self.problem(offset, message));
    }

    /// A problem at a place of this file, recorded nowhere yet.
    pub fn problem(&self, offset: usize, message: impl Into<String>) -> Problem {
        Problem::new(&self.file, message).at(self.text, offset)
    }

    /// Records a problem that makes the file unusable.
    pub fn push_error(&self, problem: Problem) {
        self.found.borrow_mut().errors.push(problem);
    }

    /// Records a problem that does not.
    pub fn push_warning(&self, problem: Problem) {
        self.found.borrow_mut().warnings.push(problem);
    }

    /// Everything found, in the order of the file.
    pub fn into_found(self) -> Found {
        let mut found = self.found.into_inner();
        found.errors.sort_by_key(|problem| problem.position);
        found.warnings.sort_by_key(|problem| problem.position);
        found
    }
}

/// One table of a [`Document`]; [`Table::finish`] tells about the keys that were never asked for.
pub struct Table<'d, 't> {
    doc: &'d Document<'t>,
    /// `environment.env`, empty at the top.
    path: String,
    span: Range<usize>,
    table: &'d DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
    /// Whether all of its keys were asked for.
    open: Cell<bool>,
}

impl<'d, 't> Table<'d, 't> {
    fn new(doc: &'d Document<'t>, path: String, span: Range<usize>, table: &'d DeTable<'t>) -> Self {
        Table { doc, path, span, table, asked: RefCell::default(), open: Cell::new(false) }
    }

    /// The document that it is a part of.
    pub fn doc(&self) -> &'d Document<'t> {
        self.doc
    }

    /// Where the table stands.
    pub fn offset(&self) -> usize {
        self.span.start
    }

    /// `"key" in [table]`, as messages name it.
    pub fn name(&self, key: &str) -> String {
        if self.path.is_empty() { format!("{key:?}") } else { format!("{key:?} in [{}]", self.path) }
    }

    /// Whether a key is there; counts as asking for it.
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Where a key's value stands, when it is there.
    pub fn offset_of(&self, key: &'static str) -> Option<usize> {
        self.get(key).map(|value| value.span().start)
    }

    /// A string.
    pub fn string(&self, key: &'static str) -> Option<At<String>> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string or a whole number, as text.
    pub fn string_or_integer(&self, key: &'static str) -> Option<At<String>> {
        self.typed(key, "a string or a whole number", |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            value => integer(value).map(|number| number.to_string()),
        })
    }

    /// A whole number.
    pub fn integer(&self, key: &'static str) -> Option<At<i64>> {
        self.typed(key, "a whole number", integer)
    }

    /// A number, whole or not; infinite and not-a-number are refused.
    pub fn number(&self, key: &'static str) -> Option<At<f64>> {
        let number = self.typed(key, "a number", number)?;
        if number.value.is_finite() {
            return Some(number);
        }
        self.doc.error(number.offset, format!("{} must be a finite number", self.name(key)));
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    /// A list of strings.
    pub fn strings(&self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        let value = self.get(key)?;
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(key, "a list of strings", value);
            return None;
        };
        let mut strings = Vec::with_capacity(list.len());
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => strings.push(At { value: text.to_owned(), offset: item.span().start }),
                None => self.wrong_type(key, "a list of strings, this entry is not one:", item),
            }
        }
        Some(At { value: strings, offset: value.span().start })
    }

    /// A table whose keys are free and whose values are strings.
    pub fn string_map(&self, key: &'static str) -> BTreeMap<String, At<String>> {
        let mut map = BTreeMap::new();
        for (name, value) in self.free_table(key) {
            match value.get_ref().as_str() {
                Some(text) => {
                    map.insert(name, At { value: text.to_owned(), offset: value.span().start });
                }
                None => self.wrong_type(&name, "a string; put quotes round it", value),
            }
        }
        map
    }

    /// A table whose keys are free and whose values are numbers.
    pub fn number_map(&self, key: &'static str) -> BTreeMap<String, f64> {
        let mut map = BTreeMap::new();
        for (name, value) in self.free_table(key) {
            match number(value.get_ref()).filter(|number| number.is_finite()) {
                Some(number) => {
                    map.insert(name, number);
                }
                None => self.wrong_type(&name, "a finite number", value),
            }
        }
        map
    }

    /// A string, or a number or truth value as text; anything else is as if it were not there. For free tables.
    pub fn loose_string(&self, key: &'static str) -> Option<String> {
        loose(self.get(key)?.get_ref())
    }

    /// A list, or one value, read as [`Table::loose_string`] does. For free tables.
    pub fn loose_strings(&self, key: &'static str) -> Vec<String> {
        match self.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(list)) => list.iter().filter_map(|item| loose(item.get_ref())).collect(),
            Some(value) => loose(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Every key of this table but those that were asked for, with values of any kind but dates; none of them is unknown
    /// afterwards.
    pub fn free(&self) -> Vec<Free> {
        let asked = self.asked.borrow().clone();
        let mut found = Vec::new();
        for (key, value) in self.table.iter() {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let at = |value: &Spanned<DeValue<'t>>| -> Option<At<Value>> {
                let json = json(value.get_ref());
                if json.is_none() {
                    self.wrong_type(name, "a text, a number, true or false, a list or a table", value);
                }
                Some(At { value: json?, offset: value.span().start })
            };
            let items = value.get_ref().as_array().map(|list| list.iter().filter_map(at).collect());
            let Some(read) = at(value) else { continue };
            let key = At { value: name.to_owned(), offset: key.span().start };
            found.push(Free { key, value: read, items });
        }
        self.open.set(true);
        // The parser keeps keys by name; people read from top to bottom.
        found.sort_by_key(|free| free.key.offset);
        found
    }

    /// Whether a key holds a table.
    pub fn is_table(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// A table below this one.
    pub fn table(&self, key: &'static str) -> Option<Table<'d, 't>> {
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Table::new(self.doc, self.below(key), value.span(), table)),
            None => {
                self.wrong_type(key, "a table", value);
                None
            }
        }
    }

    /// A list of tables, empty when it is not there.
    pub fn tables(&self, key: &'static str) -> Vec<Table<'d, 't>> {
        self.entries(key, "a list of tables")
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Table(table) => Some(table),
                Entry::String(text) => {
                    self.doc.error(text.offset, format!("{} must be a list of tables", self.name(key)));
                    None
                }
            })
            .collect()
    }

    /// A list whose entries are strings or tables, empty when it is not there.
    pub fn strings_or_tables(&self, key: &'static str) -> Vec<Entry<'d, 't>> {
        self.entries(key, "a list of strings or tables")
    }

    /// Warns of every key that was not asked for.
    pub fn finish(self) {
        if self.open.get() {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            let problem = self.doc.problem(key.span().start, format!("unknown key \"{shown}\"{place}"));
            self.doc.push_warning(match did_you_mean(name, asked.iter().copied()) {
                Some(hint) => problem.hint(hint),
                None => problem.hint("it is ignored"),
            });
        }
    }

    fn get(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table.get(key)
    }

    fn typed<T>(
        &self,
        key: &'static str,
        what: &str,
        read: impl Fn(&DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        match read(value.get_ref()) {
            Some(read) => Some(At { value: read, offset: value.span().start }),
            None => {
                self.wrong_type(key, what, value);
                None
            }
        }
    }

    fn free_table(&self, key: &'static str) -> Vec<(String, &'d Spanned<DeValue<'t>>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        match value.get_ref().as_table() {
            Some(table) => table.iter().map(|(name, value)| (name.get_ref().to_string(), value)).collect(),
            None => {
                self.wrong_type(key, "a table", value);
                Vec::new()
            }
        }
    }

    fn entries(&self, key: &'static str, what: &str) -> Vec<Entry<'d, 't>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(key, what, value);
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(list.len());
        for item in list.iter() {
            let offset = item.span().start;
            match item.get_ref() {
                DeValue::String(text) => entries.push(Entry::String(At { value: text.to_string(), offset })),
                DeValue::Table(table) => {
                    entries.push(Entry::Table(Table::new(self.doc, self.below(key), item.span(), table)));
                }
                _ => self.wrong_type(key, what, item),
            }
        }
        entries
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong_type(&self, key: &str, what: &str, value: &Spanned<DeValue<'_>>) {
        let kind = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.doc.error(value.span().start, format!("{} must be {what}, not {kind}", self.name(key)));
    }
}

/// An entry of a mixed list.
pub enum Entry<'d, 't> {
    /// A string.
    String(At<String>),
    /// A table.
    Table(Table<'d, 't>),
}

fn loose(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        value => number(value).map(|number| number.to_string()),
    }
}

fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Integer(_) => Value::from(integer(value)?),
        DeValue::Float(_) => Value::from(number(value).filter(|number| number.is_finite())?),
        DeValue::Array(list) => list.iter().map(|item| json(item.get_ref())).collect::<Option<_>>()?,
        DeValue::Table(table) => {
            let members =
                table.iter().map(|(key, value)| Some((key.get_ref().to_string(), json(value.get_ref())?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
        value => integer(value).map(|number| number as f64),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Option<f64>, Vec<String>, Vec<String>) {
        let doc = Document::parse(Path::new("f"), text).unwrap();
        let root = doc.root();
        let mut number = None;
        if let Some(agent) = root.table("agent") {
            number = agent.number("timeout_sec").map(|at| at.value);
            agent.string("user");
            agent.finish();
        }
        root.finish();
        let found = doc.into_found();
        let show = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>();
        (number, show(found.errors), show(found.warnings))
    }

    #[test]
    fn table_reads_numbers_as_people_write_them() {
        for (written, meant) in
            [("1_000", 1000.0), ("0x10", 16.0), ("1_0.5_0", 10.5), ("-3", -3.0), ("1e3", 1000.0)]
        {
            assert_eq!(read(&format!("[agent]\ntimeout_sec = {written}")).0, Some(meant), "{written}");
        }
        for refused in ["inf", "nan", "\"5\"", "true", "[1]", "1979-05-27"] {
            let (number, errors, _) = read(&format!("[agent]\ntimeout_sec = {refused}"));
            assert_eq!((number, errors.len()), (None, 1), "{refused}");
            assert!(errors[0].starts_with("f:2:15: \"timeout_sec\" in [agent] must be"), "{errors:?}");
        }
    }

    #[test]
    fn table_warns_of_unknown_keys_with_place_and_nearest() {
        let (_, errors, warnings) = read("x = 1\n[agent]\n  timeout = 3\nUser = 'a'\n");
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            warnings,
            [
                "f:1:1: unknown key \"x\" (it is ignored)",
                "f:3:3: unknown key \"timeout\" in [agent] (did you mean \"timeout_sec\"?)",
                "f:4:1: unknown key \"User\" in [agent] (did you mean \"user\"?)",
            ]
        );
    }

    #[test]
    fn document_says_where_the_syntax_breaks() {
        let error = Document::parse(Path::new("f"), "a = 1\nb = = 2\n").err().unwrap();
        assert_eq!(error.position.map(|at| at.0), Some(2), "{error}");
        assert!(error.message.starts_with("not valid TOML: "), "{error}");
        // Deep nesting is refused by the parser rather than overflowing the stack.
        assert!(Document::parse(Path::new("f"), &format!("a = {}", "[".repeat(100_000))).is_err());
    }

    proptest! {
        #[test]
        fn document_never_panics(text in "(?s).{0,200}") {
            if let Ok(doc) = Document::parse(Path::new("f"), &text) {
                let root = doc.root();
                root.strings("a");
                root.number_map("b");
                root.strings_or_tables("c");
                root.finish();
                doc.into_found();
            }
        }
    }
}
