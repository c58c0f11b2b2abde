//! What an answer asks for, and what is done with one that asks for nothing.

use harness_core::AgentExit;

use super::judge::Judged;
use super::{USELESS, Work};
use crate::job::Halt;
use crate::tools::Submission;
use crate::wires::{Heard, Stop, Turn};

/// Answers in a row that were withheld or refused.
const WITHHELD: u32 = 2;
/// Answers in a row without any call and without a word that it is done.
const TALK: u32 = 3;
/// Pauses in a row that a provider may make.
const PAUSES: u32 = 30;
/// Longest answer that stays in the conversation.
const MAX_KEPT: usize = 400 << 10;

impl Work<'_> {
    /// Does what an answer asks for.
    pub(super) async fn take(&mut self, heard: Heard) -> Result<(), Halt> {
        let Heard { raw, text, calls, stop, .. } = heard;
        let has_calls = !calls.is_empty();
        if let Stop::Filtered(word) | Stop::Refused(word) = &stop {
            return self.withheld(word);
        }
        self.streaks.withheld = 0;
        let long = text.len() + raw.as_ref().map_or(0, |raw| raw.to_string().len());
        if long > MAX_KEPT {
            let told = format!(
                "Your answer had {long} bytes and was not kept. Say less at a time; write long files in parts."
            );
            return self.useless(&told);
        }
        let Some(raw) = raw else {
            return self.useless(match stop {
                Stop::Length => {
                    "Your answer was cut off before anything in it could be used. Do it in smaller pieces."
                }
                _ => "Your answer was empty. Go on with the task: call a tool, or submit.",
            });
        };
        if !has_calls && text.trim().is_empty() && stop != Stop::Paused && stop != Stop::Length {
            // Thoughts alone, or a part of a kind that means nothing here: kept, because it must come back verbatim.
            self.turns.push(Turn::Model(raw));
            return self.useless(
                "Your answer held nothing to read and no call. Go on with the task: call a tool, or submit.",
            );
        }
        self.turns.push(Turn::Model(raw));
        if stop == Stop::Paused && !has_calls {
            self.streaks.pauses += 1;
            if self.streaks.pauses > PAUSES {
                return Err(Halt::End(
                    AgentExit::GaveUp,
                    format!("the model paused {PAUSES} times in a row"),
                ));
            }
            return Ok(());
        }
        self.streaks.pauses = 0;
        if has_calls {
            self.streaks.talk = 0;
            let cut = stop == Stop::Length;
            self.call(calls).await?;
            if cut {
                self.nudge(
                    "length",
                    "Your answer was cut off by the cap on its length; what came after these calls is lost.",
                );
            }
            return Ok(());
        }
        if stop == Stop::Length {
            self.streaks.cut += 1;
            if self.streaks.cut >= USELESS {
                return Err(Halt::End(AgentExit::GaveUp, format!("{USELESS} answers in a row were cut off")));
            }
            self.nudge(
                "length",
                "Your answer was cut off by the cap on its length. Go on from there, in smaller pieces.",
            );
            return Ok(());
        }
        self.streaks.cut = 0;
        self.talk(&text).await
    }

    /// Words and no call: where there is nothing to hand in with, that is how work ends.
    pub(super) async fn talk(&mut self, text: &str) -> Result<(), Halt> {
        if !self.job.settings.tools.contains(&"submit") {
            let submission = Submission { done: true, message: text.chars().take(4000).collect() };
            return match self.judge(&submission).await? {
                Judged::Accepted => Err(Halt::End(AgentExit::Finished, submission.message)),
                Judged::Back(told) => {
                    self.nudge("handed_back", &told);
                    Ok(())
                }
            };
        }
        self.streaks.talk += 1;
        if self.streaks.talk >= TALK {
            let said: String = text.trim().chars().take(300).collect();
            let reason = format!("it stopped working without handing anything in; its last words: {said}");
            return Err(Halt::End(AgentExit::GaveUp, reason));
        }
        self.nudge(
            "no_call",
            "You called no tool. If the task is done, call submit; if there is no way to do it, call submit with cannot_go_on; else go on.",
        );
        Ok(())
    }

    pub(super) fn withheld(&mut self, word: &str) -> Result<(), Halt> {
        self.streaks.withheld += 1;
        let word: String = word.trim().chars().take(300).collect();
        if self.streaks.withheld >= WITHHELD {
            return Err(Halt::End(AgentExit::GaveUp, format!("the model refused: {word}")));
        }
        // What was refused is not kept: providers refuse what follows it too.
        self.nudge(
            "withheld",
            "Your last answer was withheld. This is ordinary software work in a sandbox; go on with it in another way, or call \
             submit with cannot_go_on.",
        );
        Ok(())
    }

    pub(super) fn useless(&mut self, told: &str) -> Result<(), Halt> {
        self.streaks.useless += 1;
        if self.streaks.useless >= USELESS {
            return Err(Halt::End(
                AgentExit::GaveUp,
                format!("{USELESS} answers in a row could not be used"),
            ));
        }
        self.nudge("useless_answer", told);
        Ok(())
    }
}
