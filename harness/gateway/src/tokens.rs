//! How many tokens a text has, by a real tokenizer: for reservations, and for estimates where a provider reports nothing.
//! One encoding (o200k) stands for all models; other makers' differ, and the margin of a wire says by how much.

use std::collections::HashMap;

use serde_json::Value;

/// What a text has in bytes for a token where counting would take too long: prose has four, dense code three.
pub const BYTES_PER_TOKEN: u64 = 3;
/// Most bytes of new text counted for one request: ten milliseconds of work. The rest is estimated by its length.
const COUNTED_BYTES: usize = 256 << 10;
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
    counts: HashMap<(u64, usize), u64>,
}

impl Counter {
    /// An estimate of a request's input. It errs above: every string counts, names of tools and their schemas included.
    /// Bodies that are no JSON are estimated by their length.
    pub fn request(&mut self, body: &[u8]) -> u64 {
        let mut left = COUNTED_BYTES;
        let mut total = 0_u64;
        let mut strings = Strings { body, at: 0 };
        while let Some(raw) = strings.next() {
            total = total.saturating_add(self.piece(raw, &mut left)).saturating_add(OVERHEAD);
        }
        if total == 0 { (body.len() as u64).div_ceil(BYTES_PER_TOKEN) } else { total }
    }

    /// One string as it stands in JSON.
    fn piece(&mut self, raw: &[u8], left: &mut usize) -> u64 {
        if raw.len() >= BINARY && looks_binary(raw) {
            return BINARY_TOKENS;
        }
        let key = (hash(raw), raw.len());
        if raw.len() < SHORT {
            return 1;
        }
        // Names and keys too: the tokenizer takes microseconds for each, and a request has hundreds.
        if let Some(known) = self.counts.get(&key) {
            return *known;
        }
        if raw.len() > *left {
            return (raw.len() as u64).div_ceil(BYTES_PER_TOKEN);
        }
        *left -= raw.len();
        let counted = if raw.contains(&b'\\') {
            let quoted = [b"\"", raw, b"\""].concat();
            match serde_json::from_slice::<Value>(&quoted) {
                Ok(Value::String(text)) => count(&text),
                _ => (raw.len() as u64).div_ceil(BYTES_PER_TOKEN),
            }
        } else {
            count(&String::from_utf8_lossy(raw))
        };
        if self.counts.len() >= KEPT_COUNTS {
            self.counts.clear();
        }
        self.counts.insert(key, counted);
        counted
    }
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
fn hash(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    sum
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
