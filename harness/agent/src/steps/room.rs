//! Making room in the window: what goes, in which order, and what stands in its place.

use super::Work;
use crate::conversation::{mask, old_until, shorten, transcript};
use crate::events::{Event, Purpose};
use crate::job::Halt;
use crate::prompts;
use crate::settings::ContextPolicy;
use crate::wires::Turn;

/// Results that stay when older ones are masked.
const KEPT_RESULTS: usize = 4;
/// Turns of the model that stay when older ones are summed up.
const KEPT_TURNS: usize = 4;
/// Longest summary that is kept.
const MAX_SUMMARY: usize = 40_000;
/// Longest account of old turns that is summed up.
const MAX_TRANSCRIPT: usize = 400 << 10;

impl Work<'_> {
    /// Takes something out of the window, by the policy; whatever the policy, what does not fit at all goes. Gives whether
    /// anything went.
    pub(super) async fn make_room(&mut self, bytes: usize) -> Result<bool, Halt> {
        let policy = self.job.settings.context_policy;
        let before = self.window.estimate(bytes);
        let mut changed = false;
        if matches!(policy, ContextPolicy::Mask | ContextPolicy::Hybrid)
            && mask(&mut self.turns, KEPT_RESULTS) > 0
        {
            changed = true;
            self.compacted("mask", before);
        }
        let still = |work: &Work<'_>| work.window.is_filling(work.body().len());
        if matches!(policy, ContextPolicy::Summarise | ContextPolicy::Hybrid)
            && still(self)
            && self.summarise().await?
        {
            changed = true;
            self.compacted("summarise", before);
        }
        if policy == ContextPolicy::None {
            return Ok(changed);
        }
        // What is left does not fit: newest outputs are shortened, then old turns go without a summary.
        let full = |work: &Work<'_>| work.window.is_full(work.body().len());
        for bytes in [4000, 1000] {
            if full(self) && shorten(&mut self.turns, bytes) > 0 {
                changed = true;
                self.compacted("shorten", before);
            }
        }
        for keep in [KEPT_TURNS, 1] {
            if full(self)
                && let Some(cut) = old_until(&self.turns, keep)
            {
                self.forget(cut, "[Earlier work was taken out of the window without a summary. Look again at what you need.]");
                changed = true;
                self.compacted("drop", before);
            }
        }
        Ok(changed)
    }

    pub(super) fn compacted(&self, how: &str, before: u64) {
        let after = self.window.estimate(self.body().len());
        self.job.log.write(Event::Compacted { how: how.to_owned(), before, after });
    }

    /// Puts a text in place of old turns, the task aside.
    pub(super) fn forget(&mut self, cut: usize, text: &str) {
        let kept = self.turns.split_off(cut);
        self.turns.truncate(1);
        self.turns.push(Turn::User(text.to_owned()));
        self.turns.extend(kept);
    }

    pub(super) async fn summarise(&mut self) -> Result<bool, Halt> {
        let Some(cut) = old_until(&self.turns, KEPT_TURNS) else { return Ok(false) };
        let room = usize::try_from(self.job.settings.context_window).unwrap_or(usize::MAX);
        let old = transcript(&self.turns[..cut], MAX_TRANSCRIPT.min(room.saturating_mul(2)));
        match self.ask_aside(Purpose::Summary, prompts::SUMMARY, vec![Turn::User(old)]).await {
            Ok(answer) if !answer.text.trim().is_empty() => {
                let text = crate::text::head(answer.text.trim(), MAX_SUMMARY);
                let summary = format!("<summary_of_earlier_work>\n{text}\n</summary_of_earlier_work>");
                self.forget(cut, &summary);
                Ok(true)
            }
            // What cannot be summed up is dropped later, if it has to be.
            Ok(_) | Err(Halt::Overflow(_) | Halt::TooLarge) => Ok(false),
            Err(halt) => Err(halt),
        }
    }
}
