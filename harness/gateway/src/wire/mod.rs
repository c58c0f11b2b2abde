//! The wires: what each provider's API calls things. One file per wire, and one list.

mod answer;
mod anthropic;
mod error;
mod google;
mod openai_chat;
mod openai_responses;
mod request;
mod route;
mod strip;

use std::fmt::Debug;

use harness_core::Usage;
use serde_json::Value;

pub use answer::{Answer, Finish};
pub use error::{ErrorAnswer, ErrorKind};
pub use request::{BadRequest, ReadRequest, RequestFacts, Wish};
pub use route::{KeyHeader, Operation, Route, presented_key, replace_key, without_key};
pub use strip::UsageStripper;

use route::is_plain;

use crate::stream::edit::{Found, Splice};
use crate::stream::skim::{Hit, Paths};

/// Every wire, in the order in which a path is tried.
pub const WIRES: &[&dyn Wire] =
    &[&openai_responses::OpenAiResponses, &openai_chat::OpenAiChat, &anthropic::Anthropic, &google::Google];

/// The wire of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Wire> {
    WIRES.iter().copied().find(|wire| wire.name() == name)
}

/// The wire that a method and path belong to, and what is asked on it. The path may carry a query, and a prefix of whatever
/// server it is. One that an upstream might read otherwise than we do belongs to none.
pub fn recognise(method: &str, path: &str) -> Option<(&'static dyn Wire, Route)> {
    if !is_plain(path) {
        return None;
    }
    WIRES.iter().find_map(|wire| Some((*wire, wire.route(method, path)?)))
}

/// One provider's API. An implementation knows names and meanings and keeps no state; whatever collects is an [`Answer`].
/// It must never add up events of a stream: providers repeat and correct themselves, and the last word counts.
pub trait Wire: Debug + Sync {
    /// As models name it: `openai`, `openai-chat`, `anthropic`, `google`.
    fn name(&self) -> &'static str;

    /// What is asked, when the path is one of this wire's.
    fn route(&self, method: &str, path: &str) -> Option<Route>;

    /// Where a request says what the gateway must know; the order is [`request::PLACES`].
    fn request_paths(&self) -> &'static Paths;

    /// What a body says beyond the common places; found in the order of [`Wire::request_paths`].
    fn request_facts(&self, found: &[Vec<Found>], facts: &mut RequestFacts);

    /// The changes that carry out a wish, on a body that was read before.
    fn edits(&self, body: &[u8], found: &[Vec<Found>], wish: &Wish) -> Vec<Splice>;

    /// Path and body of a request for a few tokens, to see whether a model answers.
    fn smallest(&self, model: &str) -> (String, Value);

    /// Which header carries the key.
    fn key_header(&self) -> KeyHeader;

    /// Where an answer, or an event of one, says what is metered.
    fn answer_paths(&self) -> &'static Paths;

    /// Takes up one of those values.
    fn observe(&self, hit: &Hit<'_>, answer: &mut Answer);

    /// The provider's own usage in exclusive buckets. `requests` and `source` are the caller's.
    fn usage(&self, raw: &Value) -> Usage;

    /// An error of ours in this wire's own form.
    fn error(&self, kind: ErrorKind, message: &str) -> ErrorAnswer;
}

/// A count that was said.
fn count(raw: &Value, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(raw, |value, key| value.get(key)).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_wire_is_registered() {
        let others = ["mod", "answer", "error", "request", "route", "strip"];
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire");
        let files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|stem| !others.contains(&stem.as_str()))
            .collect();
        assert_eq!(files.len(), WIRES.len(), "{files:?}");
        for file in files {
            let named = file.replace('_', "").to_lowercase();
            assert!(
                WIRES.iter().any(|wire| format!("{wire:?}").to_lowercase() == named),
                "{file} is not registered"
            );
        }
    }

    #[test]
    fn every_wire_has_a_name_of_its_own_and_reads_its_own_errors() {
        for wire in WIRES {
            assert_eq!(WIRES.iter().filter(|other| other.name() == wire.name()).count(), 1);
            assert_eq!(by_name(wire.name()).unwrap().name(), wire.name());
            for kind in ErrorKind::ALL {
                let answer = wire.error(kind, "why \"not\"");
                let body: Value = serde_json::from_str(&answer.body).unwrap();
                assert!(body.to_string().contains("why"), "{}", wire.name());
                assert!((400..=599).contains(&answer.status));
                assert!(!answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("retry-after")));
            }
        }
    }

    #[test]
    fn smallest_request_of_every_wire_is_its_own_and_capped() {
        for wire in WIRES {
            let (path, body) = wire.smallest("some-model");
            let (found, route) = recognise("POST", &path).unwrap();
            assert_eq!(found.name(), wire.name());
            let read = ReadRequest::read(*wire, &route, body.to_string().as_bytes()).unwrap().facts;
            assert_eq!((read.model.as_str(), read.stream), ("some-model", false));
            assert!(read.output_cap.is_some_and(|cap| cap <= 16), "{}", wire.name());
        }
    }

    #[test]
    fn budget_refusal_has_the_form_that_stops_each_agent_at_once() {
        for (wire, status, has) in [
            ("openai", 429, r#""code":"insufficient_quota""#),
            ("anthropic", 402, r#""type":"billing_error""#),
            ("openai-chat", 401, r#""type":"authentication_error""#),
            ("google", 403, r#""status":"PERMISSION_DENIED""#),
        ] {
            let answer = by_name(wire).unwrap().error(ErrorKind::BudgetExhausted, "spent");
            assert_eq!(answer.status, status, "{wire}");
            assert!(answer.body.contains(has), "{wire}: {}", answer.body);
            assert!(answer.headers.contains(&("x-should-retry", "false")));
        }
        let chat = by_name("openai-chat").unwrap().error(ErrorKind::BudgetExhausted, "spent");
        assert!(chat.body.contains("trial_budget_exhausted"));
    }
}
