//! Reads chosen values out of JSON as it passes, in memory that does not grow with the document: an answer may be endless,
//! and a request may be fifty megabytes of which the gateway needs five numbers.
//!
//! It does not validate. What is no JSON makes it stop looking; nothing makes it panic.

/// Longest value kept; of a longer one only the place is told.
const KEPT_BYTES: usize = 64 << 10;
/// Longest key compared, escapes included: the keys looked for are a tenth of it.
const KEY_BYTES: usize = 512;
/// Deepest nesting followed; parsers of the providers stop at 128 or so.
const DEEPEST: usize = 512;

/// Which values are looked for: names joined by dots, `*` for each element of a list, the empty path for the whole.
#[derive(Debug)]
pub struct Paths(Vec<Vec<&'static str>>);

impl Paths {
    /// At most 32 paths.
    pub fn new(paths: &[&'static str]) -> Paths {
        assert!(paths.len() <= 32, "a set of paths is kept in 32 bits");
        Paths(
            paths
                .iter()
                .map(|path| path.split('.').filter(|segment| !segment.is_empty()).collect())
                .collect(),
        )
    }

    fn all(&self) -> u32 {
        if self.0.len() == 32 { u32::MAX } else { (1 << self.0.len()) - 1 }
    }

    /// Of the paths in `mask`, those whose segment number `depth` fits.
    fn narrowed(&self, mask: u32, depth: usize, fits: impl Fn(&str) -> bool) -> u32 {
        let mut left = 0;
        for (bit, path) in self.0.iter().enumerate() {
            if mask & (1 << bit) != 0 && path.get(depth).is_some_and(|segment| fits(segment)) {
                left |= 1 << bit;
            }
        }
        left
    }
}

/// A value that was looked for.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'a> {
    /// Which path, counted as in the list.
    pub path: usize,
    /// The value's own bytes; empty when it was too long to keep.
    pub raw: &'a [u8],
    /// Where it begins, counted from the first byte of the document.
    pub start: usize,
    /// One past its end.
    pub end: usize,
}

impl Hit<'_> {
    /// The value, when it was kept and is JSON.
    pub fn value(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.raw).ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    KeyOrEnd,
    Key { escaped: bool },
    Colon,
    Text { escaped: bool },
    Literal,
    After,
    Done,
    Broken,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    object: bool,
    mask: u32,
}

#[derive(Debug, Clone, Copy)]
struct Active {
    path: usize,
    depth: usize,
    start: usize,
    /// Where its bytes begin in the kept ones.
    kept_from: usize,
}

/// The reader. Feed it a document in pieces of any size; `reset` begins the next one.
#[derive(Debug)]
pub struct Skimmer {
    paths: &'static Paths,
    state: State,
    stack: Vec<Frame>,
    key: Vec<u8>,
    /// The paths that the next value still fits.
    pending: u32,
    actives: Vec<Active>,
    kept: Vec<u8>,
    overflown: bool,
    offset: usize,
}

impl Skimmer {
    /// A reader at the beginning of a document.
    pub fn new(paths: &'static Paths) -> Skimmer {
        Skimmer {
            paths,
            state: State::Value,
            stack: Vec::new(),
            key: Vec::new(),
            pending: paths.all(),
            actives: Vec::new(),
            kept: Vec::new(),
            overflown: false,
            offset: 0,
        }
    }

    /// Begins another document.
    pub fn reset(&mut self) {
        self.state = State::Value;
        self.stack.clear();
        self.key.clear();
        self.pending = self.paths.all();
        self.actives.clear();
        self.kept.clear();
        self.overflown = false;
        self.offset = 0;
    }

    /// Whether a whole document was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the document turned out to be no JSON, or too deep.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Reads a piece and tells every value that ended in it.
    pub fn push(&mut self, bytes: &[u8], hit: &mut dyn FnMut(Hit<'_>)) {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.state {
                State::Broken => return,
                State::Text { escaped } => self.text(&bytes[at..], escaped, hit),
                State::Key { escaped } => self.key(&bytes[at..], escaped),
                State::Literal => self.literal(&bytes[at..], hit),
                State::Value | State::KeyOrEnd | State::Colon | State::After | State::Done => {
                    self.step(bytes[at], hit);
                    1
                }
            };
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.offset += bytes.len();
        if self.actives.is_empty() || self.overflown {
            return;
        }
        if self.kept.len() + bytes.len() > KEPT_BYTES {
            self.overflown = true;
            self.kept.clear();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// One byte of structure.
    fn step(&mut self, byte: u8, hit: &mut dyn FnMut(Hit<'_>)) {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match (self.state, byte) {
            _ if space => self.keep(&[byte]),
            (State::Value, b'{' | b'[') => {
                self.begin();
                self.keep(&[byte]);
                if self.stack.len() >= DEEPEST {
                    self.state = State::Broken;
                    return;
                }
                self.stack.push(Frame { object: byte == b'{', mask: self.pending });
                self.enter();
            }
            (State::Value, b'"') => {
                self.begin();
                self.keep(&[byte]);
                self.state = State::Text { escaped: false };
            }
            // An empty list, or a comma before the end of one: none of our business.
            (State::Value, b']') => self.close(byte, hit),
            (State::Value, b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                self.begin();
                self.state = State::Literal;
                self.keep(&[byte]);
            }
            (State::KeyOrEnd, b'"') => {
                self.keep(&[byte]);
                self.key.clear();
                self.state = State::Key { escaped: false };
            }
            (State::KeyOrEnd, b',') => self.keep(&[byte]),
            (State::KeyOrEnd | State::After, b'}') => self.close(byte, hit),
            (State::After, b']') => self.close(byte, hit),
            (State::After, b',') => {
                self.keep(&[byte]);
                self.enter();
            }
            (State::Colon, b':') => {
                self.keep(&[byte]);
                self.state = State::Value;
            }
            _ => self.state = State::Broken,
        }
    }

    /// What comes next inside the innermost container.
    fn enter(&mut self) {
        let depth = self.stack.len().saturating_sub(1);
        match self.stack.last() {
            Some(frame) if frame.object => self.state = State::KeyOrEnd,
            Some(frame) => {
                self.pending = self.paths.narrowed(frame.mask, depth, |segment| segment == "*");
                self.state = State::Value;
            }
            None => self.state = State::Done,
        }
    }

    fn begin(&mut self) {
        if self.pending == 0 {
            return;
        }
        let depth = self.stack.len();
        for (bit, path) in self.paths.0.iter().enumerate() {
            if self.pending & (1 << bit) != 0 && path.len() == depth {
                if self.actives.is_empty() {
                    self.kept.clear();
                    self.overflown = false;
                }
                let kept_from = self.kept.len();
                self.actives.push(Active { path: bit, depth, start: self.offset, kept_from });
            }
        }
    }

    /// A value ended with the last byte kept.
    fn end(&mut self, hit: &mut dyn FnMut(Hit<'_>)) {
        let depth = self.stack.len();
        while let Some(active) = self.actives.last().copied().filter(|active| active.depth == depth) {
            let raw =
                if self.overflown { &[][..] } else { self.kept.get(active.kept_from..).unwrap_or_default() };
            hit(Hit { path: active.path, raw, start: active.start, end: self.offset });
            self.actives.pop();
        }
        self.state = if depth == 0 { State::Done } else { State::After };
    }

    fn close(&mut self, byte: u8, hit: &mut dyn FnMut(Hit<'_>)) {
        if self.stack.last().is_none_or(|frame| frame.object != (byte == b'}')) {
            self.state = State::Broken;
            return;
        }
        self.keep(&[byte]);
        self.stack.pop();
        self.end(hit);
    }

    fn text(&mut self, bytes: &[u8], escaped: bool, hit: &mut dyn FnMut(Hit<'_>)) -> usize {
        if escaped {
            self.keep(&bytes[..1]);
            self.state = State::Text { escaped: false };
            return 1;
        }
        let Some(end) = memchr::memchr2(b'"', b'\\', bytes) else {
            self.keep(bytes);
            return bytes.len();
        };
        self.keep(&bytes[..=end]);
        if bytes[end] == b'\\' {
            self.state = State::Text { escaped: true };
        } else {
            self.end(hit);
        }
        end + 1
    }

    fn key(&mut self, bytes: &[u8], escaped: bool) -> usize {
        let end = if escaped { Some(0) } else { memchr::memchr2(b'"', b'\\', bytes) };
        let length = end.map_or(bytes.len(), |end| end + 1);
        self.keep(&bytes[..length]);
        let closed = !escaped && end.is_some_and(|end| bytes[end] == b'"');
        let part = if closed { &bytes[..length - 1] } else { &bytes[..length] };
        let room = (KEY_BYTES + 1).saturating_sub(self.key.len());
        self.key.extend_from_slice(&part[..part.len().min(room)]);
        if closed {
            self.pending = self.fitting();
            self.state = State::Colon;
        } else {
            self.state = State::Key { escaped: !escaped && end.is_some() };
        }
        length
    }

    /// The paths that a value under the key just read fits. Escapes in it are undone: a name can be written in many ways,
    /// and a provider reads them all.
    fn fitting(&self) -> u32 {
        let Some(frame) = self.stack.last().filter(|frame| frame.mask != 0) else { return 0 };
        if self.key.len() > KEY_BYTES {
            return 0;
        }
        let depth = self.stack.len() - 1;
        if self.key.contains(&b'\\') {
            let quoted = [b"\"", self.key.as_slice(), b"\""].concat();
            let Ok(key) = serde_json::from_slice::<String>(&quoted) else { return 0 };
            return self.paths.narrowed(frame.mask, depth, |segment| segment == key && segment != "*");
        }
        self.paths.narrowed(frame.mask, depth, |segment| segment.as_bytes() == self.key && segment != "*")
    }

    fn literal(&mut self, bytes: &[u8], hit: &mut dyn FnMut(Hit<'_>)) -> usize {
        let end = bytes
            .iter()
            .position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'));
        self.keep(&bytes[..end.unwrap_or(bytes.len())]);
        if end.is_some() {
            self.end(hit);
        }
        end.unwrap_or(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static PATHS: LazyLock<Paths> =
        LazyLock::new(|| Paths::new(&["usage", "response.usage", "choices.*.finish", "", "a.b"]));

    fn skim(pieces: &[&[u8]]) -> Vec<(usize, String, usize, usize)> {
        let mut skimmer = Skimmer::new(&PATHS);
        let mut hits = Vec::new();
        for piece in pieces {
            skimmer.push(piece, &mut |hit| {
                hits.push((hit.path, String::from_utf8_lossy(hit.raw).into_owned(), hit.start, hit.end));
            });
        }
        hits
    }

    const DOCUMENT: &str = r#" {"model":"a\"b","usage":{"in":[1,2,{"x":"}"}],"n":null}, "choices":[{"finish":"stop"},{"finish":null}],
        "response":{"usage":3.5e1,"other":{"usage":1}},"\u0061":{"b":"\\"},"a":{"c":1},"usage":true}"#;

    #[test]
    fn skimmer_finds_each_value_with_its_place_wherever_the_document_is_cut() {
        let whole = skim(&[DOCUMENT.as_bytes()]);
        let short: Vec<(usize, &str)> =
            whole.iter().filter(|hit| hit.0 != 3).map(|hit| (hit.0, hit.1.as_str())).collect();
        assert_eq!(
            short,
            [
                (0, r#"{"in":[1,2,{"x":"}"}],"n":null}"#),
                (2, "\"stop\""),
                (2, "null"),
                (1, "3.5e1"),
                (4, r#""\\""#),
                (0, "true"),
            ]
        );
        for (_, raw, start, end) in &whole {
            assert_eq!(&DOCUMENT[*start..*end], raw);
        }
        for cut in 0..=DOCUMENT.len() {
            assert_eq!(
                skim(&[&DOCUMENT.as_bytes()[..cut], &DOCUMENT.as_bytes()[cut..]]),
                whole,
                "cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = DOCUMENT.as_bytes().chunks(1).collect();
        assert_eq!(skim(&bytes), whole);
    }

    #[test]
    fn skimmer_keeps_little_of_an_endless_value_and_still_tells_its_place() {
        let mut skimmer = Skimmer::new(&PATHS);
        let mut hits = Vec::new();
        let mut push = |bytes: &[u8]| {
            skimmer.push(bytes, &mut |hit| hits.push((hit.path, hit.raw.len(), hit.start)));
            (skimmer.kept.capacity(), skimmer.key.capacity())
        };
        push(b"{\"usage\":\"");
        for _ in 0..1000 {
            let (kept, _) = push(&[b'x'; 10_000]);
            assert!(kept <= 4 * KEPT_BYTES, "{kept}");
        }
        push(b"\",\"");
        for _ in 0..100 {
            let (_, key) = push(&[b'k'; 10_000]);
            assert!(key <= 4 * KEY_BYTES, "{key}");
        }
        push(b"\":1}");
        assert_eq!(hits, [(0, 0, 9), (3, 0, 0)]);
    }

    #[test]
    fn skimmer_stops_at_nesting_too_deep() {
        let mut skimmer = Skimmer::new(&PATHS);
        for _ in 0..100 {
            skimmer.push(&[b'['; 10_000], &mut |_| {});
        }
        assert!(skimmer.is_broken() && skimmer.stack.capacity() < 4 * DEEPEST);
    }

    proptest! {
        #[test]
        fn skimmer_never_panics_and_does_not_depend_on_the_cuts(
            bytes in proptest::collection::vec(proptest::sample::select(b"{}[]\",:\\u0061 ab1-\xff\n".to_vec()), 0..200),
            cut in 0..200_usize,
        ) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(skim(&[&bytes]), skim(&[&bytes[..cut], &bytes[cut..]]));
        }

        #[test]
        fn skimmer_never_panics_on_any_bytes(bytes in any::<Vec<u8>>()) {
            skim(&[&bytes]);
        }
    }
}
