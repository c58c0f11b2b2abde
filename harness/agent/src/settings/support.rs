//! What models have, as far as it is known from their names. Of servers that anybody can run nothing is known, so that nothing is
//! refused there before the server does.

use super::LEVELS;
use crate::wires::bare;

/// What a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// Levels of effort, ascending; none means that there is no such thing.
    pub efforts: &'static [&'static str],
    /// Whether a temperature can be set.
    pub temperature: bool,
    /// Whether it can be set only while no effort is.
    pub temperature_alone: bool,
    /// Whether a seed can be set.
    pub seed: bool,
    /// Whether the caller chooses what the provider's cache keeps.
    pub chooses_caching: bool,
    /// Tokens that it takes in.
    pub window: u64,
}

/// Where nothing better is known.
const UNKNOWN_WINDOW: u64 = 128_000;

/// What a model on a wire has. `simulated` is for scripted models, which take everything.
pub fn support(wire: &str, model: &str, simulated: bool) -> Support {
    let anything = Support {
        efforts: LEVELS,
        temperature: true,
        temperature_alone: false,
        seed: wire == "openai-chat" || wire == "google",
        chooses_caching: wire == "anthropic",
        window: UNKNOWN_WINDOW,
    };
    if simulated {
        return Support { seed: true, chooses_caching: true, window: 200_000, ..anything };
    }
    let bare = bare(model);
    match wire {
        "anthropic" => {
            let before_thinking = [
                "claude-2",
                "claude-instant",
                "claude-3-5",
                "claude-3-haiku",
                "claude-3-opus",
                "claude-3-sonnet",
            ]
            .iter()
            .any(|old| bare.starts_with(old));
            let efforts: &[&str] =
                if before_thinking { &[] } else { &["none", "low", "medium", "high", "max"] };
            Support { efforts, temperature_alone: true, window: 200_000, ..anything }
        }
        "google" => {
            let efforts: &[&str] = match bare {
                bare if bare.starts_with("gemini-1") || bare.starts_with("gemini-2.0") => &[],
                bare if bare.starts_with("gemini-2") => &["none", "minimal", "low", "medium", "high"],
                _ => &["minimal", "low", "medium", "high"],
            };
            Support { efforts, window: 1_000_000, ..anything }
        }
        _ => openai(bare).map_or(anything, |(efforts, window)| Support {
            efforts,
            // Models that think choose themselves.
            temperature: efforts.is_empty(),
            window,
            ..anything
        }),
    }
}

/// OpenAI's own models: efforts and window.
fn openai(bare: &str) -> Option<(&'static [&'static str], u64)> {
    let after =
        |prefix: &str| bare.strip_prefix(prefix).map(|rest| rest.split('-').next().unwrap_or_default());
    if ["o1", "o3", "o4"].iter().any(|own| bare.starts_with(own)) {
        return Some((&["low", "medium", "high"], 200_000));
    }
    let version = after("gpt-")?;
    let number: f64 = version.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).parse().ok()?;
    Some(match number {
        number if number < 4.05 => (&[], 128_000),
        number if number < 5.0 => (&[], 1_000_000),
        number if number < 5.05 => (&["minimal", "low", "medium", "high"], 272_000),
        number if number < 5.15 && !bare.contains("max") => (&["none", "low", "medium", "high"], 272_000),
        _ => (&["none", "low", "medium", "high", "xhigh", "max"], 272_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_knows_its_generations() {
        assert_eq!(openai("gpt-4o-mini").unwrap().0, [""; 0]);
        assert_eq!(openai("gpt-4.1").unwrap().1, 1_000_000);
        assert_eq!(openai("gpt-5-codex").unwrap().0[0], "minimal");
        assert!(openai("gpt-5.2").unwrap().0.contains(&"xhigh"));
        assert!(openai("gpt-6-sol").unwrap().0.contains(&"max"));
        assert_eq!(openai("gpt-oss-120b"), None);
        assert_eq!(openai("qwen3-coder"), None);
    }
}
