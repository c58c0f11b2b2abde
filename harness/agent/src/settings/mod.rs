//! What can be set, swept and recorded. Everything is checked before anything starts: what a model cannot do is an error that
//! names the setting, never a silence.

mod support;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use harness_core::NanoUsd;
use serde_json::Value;

pub use support::{Support, support};

use crate::tools::TOOLS;
use crate::wires::Caching;
use values::Values;

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the setting {name:?} {message}")]
pub struct SettingError {
    /// Its name.
    pub name: String,
    /// What is wrong, after "the setting … ".
    pub message: String,
}

/// A setting as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingSpec {
    /// Its name.
    pub name: &'static str,
    /// What it means and what it is when left out.
    pub about: &'static str,
    /// Whether it holds a list of texts.
    pub is_list: bool,
}

macro_rules! specs {
    ($($name:literal $([$list:ident])? : $about:literal),+ $(,)?) => {
        &[$(SettingSpec { name: $name, about: $about, is_list: specs!(@ $($list)?) }),+]
    };
    (@ list) => { true };
    (@) => { false };
}

/// Every setting, in the order in which they are shown.
pub const SETTINGS: &[SettingSpec] = specs![
    "wire": "which API the model is asked by, where its provider speaks several: openai, openai-chat, anthropic or google",
    "effort": "how hard the model is to think: none, minimal, low, medium, high, xhigh, max, or dynamic (begins at low, raised on failing tests, loops and findings of the review); left out: the provider's own",
    "temperature": "0 to 2, where the model has it",
    "seed": "a whole number, where the model has it",
    "prompt": "which instructions the model gets: standard or brief; left out: standard",
    "system_prompt": "a text in place of those instructions",
    "instructions": "a text after those instructions",
    "tools"[list]: "the tools that the model is given, of bash, read, search, edit, write, submit; left out: all",
    "edit_format": "how files are changed: replace (a text by another), patch (several changes at once, as apply_patch takes them), whole (a file as a whole, no edit tool); left out: replace",
    "plan": "on: sub-goals are written down first; left out: off, or on where goal is require",
    "review": "on: what was done is looked at with fresh eyes before it is handed in; left out: off",
    "review_rounds": "how often the review may send work back; left out: 2",
    "goal": "off, advise (a failing test is said once when work is handed in) or require (no end before it passes); left out: off, or require with a test_command",
    "test_command": "the command that must pass; left out: found by what lies in the working folder",
    "test_timeout": "seconds for it; left out: 600",
    "max_tokens_per_task": "tokens of input and output together after which it stops",
    "max_cost": "dollars after which the gateway refuses",
    "max_duration": "seconds after which it stops",
    "max_steps": "answers of the model after which it stops; left out: 250",
    "max_output_tokens": "most tokens of one answer; left out: 16384",
    "context_window": "tokens that the model takes in; left out: by what is known of the model",
    "context_policy": "what goes when the window fills: none, mask (old output of tools), summarise (old turns), hybrid (first the one, then the other); left out: hybrid",
    "context_at": "percent of the window from which on that is done; left out: 80",
    "output_cap": "bytes of a tool's output that the model gets, half of them from its end; left out: 16000",
    "command_timeout": "seconds for a command that asks for no other time; left out: 120",
    "allowed_paths"[list]: "globs below the working folder, or from the root: only there may files change",
    "excluded_paths"[list]: "globs: taken out of sight while it works, and put back as they were",
    "subtask_model": "PROVIDER/MODEL for plan, review and summaries; left out: the same",
    "prompt_caching": "off, 5m or 1h, where the provider lets choose; left out: the provider's ordinary",
];

/// Which instructions the model gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptSet {
    /// How to work, at some length.
    Standard,
    /// A few lines.
    Brief,
}

/// What must be true before work counts as handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Nothing is run.
    Off,
    /// A failing test is said once.
    Advise,
    /// It must pass.
    Require,
}

/// How files are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditFormat {
    /// One text by another.
    Replace,
    /// Several places of several files at once.
    Patch,
    /// Files as a whole.
    Whole,
}

/// What goes when the window fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextPolicy {
    /// Nothing: a full window ends the work.
    None,
    /// Old output of tools.
    Mask,
    /// Old turns, for a summary.
    Summarise,
    /// Old output first, then old turns.
    Hybrid,
}

/// How hard the model is to think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effort {
    /// As the provider has it.
    Default,
    /// Always so hard.
    Fixed(&'static str),
    /// Raised when there is a reason, along these levels.
    Dynamic(Vec<&'static str>),
}

/// All settings of one variant, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the provider speaks several.
    pub wire: Option<&'static str>,
    /// See [`SETTINGS`]; each field is the setting of its name.
    pub effort: Effort,
    /// Where the model has it.
    pub temperature: Option<f64>,
    /// Where the model has it.
    pub seed: Option<i64>,
    /// Which instructions.
    pub prompt: PromptSet,
    /// In their place.
    pub system_prompt: Option<String>,
    /// After them.
    pub instructions: Option<String>,
    /// Names of tools, in the order of [`TOOLS`].
    pub tools: Vec<&'static str>,
    /// How files are changed.
    pub edit_format: EditFormat,
    /// Sub-goals first.
    pub plan: bool,
    /// Fresh eyes at the end.
    pub review: bool,
    /// How often they may send work back.
    pub review_rounds: u32,
    /// What must be true at the end.
    pub goal: Goal,
    /// What must pass.
    pub test_command: Option<String>,
    /// How long that may take.
    pub test_timeout: Duration,
    /// All input and output.
    pub max_tokens: Option<u64>,
    /// For the gateway to keep.
    pub max_cost: Option<NanoUsd>,
    /// Wall time.
    pub max_duration: Option<Duration>,
    /// Answers.
    pub max_steps: u64,
    /// Of one answer.
    pub max_output: u64,
    /// Tokens.
    pub context_window: u64,
    /// What goes.
    pub context_policy: ContextPolicy,
    /// Percent of the window.
    pub context_at: u64,
    /// Bytes.
    pub output_cap: usize,
    /// Of a command that asks for no other.
    pub command_timeout: Duration,
    /// Only there.
    pub allowed_paths: Vec<String>,
    /// Never there.
    pub excluded_paths: Vec<String>,
    /// `PROVIDER/MODEL`.
    pub subtask_model: Option<String>,
    /// What is asked of the provider's cache.
    pub caching: Caching,
}

impl Settings {
    /// Checks settings for a model on a wire; `model` is the provider's own name of it. Numbers and switches may come as texts,
    /// lists with commas, as on a command line.
    ///
    /// # Errors
    /// The first setting that is unknown, cannot be read, or that this model does not have.
    pub fn check(
        support: &Support,
        model: &str,
        given: &BTreeMap<String, Value>,
    ) -> Result<Settings, SettingError> {
        let values = Values::new(given, SETTINGS)?;
        let formats =
            [("replace", EditFormat::Replace), ("patch", EditFormat::Patch), ("whole", EditFormat::Whole)];
        let edit_format = values.choice("edit_format", &formats)?.unwrap_or(EditFormat::Replace);
        let test_command = values.text("test_command")?;
        let goals = [("off", Goal::Off), ("advise", Goal::Advise), ("require", Goal::Require)];
        let by_test = if test_command.is_some() { Goal::Require } else { Goal::Off };
        let goal = values.choice("goal", &goals)?.unwrap_or(by_test);
        if goal == Goal::Off && test_command.is_some() {
            return Err(bad("test_command", "has no use while `goal` is off"));
        }
        let wires: Vec<_> = crate::wires::DIALECTS.iter().map(|wire| (wire.name(), wire.name())).collect();
        let settings = Settings {
            wire: values.choice("wire", &wires)?,
            effort: effort(support, model, values.text("effort")?.as_deref())?,
            temperature: values.number("temperature", 0.0, 2.0)?,
            seed: values.integer("seed")?,
            prompt: values
                .choice("prompt", &[("standard", PromptSet::Standard), ("brief", PromptSet::Brief)])?
                .unwrap_or(PromptSet::Standard),
            system_prompt: values.text("system_prompt")?,
            instructions: values.text("instructions")?,
            tools: tools(values.list("tools")?, edit_format)?,
            edit_format,
            plan: values.switch("plan")?.unwrap_or(goal == Goal::Require),
            review: values.switch("review")?.unwrap_or(false),
            review_rounds: u32::try_from(values.count("review_rounds", 1, 20)?.unwrap_or(2)).unwrap_or(2),
            goal,
            test_command,
            test_timeout: values.seconds("test_timeout")?.unwrap_or(Duration::from_secs(600)),
            max_tokens: values.count("max_tokens_per_task", 1, u64::MAX)?,
            max_cost: values.number("max_cost", 0.0, 1e6)?.and_then(NanoUsd::from_usd),
            max_duration: values.seconds("max_duration")?,
            max_steps: values.count("max_steps", 1, 1_000_000)?.unwrap_or(250),
            max_output: values.count("max_output_tokens", 256, 1 << 20)?.unwrap_or(16_384),
            context_window: values.count("context_window", 2000, 100_000_000)?.unwrap_or(support.window),
            context_policy: values
                .choice(
                    "context_policy",
                    &[
                        ("none", ContextPolicy::None),
                        ("mask", ContextPolicy::Mask),
                        ("summarise", ContextPolicy::Summarise),
                        ("hybrid", ContextPolicy::Hybrid),
                    ],
                )?
                .unwrap_or(ContextPolicy::Hybrid),
            context_at: values.count("context_at", 10, 100)?.unwrap_or(80),
            output_cap: usize::try_from(values.count("output_cap", 200, 4 << 20)?.unwrap_or(16_000))
                .unwrap_or(16_000),
            command_timeout: values.seconds("command_timeout")?.unwrap_or(Duration::from_secs(120)),
            allowed_paths: values.list("allowed_paths")?.unwrap_or_default(),
            excluded_paths: values.list("excluded_paths")?.unwrap_or_default(),
            subtask_model: values.text("subtask_model")?,
            caching: caching(support, values.text("prompt_caching")?.as_deref())?,
        };
        settings.suits(support, model)?;
        Ok(settings)
    }

    /// What this model cannot do.
    fn suits(&self, support: &Support, model: &str) -> Result<(), SettingError> {
        if self.temperature.is_some() && !support.temperature {
            return Err(bad("temperature", &format!("is not supported by the model {model}")));
        }
        if self.temperature.is_some() && support.temperature_alone && self.effort != Effort::Default {
            return Err(bad(
                "temperature",
                &format!("cannot be set together with `effort` for the model {model}"),
            ));
        }
        if self.seed.is_some() && !support.seed {
            return Err(bad("seed", &format!("is not supported by the model {model}")));
        }
        if self.max_output.saturating_add(1000) > self.context_window {
            return Err(bad("max_output_tokens", "leaves no room for anything else in the model's window"));
        }
        for (name, globs) in
            [("allowed_paths", &self.allowed_paths), ("excluded_paths", &self.excluded_paths)]
        {
            for glob in globs {
                crate::paths::check_glob(glob).map_err(|message| bad(name, &message))?;
            }
        }
        if let Some(model) = &self.subtask_model
            && !model.split_once('/').is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty())
        {
            return Err(bad("subtask_model", "must be PROVIDER/MODEL"));
        }
        Ok(())
    }
}

fn bad(name: &str, message: &str) -> SettingError {
    SettingError { name: name.to_owned(), message: message.to_owned() }
}

/// Every level, from nothing up.
pub(crate) const LEVELS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

fn effort(support: &Support, model: &str, given: Option<&str>) -> Result<Effort, SettingError> {
    let Some(given) = given else { return Ok(Effort::Default) };
    let levels = support.efforts;
    if levels.is_empty() {
        return Err(bad("effort", &format!("is not supported by the model {model}")));
    }
    if given == "dynamic" {
        let from = levels.iter().position(|level| *level == "low").unwrap_or(0);
        return Ok(Effort::Dynamic(levels[from..].to_vec()));
    }
    match levels.iter().find(|level| **level == given) {
        Some(level) => Ok(Effort::Fixed(level)),
        None if LEVELS.contains(&given) => Err(bad(
            "effort",
            &format!("{given:?} is not supported by the model {model}; it has {}", levels.join(", ")),
        )),
        None => Err(bad("effort", &format!("must be one of {}, dynamic", LEVELS.join(", ")))),
    }
}

fn caching(support: &Support, given: Option<&str>) -> Result<Caching, SettingError> {
    let chosen = match given {
        None => return Ok(Caching::Short),
        Some("off") => Caching::Off,
        Some("5m") => Caching::Short,
        Some("1h") => Caching::Hour,
        Some(_) => return Err(bad("prompt_caching", "must be off, 5m or 1h")),
    };
    if support.chooses_caching {
        return Ok(chosen);
    }
    Err(bad("prompt_caching", "cannot be chosen with this provider, which caches as it likes; leave it out"))
}

fn tools(given: Option<Vec<String>>, format: EditFormat) -> Result<Vec<&'static str>, SettingError> {
    let all: Vec<&'static str> = TOOLS.iter().map(|tool| tool.name()).collect();
    if let Some(strange) = given.iter().flatten().find(|name| !all.contains(&name.as_str())) {
        return Err(bad("tools", &format!("names {strange:?}; there are {}", all.join(", "))));
    }
    let named = |name: &str| given.as_ref().is_none_or(|given| given.iter().any(|other| other == name));
    if format == EditFormat::Whole && given.iter().flatten().any(|name| name == "edit") {
        return Err(bad("tools", "names \"edit\", which `edit_format` whole leaves out"));
    }
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|name| named(name) && !(*name == "edit" && format == EditFormat::Whole))
        .collect();
    if chosen.iter().all(|name| *name == "submit") {
        return Err(bad("tools", "leaves nothing to work with"));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(wire: &str, model: &str, given: &[(&str, Value)]) -> Result<Settings, String> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Settings::check(&support(wire, model, false), model, &given).map_err(|error| error.to_string())
    }

    #[test]
    fn check_takes_every_setting_as_text_as_from_a_command_line() {
        let settings = checked(
            "google",
            "gemini-3-pro",
            &[
                ("effort", json!("dynamic")),
                ("temperature", json!("0.5")),
                ("seed", json!("-7")),
                ("prompt", json!("brief")),
                ("tools", json!("submit, bash")),
                ("plan", json!("on")),
                ("review", json!("true")),
                ("goal", json!("advise")),
                ("max_cost", json!("0.25")),
                ("max_duration", json!("90")),
                ("max_steps", json!(7)),
                ("context_policy", json!("mask")),
                ("allowed_paths", json!(["src/**"])),
                ("subtask_model", json!("openai/gpt-5")),
            ],
        )
        .unwrap();
        assert_eq!(settings.tools, ["bash", "submit"]);
        assert_eq!(settings.effort, Effort::Dynamic(vec!["low", "medium", "high"]));
        assert_eq!(settings.max_cost, Some(NanoUsd(250_000_000)));
        assert_eq!((settings.seed, settings.max_steps, settings.plan), (Some(-7), 7, true));
        assert_eq!(checked("google", "gemini-3-pro", &[]).unwrap().goal, Goal::Off);
        let tested = checked("google", "gemini-3-pro", &[("test_command", json!("make test"))]).unwrap();
        assert_eq!((tested.goal, tested.plan), (Goal::Require, true));
    }

    #[test]
    fn check_refuses_by_name_what_is_wrong_or_what_a_model_does_not_have() {
        for (wire, model, name, value, says) in [
            ("openai", "gpt-5", "sped", json!("1"), "sped"),
            (
                "openai",
                "gpt-5",
                "temperature",
                json!(0.1),
                "\"temperature\" is not supported by the model gpt-5",
            ),
            ("openai", "gpt-4.1", "effort", json!("low"), "\"effort\" is not supported by the model gpt-4.1"),
            ("openai", "gpt-4.1", "seed", json!(1), "\"seed\" is not supported"),
            ("openai", "o3", "effort", json!("xhigh"), "it has low, medium, high"),
            ("openai", "o3", "effort", json!("harder"), "must be one of"),
            ("openai", "o3", "prompt_caching", json!("1h"), "cannot be chosen"),
            ("anthropic", "claude-sonnet-4-5", "seed", json!(1), "\"seed\" is not supported"),
            ("anthropic", "claude-3-5-haiku", "effort", json!("low"), "not supported"),
            ("openai-chat", "x", "tools", json!("bash,fly"), "\"fly\""),
            ("openai-chat", "x", "tools", json!("submit"), "nothing to work with"),
            ("openai-chat", "x", "temperature", json!("warm"), "must be a number"),
            ("openai-chat", "x", "max_steps", json!(0), "at least 1"),
            ("openai-chat", "x", "plan", json!("perhaps"), "on or off"),
            ("openai-chat", "x", "excluded_paths", json!("../up"), "leads out"),
            ("openai-chat", "x", "subtask_model", json!("gpt"), "PROVIDER/MODEL"),
            ("openai-chat", "x", "context_window", json!(9000), "no room"),
        ] {
            let told = checked(wire, model, &[(name, value)]).unwrap_err();
            assert!(told.contains(says), "{name}: {told}");
        }
        let both = [("effort", json!("low")), ("temperature", json!(1))];
        assert!(checked("anthropic", "claude-sonnet-4-5", &both).unwrap_err().contains("together"));
        let useless = [("goal", json!("off")), ("test_command", json!("x"))];
        assert!(checked("openai", "o3", &useless).unwrap_err().contains("test_command"));
    }

    #[test]
    fn every_setting_has_a_name_of_its_own_and_a_line_about_it() {
        for setting in SETTINGS {
            assert!(!setting.about.is_empty() && !setting.about.ends_with('.'), "{}", setting.name);
            assert_eq!(SETTINGS.iter().filter(|other| other.name == setting.name).count(), 1);
        }
    }
}
