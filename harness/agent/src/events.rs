//! What happened, one JSON line a fact, appended as it happens: the truth that trajectories and reports are made of. A torn last
//! line is normal after a crash and is dropped by whoever reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use harness_core::{AgentExit, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version 1 is the first.
pub const EVENTS_VERSION: u32 = 1;
/// Longest text that an event keeps; what is beyond is counted.
const MAX_TEXT: usize = 256 << 10;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// From 1, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970 by the host's clock.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The work begins.
    Started {
        /// [`EVENTS_VERSION`].
        version: u32,
        /// Version of the program.
        program: String,
        /// `PROVIDER/MODEL` as asked for, or the provider's name alone where nobody said more.
        model: String,
        /// The wire.
        wire: String,
        /// The instruction.
        instruction: String,
        /// The stable beginning of every request.
        system: String,
        /// The tools that are offered: name, about, schema.
        tools: Value,
        /// Working folder inside.
        workdir: String,
    },
    /// Sub-goals were written down.
    Planned {
        /// In the model's words.
        text: String,
    },
    /// A request is sent.
    Asked {
        /// From 1, over all purposes.
        request: u64,
        /// What for.
        purpose: Purpose,
        /// How hard the model is told to think.
        effort: Option<String>,
        /// An estimate of the input.
        estimated_tokens: u64,
    },
    /// An answer came.
    Answered {
        /// Which request's.
        request: u64,
        /// What for.
        purpose: Purpose,
        /// The model that answered.
        model: Option<String>,
        /// What was said.
        text: String,
        /// What was shown of its thinking.
        thinking: String,
        /// The tools that it wants run.
        calls: Vec<CallRecord>,
        /// Why it ended.
        stop: String,
        /// Its tokens in exclusive buckets.
        usage: Usage,
        /// The provider's own account.
        raw_usage: Option<Value>,
        /// Wall time in milliseconds.
        took_ms: u64,
    },
    /// No answer came.
    Unanswered {
        /// Which request's.
        request: u64,
        /// Why.
        message: String,
        /// Whether it is tried again.
        again: bool,
    },
    /// A tool ran.
    Ran {
        /// The call's id.
        id: String,
        /// The tool's name.
        tool: String,
        /// What the model gets to read.
        output: String,
        /// Whether the call failed.
        is_error: bool,
        /// Wall time in milliseconds.
        took_ms: u64,
    },
    /// The model was told something that it did not ask for.
    Nudged {
        /// Why, in a word.
        why: String,
        /// What it was told.
        text: String,
    },
    /// The model is told to think harder.
    EffortRaised {
        /// Before.
        from: String,
        /// From now on.
        to: String,
        /// Why, in a word.
        why: String,
    },
    /// Something was taken out of the window.
    Compacted {
        /// `mask` or `summarise`.
        how: String,
        /// Estimated tokens before.
        before: u64,
        /// Estimated tokens after.
        after: u64,
    },
    /// A path was out of bounds.
    Violation {
        /// Which.
        path: String,
        /// By which tool.
        tool: String,
        /// What was done about it.
        outcome: String,
    },
    /// The test command ran.
    Tested {
        /// The command.
        command: String,
        /// Whether it passed.
        passed: bool,
        /// The end of what it wrote.
        output: String,
        /// Wall time in milliseconds.
        took_ms: u64,
    },
    /// The review is over.
    Reviewed {
        /// Whether the work may be handed in.
        approved: bool,
        /// What is to be done, in the reviewer's words.
        findings: String,
    },
    /// Still there, and waiting.
    Heartbeat {
        /// What for.
        waiting_for: String,
        /// How long already, in milliseconds.
        for_ms: u64,
    },
    /// The work is over.
    Ended {
        /// How.
        exit: AgentExit,
        /// In a sentence.
        reason: String,
        /// Answers of the model that led to something.
        steps: u64,
        /// All requests together.
        usage: Usage,
        /// Paths out of bounds that were tried.
        violations: u64,
    },
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The work itself.
    Act,
    /// Sub-goals.
    Plan,
    /// Fresh eyes.
    Review,
    /// Old turns made short.
    Summary,
}

/// A call as the model made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its id.
    pub id: String,
    /// The tool's name, as written.
    pub tool: String,
    /// Its input, or what was no input.
    pub input: Value,
}

impl CallRecord {
    pub(crate) fn of(call: &crate::wires::Call) -> CallRecord {
        let input = match &call.input {
            Ok(map) => Value::Object(
                map.iter().map(|(key, value)| (key.clone(), clipped(value))).collect::<Map<_, _>>(),
            ),
            Err(broken) => Value::String(broken.clone()),
        };
        CallRecord { id: call.id.clone(), tool: call.name.clone(), input }
    }
}

fn clipped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clip(text)),
        other => other.clone(),
    }
}

/// A text as events keep it.
pub(crate) fn clip(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let kept = crate::text::head(text, MAX_TEXT);
    format!("{kept}\n[… {} bytes left out …]", text.len() - kept.len())
}

/// Where lines go.
pub trait Sink: Send {
    /// Appends a line with its end.
    ///
    /// # Errors
    /// The disk's.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
}

impl Sink for File {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }
}

/// In memory, for tests.
impl Sink for Vec<u8> {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.extend_from_slice(line);
        Ok(())
    }
}

/// The log of one trial.
pub struct EventLog {
    state: Mutex<State>,
    seen: Box<dyn Fn(&Line) + Send + Sync>,
}

struct State {
    sink: Box<dyn Sink>,
    seq: u64,
    failed: Option<io::Error>,
}

impl EventLog {
    /// A log into a sink; `seen` is told each line after it was appended.
    pub fn new(sink: Box<dyn Sink>, seen: Box<dyn Fn(&Line) + Send + Sync>) -> EventLog {
        EventLog { state: Mutex::new(State { sink, seq: 0, failed: None }), seen }
    }

    /// A log into a file, which is appended to.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<EventLog> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(EventLog::new(Box::new(file), Box::new(|_| {})))
    }

    /// Appends what happened. A disk that refuses is remembered: [`EventLog::failed`].
    pub fn write(&self, event: Event) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seq += 1;
        let line = Line { seq: state.seq, at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), event };
        let mut bytes = serde_json::to_vec(&line).expect("events are plain values");
        bytes.push(b'\n');
        if let Err(error) = state.sink.append(&bytes) {
            state.failed.get_or_insert(error);
        }
        drop(state);
        (self.seen)(&line);
    }

    /// What the disk said first when it refused.
    pub fn failed(&self) -> Option<io::Error> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.take()
    }
}

/// Reads lines back; a torn last one is dropped, and what is no event is left out.
pub fn read(text: &str) -> impl Iterator<Item = Line> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}
