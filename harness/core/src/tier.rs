//! How large a task is, in four words: for time limits, and for success by tier.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How large a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Minutes of a person's time.
    Simple,
    /// An hour.
    Medium,
    /// Hours.
    Complex,
    /// Days.
    Major,
}

impl Tier {
    /// All of them, the smallest first.
    pub const ALL: [Tier; 4] = [Tier::Simple, Tier::Medium, Tier::Complex, Tier::Major];

    /// What an author's word for the difficulty means; `None` for a word that nobody can place.
    pub fn of(difficulty: &str) -> Option<Tier> {
        let words = difficulty.to_lowercase().replace(['_', '-'], " ");
        Some(match words.split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
            "simple" | "easy" | "trivial" | "very easy" | "<15 min fix" => Tier::Simple,
            "medium" | "moderate" | "normal" | "intermediate" | "15 min 1 hour" => Tier::Medium,
            "complex" | "hard" | "difficult" | "1 4 hours" => Tier::Complex,
            "major" | "expert" | "very hard" | "extreme" | ">4 hours" => Tier::Major,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Simple => "simple",
            Tier::Medium => "medium",
            Tier::Complex => "complex",
            Tier::Major => "major",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tier_of_its_own_name_is_itself_and_a_strange_word_has_none() {
        for tier in Tier::ALL {
            assert_eq!(Tier::of(tier.name()), Some(tier));
        }
        let words = ["Easy", " hard ", "very_hard", "15 min - 1 hour", "spicy", ""].map(Tier::of);
        let expected =
            [Some(Tier::Simple), Some(Tier::Complex), Some(Tier::Major), Some(Tier::Medium), None, None];
        assert_eq!(words, expected);
    }
}
