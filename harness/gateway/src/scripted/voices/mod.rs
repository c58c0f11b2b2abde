//! The scripted model on each wire: how a request is read and an answer is spoken there. One file per wire, and one list.

mod anthropic;
mod google;
mod openai_chat;
mod openai_responses;

use std::fmt::Debug;

use serde_json::Value;

use super::Speech;
use super::conversation::Conversation;

/// Every voice; a test holds the list against the wires.
pub const VOICES: &[&dyn Voice] =
    &[&openai_responses::Responses, &openai_chat::Chat, &anthropic::Messages, &google::Gemini];

/// How the scripted model speaks on one wire. The same speech gives the same bytes; ids come from the turn.
pub trait Voice: Debug + Sync + Private {
    /// The wire's name.
    fn wire(&self) -> &'static str;
}

/// What only this crate may ask a voice for.
pub trait Private {
    /// Reads a request.
    #[expect(private_interfaces, reason = "voices are listed for outsiders and asked from here alone")]
    fn read(&self, body: &Value) -> Conversation;

    /// The answer as one document.
    #[expect(private_interfaces, reason = "voices are listed for outsiders and asked from here alone")]
    fn whole(&self, speech: &Speech) -> Value;

    /// The answer as a stream, one piece for each event.
    #[expect(private_interfaces, reason = "voices are listed for outsiders and asked from here alone")]
    fn stream(&self, speech: &Speech) -> Vec<Vec<u8>>;
}

/// An event with a name.
fn named(event: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()).into_bytes()
}

/// An event without a name.
fn unnamed(event: &Value) -> Vec<u8> {
    format!("data: {event}\n\n").into_bytes()
}

/// A text in pieces, as a model would give it.
fn pieces(text: &str) -> Vec<String> {
    const CHARS: usize = 24;
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(CHARS).map(|chunk| chunk.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_has_a_voice_and_every_file_is_listed() {
        let wires: Vec<&str> = crate::wire::WIRES.iter().map(|wire| wire.name()).collect();
        let voices: Vec<&str> = VOICES.iter().map(|voice| voice.wire()).collect();
        assert_eq!(voices, wires);
        let files =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripted/voices")).unwrap().count();
        assert_eq!(files, VOICES.len() + 1);
    }
}
