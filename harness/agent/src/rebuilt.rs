//! What any agent did, from its requests and answers alone: each request carries the conversation so far, so what is new in it is
//! what happened since the one before. Sub-agents and side requests begin conversations of their own.

use harness_core::Usage;
use serde_json::{Value, json};

use crate::client::whole;
use crate::events::{CallRecord, EVENTS_VERSION, Event, Line, Purpose, clip};
use crate::wires::{Said, by_name};

/// A request and its answer, as they went over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Exchanged<'a> {
    /// The wire's name.
    pub wire: &'a str,
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long the answer took.
    pub took_ms: u64,
    /// The model as asked for.
    pub model: &'a str,
    /// The request's body.
    pub request: &'a [u8],
    /// The answer's content type.
    pub content_type: Option<&'a str>,
    /// The answer's body, unpacked.
    pub answer: &'a [u8],
    /// What the gateway counted.
    pub usage: Usage,
}

/// Conversations in the order in which they began, each as the events that the core itself would have written. The first is the
/// agent's own. Exchanges on no known wire, and what cannot be read, are left out.
pub fn conversations<'a>(exchanges: impl IntoIterator<Item = Exchanged<'a>>) -> Vec<Vec<Line>> {
    let mut threads: Vec<Thread> = Vec::new();
    for (at, exchange) in exchanges.into_iter().enumerate() {
        let Some(dialect) = by_name(exchange.wire) else { continue };
        let Ok(request) = serde_json::from_slice::<Value>(exchange.request) else { continue };
        let said = dialect.said(&request);
        let thread = match threads.iter().position(|thread| thread.goes_on_with(&said)) {
            Some(known) => &mut threads[known],
            None => {
                threads.push(Thread::begin(&exchange, &request, &said));
                threads.last_mut().expect("it has just been pushed")
            }
        };
        thread.tell(&exchange, &said);
        thread.answer(&exchange, at as u64 + 1);
    }
    threads.into_iter().map(|thread| thread.lines).collect()
}

struct Thread {
    /// What was said last, the model's own part aside.
    heard: Vec<Said>,
    /// Calls that wait for their results, by id and by name.
    open: Vec<(String, String)>,
    lines: Vec<Line>,
}

fn others(said: &[Said]) -> Vec<Said> {
    said.iter().filter(|said| !matches!(said, Said::Model | Said::System(_))).cloned().collect()
}

impl Thread {
    fn begin(exchange: &Exchanged<'_>, request: &Value, said: &[Said]) -> Thread {
        let system = said.iter().find_map(|said| match said {
            Said::System(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        });
        let first = others(said).into_iter().next();
        let instruction = match &first {
            Some(Said::User(text)) => text.as_str(),
            _ => "",
        };
        let mut thread =
            Thread { heard: first.iter().cloned().collect(), open: Vec::new(), lines: Vec::new() };
        thread.push(
            exchange.at_ms,
            Event::Started {
                version: EVENTS_VERSION,
                program: String::new(),
                model: exchange.model.to_owned(),
                wire: exchange.wire.to_owned(),
                instruction: clip(instruction),
                system: clip(system.unwrap_or_default()),
                tools: request.get("tools").cloned().unwrap_or(json!([])),
                workdir: String::new(),
            },
        );
        thread
    }

    /// The same beginning is the same conversation, also after its middle was made shorter.
    fn goes_on_with(&self, said: &[Said]) -> bool {
        let others = others(said);
        !others.is_empty() && others.first() == self.heard.first()
    }

    /// What is new in the request.
    fn tell(&mut self, exchange: &Exchanged<'_>, said: &[Said]) {
        let now = others(said);
        let same = now.iter().zip(&self.heard).take_while(|(now, before)| now == before).count();
        for new in &now[same..] {
            match new {
                Said::User(text) => {
                    self.push(exchange.at_ms, Event::Nudged { why: "user".to_owned(), text: clip(text) });
                }
                Said::Result { id, text, is_error } => {
                    let Some(at) = self.open.iter().position(|(open, name)| open == id || name == id) else {
                        continue;
                    };
                    let (id, tool) = self.open.remove(at);
                    let (output, is_error) = (clip(text), *is_error);
                    self.push(exchange.at_ms, Event::Ran { id, tool, output, is_error, took_ms: 0 });
                }
                Said::System(_) | Said::Model => {}
            }
        }
        self.heard = now;
    }

    fn answer(&mut self, exchange: &Exchanged<'_>, request: u64) {
        let dialect = by_name(exchange.wire).expect("looked up before");
        let at_ms = exchange.at_ms.saturating_add(exchange.took_ms);
        let heard = match whole(dialect, exchange.content_type, exchange.answer) {
            Ok(heard) => heard,
            Err(error) => {
                self.push(at_ms, Event::Unanswered { request, message: error.to_string(), again: false });
                return;
            }
        };
        self.open = heard.calls.iter().map(|call| (call.id.clone(), call.name.clone())).collect();
        self.push(
            at_ms,
            Event::Answered {
                request,
                purpose: Purpose::Act,
                model: heard.model.clone(),
                text: clip(&heard.text),
                thinking: clip(&heard.thinking),
                calls: heard.calls.iter().map(CallRecord::of).collect(),
                stop: format!("{:?}", heard.stop).to_lowercase(),
                usage: exchange.usage,
                raw_usage: heard.usage,
                took_ms: exchange.took_ms,
            },
        );
    }

    fn push(&mut self, at_ms: u64, event: Event) {
        self.lines.push(Line { seq: self.lines.len() as u64 + 1, at_ms, event });
    }
}
