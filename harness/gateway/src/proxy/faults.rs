//! Faults put in on purpose, at given rates and from a seed, for tests of agents and of us: the same seed and the same order of
//! requests give the same faults.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

/// What is put in, each by how many of a thousand requests (tries) get it. What is left is untouched. Settings have it as
/// `[providers.NAME.faults]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRates {
    /// Equal seeds give equal faults.
    pub seed: u64,
    /// Answered with 429 and a `retry-after` of nothing.
    pub rate_limited: u32,
    /// Answered with 500.
    pub failed: u32,
    /// Answered with 529.
    pub overloaded: u32,
    /// Answered late, by [`FaultRates::delay_ms`].
    pub slow: u32,
    /// Cut in the middle of the answer.
    pub cut: u32,
    /// Answered with bytes in the middle that are no JSON, and no event.
    pub malformed: u32,
    /// How late, in milliseconds.
    pub delay_ms: u64,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Status(u16),
    Slow(Duration),
    /// After so many pieces.
    Cut(u32),
    Malformed(u32),
}

/// Draws faults.
#[derive(Debug)]
pub(super) struct Faults {
    rates: FaultRates,
    drawn: AtomicU64,
}

impl Faults {
    pub(super) fn new(rates: FaultRates) -> Faults {
        Faults { rates, drawn: AtomicU64::new(0) }
    }

    /// The next try's, if it gets one.
    pub(super) fn draw(&self) -> Option<Fault> {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let luck = mixed(self.rates.seed ^ mixed(number));
        let mut left = luck % 1000;
        let rates = &self.rates;
        // A stream of four pieces is as short as any.
        let after = u32::try_from((luck >> 32) % 4).unwrap_or(0);
        [
            (rates.rate_limited, Fault::Status(429)),
            (rates.failed, Fault::Status(500)),
            (rates.overloaded, Fault::Status(529)),
            (rates.slow, Fault::Slow(Duration::from_millis(rates.delay_ms))),
            (rates.cut, Fault::Cut(after)),
            (rates.malformed, Fault::Malformed(after)),
        ]
        .into_iter()
        .find_map(|(rate, fault)| match left.checked_sub(u64::from(rate)) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(fault),
        })
    }
}

/// What happens to an answer's body on its way.
#[derive(Debug)]
pub(super) struct Spoiled {
    pub(super) fault: Fault,
    pub(super) seen: u32,
}

impl Spoiled {
    pub(super) fn new(fault: Fault) -> Spoiled {
        Spoiled { fault, seen: 0 }
    }

    /// What becomes of the next piece.
    pub(super) fn spoil(&mut self, piece: Bytes) -> Option<io::Result<Bytes>> {
        let seen = self.seen;
        self.seen += 1;
        match self.fault {
            // At least a part of the first piece comes: a cut before anything came is another fault.
            Fault::Cut(after) if seen == after => Some(Ok(piece.slice(..piece.len() / 2))),
            Fault::Cut(after) if seen > after => {
                Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut here on purpose")))
            }
            Fault::Malformed(after) if seen == after => {
                let (half, junk) = (piece.len() / 2, &b"\xff\xfe}]{\"broken\": \n\n"[..]);
                let spoiled = [&piece[..half], junk, &piece[(half + junk.len()).min(piece.len())..]].concat();
                // Of the same length, so that one which was told stays true.
                Some(Ok(Bytes::from(spoiled).slice(..piece.len())))
            }
            _ => Some(Ok(piece)),
        }
    }

    /// The body is over: one that was to be cut, and was too short for it, is cut here.
    pub(super) fn end(&mut self) -> Option<io::Result<Bytes>> {
        matches!(std::mem::replace(&mut self.fault, Fault::Slow(Duration::ZERO)), Fault::Cut(_))
            .then(|| Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut here on purpose")))
    }
}

/// SplitMix64's end.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_at_their_rates_and_by_their_seed() {
        let rates =
            FaultRates { seed: 7, rate_limited: 100, cut: 50, malformed: 10, ..FaultRates::default() };
        let draw = |rates| {
            let faults = Faults::new(rates);
            (0..10_000).map(|_| faults.draw()).collect::<Vec<_>>()
        };
        let drawn = draw(rates);
        assert_eq!(drawn, draw(rates));
        assert_ne!(drawn, draw(FaultRates { seed: 8, ..rates }));
        let count = |fits: fn(&Fault) -> bool| drawn.iter().flatten().filter(|fault| fits(fault)).count();
        assert!((850..1150).contains(&count(|fault| *fault == Fault::Status(429))));
        assert!((380..620).contains(&count(|fault| matches!(fault, Fault::Cut(_)))));
        assert!((60..150).contains(&count(|fault| matches!(fault, Fault::Malformed(_)))));
        assert_eq!(count(|fault| matches!(fault, Fault::Slow(_) | Fault::Status(500 | 529))), 0);
        assert!(draw(FaultRates::default()).iter().all(Option::is_none));
        let all = FaultRates { failed: 1000, ..FaultRates::default() };
        assert!(draw(all).iter().all(|fault| *fault == Some(Fault::Status(500))));
    }
}
