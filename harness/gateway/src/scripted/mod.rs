//! A model that plays a declared conversation: an upstream of our own on every wire, deterministic and without network, so that
//! agents, tokens and costs can be exercised with no key. It is a pure function from the script and the request so far to the
//! bytes of the answer. Reports call what it does by its name: simulated.

mod conversation;
mod intents;
mod script;
mod voices;

use serde_json::Value;

pub use script::{Edit, Fault, Run, Script, ScriptError, ScriptUsage, Turn};
pub use voices::VOICES;

use crate::tokens;
use crate::wire::{ErrorKind, Wire};
use conversation::Conversation;
use intents::Block;

/// What the turns after the script's last one say.
const OVER: &str = "The script is over.";
/// What a side request gets, such as one for a title: it offers no tools and is no part of the conversation.
const ASIDE: &str = "ok";

/// A request to the scripted model.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The wire that it came on.
    pub wire: &'static dyn Wire,
    /// Its path and query: on some wires the model and the framing are there.
    pub path: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// How many times the turn that it asks for was answered with the script's fault before. The caller counts, because an
    /// agent that tries again sends the same bytes.
    pub faults_before: u32,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Complete,
    /// The connection is cut after the last frame.
    Cut,
    /// Nothing more comes, and the connection stays open.
    Hang,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body in the pieces in which it is sent.
    pub frames: Vec<Vec<u8>>,
    /// How long to wait before the first byte of it, headers included.
    pub delay_ms: u64,
    /// How it ends.
    pub ending: Ending,
    /// The turn that was played, counted from 0; `None` for side requests and errors of the request.
    pub turn: Option<usize>,
    /// Whether that was the turn's fault and not what it says.
    pub fault: bool,
}

impl Reply {
    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        self.frames.concat()
    }
}

/// What a voice is to say.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    pub(crate) model: String,
    /// Makes ids: the same request gets the same ones.
    pub(crate) turn: usize,
    pub(crate) blocks: Vec<Block>,
    pub(crate) usage: ScriptUsage,
    /// Cut short by the output cap.
    pub(crate) cut_short: bool,
    /// Usage in the stream, where that must be asked for.
    pub(crate) stream_usage: bool,
}

/// Plays the turn that the request asks for.
pub fn play(script: &Script, request: &Request<'_>) -> Reply {
    let error = |kind, message: &str| {
        let answer = request.wire.error(kind, message);
        plain(answer.status, answer.body.into_bytes())
    };
    let Some(voice) = VOICES.iter().find(|voice| voice.wire() == request.wire.name()) else {
        return error(ErrorKind::NotFound, "the scripted model does not speak on this wire");
    };
    let Some(route) = request.wire.route("POST", request.path) else {
        return error(ErrorKind::NotFound, "no such path");
    };
    let facts = match crate::wire::ReadRequest::read(request.wire, &route, request.body) {
        Ok(read) => read.facts,
        Err(bad) => return error(ErrorKind::BadRequest, &bad.to_string()),
    };
    let Ok(body) = serde_json::from_slice::<Value>(request.body) else {
        return error(ErrorKind::BadRequest, "the body cannot be read");
    };
    let conversation: Conversation = voice.read(&body);
    let is_aside = conversation.tools.is_empty() && !script.textual;
    let turn = conversation.turns;
    let played = script.turns.get(turn).filter(|_| !is_aside);

    if let Some(fault) =
        played.and_then(|turn| turn.fault.as_ref()).filter(|fault| request.faults_before < fault.times)
    {
        return faulty(fault, request.wire, turn, || {
            speak(script, request, &conversation, played, facts.clone()).0
        });
    }
    let (mut reply, _) = speak(script, request, &conversation, played, facts);
    reply.turn = (!is_aside).then_some(turn);
    reply
}

/// What the turn says, and how much it says that it used.
fn speak(
    script: &Script,
    request: &Request<'_>,
    conversation: &Conversation,
    played: Option<&Turn>,
    facts: crate::wire::RequestFacts,
) -> (Reply, ScriptUsage) {
    let mut blocks = match played {
        Some(turn) => intents::blocks(turn, conversation, script.textual),
        None if conversation.tools.is_empty() && !script.textual => vec![Block::Text(ASIDE.to_owned())],
        None => vec![Block::Text(OVER.to_owned())],
    };
    let mut usage = played.and_then(|turn| turn.usage).unwrap_or_else(|| ScriptUsage {
        input: tokens::Counter::default().request(request.body),
        output: blocks.iter().map(Block::tokens).sum::<u64>().max(1),
        ..ScriptUsage::default()
    });
    let cut_short = facts.output_cap.is_some_and(|cap| cap < usage.output);
    if let Some(cap) = facts.output_cap.filter(|_| cut_short) {
        // As a real model does: what it wrote to there, and no call of a tool that was not written to its end.
        usage.output = cap;
        usage.reasoning = usage.reasoning.min(cap);
        blocks = vec![Block::Text(intents::beginning(&blocks, cap))];
    }
    let speech = Speech {
        model: script.model.clone().unwrap_or(facts.model),
        turn: conversation.turns,
        blocks,
        usage,
        cut_short,
        stream_usage: facts.stream_usage,
    };
    let voice =
        VOICES.iter().find(|voice| voice.wire() == request.wire.name()).expect("play has found the voice");
    let events = request.path.contains("alt=sse") || request.wire.name() != "google";
    let (content_type, frames) = match (facts.stream, events) {
        (true, true) => ("text/event-stream", voice.stream(&speech)),
        // Without `alt=sse` Gemini streams one list.
        (true, false) => ("application/json", listed(&voice.stream(&speech))),
        (false, _) => ("application/json", vec![voice.whole(&speech).to_string().into_bytes()]),
    };
    let reply = Reply {
        status: 200,
        content_type,
        frames,
        delay_ms: 0,
        ending: Ending::Complete,
        turn: None,
        fault: false,
    };
    (reply, usage)
}

fn plain(status: u16, body: Vec<u8>) -> Reply {
    Reply {
        status,
        content_type: "application/json",
        frames: vec![body],
        delay_ms: 0,
        ending: Ending::Complete,
        turn: None,
        fault: false,
    }
}

/// The turn's fault, on top of what the turn would have said.
fn faulty(fault: &Fault, wire: &'static dyn Wire, turn: usize, said: impl Fn() -> Reply) -> Reply {
    let mut reply = match fault.status {
        Some(status) => {
            let kind = match status {
                400 => ErrorKind::BadRequest,
                401 => ErrorKind::Unauthorized,
                404 => ErrorKind::NotFound,
                413 => ErrorKind::TooLarge,
                504 => ErrorKind::UpstreamTimeout,
                _ => ErrorKind::UpstreamFailed,
            };
            let body = wire.error(kind, fault.message.as_deref().unwrap_or("a fault of the script"));
            plain(status, body.body.into_bytes())
        }
        None => said(),
    };
    if let Some(frames) = fault.cut_after {
        reply.frames.truncate(frames);
        reply.ending = Ending::Cut;
    }
    if fault.malformed {
        for frame in &mut reply.frames {
            // The last brace goes: no JSON any more, though everything else stands there.
            if let Some(brace) = frame.iter().rposition(|byte| *byte == b'}') {
                frame.remove(brace);
            }
        }
    }
    if fault.hang {
        reply.frames.clear();
        reply.ending = Ending::Hang;
    }
    Reply { delay_ms: fault.delay_ms, turn: Some(turn), fault: true, ..reply }
}

/// Events as the elements of one list.
fn listed(events: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut frames = Vec::with_capacity(events.len() + 1);
    for (at, event) in events.iter().enumerate() {
        let text = String::from_utf8_lossy(event);
        let document = text.trim_start_matches("data: ").trim_end();
        frames.push(format!("{}{document}", if at == 0 { "[" } else { ",\r\n" }).into_bytes());
    }
    frames.push(b"]".to_vec());
    frames
}
