//! `reward.json` and `reward.txt`, read as Harbor reads them.
//!
//! `reward.json` wins where it exists, even when it is broken: a good text file beside it does not rescue it. It is a
//! flat object of finite numbers. `reward.txt` is one finite number, called `reward`. Nothing limits either to 0..1.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Largest reward file that is read, in bytes.
pub const MAX_REWARD_BYTES: usize = 1 << 20;
/// Most named rewards.
pub const MAX_REWARDS: usize = 1000;
/// Longest name of a reward, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// All named rewards of one verification. Never empty when it was read.
pub type Rewards = BTreeMap<String, f64>;

/// Why there is no reward.
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// Neither file is there.
    #[error("the verifier left neither reward.json nor reward.txt")]
    Missing,
    /// A file without content, or an object without entries.
    #[error("{file} is empty")]
    Empty {
        /// Which of the two.
        file: &'static str,
    },
    /// Larger than any reward.
    #[error("{file} has {found} {what}, at most {limit} are read")]
    TooLarge {
        /// Which of the two.
        file: &'static str,
        /// Bytes, rewards, or bytes in a name.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are read.
        limit: usize,
    },
    /// Not a number, or not an object of numbers.
    #[error("{file} does not read: {message}")]
    Unreadable {
        /// Which of the two.
        file: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads the rewards from the content of the two files, `None` for a file that is not there.
///
/// # Errors
/// [`RewardError`]: there is no reward. What that means for the trial is not decided here.
pub fn read_rewards(json: Option<&[u8]>, text: Option<&[u8]>) -> Result<Rewards, RewardError> {
    match (json, text) {
        (Some(json), _) => read_json(json),
        (None, Some(text)) => read_text(text),
        (None, None) => Err(RewardError::Missing),
    }
}

fn read_json(bytes: &[u8]) -> Result<Rewards, RewardError> {
    let file = "reward.json";
    limit(file, bytes)?;
    let unreadable = |message: String| RewardError::Unreadable { file, message };
    let object: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if object.is_empty() {
        return Err(RewardError::Empty { file });
    }
    if object.len() > MAX_REWARDS {
        return Err(RewardError::TooLarge { file, what: "rewards", found: object.len(), limit: MAX_REWARDS });
    }
    let entry = |(name, value): (String, Value)| {
        if name.len() > MAX_KEY_BYTES {
            let (what, found) = ("bytes in a name", name.len());
            return Err(RewardError::TooLarge { file, what, found, limit: MAX_KEY_BYTES });
        }
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok((name, number)),
            None => Err(unreadable(format!("{name:?} is not a finite number"))),
        }
    };
    object.into_iter().map(entry).collect()
}

fn read_text(bytes: &[u8]) -> Result<Rewards, RewardError> {
    let file = "reward.txt";
    limit(file, bytes)?;
    let unreadable = || RewardError::Unreadable { file, message: "it is not one finite number".into() };
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable())?.trim();
    let number = parse_like_python(text).filter(|number| number.is_finite()).ok_or_else(unreadable)?;
    Ok(Rewards::from([("reward".to_owned(), number)]))
}

fn limit(file: &'static str, bytes: &[u8]) -> Result<(), RewardError> {
    if bytes.len() > MAX_REWARD_BYTES {
        return Err(RewardError::TooLarge {
            file,
            what: "bytes",
            found: bytes.len(),
            limit: MAX_REWARD_BYTES,
        });
    }
    if bytes.is_empty() { Err(RewardError::Empty { file }) } else { Ok(()) }
}

/// Harbor's reader is Python's `float`, which allows single underscores between digits.
fn parse_like_python(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let placed =
        |(at, byte): (usize, &u8)| *byte != b'_' || (digit(at.checked_sub(1)) && digit(Some(at + 1)));
    bytes.iter().enumerate().all(placed).then(|| text.replace('_', "").parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &str) -> Result<Rewards, RewardError> {
        read_rewards(None, Some(bytes.as_bytes()))
    }

    #[test]
    fn reward_txt_is_one_finite_number_of_any_size() {
        for (good, value) in [
            ("1", 1.0),
            (" 0.5\n", 0.5),
            ("3.5", 3.5),
            ("-2", -2.0),
            ("1e2", 100.0),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1_000.0", 1000.0),
        ] {
            assert_eq!(text(good).unwrap(), Rewards::from([("reward".to_owned(), value)]), "{good:?}");
        }
        for bad in [
            "",
            " ",
            "nan",
            "inf",
            "-Infinity",
            "1e999",
            "1 2",
            "one",
            "_1",
            "1_",
            "1__0",
            "0x1",
            "1\n0",
            "true",
        ] {
            assert!(text(bad).is_err(), "{bad:?}");
        }
        assert!(read_rewards(None, Some(b"\xff1")).is_err());
    }

    #[test]
    fn reward_json_is_a_flat_object_of_finite_numbers_with_any_names() {
        let rewards =
            read_rewards(Some(br#"{"reward": 1, "style": -0.25, "big": 12345678901234567890}"#), None);
        assert_eq!(rewards.unwrap().len(), 3);
        for bad in [
            "",
            "{}",
            "[1]",
            "1",
            "{\"reward\": \"1\"}",
            "{\"reward\": true}",
            "{\"reward\": null}",
            "{\"reward\": {\"a\": 1}}",
            "{\"reward\": NaN}",
            "{\"reward\": 1e999}",
            "{\"reward\": 1} x",
        ] {
            assert!(read_rewards(Some(bad.as_bytes()), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn reward_json_wins_and_is_not_rescued_by_a_good_text_file() {
        assert_eq!(
            read_rewards(Some(b"{\"a\":0}"), Some(b"1")).unwrap(),
            Rewards::from([("a".to_owned(), 0.0)])
        );
        assert!(read_rewards(Some(b"broken"), Some(b"1")).is_err());
        assert!(matches!(
            read_rewards(Some(b""), Some(b"1")),
            Err(RewardError::Empty { file: "reward.json" })
        ));
        assert!(matches!(read_rewards(None, None), Err(RewardError::Missing)));
    }

    #[test]
    fn reward_json_cut_at_any_byte_is_no_reward() {
        let whole = br#"{"reward": 1.0, "other": 10}"#;
        for cut in 0..whole.len() {
            assert!(read_rewards(Some(&whole[..cut]), None).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn reward_files_have_limits() {
        assert!(read_rewards(None, Some(&vec![b' '; MAX_REWARD_BYTES + 1])).is_err());
        let many: String = (0..=MAX_REWARDS).map(|n| format!("\"k{n}\":1,")).collect();
        let many = format!("{{{}}}", many.trim_end_matches(','));
        assert!(matches!(read_rewards(Some(many.as_bytes()), None), Err(RewardError::TooLarge { .. })));
        let long = format!("{{\"{}\":1}}", "k".repeat(MAX_KEY_BYTES + 1));
        assert!(matches!(read_rewards(Some(long.as_bytes()), None), Err(RewardError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn any_finite_number_survives_both_files(value in proptest::num::f64::NORMAL | proptest::num::f64::ZERO) {
            let shown = format!("{value:?}");
            prop_assert_eq!(text(&shown).unwrap()["reward"], value);
            let json = format!("{{\"reward\":{shown}}}");
            prop_assert_eq!(read_rewards(Some(json.as_bytes()), None).unwrap()["reward"], value);
        }

        #[test]
        fn no_bytes_make_the_readers_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for rewards in [read_rewards(Some(&bytes), None), read_rewards(None, Some(&bytes))].into_iter().flatten() {
                prop_assert!(!rewards.is_empty() && rewards.values().all(|value| value.is_finite()));
            }
        }
    }
}
