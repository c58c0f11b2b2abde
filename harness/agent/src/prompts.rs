//! What the model is told. The system prompt holds nothing that changes from trial to trial, so that providers' caches keep it.

use crate::paths::PathRules;
use crate::settings::{Goal, PromptSet, Settings};

const STANDARD: &str = include_str!("prompts/standard.md");
const BRIEF: &str = include_str!("prompts/brief.md");
pub(crate) const PLAN: &str = include_str!("prompts/plan.md");
pub(crate) const REVIEW: &str = include_str!("prompts/review.md");
pub(crate) const SUMMARY: &str = include_str!("prompts/summary.md");

/// The stable beginning.
pub(crate) fn system(settings: &Settings) -> String {
    let own = match (&settings.system_prompt, settings.prompt) {
        (Some(own), _) => own.as_str(),
        (None, PromptSet::Standard) => STANDARD,
        (None, PromptSet::Brief) => BRIEF,
    };
    let mut system = own.trim_end().to_owned();
    if !settings.tools.contains(&"submit") {
        system.push_str("\n\nWhen the task is done, say so in a last message without calling a tool.");
    }
    if let Some(more) = &settings.instructions {
        system.push_str("\n\n");
        system.push_str(more.trim_end());
    }
    system
}

/// The first turn: the task, and what holds for it.
pub(crate) struct Opening<'a> {
    pub(crate) instruction: &'a str,
    pub(crate) workdir: &'a str,
    pub(crate) test: Option<&'a str>,
    pub(crate) skills_dir: Option<&'a str>,
    pub(crate) prior: Option<&'a str>,
    pub(crate) plan: Option<&'a str>,
}

pub(crate) fn opening(settings: &Settings, rules: &PathRules, opening: &Opening<'_>) -> String {
    let mut text = String::new();
    if let Some(prior) = opening.prior {
        text.push_str(&format!("<earlier_conversation>\n{prior}\n</earlier_conversation>\n\n"));
    }
    text.push_str(&format!(
        "<task>\n{}\n</task>\n\nThe working folder is {}.",
        opening.instruction.trim(),
        opening.workdir
    ));
    if let Some(folder) = opening.skills_dir {
        text.push_str(&format!(" Notes on how such work is done here lie in {folder}."));
    }
    if let Some(rules) = rules.told() {
        text.push_str(&format!("\n\n{rules}"));
    }
    match (settings.goal, opening.test) {
        (Goal::Require, Some(test)) => {
            text.push_str(&format!("\n\nThe work counts as done only when this passes: `{test}`"));
        }
        (Goal::Advise, Some(test)) => {
            text.push_str(&format!("\n\nWhen you hand the work in, this is run: `{test}`"));
        }
        _ => {}
    }
    if let Some(plan) = opening.plan {
        text.push_str(&format!(
            "\n\n<plan>\n{}\n</plan>\n\nFollow the plan; depart from it where you learn better.",
            plan.trim()
        ));
    }
    text
}
