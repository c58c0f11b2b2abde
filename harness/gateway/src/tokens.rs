//! How many tokens a text has, by a real tokenizer: for reservations, and for estimates where a provider reports nothing.
//! One encoding (o200k) stands for all models; other makers' differ, and the margin of a wire says by how much.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::words;

/// What a text has in bytes for a token where counting would take too long: prose has four, dense code three.
pub const BYTES_PER_TOKEN: u64 = 3;
/// Most bytes of new text counted for one request: a quarter of a millisecond of work. Of the rest samples are.
const COUNTED_BYTES: usize = 48 << 10;
/// Most samples of a request's rest, and the bytes of each.
const SAMPLES: usize = 48;
const SAMPLE_BYTES: usize = 256;
/// Pieces of text whose counts are kept: an agent sends its whole history each time.
const KEPT_COUNTS: usize = 16 << 10;
/// Text shorter than this is one token, or as good as one.
const SHORT: usize = 5;
/// Text from here on that looks like base64 is an image or a file, which no provider charges by its length.
const BINARY: usize = 1024;
/// What an image or a file is taken for: the dearest large image of any provider is about as much.
const BINARY_TOKENS: u64 = 2000;
/// What each string of a request brings with it: roles, names, separators.
const OVERHEAD: u64 = 2;

/// How many tokens a text has.
pub fn count(text: &str) -> u64 {
    tiktoken_rs::o200k_base_singleton().count_ordinary(text) as u64
}

/// Counts requests, and remembers the pieces that it has counted. One for each trial: nothing is shared between them.
#[derive(Debug, Default)]
pub struct Counter {
    counts: HashMap<Piece, u64, BuildHasherDefault<Hashed>>,
}

/// A piece of text by its hash and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece(u64, usize);

impl std::hash::Hash for Piece {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes a hash for what it is.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= hash(bytes);
    }
    fn write_u64(&mut self, hashed: u64) {
        self.0 = hashed;
    }
}

/// The text of a request that is too much to count: its length, and what samples of it say.
#[derive(Default)]
struct Rest {
    bytes: u64,
    samples: usize,
    /// The most tokens of any sample, each for so many bytes.
    densest: Option<(u64, u64)>,
}

impl Rest {
    fn take(&mut self, raw: &[u8]) {
        self.bytes += raw.len() as u64;
        // Short texts are too many, and say nothing that the long ones do not.
        if self.samples >= SAMPLES || raw.len() < SAMPLE_BYTES / 4 {
            return;
        }
        self.samples += 1;
        let from = raw.len().saturating_sub(SAMPLE_BYTES) / 2;
        let sample = &raw[from..(from + SAMPLE_BYTES).min(raw.len())];
        let (tokens, bytes) = (words::count(sample), sample.len() as u64);
        if self.densest.is_none_or(|(most, of)| tokens * of > most * bytes) {
            self.densest = Some((tokens, bytes));
        }
    }

    /// As many tokens as if all of it were as dense as the densest sample, and never fewer than its length says.
    fn tokens(&self) -> u64 {
        let by_length = self.bytes.div_ceil(BYTES_PER_TOKEN);
        let by_samples =
            self.densest.map_or(0, |(tokens, of)| self.bytes.saturating_mul(tokens).div_ceil(of));
        by_length.max(by_samples)
    }
}

impl Counter {
    /// An estimate of a request's input. It errs above: every string counts, names of tools and their schemas included.
    /// Bodies that are no JSON are estimated by their length.
    pub fn request(&mut self, body: &[u8]) -> u64 {
        let mut left = COUNTED_BYTES;
        let mut rest = Rest::default();
        let mut total = 0_u64;
        let mut strings = Strings { body, at: 0 };
        while let Some(raw) = strings.next() {
            total = total.saturating_add(self.piece(raw, &mut left, &mut rest)).saturating_add(OVERHEAD);
        }
        let total = total.saturating_add(rest.tokens());
        if total == 0 { (body.len() as u64).div_ceil(BYTES_PER_TOKEN) } else { total }
    }

    /// One string as it stands in JSON.
    fn piece(&mut self, raw: &[u8], left: &mut usize, rest: &mut Rest) -> u64 {
        if raw.len() >= BINARY && looks_binary(raw) {
            return BINARY_TOKENS;
        }
        if raw.len() < SHORT {
            return 1;
        }
        // Names and keys too: a request has hundreds.
        let key = Piece(hash(raw), raw.len());
        if let Some(known) = self.counts.get(&key) {
            return *known;
        }
        if raw.len() > *left {
            rest.take(raw);
            return 0;
        }
        *left -= raw.len();
        let counted = words::count(&plain(raw));
        if self.counts.len() >= KEPT_COUNTS {
            self.counts.clear();
        }
        self.counts.insert(key, counted);
        counted
    }
}

/// A JSON string's text. What cannot be undone stays as it is, and counts for more.
fn plain(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(raw), |text| Cow::Owned(text.into_bytes()))
}

/// The strings of a JSON text, without their quotes.
struct Strings<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Strings<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.at + memchr::memchr(b'"', self.body.get(self.at..)?)? + 1;
        let mut at = start;
        loop {
            let end = at + memchr::memchr2(b'"', b'\\', self.body.get(at..)?)?;
            if self.body[end] == b'"' {
                self.at = end + 1;
                return Some(&self.body[start..end]);
            }
            at = end + 2;
        }
    }
}

fn looks_binary(raw: &[u8]) -> bool {
    // `data:image/png;base64,` stands before it in some APIs.
    let sample = &raw[raw.len() / 2..(raw.len() / 2 + 512).min(raw.len())];
    sample.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'))
        // A long word of one letter is text, however unusual.
        && sample.iter().any(u8::is_ascii_digit)
        && sample.iter().any(u8::is_ascii_uppercase)
        && sample.iter().any(u8::is_ascii_lowercase)
}

/// FNV over eight bytes at a time: only for finding a count again, and a wrong one would only be a weaker estimate.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: [u8; 8]| {
        (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    // Four sums at once where there is much: each step of one waits for the step before.
    let mut sums = [1_u64, 2, 3, 4].map(|lane| 0xcbf2_9ce4_8422_2325 ^ (bytes.len() as u64) << 8 ^ lane);
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum = step(*sum, *word);
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    let first = if blocks.is_empty() {
        sums[0]
    } else {
        sums.iter().fold(0, |all, sum| step(all, sum.to_le_bytes()))
    };
    let sum = words.iter().fold(first, |sum, word| step(sum, *word));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = step(sum, last);
    sum ^ (sum >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counter_counts_every_string_once_and_remembers_it() {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(50);
        let body =
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
        let mut counter = Counter::default();
        let first = counter.request(body.as_bytes());
        assert!(first > count(&text) && first < count(&text) + 40, "{first}");
        assert_eq!(counter.request(body.as_bytes()), first);
        assert!(counter.counts.len() > 1);
    }

    #[test]
    fn counter_takes_an_image_for_an_image_and_a_long_text_by_its_length() {
        let image = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            (0..60_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
        );
        let mut counter = Counter::default();
        let body = format!("{{\"image_url\":\"data:image/png;base64,{image}\"}}");
        assert!(counter.request(body.as_bytes()) < BINARY_TOKENS + 20);
        let long = format!("{{\"a\":\"{}\"}}", "word ".repeat(200_000));
        let estimate = counter.request(long.as_bytes());
        assert!((1_000_000 / 3..1_000_000 / 2).contains(&estimate), "{estimate}");
        // A long text that is denser than prose is not taken for it: hexadecimal digits in several strings.
        let dense: Vec<String> = (0..100_u64)
            .map(|at| {
                (0..200)
                    .map(|i| format!("{:016x}", (at * 200 + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                    .collect()
            })
            .collect();
        let body = serde_json::json!({ "messages": dense }).to_string();
        let exact: u64 = dense.iter().map(|text| count(text)).sum();
        let estimate = Counter::default().request(body.as_bytes());
        assert!(estimate >= exact && estimate < exact * 3 / 2, "{estimate} for {exact}");
        assert!(counter.request(b"no json at all, but text") > 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn counter_never_panics(bytes in any::<Vec<u8>>(), text in "\\PC{0,80}") {
            let mut counter = Counter::default();
            counter.request(&bytes);
            counter.request(text.as_bytes());
            counter.request(&[b"\"", bytes.as_slice(), b"\\\""].concat());
        }
    }
}
