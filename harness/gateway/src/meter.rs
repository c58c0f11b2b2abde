//! Meters one answer as it passes: undoes its packing, finds its events, and keeps what each wire says counts. It reads
//! copies; what is passed on is the caller's and never waits for it.

use std::fmt;

use harness_core::{Usage, UsageSource};

use crate::stream::decode::{Decoder, Encoding, Sink};
use crate::stream::skim::Skimmer;
use crate::stream::sse::{DataSink, SseReader};
use crate::wire::{Answer, Wire};

/// How an answer's JSON comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As server-sent events, one document each.
    Events,
    /// As one document.
    Whole,
}

impl Framing {
    /// By what was asked before what the answer calls itself: some servers stream without saying so.
    pub fn of(streamed: bool, content_type: Option<&str>) -> Framing {
        let kind = content_type.unwrap_or_default().trim_start().to_ascii_lowercase();
        if kind.starts_with("text/event-stream") || (streamed && !kind.starts_with("application/json")) {
            Framing::Events
        } else {
            Framing::Whole
        }
    }
}

/// What is metered of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Metered {
    /// All that was learned.
    pub answer: Answer,
    /// The provider's counts in exclusive buckets; `None` when it reported none.
    pub usage: Option<Usage>,
    /// Whether the body could be unpacked and read to where it ended.
    pub readable: bool,
}

impl Metered {
    /// The provider's counts, and where it reported none of them our own, marked as an estimate. `input` is the estimate
    /// that the reservation was made with.
    pub fn usage_or_estimate(&self, input: u64) -> Usage {
        let known = self.usage.unwrap_or_default();
        if known.uncached_input_tokens.is_some() && known.output_tokens.is_some() && self.answer.complete {
            return known;
        }
        // A stream that was cut may have told its input exactly; its output only as far as it had come.
        let seen = self.answer.estimated_output();
        let mut usage = Usage {
            requests: Some(1),
            uncached_input_tokens: known.uncached_input_tokens.or(Some(input)),
            output_tokens: Some(known.output_tokens.unwrap_or(0).max(seen)),
            source: Some(UsageSource::Estimate),
            ..known
        };
        usage.total_tokens = None;
        usage.total_tokens = usage.total();
        usage
    }
}

/// The meter of one answer.
pub struct Meter {
    decoder: Decoder<Reading>,
}

struct Reading {
    framing: Framing,
    events: SseReader,
    documents: Documents,
}

/// The documents of an answer, one after the other.
struct Documents {
    wire: &'static dyn Wire,
    skimmer: Skimmer,
    answer: Answer,
    broken: bool,
}

impl Meter {
    /// A meter at the beginning of an answer's body.
    pub fn new(wire: &'static dyn Wire, framing: Framing, encoding: Encoding) -> Meter {
        let documents = Documents {
            wire,
            skimmer: Skimmer::new(wire.answer_paths()),
            answer: Answer::default(),
            broken: false,
        };
        Meter {
            decoder: Decoder::new(encoding, Reading { framing, events: SseReader::default(), documents }),
        }
    }

    /// Reads a piece of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// What has been learned to here.
    pub fn so_far(&mut self) -> &Answer {
        &self.decoder.sink().documents.answer
    }

    /// The body is over, or as much of it as will ever come.
    pub fn finish(mut self) -> Metered {
        let failed = self.decoder.has_failed();
        let reading = self.decoder.sink();
        if reading.framing == Framing::Events {
            reading.events.finish(&mut reading.documents);
        }
        let is_whole = reading.framing == Framing::Whole;
        let documents = &mut reading.documents;
        let mut answer = std::mem::take(&mut documents.answer);
        if is_whole && !documents.skimmer.is_done() {
            documents.broken = true;
            answer.complete = false;
        }
        let usage = answer.usage(documents.wire);
        Metered { usage, readable: !failed && !documents.broken, answer }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Sink for Reading {
    fn read(&mut self, piece: &[u8]) {
        match self.framing {
            Framing::Events => self.events.push(piece, &mut self.documents),
            Framing::Whole => self.documents.data(piece),
        }
    }
}

impl DataSink for Documents {
    fn data(&mut self, piece: &[u8]) {
        let (wire, answer) = (self.wire, &mut self.answer);
        self.skimmer.push(piece, &mut |hit| wire.observe(&hit, answer));
        self.broken |= self.skimmer.is_broken();
    }

    fn end(&mut self) {
        self.skimmer.reset();
    }
}
