//! Money as whole nano-dollars: sums are exact, and floats appear only where a number is shown.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Billionths of a US dollar. An unknown amount is `Option::None`, never zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// The amount in dollars, for showing.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The nearest whole number of nano-dollars; `None` when the number is not finite, negative or absurd (above 9 billion dollars).
    pub fn from_usd(usd: f64) -> Option<NanoUsd> {
        (usd.is_finite() && (0.0..9e9).contains(&usd)).then(|| NanoUsd((usd * 1e9).round() as i64))
    }
}

impl Add for NanoUsd {
    type Output = NanoUsd;
    fn add(self, other: NanoUsd) -> NanoUsd {
        NanoUsd(self.0.saturating_add(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = NanoUsd>>(amounts: I) -> NanoUsd {
        amounts.fold(NanoUsd(0), Add::add)
    }
}

impl fmt::Display for NanoUsd {
    /// Cents from a dollar up, and as many digits as it takes below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.as_usd();
        if usd.abs() >= 1.0 || self.0 == 0 { write!(f, "${usd:.2}") } else { write!(f, "${usd:.4}") }
    }
}
