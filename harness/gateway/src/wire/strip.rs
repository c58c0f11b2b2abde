//! Takes the usage that we asked for out of a Chat Completions stream again, for an agent that did not ask: strict clients
//! fail on a chunk without choices. Everything else passes byte for byte.

use std::sync::LazyLock;

use serde_json::Value;

use crate::stream::edit::{Found, find};
use crate::stream::skim::Paths;

/// A longer event is passed on as it is: a chunk of usage is a hundredth of it.
const HELD_BYTES: usize = 64 << 10;

static PLACES: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["choices", "usage"]));

/// The filter. Put in the stream in pieces of any size.
#[derive(Debug, Default)]
pub struct UsageStripper {
    held: Vec<u8>,
    /// The event was too long to hold: what is left of it passes.
    passing: bool,
    /// The last byte that was passed of such an event, to see its end.
    last: [u8; 3],
}

impl UsageStripper {
    /// Passes a piece on; returns what the agent gets now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.held.len() + bytes.len());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n' || *byte == b'\r') {
            self.held.extend_from_slice(piece);
            if ends_event(&self.last, &self.held) {
                let event = std::mem::take(&mut self.held);
                if std::mem::take(&mut self.passing) {
                    out.extend_from_slice(&event);
                } else {
                    out.extend(stripped(event));
                }
                self.last = [0; 3];
            } else if self.passing || self.held.len() > HELD_BYTES {
                self.passing = true;
                self.last = tail(&self.held);
                out.append(&mut self.held);
            }
        }
        out
    }

    /// The stream is over; returns what was still held.
    pub fn finish(&mut self) -> Vec<u8> {
        let event = std::mem::take(&mut self.held);
        if self.passing { event } else { stripped(event) }
    }
}

fn tail(bytes: &[u8]) -> [u8; 3] {
    let mut last = [0; 3];
    for (to, from) in last.iter_mut().rev().zip(bytes.iter().rev()) {
        *to = *from;
    }
    last
}

/// Whether an empty line has just ended. A lone CR after an LF is not taken for one, because an LF may follow; a stream that
/// mixes them so passes unchanged.
fn ends_event(before: &[u8; 3], held: &[u8]) -> bool {
    let joined = [&before[..], &held[held.len().saturating_sub(4)..]].concat();
    [&b"\n\n"[..], b"\r\r", b"\n\r\n"].iter().any(|end| joined.ends_with(end))
}

/// The event as the agent may see it: nothing, when it is there for the usage alone.
fn stripped(event: Vec<u8>) -> Vec<u8> {
    let Some((start, end)) = data_line(&event) else { return event };
    let Some(found) = find(&PLACES, 2, &event[start..end]) else { return event };
    let ([choices], [usage]) = (found[0].as_slice(), found[1].as_slice()) else { return event };
    match &usage.value {
        Some(Value::Object(_)) if choices.value == Some(Value::Array(Vec::new())) => Vec::new(),
        // Asking for usage puts a null on every other chunk.
        Some(Value::Null) => without_member(&event, start, usage),
        _ => event,
    }
}

/// Where the data of an event with exactly one line of it stands.
fn data_line(event: &[u8]) -> Option<(usize, usize)> {
    let mut found = None;
    let mut at = 0;
    for line in event.split_inclusive(|byte| *byte == b'\n' || *byte == b'\r') {
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if let Some(rest) = text.strip_prefix(b"data:") {
            if found.is_some() {
                return None;
            }
            let end = at + line.iter().rposition(|byte| *byte != b'\n' && *byte != b'\r')? + 1;
            found = Some((at + line.len() - rest.len(), end));
        }
        at += line.len();
    }
    found
}

/// The event without a member of the object that begins at `start`, and without the comma that joined it.
fn without_member(event: &[u8], start: usize, member: &Found) -> Vec<u8> {
    let (mut from, mut to) = (start + member.start, start + member.end);
    // Back over `"key" :` to what stands before it.
    let Some(key_end) = event[..from].iter().rposition(|byte| *byte == b'"') else { return event.to_vec() };
    let Some(key) = event[..key_end].iter().rposition(|byte| *byte == b'"') else { return event.to_vec() };
    from = key;
    let before = event[..from].iter().rposition(|byte| !byte.is_ascii_whitespace());
    if before.is_some_and(|at| event[at] == b',') {
        from = before.unwrap_or(from);
    } else if let Some(at) = event[to..].iter().position(|byte| !byte.is_ascii_whitespace())
        && event[to + at] == b','
    {
        to += at + 1;
    }
    [&event[..from], &event[to..]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: &str = "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}],\"usage\":null}\n\n\
        : a comment\n\ndata: {\"usage\": null, \"choices\":[{\"index\":0}]}\r\n\r\n\
        data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\ndata: [DONE]\n\n";
    const UNASKED: &str = "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}]}\n\n\
        : a comment\n\ndata: { \"choices\":[{\"index\":0}]}\r\n\r\ndata: [DONE]\n\n";

    fn through(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stripper = UsageStripper::default();
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| stripper.push(piece)).collect();
        out.extend(stripper.finish());
        out
    }

    #[test]
    fn usage_stripper_gives_the_stream_that_was_asked_for_wherever_it_is_cut() {
        for cut in 0..=ASKED.len() {
            let out = through(&[&ASKED.as_bytes()[..cut], &ASKED.as_bytes()[cut..]]);
            assert_eq!(String::from_utf8(out).unwrap(), UNASKED, "cut at {cut}");
        }
    }

    #[test]
    fn usage_stripper_passes_what_it_does_not_know_byte_for_byte() {
        for stream in [
            "data: not json\n\n",
            "event: x\ndata: {\"choices\":[]}\n\n",
            "data: {\"choices\":[{}],\"usage\":{\"a\":1}}\n\n",
            "data: {\"choices\":[],\ndata: \"usage\":{}}\n\n",
            "{\"error\":1}",
            "\r\r\r\n\n\n",
        ] {
            assert_eq!(through(&[stream.as_bytes()]), stream.as_bytes());
        }
    }

    #[test]
    fn usage_stripper_holds_little_of_an_endless_event_and_works_on_after_it() {
        let mut stripper = UsageStripper::default();
        let mut out = Vec::new();
        for _ in 0..100 {
            out.extend(stripper.push(&[b'x'; 10_000]));
            assert!(stripper.held.len() <= HELD_BYTES + 10_000);
        }
        out.extend(stripper.push(b"\n\n"));
        assert_eq!(out.len(), 1_000_002);
        assert_eq!(stripper.push(b"data: {\"choices\":[],\"usage\":{\"a\":1}}\n\n"), b"");
    }

    proptest! {
        #[test]
        fn usage_stripper_never_panics_and_loses_nothing_without_usage(
            bytes in proptest::collection::vec(proptest::sample::select(b"data: {}[]\"choices\",\n\r".to_vec()), 0..150),
            cut in 0..150_usize,
        ) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(through(&[&bytes[..cut], &bytes[cut..]]), bytes);
        }
    }
}
