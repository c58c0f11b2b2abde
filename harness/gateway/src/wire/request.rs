//! What a request body says that the gateway must know, and the few changes that it makes. A body is skimmed, never parsed
//! and written again.

use serde_json::Value;

use super::{Route, Wire};
use crate::stream::edit::{Found, Splice, find, opening, splice};

/// What stands at the front of every wire's paths, in this order; a wire puts its own behind.
pub(super) const PLACES: usize = 4;
pub(super) const MODEL: usize = 0;
pub(super) const STREAM: usize = 1;
pub(super) const TIER: usize = 2;
pub(super) const TOOLS: usize = 3;

/// Most places that any wire looks at.
const MOST_PATHS: usize = 16;

/// Why a body cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not one JSON object.
    #[error("the body is not one JSON object")]
    NotAnObject,
    /// No model in the body or the path.
    #[error("the request names no model")]
    NoModel,
}

/// What a request says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model that is asked for.
    pub model: String,
    /// Whether the answer streams.
    pub stream: bool,
    /// Whether usage comes in a stream without our asking.
    pub stream_usage: bool,
    /// The most output that is asked for, in tokens; of several the largest.
    pub output_cap: Option<u64>,
    /// How many answers are asked for at once: each may be as long as the cap.
    pub answers: u64,
    /// The class of service that is asked for, in the provider's word.
    pub tier: Option<String>,
    /// Tools that the provider itself would run, such as a web search.
    pub server_tools: Vec<String>,
    /// Whether the answer is to be fetched later, where nobody meters it.
    pub background: bool,
    /// Whether input is written to a cache for an hour, which is dearer.
    pub long_cache: bool,
}

/// What the gateway wants changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The most output, in tokens. A body that asks for less keeps its own.
    pub output_cap: Option<u64>,
    /// Ask for usage in a stream, where the API does not give it by itself.
    pub stream_usage: bool,
    /// The server knows only the old name of the output cap (Chat Completions of others than OpenAI).
    pub old_cap_name: bool,
}

/// A body that was read.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    wire: &'static dyn Wire,
    body: &'a [u8],
    found: Vec<Vec<Found>>,
    /// What it says.
    pub facts: RequestFacts,
}

impl<'a> ReadRequest<'a> {
    /// Reads a body on a wire.
    ///
    /// # Errors
    /// The body is no JSON object, names no model, or has an output cap that is no number.
    pub fn read(
        wire: &'static dyn Wire,
        route: &Route,
        body: &'a [u8],
    ) -> Result<ReadRequest<'a>, BadRequest> {
        let found = find(wire.request_paths(), MOST_PATHS, body).ok_or(BadRequest::NotAnObject)?;
        let mut facts = RequestFacts {
            model: text(&found[MODEL]).or_else(|| route.model.clone()).ok_or(BadRequest::NoModel)?,
            stream: route
                .stream
                .unwrap_or_else(|| last(&found[STREAM]).and_then(Value::as_bool).unwrap_or(false)),
            answers: 1,
            tier: text(&found[TIER]),
            long_cache: memchr::memmem::find(body, br#""ttl""#)
                .is_some_and(|at| memchr::memmem::find(&body[at..], br#""1h""#).is_some()),
            ..RequestFacts::default()
        };
        // The path's model is the one that answers, whatever the body calls it.
        if let Some(model) = &route.model {
            facts.model.clone_from(model);
        }
        wire.request_facts(&found, &mut facts);
        Ok(ReadRequest { wire, body, found, facts })
    }

    /// The body with the wish carried out; the same bytes when there is nothing to change.
    pub fn edited(&self, wish: &Wish) -> Vec<u8> {
        splice(self.body, self.wire.edits(self.body, &self.found, wish))
    }
}

/// The last value found, which is the one that a provider's parser keeps.
pub(super) fn last(found: &[Found]) -> Option<&Value> {
    found.last().and_then(|found| found.value.as_ref())
}

/// The last value found, when it is text.
pub(super) fn text(found: &[Found]) -> Option<String> {
    last(found).and_then(Value::as_str).map(str::to_owned)
}

/// The largest cap among values found. What is no number counts as no cap at all, and is replaced when one is set.
pub(super) fn largest(found: &[&[Found]]) -> Option<u64> {
    let numbers =
        found.iter().flat_map(|list| list.iter()).filter_map(|found| found.value.as_ref()?.as_u64());
    numbers.max()
}

/// Sets every occurrence of a cap that is missing, no number, or above the limit; adds one at `place` when there is none.
pub(super) fn capped(body: &[u8], found: &[&[Found]], limit: u64, place: Place<'_>) -> Vec<Splice> {
    let all: Vec<&Found> = found.iter().flat_map(|list| list.iter()).collect();
    if !all.is_empty() {
        return all
            .into_iter()
            .filter(|found| found.value.as_ref().and_then(Value::as_u64).is_none_or(|asked| asked > limit))
            .map(|found| Splice { start: found.start, end: found.end, text: limit.to_string() })
            .collect();
    }
    match place {
        Place::Root(key) => opening(body)
            .map(|open| Splice::member(body, open, key, &limit.to_string()))
            .into_iter()
            .collect(),
        Place::Object(object, key) => vec![Splice::member(body, object.start, key, &limit.to_string())],
    }
}

/// Where a cap is added.
pub(super) enum Place<'a> {
    /// In the outermost object, under this key.
    Root(&'a str),
    /// In an object of the body.
    Object(&'a Found, &'a str),
}
