//! The file of an experiment, read strictly: a key that nobody knows is an error, because what was meant by it would be missing in
//! every result.

use std::path::Path;

use datasets::Problem;
use datasets::strict::{At, Document, Found, Free, Table};
use serde_json::Value;

use super::{Axis, Block, Exclude, Experiment, Placed};
use crate::defaults::whole;

/// Largest text that a setting takes from a file, in bytes.
const MAX_TEXT: u64 = 256 << 10;
/// The agent where a file names none.
const CORE: &str = "core";

impl Experiment {
    /// Reads a file. Paths in it are below its folder.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn read(path: &Path) -> Result<Experiment, Vec<Problem>> {
        let text = crate::file::text(path).map_err(|message| vec![Problem::new(path, message)])?;
        Experiment::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As for [`Experiment::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Experiment, Vec<Problem>> {
        let doc = Document::parse(path, text).map_err(|problem| vec![*problem])?;
        let root = doc.root();
        let folder = path.parent().unwrap_or(Path::new(""));
        let include = root.tables("include");
        // A file of includes alone has no matrix.
        let has_main = ["agents", "models", "settings", "matrix"].iter().any(|key| root.has(key));
        let main = block(&root, folder);
        let mut experiment = Experiment {
            main: if has_main || include.is_empty() { main } else { Block::default() },
            exclude: root.tables("exclude").into_iter().map(exclude).collect(),
            names: root.table("names").map(|table| names(&table)).unwrap_or_default(),
            attempts: whole(&root, "attempts", 1..=10_000).map(|at| crate::Sourced {
                value: u32::try_from(at.value).unwrap_or(u32::MAX),
                source: at.source,
            }),
            include: Vec::new(),
        };
        for table in include {
            let named = table.string("name");
            let name = named.map(|name| placed(&table, name));
            experiment.include.push(Block { name, ..block(&table, folder) });
            table.finish();
        }
        root.finish();
        let Found { mut errors, warnings } = doc.into_found();
        // Unlike in a task's file nobody else reads this one: what we do not know is a slip.
        errors.extend(warnings);
        errors.sort_by_key(|problem| problem.position);
        if errors.is_empty() { Ok(experiment) } else { Err(errors) }
    }
}

fn placed<T>(table: &Table<'_, '_>, at: At<T>) -> Placed<T> {
    Placed { place: Some(table.doc().problem(at.offset, "")), value: at.value }
}

fn block(table: &Table<'_, '_>, folder: &Path) -> Block {
    let doc = table.doc();
    let words = |key| {
        let Some(list) = table.strings(key) else { return Vec::new() };
        if list.value.is_empty() {
            doc.error(list.offset, format!("{} may not be empty", table.name(key)));
        }
        list.value.into_iter().map(|word| placed(table, word)).collect::<Vec<_>>()
    };
    let mut agents = words("agents");
    if agents.is_empty() {
        agents.push(Placed { value: CORE.to_owned(), place: Some(doc.problem(table.offset(), "")) });
    }
    let models = words("models");
    let mut axes: Vec<Axis> = Vec::new();
    if let Some(settings) = table.table("settings") {
        for free in settings.free() {
            let value = resolved(&settings, free.value, folder);
            axes.push(Axis { key: placed(&settings, free.key), values: value.into_iter().collect() });
        }
    }
    if let Some(matrix) = table.table("matrix") {
        for free in matrix.free() {
            let name = free.key.value.clone();
            if axes.iter().any(|axis| axis.key.value == name) {
                doc.error(free.key.offset, format!("{name:?} is in [settings] already"));
            }
            axes.extend(axis(&matrix, free, folder));
        }
    }
    Block { agents, models, axes, name: None }
}

/// A list of values, each of them once.
fn axis(table: &Table<'_, '_>, free: Free, folder: &Path) -> Option<Axis> {
    let (doc, name) = (table.doc(), free.key.value.clone());
    let Some(items) = free.items else {
        let problem =
            doc.problem(free.value.offset, format!("{name:?} in [matrix] must be a list of values"));
        doc.push_error(problem.hint("what is the same for all variants belongs into [settings]"));
        return None;
    };
    if items.is_empty() {
        doc.error(free.value.offset, format!("{name:?} in [matrix] may not be empty"));
        return None;
    }
    let mut values: Vec<Placed<Value>> = Vec::new();
    for item in items {
        let offset = item.offset;
        let Some(value) = resolved(table, item, folder) else { continue };
        if values.iter().any(|other| other.value == value.value) {
            doc.error(offset, format!("{name:?} in [matrix] has {} twice", value.value));
        }
        values.push(value);
    }
    Some(Axis { key: placed(table, free.key), values })
}

/// A value; `{ file = "…" }` is the text of a file.
fn resolved(table: &Table<'_, '_>, at: At<Value>, folder: &Path) -> Option<Placed<Value>> {
    let doc = table.doc();
    let wrong = |message: String| {
        doc.error(at.offset, message);
        None
    };
    let value = match &at.value {
        Value::Object(members) => match (members.len(), members.get("file").and_then(Value::as_str)) {
            (1, Some(name)) => match text(&folder.join(name)) {
                Ok(text) => Value::from(text),
                Err(message) => return wrong(format!("{name}: {message}")),
            },
            _ => return wrong("a table can only be { file = \"PATH\" }, the text of a file".to_owned()),
        },
        Value::Array(items) if !items.iter().all(Value::is_string) => {
            return wrong("a list as a value can only hold texts".to_owned());
        }
        value => value.clone(),
    };
    Some(placed(table, At { value, offset: at.offset }))
}

fn text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !size.is_file() || size.len() > MAX_TEXT {
        return Err(format!("is not a file of at most {} KiB", MAX_TEXT >> 10));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

fn exclude(table: Table<'_, '_>) -> Exclude {
    let place = table.doc().problem(table.offset(), "");
    let word = |key| table.string(key).map(|at| at.value);
    let (agent, model) = (word("agent"), word("model"));
    let free = table.free();
    if agent.is_none() && model.is_none() && free.is_empty() {
        table.doc().error(table.offset(), "an exclude without a word would leave out everything");
    }
    let settings = free.into_iter().map(|free| (placed(&table, free.key), free.value.value)).collect();
    Exclude { place, agent, model, settings }
}

fn names(table: &Table<'_, '_>) -> Vec<(Placed<String>, Placed<String>)> {
    let mut found = Vec::new();
    for free in table.free() {
        match free.value.value.as_str() {
            Some(name) => {
                let name = At { value: name.to_owned(), offset: free.value.offset };
                found.push((placed(table, free.key), placed(table, name)));
            }
            None => table.doc().error(free.value.offset, "a name must be a text in quotes"),
        }
    }
    found
}
