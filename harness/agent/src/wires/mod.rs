//! The four wires from the client's side: how a conversation is asked on each, and how an answer is read back. One file per wire
//! and one list. What a model says is kept in the wire's own form and goes back as it came: opaque parts cannot be rebuilt.

mod anthropic;
#[cfg(test)]
mod fuzz;
mod google;
mod openai_chat;
mod openai_responses;
mod read;

use std::fmt::Debug;

use serde_json::Value;

pub use read::{Call, Heard, Stop, Unread};

/// Every dialect, by the names of the gateway's wires.
pub const DIALECTS: &[&dyn Dialect] =
    &[&openai_responses::OpenAiResponses, &openai_chat::OpenAiChat, &anthropic::Anthropic, &google::Google];

/// The dialect of the wire of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.name() == name)
}

/// How one wire is spoken by a client. An implementation keeps no state: what has been said is in the [`Prompt`], what is being
/// said is in the [`Unread`]. It never adds up what events say of usage: the last word counts.
pub trait Dialect: Debug + Sync {
    /// The gateway's name of the wire.
    fn name(&self) -> &'static str;
    /// Where a request for this model goes, with its query.
    fn path(&self, model: &str) -> String;
    /// The header that carries the key, and what stands before the key in it.
    fn key_header(&self) -> (&'static str, &'static str);
    /// The request. The same prompt gives the same bytes, and a longer conversation begins with the shorter one's bytes, so
    /// that providers' caches find it.
    fn body(&self, prompt: &Prompt<'_>) -> Value;
    /// What a request of anybody's says, in order: what is asked is the same on every wire, however a client writes it.
    fn said(&self, request: &Value) -> Vec<Said>;
    /// Takes up one event of a stream, or a whole answer where the server does not stream.
    fn fold(&self, unread: &mut Unread, event: Value);
    /// Reads an answer that has come whole.
    fn read(&self, document: Value) -> Heard;
}

/// A tool as a request offers it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does, for the model.
    pub about: String,
    /// JSON schema of its input, in what all wires understand.
    pub schema: Value,
}

/// How long a provider is asked to keep the prefix of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Not at all, where that can be said.
    Off,
    /// The provider's ordinary time.
    Short,
    /// An hour.
    Hour,
}

/// Everything that a request says.
#[derive(Debug, Clone)]
pub struct Prompt<'a> {
    /// The model, as the provider calls it.
    pub model: &'a str,
    /// The stable beginning.
    pub system: &'a str,
    /// The tools, always in the same order.
    pub tools: &'a [ToolSpec],
    /// The conversation.
    pub turns: &'a [Turn],
    /// How hard the model is to think; `None` leaves it to the provider.
    pub effort: Option<&'a str>,
    /// As the provider understands it.
    pub temperature: Option<f64>,
    /// Where the wire has one.
    pub seed: Option<i64>,
    /// Most tokens of the answer.
    pub max_output: u64,
    /// What is asked of the provider's cache.
    pub caching: Caching,
    /// Groups requests with one prefix, where the wire has such a thing.
    pub cache_key: &'a str,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// What we say.
    User(String),
    /// What the model said, in the wire's own form, verbatim.
    Model(Value),
    /// What its tools gave, in the order of the calls.
    Results {
        /// One for each call.
        results: Vec<ToolResult>,
        /// What we say beside it.
        note: Option<String>,
    },
}

/// What one call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call's id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// What the model gets to read.
    pub text: String,
    /// Whether the call failed.
    pub is_error: bool,
    /// Whether its text was taken out of the window.
    pub masked: bool,
}

/// A part of a conversation, as a request carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Said {
    /// The stable beginning.
    System(String),
    /// By whoever asks.
    User(String),
    /// By the model, before.
    Model,
    /// What one of its calls gave.
    Result {
        /// The call's id; where a wire has none, the tool's name.
        id: String,
        /// What it gave.
        text: String,
        /// Whether it is marked as failed.
        is_error: bool,
    },
}

/// The text of what may be a text, or a list of parts of which some are.
fn flat(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part {
                Value::String(text) => text.clone(),
                part => match text(part, "text") {
                    "" => format!("[{}]", text(part, "type")),
                    text => text.to_owned(),
                },
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A text member, or nothing.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of a list member.
fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// What a model's name begins with, without the folders that some servers put before it.
pub(crate) fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_a_wire_of_the_gateways_and_every_file_is_listed() {
        let wires: Vec<&str> = harness_gateway::wire::WIRES.iter().map(|wire| wire.name()).collect();
        let dialects: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name()).collect();
        assert_eq!(dialects, wires);
        for dialect in DIALECTS {
            let wire = harness_gateway::wire::by_name(dialect.name()).unwrap();
            assert!(wire.route("POST", &dialect.path("m")).is_some(), "{dialect:?}");
            let header = wire.key_header();
            assert_eq!(dialect.key_header(), (header.name, header.prefix));
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wires")).unwrap().count();
        assert_eq!(files, DIALECTS.len() + 3, "mod, read and fuzz are beside the dialects");
    }
}
