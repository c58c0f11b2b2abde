//! `claude-code`: Anthropic's program, without anybody at the keyboard, over the Messages wire.

use std::sync::Arc;

use harness_core::{AgentExit, NanoUsd, Usage, UsageSource};
use serde_json::Value;

use super::programs::{self, Check, ProgramKind};
use super::settings::{SettingKind, list, text};
use super::{Agent, Endpoint, ModelAccess, Session, SettingError, SettingSpec};
use crate::installed::{Account, Called, HOME_AT, Installed, Invocation, Program, Told, lines, number};
use crate::tools::{Npm, Recipe, Source};

const NAME: &str = "claude-code";
/// The version whose stream the parser was written after.
const VERSION: &str = "2.1.329";
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

const SETTINGS: &[SettingSpec] = &[
    SettingSpec::text(
        "version",
        "which version of npm's package, exactly; the one that `list agents` shows by default",
    ),
    SettingSpec::text(
        "mode",
        "`full` (by default) or `bare`: three tools and a short prompt, which is another agent",
    ),
    SettingSpec::text("max_turns", "at most so many turns of its own loop"),
    SettingSpec::text(
        "max_cost",
        "dollars: by its own bill, which it looks at after each answer, and by the gateway's before each request",
    ),
    SettingSpec::text("effort", "low, medium, high, xhigh or max"),
    SettingSpec::text("append_prompt", "text after its own system prompt"),
    SettingSpec {
        name: "tools",
        about: "its built-in tools that it may use, by their names; all of them by default",
        kind: SettingKind::List,
    },
];

pub(super) const KIND: ProgramKind = ProgramKind {
    name: NAME,
    about: "Claude Code from npm, in the sandbox, for models of the Messages API",
    version: VERSION,
    settings: SETTINGS,
    example: "anthropic",
    make,
};

fn make(check: &Check<'_>) -> Result<Arc<dyn Agent>, SettingError> {
    let version = check.version(VERSION)?;
    let (platform, arch) = ("linux", programs::npm_arch());
    let package = format!("@anthropic-ai/claude-code-{platform}-{arch}");
    let recipe = Recipe {
        program: NAME,
        version: version.clone(),
        source: Source::Npm(Npm {
            package,
            version,
            program: "claude".to_owned(),
            name: "claude",
            needs_glibc: true,
        }),
        says_version: vec!["bin/claude", "--version"],
    };
    Ok(Arc::new(Installed::new(ClaudeCode {
        recipe,
        is_bare: check.one_of("mode", &["full", "bare"])? == Some("bare"),
        max_turns: check.count("max_turns")?,
        max_cost: check.amount("max_cost")?,
        effort: check.one_of("effort", &EFFORTS)?.map(str::to_owned),
        append_prompt: text(check.given, "append_prompt").map(str::to_owned),
        tools: list(check.given, "tools"),
    })))
}

struct ClaudeCode {
    recipe: Recipe,
    is_bare: bool,
    max_turns: Option<u64>,
    max_cost: Option<f64>,
    effort: Option<String>,
    append_prompt: Option<String>,
    tools: Vec<String>,
}

impl Program for ClaudeCode {
    fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    fn wires(&self) -> &'static [&'static str] {
        &["anthropic"]
    }

    fn max_cost(&self) -> Option<f64> {
        self.max_cost
    }

    fn account(&self) -> Account {
        Account::Stdout("claude.jsonl")
    }

    fn invocation(&self, session: &Session<'_>, access: &ModelAccess, way: &Endpoint) -> Invocation {
        let mut arguments: Vec<String> = [
            "-p",
            "--output-format",
            "stream-json",
            "--verbose",
            "--dangerously-skip-permissions",
            "--model",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(access.name.clone());
        if self.is_bare {
            arguments.push("--bare".to_owned());
        }
        let mut option = |name: &str, value: Option<String>| {
            arguments.extend(value.map(|value| [name.to_owned(), value]).into_iter().flatten());
        };
        option("--max-turns", self.max_turns.map(|turns| turns.to_string()));
        option("--max-budget-usd", self.max_cost.map(|cost| cost.to_string()));
        option("--effort", self.effort.clone());
        option("--append-system-prompt", self.append_prompt.clone());
        option("--tools", Some(self.tools.join(",")).filter(|tools| !tools.is_empty()));
        // No time-out of its own before the trial's: who waits for a provider is the gateway.
        let patience = session.timeout.as_millis().clamp(60_000, i32::MAX as u128).to_string();
        let home = format!("{HOME_AT}/claude");
        let env = [
            ("ANTHROPIC_BASE_URL", way.base_url.as_str()),
            ("ANTHROPIC_API_KEY", &way.key),
            // Small jobs and sub-agents go to the model that is measured, and to no other.
            ("ANTHROPIC_SMALL_FAST_MODEL", &access.name),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL", &access.name),
            ("CLAUDE_CODE_SUBAGENT_MODEL", &access.name),
            ("CLAUDE_CONFIG_DIR", &home),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("API_TIMEOUT_MS", &patience),
            // It refuses to skip permissions as root without knowing that it is shut in.
            ("IS_SANDBOX", "1"),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Invocation { program: "bin/claude", arguments, env }
    }

    fn read(&self, account: &[u8]) -> Told {
        let mut told = Told::default();
        for event in lines(account) {
            match event["type"].as_str() {
                Some("system") => system(&mut told, &event),
                Some("assistant") => said(&mut told, &event["message"]),
                Some("user") => ran(&mut told, &event["message"]),
                Some("result") => result(&mut told, &event),
                _ => {}
            }
        }
        told
    }
}

fn system(told: &mut Told, event: &Value) {
    match event["subtype"].as_str() {
        Some("init") => told.version = event["claude_code_version"].as_str().map(str::to_owned),
        Some("api_retry") => {
            let status = number(event, "error_status").map(|status| format!("{status} ")).unwrap_or_default();
            told.unanswered(&format!("{status}{}", event["error"].as_str().unwrap_or("error")), true);
        }
        _ => {}
    }
}

/// Its counts are those of the answer's beginning, hence no usage here.
fn said(told: &mut Told, message: &Value) {
    let (mut text, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for block in message["content"].as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => thinking.push_str(block["thinking"].as_str().unwrap_or_default()),
            Some("tool_use") => calls.push(Called {
                id: block["id"].as_str().unwrap_or_default().to_owned(),
                tool: block["name"].as_str().unwrap_or_default().to_owned(),
                input: block["input"].clone(),
            }),
            _ => {}
        }
    }
    if !(text.is_empty() && thinking.is_empty() && calls.is_empty()) {
        told.said(&text, &thinking, calls, Usage::default());
    }
}

fn ran(told: &mut Told, message: &Value) {
    for block in message["content"].as_array().into_iter().flatten() {
        if block["type"] != "tool_result" {
            continue;
        }
        let output = match &block["content"] {
            Value::String(text) => text.clone(),
            other => {
                let parts = other.as_array().into_iter().flatten();
                parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
            }
        };
        let id = block["tool_use_id"].as_str().unwrap_or_default();
        told.ran(id, &output, block["is_error"].as_bool().unwrap_or(false));
    }
}

fn result(told: &mut Told, event: &Value) {
    let reason = event["terminal_reason"].as_str().unwrap_or_default();
    // `subtype` says "success" also where the API failed.
    let is_error = event["is_error"].as_bool().unwrap_or(true);
    told.exit = Some(match (reason, is_error) {
        ("max_turns" | "budget_exhausted", _) => AgentExit::Budget,
        (_, false) => AgentExit::Finished,
        _ => AgentExit::Crashed,
    });
    if is_error {
        let said = event["errors"][0].as_str().or_else(|| event["result"].as_str()).unwrap_or_default();
        told.message = Some(format!("{reason}: {said}").chars().take(500).collect());
    }
    if let Some(denied) = event["permission_denials"].as_array().filter(|denied| !denied.is_empty()) {
        let detail = format!("{} calls were denied by its own permissions", denied.len());
        told.finds("permission_denied", &detail);
    }
    let models = || event["modelUsage"].as_object().into_iter().flatten().map(|(_, model)| model);
    let usage = models().map(of_model).reduce(|sum, usage| sum.plus(&usage)).unwrap_or_default();
    told.usage = usage;
    let known = models().all(|model| model["costBasis"] != "unknown");
    told.cost = event["total_cost_usd"]
        .as_f64()
        .filter(|_| known && models().next().is_some())
        .and_then(NanoUsd::from_usd);
}

/// One model's part of the bill; unlike `usage` beside it, it has every request.
fn of_model(model: &Value) -> Usage {
    let written = number(model, "cacheCreationInputTokens");
    let hour = number(model, "cacheCreationEphemeral1hInputTokens");
    Usage {
        requests: None,
        uncached_input_tokens: number(model, "inputTokens"),
        cache_read_tokens: number(model, "cacheReadInputTokens"),
        cache_write_tokens: written.map(|written| written.saturating_sub(hour.unwrap_or(0))),
        cache_write_1h_tokens: hour,
        output_tokens: number(model, "outputTokens"),
        reasoning_tokens: number(model, "thinkingTokens"),
        total_tokens: None,
        source: Some(UsageSource::Agent),
    }
}

#[cfg(test)]
#[path = "claude_code_tests.rs"]
mod tests;
