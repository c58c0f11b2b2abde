//! A fast count of a text's tokens: word by word, each counted by the tokenizer once and remembered. Words are cut at least as
//! finely as the tokenizer cuts them itself, so that the sum is not below its own count; and a text has few words, many times.

use std::cell::RefCell;

use crate::tokens::{self, hash};

/// Words remembered by a thread: 512 KB. There is nothing of a text in it but hashes.
const SLOTS: usize = 32 << 10;
/// Longest word; a longer run is cut.
const LONGEST: usize = 48;

thread_local! {
    /// The hash and count of the last word that fell into each slot.
    static KNOWN: RefCell<Box<[(u64, u64)]>> = RefCell::new(vec![(0, 0); SLOTS].into_boxed_slice());
}

/// How many tokens a text has, or a few more.
pub(crate) fn count(text: &[u8]) -> u64 {
    KNOWN.with_borrow_mut(|known| {
        let (mut total, mut at) = (0, 0);
        while at < text.len() {
            let length = word(&text[at..]);
            let word = &text[at..at + length];
            at += length;
            // A zero marks an empty slot.
            let sum = hash(word) | 1;
            let slot = &mut known[(sum >> 7) as usize % SLOTS];
            if slot.0 != sum {
                *slot = (sum, tokens::count(&String::from_utf8_lossy(word)));
            }
            total += slot.1;
        }
        total
    })
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Class {
    Upper,
    Lower,
    Digit,
    Space,
    Mark,
    Other,
}

fn class(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' => Class::Upper,
        b'a'..=b'z' => Class::Lower,
        b'0'..=b'9' => Class::Digit,
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
        0x80.. => Class::Other,
        _ => Class::Mark,
    }
}

/// The length of the first word, at least one byte.
fn word(text: &[u8]) -> usize {
    let most = text.len().min(LONGEST);
    let run = |from: usize, fits: &dyn Fn(Class) -> bool| {
        text[from..most].iter().position(|byte| !fits(class(*byte))).map_or(most, |end| from + end)
    };
    match class(text[0]) {
        Class::Digit => run(1, &|class| class == Class::Digit).min(3),
        // Capitals, then small letters.
        Class::Upper | Class::Lower => {
            let capitals = run(0, &|class| class == Class::Upper);
            run(capitals, &|class| class == Class::Lower).max(1)
        }
        Class::Other => {
            let end = run(1, &|class| class == Class::Other);
            // Between two letters, where it is text.
            let border = (end.saturating_sub(3).max(1)..=end)
                .rev()
                .find(|end| text.get(*end).is_none_or(|byte| byte & 0xc0 != 0x80));
            border.unwrap_or(end)
        }
        Class::Mark => run(1, &|class| class == Class::Mark),
        Class::Space => {
            let end = run(1, &|class| class == Class::Space);
            // The last blank of a run belongs to the word after it.
            let joins = text[end - 1] == b' '
                && text
                    .get(end)
                    .is_some_and(|byte| matches!(class(*byte), Class::Upper | Class::Lower | Class::Mark));
            match (joins, end) {
                (true, 1) if class(text[1]) == Class::Mark => run(2, &|class| class == Class::Mark),
                (true, 1) => {
                    let capitals = run(1, &|class| class == Class::Upper);
                    run(capitals, &|class| class == Class::Lower)
                }
                (true, end) => end - 1,
                (false, end) => end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(text: &str) {
        let (exact, fast) = (tokens::count(text), count(text.as_bytes()));
        assert!(fast >= exact, "{fast} for {exact}: {text:?}");
        assert!(fast * 100 <= exact * 125 + 400, "{fast} for {exact}: {text:?}");
    }

    #[test]
    fn count_is_not_below_the_tokenizers_and_not_far_above() {
        close(include_str!("words.rs"));
        close(include_str!("budget/ledger.rs"));
        close(include_str!("../Cargo.toml"));
        close("Der schnelle braune Fuchs springt über den faulen Hund. Größe, Äpfel, naïve façade. ");
        close("これは日本語の文章です。トークンの数を数えます。Это русский текст. 你好，世界！");
        close(
            "{\"a\": [1, 22, 333, 4444, -5.5e10], \"HelloWorldHTTPServer\": null, \"snake_case_name\": \"x\"}",
        );
        close("    indented\n\n\tcode();   // comment   \r\n\r\n");
        close("0123456789abcdef fedcba98 DEADBEEF 7f3a9c");
        close("");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn count_of_anything_ends_and_is_near_the_tokenizers(text in "[ -~\\n\\t]{0,200}", any in any::<String>(), bytes in any::<Vec<u8>>()) {
            // Two tokens of room: of a few odd blanks the tokenizer makes one more than is counted, which is much of a short text.
            prop_assert!(count(text.as_bytes()) * 20 + 40 >= tokens::count(&text) * 19);
            prop_assert!(count(any.as_bytes()) * 20 + 40 >= tokens::count(&any) * 19);
            count(&bytes);
        }
    }
}
