//! The format of a script: TOML, one table for each turn, each with what the model means and not with how some agent's tools
//! are called.
//!
//! ```toml
//! model = "hello-1"                 # what it calls itself; left out, whatever it is asked for
//! textual = false                   # true: for agents without tools, which read commands out of fenced blocks
//!
//! [price]                           # dollars for a million tokens, as in a price file
//! input = 1.0
//! cache_read = 0.1
//! output = 5.0
//!
//! [[turn]]
//! say = "I look around first."      # any of these, or several: what is said, then what is done
//! run = "ls -la"                    # a command, or a list of them to be run side by side
//! usage = { input = 594, cache_read = 509, output = 211, reasoning = 97 }   # left out, it is counted
//!
//! [[turn]]
//! fault = { status = 529, times = 2 }             # twice an error; then the rest of the turn
//! edit = { path = "hello.txt", content = "hi\n" } # a whole file; or `old` and `new` to replace text in one
//!
//! [[turn]]
//! finish = "Done."                  # ends the conversation, by the agent's own tool for that where it has one
//! ```

use harness_prices::{Layer, OverrideError, RateSet};
use serde::Deserialize;

/// Longest script that is read.
const MAX_BYTES: usize = 4 << 20;
/// Most turns.
const MAX_TURNS: usize = 10_000;
/// Most commands side by side.
const MAX_RUNS: usize = 32;

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Not TOML, or a key that means nothing here.
    #[error("{origin}: {message}")]
    Syntax {
        /// The file.
        origin: String,
        /// What the parser says, with the line.
        message: String,
    },
    /// A turn that means nothing, or two things.
    #[error("{origin}: turn {turn}: {message}")]
    Turn {
        /// The file.
        origin: String,
        /// Which, counted from 1.
        turn: usize,
        /// What is wrong.
        message: &'static str,
    },
    /// The script as a whole.
    #[error("{origin}: {message}")]
    Whole {
        /// The file.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// The price.
    #[error(transparent)]
    Price(#[from] OverrideError),
}

/// A conversation as it is declared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What the model calls itself; `None` is whatever it is asked for.
    pub model: Option<String>,
    /// Whether turns are spoken as text where the request offers no tools. Otherwise such a request is a side one.
    #[serde(default)]
    pub textual: bool,
    /// What it costs; `None` is unknown.
    pub price: Option<RateSet>,
    /// The turns in order.
    #[serde(default, rename = "turn")]
    pub turns: Vec<Turn>,
}

/// One turn of the model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Said.
    pub say: Option<String>,
    /// Commands to run.
    pub run: Option<Run>,
    /// A file to change.
    pub edit: Option<Edit>,
    /// Said, and the conversation is over.
    pub finish: Option<String>,
    /// What goes wrong before the turn is played.
    pub fault: Option<Fault>,
    /// What it says that it used; counted when left out.
    pub usage: Option<ScriptUsage>,
}

/// One command or several at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Run {
    /// One.
    One(String),
    /// Several side by side.
    Many(Vec<String>),
}

impl Run {
    /// The commands.
    pub fn commands(&self) -> &[String] {
        match self {
            Run::One(command) => std::slice::from_ref(command),
            Run::Many(commands) => commands,
        }
    }
}

/// A change of a file: all of it, or one text in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Which file. A path from the root can be given to any tool; another only to those that take it.
    pub path: String,
    /// All that it holds after.
    pub content: Option<String>,
    /// The text that is replaced.
    pub old: Option<String>,
    /// What stands there after.
    pub new: Option<String>,
}

/// What goes wrong.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// An error instead of the turn.
    pub status: Option<u16>,
    /// What the error says.
    pub message: Option<String>,
    /// The connection is cut after so many pieces.
    pub cut_after: Option<usize>,
    /// What is sent is no JSON.
    pub malformed: bool,
    /// Nothing is ever sent.
    pub hang: bool,
    /// Nothing is sent for so long.
    pub delay_ms: u64,
    /// How many requests for this turn it happens to.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// Tokens in exclusive buckets; reasoning is a part of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptUsage {
    /// Input from no cache.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache.
    pub cache_write: u64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: u64,
    /// All output.
    pub output: u64,
    /// The part of it that was reasoning.
    pub reasoning: u64,
}

impl Script {
    /// Reads a script. `origin` is what errors call it.
    ///
    /// # Errors
    /// A key that means nothing here, a turn that means nothing or contradicts itself, a price that is none.
    pub fn parse(text: &str, origin: &str) -> Result<Script, ScriptError> {
        let whole = |message: String| ScriptError::Whole { origin: origin.to_owned(), message };
        if text.len() > MAX_BYTES {
            return Err(whole(format!("longer than {MAX_BYTES} bytes")));
        }
        let script: Script = toml::from_str(text).map_err(|error| ScriptError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        if script.turns.is_empty() || script.turns.len() > MAX_TURNS {
            return Err(whole(format!(
                "has {} turns; write 1 to {MAX_TURNS} `[[turn]]`",
                script.turns.len()
            )));
        }
        for (at, turn) in script.turns.iter().enumerate() {
            turn.check().map_err(|message| ScriptError::Turn {
                origin: origin.to_owned(),
                turn: at + 1,
                message,
            })?;
        }
        script.price("scripted", "script")?;
        Ok(script)
    }

    /// Its price as a layer of a price table, for the model under the name that it is asked for by; `None` without one.
    ///
    /// # Errors
    /// A rate that is none, or none for input or output.
    pub fn price(&self, provider: &str, model: &str) -> Result<Option<Layer>, OverrideError> {
        self.price.as_ref().map(|rates| Layer::flat(provider, model, rates)).transpose()
    }
}

impl Turn {
    fn check(&self) -> Result<(), &'static str> {
        let acts = self.run.is_some() || self.edit.is_some();
        if self.say.is_none() && !acts && self.finish.is_none() && self.fault.is_none() {
            return Err("means nothing: write `say`, `run`, `edit`, `finish` or `fault`");
        }
        if self.finish.is_some() && acts {
            return Err("finishes and goes on: put `finish` into a turn of its own");
        }
        if let Some(run) = &self.run
            && (run.commands().is_empty() || run.commands().len() > MAX_RUNS)
        {
            return Err("`run` wants 1 to 32 commands");
        }
        if let Some(edit) = &self.edit {
            match (&edit.content, &edit.old, &edit.new) {
                (Some(_), None, None) | (None, Some(_), Some(_)) => {}
                _ => return Err("`edit` wants `content`, or `old` and `new`"),
            }
            if edit.path.is_empty() || edit.old.as_deref() == Some("") {
                return Err("`edit` wants a path, and an `old` that is not empty");
            }
        }
        if let Some(fault) = &self.fault {
            let kinds = [fault.status.is_some(), fault.cut_after.is_some(), fault.malformed, fault.hang];
            let count = kinds.into_iter().filter(|is| *is).count();
            if count > 1 || (count == 0 && fault.delay_ms == 0) {
                return Err(
                    "`fault` wants one of `status`, `cut_after`, `malformed`, `hang`, or a `delay_ms`",
                );
            }
            if fault.status.is_some_and(|status| !(400..600).contains(&status)) {
                return Err("`fault.status` is no error between 400 and 599");
            }
        }
        if self.usage.is_some_and(|usage| usage.reasoning > usage.output) {
            return Err("`usage.reasoning` is a part of `usage.output` and cannot be more");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        Script::parse(text, "s.toml").unwrap_err().to_string()
    }

    #[test]
    fn script_with_a_wrong_turn_says_which_and_what() {
        for (turn, message) in [
            ("", "means nothing"),
            ("finish = \"x\"\nrun = \"ls\"", "finishes and goes on"),
            ("run = []", "1 to 32"),
            ("edit = { path = \"a\" }", "`content`, or `old` and `new`"),
            ("edit = { path = \"a\", old = \"\", new = \"\" }", "not empty"),
            ("fault = {}", "`fault` wants one of"),
            ("fault = { status = 200 }", "no error"),
            ("fault = { status = 500, hang = true }", "`fault` wants one of"),
            ("say = \"x\"\nusage = { output = 1, reasoning = 2 }", "cannot be more"),
        ] {
            let text = told(&format!("[[turn]]\nsay = \"first\"\n[[turn]]\n{turn}\n"));
            assert!(text.starts_with("s.toml: turn 2: ") && text.contains(message), "{text}");
        }
        assert!(told("").contains("0 turns"));
        assert!(told("[[turn]]\nsey = \"x\"").contains("sey"));
        assert!(told("[price]\ninput = 1\n[[turn]]\nsay = \"x\"").contains("output"));
    }

    #[test]
    fn script_price_prices_the_model_as_it_is_asked_for() {
        let script =
            Script::parse("[price]\ninput = 1\noutput = 2\n[[turn]]\nsay = \"x\"", "s.toml").unwrap();
        let layer = script.price("scripted", "hello").unwrap().unwrap();
        assert_eq!(layer.source, "declared by its script");
        assert!(
            Script::parse("[[turn]]\nsay = \"x\"", "s")
                .unwrap()
                .price("scripted", "hello")
                .unwrap()
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn script_reader_never_panics(text in "\\PC{0,200}") {
            let _ = Script::parse(&text, "fuzz");
            let _ = Script::parse(&format!("[[turn]]\n{text}"), "fuzz");
        }
    }
}
