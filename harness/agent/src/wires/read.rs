//! What an answer says, in words that are the same on every wire.

use serde_json::{Map, Value, json};

/// How much of a call's broken input is shown and sent back.
const BROKEN_SHOWN: usize = 400;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What goes back into the conversation, in the wire's own form; `None` when nothing of it can.
    pub raw: Option<Value>,
    /// What was said for people to read.
    pub text: String,
    /// What the provider shows of the model's thinking.
    pub thinking: String,
    /// The tools that it wants run, in order.
    pub calls: Vec<Call>,
    /// Why it ended.
    pub stop: Stop,
    /// The provider's own account.
    pub usage: Option<Value>,
    /// The model that answered.
    pub model: Option<String>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The call's id: what its result must name.
    pub id: String,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// Its input; `Err` is the beginning of what was no JSON object.
    pub input: Result<Map<String, Value>, String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The model was done.
    Done,
    /// It wants its tools run.
    Tools,
    /// The output cap or the window was reached.
    Length,
    /// Withheld by a filter, in the provider's word.
    Filtered(String),
    /// The model refused, in its own words where there are any.
    Refused(String),
    /// It is to be asked again to go on.
    Paused,
    /// Anything else, in the provider's word.
    Other(String),
}

/// An answer as far as it has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unread {
    /// What has been put together.
    pub document: Value,
    /// Whether it came to its end.
    pub complete: bool,
    /// What an error inside the stream said.
    pub failed: Option<String>,
}

impl Call {
    /// A call whose input came as text. Nothing at all is no input.
    pub(super) fn of_text(id: &str, name: &str, input: &str) -> Call {
        let input = match serde_json::from_str::<Value>(input) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(Value::Null) => Ok(Map::new()),
            // Some models write the object as a string once more.
            Ok(Value::String(inner)) => serde_json::from_str(&inner).map_err(|_| shortened(&inner)),
            _ if input.trim().is_empty() => Ok(Map::new()),
            _ => Err(shortened(input)),
        };
        Call { id: id.to_owned(), name: name.to_owned(), input }
    }

    /// A call whose input came as JSON.
    pub(super) fn of_json(id: &str, name: &str, input: &Value) -> Call {
        let input = match input {
            Value::Object(map) => Ok(map.clone()),
            Value::Null => Ok(Map::new()),
            other => Err(shortened(&other.to_string())),
        };
        Call { id: id.to_owned(), name: name.to_owned(), input }
    }

    /// What goes back in place of a broken input: servers refuse a conversation with broken JSON in it.
    pub(super) fn mended(&self) -> Value {
        match &self.input {
            Ok(map) => Value::Object(map.clone()),
            Err(broken) => json!({"input_that_was_no_json_object": broken}),
        }
    }
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(BROKEN_SHOWN).collect()
}

/// Takes a member out; null where there is none, or no object.
pub(super) fn cut(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}

/// Takes the first element of a list member out.
pub(super) fn cut_first(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).and_then(|list| list.get_mut(0)).map(Value::take).unwrap_or_default()
}

/// Sets a member. What was no object becomes one: answers are a stranger's, and indexing them would panic.
pub(super) fn set(value: &mut Value, key: &str, member: Value) {
    object(value).insert(key.to_owned(), member);
}

/// A member to go on with, made where there is none.
pub(super) fn member<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    object(value).entry(key).or_insert(Value::Null)
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it has just been made one")
}

/// Adds a piece to a text member; makes it where there is none.
pub(super) fn append(value: &mut Value, key: &str, piece: &str) {
    match member(value, key) {
        Value::String(text) => text.push_str(piece),
        slot => *slot = Value::String(piece.to_owned()),
    }
}

/// A list member, made where there is none.
pub(super) fn items<'a>(value: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let slot = member(value, key);
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().expect("it has just been made one")
}

/// A list member's element at this place, made with what is missing before it; `None` for a place that no honest server names.
pub(super) fn at<'a>(value: &'a mut Value, key: &str, index: usize) -> Option<&'a mut Value> {
    const MOST: usize = 4096;
    let items = items(value, key);
    if index >= MOST {
        return None;
    }
    while items.len() <= index {
        items.push(json!({}));
    }
    items.get_mut(index)
}
