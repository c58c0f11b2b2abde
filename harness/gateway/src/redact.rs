//! Keeps secrets out of everything that is written: replaces each registered one in plain, base64, URL-encoded and JSON-escaped
//! form, in any bytes, also where a secret is cut by the border of two pieces.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands in a secret's place.
pub const REPLACEMENT: &str = "[redacted]";
/// Shorter secrets are not registered: they would be found everywhere, and are none.
pub const SHORTEST: usize = 8;
/// Longer ones are registered by their beginning, so that what is held back of a stream stays small.
const LONGEST: usize = 4096;

/// What is looked for. Registering is done once; the redactor is then shared.
#[derive(Debug, Clone)]
pub struct Redactor {
    /// `None` without secrets.
    finder: Option<AhoCorasick>,
    /// The longest form of any secret.
    longest: usize,
}

impl Redactor {
    /// A redactor of these secrets. Those shorter than [`SHORTEST`] are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Redactor {
        let forms: BTreeSet<Vec<u8>> =
            secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).flat_map(forms).collect();
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let finder = (!forms.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&forms)
                .expect("a few forms of a few keys are far below what an automaton can hold")
        });
        Redactor { finder, longest }
    }

    /// The bytes without any secret.
    pub fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        let mut out = stream.push(bytes);
        out.extend(stream.finish());
        out
    }

    /// The text without any secret.
    pub fn redact_text(&self, text: &str) -> String {
        // Forms are ASCII or whole secrets, and a replacement is text, so that text stays text unless a secret was none.
        String::from_utf8_lossy(&self.redact(text.as_bytes())).into_owned()
    }

    /// Whether the bytes hold a secret in any form.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.is_match(bytes))
    }

    /// A redactor of one stream.
    pub fn stream(&self) -> RedactStream<'_> {
        RedactStream { redactor: Cow::Borrowed(self), held: Vec::new() }
    }

    /// The same, for a stream that lives longer than whoever knows the redactor. Cheap: the automaton is shared.
    pub fn into_stream(self) -> RedactStream<'static> {
        RedactStream { redactor: Cow::Owned(self), held: Vec::new() }
    }
}

/// A stream in the middle of being redacted: it holds back as much as the longest form of a secret.
#[derive(Debug)]
pub struct RedactStream<'a> {
    redactor: Cow<'a, Redactor>,
    held: Vec<u8>,
}

impl RedactStream<'_> {
    /// Takes a piece, and gives what is sure by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        // A match that begins before this place lies whole in what is held.
        let sure = (self.held.len() + 1).saturating_sub(self.redactor.longest.max(1));
        self.emit(sure)
    }

    /// The stream is over: gives the rest.
    pub fn finish(&mut self) -> Vec<u8> {
        let all = self.held.len();
        self.emit(all)
    }

    fn emit(&mut self, sure: usize) -> Vec<u8> {
        let Some(finder) = &self.redactor.finder else { return std::mem::take(&mut self.held) };
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        for found in finder.find_iter(&self.held).take_while(|found| found.start() < sure) {
            out.extend_from_slice(&self.held[at..found.start()]);
            out.extend_from_slice(REPLACEMENT.as_bytes());
            at = found.end();
        }
        let to = sure.max(at);
        out.extend_from_slice(&self.held[at..to]);
        self.held.drain(..to);
        out
    }
}

/// Every form in which a secret is looked for.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let secret = &secret[..secret.len().min(LONGEST)];
    let mut forms = vec![secret.to_vec()];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // Inside a longer text a secret begins at one of three places of a group of three bytes; the characters at its ends
        // that its neighbours take part in are left out.
        for before in 0..3_usize {
            let padded = [&[0; 2][..before], secret].concat();
            let encoded = engine.encode(&padded).into_bytes();
            let from = [0, 2, 3][before];
            let to = encoded.len() - usize::from(padded.len() % 3 != 0);
            forms.push(encoded[from..to].to_vec());
        }
    }
    for hex in [&b"0123456789ABCDEF", &b"0123456789abcdef"] {
        let percent = |byte: u8| [b'%', hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]];
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        // As most libraries write it; as forms do; with nothing left plain; and with what some leave plain.
        for plain in [&b""[..], b"!*'()", b"/", b":/?#[]@!$&'()*+,;="] {
            forms.push(
                secret
                    .iter()
                    .flat_map(|byte| {
                        if unreserved(*byte) || plain.contains(byte) {
                            vec![*byte]
                        } else {
                            percent(*byte).to_vec()
                        }
                    })
                    .collect(),
            );
        }
        forms.push(
            secret
                .iter()
                .flat_map(|byte| match byte {
                    b' ' => vec![b'+'],
                    byte if byte.is_ascii_alphanumeric() || b"-._*".contains(byte) => vec![*byte],
                    byte => percent(*byte).to_vec(),
                })
                .collect(),
        );
        forms.push(secret.iter().flat_map(|byte| percent(*byte)).collect());
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        forms.push(quoted.trim_matches('"').as_bytes().to_vec());
        forms.push(quoted.trim_matches('"').replace('/', "\\/").into_bytes());
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"sk-Ab/9+c=%x \"q\"\\";

    fn encoded(secret: &[u8], before: &[u8], after: &[u8]) -> Vec<Vec<u8>> {
        let around = [before, secret, after].concat();
        let percent: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
        let usual: String = secret
            .iter()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(*byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect();
        vec![
            around.clone(),
            STANDARD.encode(&around).into_bytes(),
            URL_SAFE.encode(&around).into_bytes(),
            [before, percent.as_bytes(), after].concat(),
            [before, usual.as_bytes(), after].concat(),
        ]
    }

    #[test]
    fn redactor_finds_every_form_at_every_alignment_and_cut() {
        let redactor = Redactor::new([KEY]);
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "z", "zz", "zzz"] {
                for form in encoded(KEY, before.as_bytes(), after.as_bytes()) {
                    assert!(redactor.finds(&form));
                    for cut in 0..=form.len() {
                        let mut stream = redactor.stream();
                        let mut out = stream.push(&form[..cut]);
                        out.extend(stream.push(&form[cut..]));
                        out.extend(stream.finish());
                        let text = String::from_utf8_lossy(&out);
                        assert_eq!(text.matches(REPLACEMENT).count(), 1, "{text}");
                        assert!(!redactor.finds(&out), "{text}");
                    }
                }
            }
        }
        let json = serde_json::json!({"key": String::from_utf8_lossy(KEY)}).to_string();
        assert_eq!(redactor.redact_text(&json), "{\"key\":\"[redacted]\"}");
    }

    #[test]
    fn redactor_leaves_everything_else_as_it_was() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        assert_eq!(Redactor::new([KEY]).redact(&bytes), bytes);
        assert_eq!(Redactor::new([&b"short"[..], b""]).redact(b"short and long"), b"short and long");
        assert_eq!(Redactor::new(None).redact(&bytes), bytes);
    }

    #[test]
    fn redactor_of_keys_that_begin_alike_takes_the_longest() {
        let redactor = Redactor::new([&b"secret-key"[..], b"secret-key-two"]);
        assert_eq!(redactor.redact(b"<secret-key-two><secret-key>"), b"<[redacted]><[redacted]>");
        let mut stream = redactor.stream();
        let mut out = stream.push(b"<secret-key");
        out.extend(stream.push(b"-two>"));
        out.extend(stream.finish());
        assert_eq!(out, b"<[redacted]>");
    }

    proptest! {
        // Building the automaton of a secret's forms takes longer than looking for them.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn redactor_leaves_no_form_of_any_secret_in_any_bytes(
            secret in proptest::collection::vec(any::<u8>(), SHORTEST..40),
            before in any::<Vec<u8>>(), after in any::<Vec<u8>>(), cuts in proptest::collection::vec(any::<usize>(), 0..5),
        ) {
            let redactor = Redactor::new([secret.as_slice()]);
            for form in encoded(&secret, &before, &after) {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (form.len() + 1)).collect();
                cuts.sort_unstable();
                let mut stream = redactor.stream();
                let (mut out, mut at) = (Vec::new(), 0);
                for cut in cuts.into_iter().chain([form.len()]) {
                    out.extend(stream.push(&form[at..cut]));
                    at = cut;
                }
                out.extend(stream.finish());
                prop_assert_eq!(&out, &redactor.redact(&form));
                prop_assert!(out.windows(REPLACEMENT.len()).any(|window| window == REPLACEMENT.as_bytes()));
            }
        }
    }
}
