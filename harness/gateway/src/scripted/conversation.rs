//! What a voice reads out of a request: how far the conversation has come, and which tools are offered.

use serde_json::Value;

/// A tool that a request offers.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) kind: ToolKind,
    /// The JSON schema of its input; null where it has none.
    pub(crate) schema: Value,
}

/// How a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolKind {
    /// With a JSON object.
    Function,
    /// With a text.
    Text,
    /// As a shell built into the API.
    LocalShell,
}

/// A conversation to here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conversation {
    /// Turns of the model so far.
    pub(crate) turns: usize,
    /// What is offered.
    pub(crate) tools: Vec<Tool>,
    /// Whether the agent wants to hear a certain command at the end (mini-swe-agent).
    pub(crate) ends_by_command: bool,
}

/// Counts turns in a list of messages: what the model said without anybody between is one turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) count: usize,
    in_turn: bool,
}

impl Turns {
    pub(crate) fn message(&mut self, of_model: bool) {
        if of_model && !self.in_turn {
            self.count += 1;
        }
        self.in_turn = of_model;
    }
}

/// Whether the body asks for mini-swe-agent's last command.
pub(crate) fn ends_by_command(body: &Value) -> bool {
    fn holds(value: &Value, depth: usize) -> bool {
        match value {
            Value::String(text) => text.contains(super::intents::LAST_COMMAND),
            Value::Array(items) if depth > 0 => items.iter().any(|item| holds(item, depth - 1)),
            Value::Object(map) if depth > 0 => map.values().any(|item| holds(item, depth - 1)),
            _ => false,
        }
    }
    holds(body, 8)
}

/// The elements of a list member.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A text member.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
