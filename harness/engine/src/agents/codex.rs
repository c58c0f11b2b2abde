//! `codex`: OpenAI's program, without anybody at the keyboard, over the Responses wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_core::{AgentExit, Usage, UsageSource};
use serde_json::{Value, json};

use super::programs::{self, Check, ProgramKind};
use super::settings::SettingSpec;
use super::{Agent, Endpoint, ModelAccess, Session, SettingError};
use crate::installed::{Account, Called, HOME_AT, Installed, Invocation, Program, Told, lines, number};
use crate::tools::{Npm, Recipe, Source};

const NAME: &str = "codex";
/// The version whose stream the parser was written after.
const VERSION: &str = "0.169.0";
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];
/// The variable that holds the key.
const KEY: &str = "HARNESS_MODEL_KEY";
/// What its own sandbox says when it cannot be made; every command has failed then, and it ends with 0.
const NO_SANDBOX: &str = "No permissions to create a new namespace";

const SETTINGS: &[SettingSpec] = &[
    SettingSpec::text(
        "version",
        "which version of npm's package, exactly; the one that `list agents` shows by default",
    ),
    SettingSpec::text("effort", "none, minimal, low, medium, high or xhigh"),
    SettingSpec::text("max_cost", "dollars: it has no such limit, the gateway keeps it before each request"),
    SettingSpec::text(
        "max_tokens",
        "tokens by its own count, which leaves cached input out; the run's budgets are kept by the gateway",
    ),
];

pub(super) const KIND: ProgramKind = ProgramKind {
    name: NAME,
    about: "OpenAI's codex from npm, in the sandbox, for models of the Responses API",
    version: VERSION,
    settings: SETTINGS,
    example: "openai",
    make,
};

fn make(check: &Check<'_>) -> Result<Arc<dyn Agent>, SettingError> {
    let version = check.version(VERSION)?;
    let recipe = Recipe {
        program: NAME,
        source: Source::Npm(Npm {
            package: "@openai/codex".to_owned(),
            version: format!("{version}-linux-{}", programs::npm_arch()),
            program: format!("vendor/{}-unknown-linux-musl/bin/codex", std::env::consts::ARCH),
            name: "codex",
            needs_glibc: false,
        }),
        version,
        says_version: vec!["bin/codex", "--version"],
    };
    Ok(Arc::new(Installed::new(Codex {
        recipe,
        effort: check.one_of("effort", &EFFORTS)?.map(str::to_owned),
        max_tokens: check.count("max_tokens")?,
        max_cost: check.amount("max_cost")?,
    })))
}

struct Codex {
    recipe: Recipe,
    effort: Option<String>,
    max_tokens: Option<u64>,
    max_cost: Option<f64>,
}

impl Program for Codex {
    fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    fn wires(&self) -> &'static [&'static str] {
        &["openai"]
    }

    fn max_cost(&self) -> Option<f64> {
        self.max_cost
    }

    fn account(&self) -> Account {
        Account::Stdout("codex.jsonl")
    }

    fn invocation(&self, _session: &Session<'_>, access: &ModelAccess, way: &Endpoint) -> Invocation {
        // Its own sandbox cannot be made in ours, and would fail every command without a word.
        let mut arguments: Vec<String> =
            ["exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(access.name.clone());
        for feature in ["plugins", "apps"] {
            arguments.extend(["--disable".to_owned(), feature.to_owned()]);
        }
        // The built-in provider tries a web socket first and takes no address from a variable. The gateway retries, nobody else.
        let provider = format!(
            "{{name=\"gateway\",base_url={},env_key=\"{KEY}\",wire_api=\"responses\",request_max_retries=0,\
             stream_max_retries=1,stream_idle_timeout_ms=3600000}}",
            json!(format!("{}/v1", way.base_url))
        );
        let mut options = vec![
            ("model_provider", "gateway".to_owned()),
            ("model_providers.gateway", provider),
            ("analytics.enabled", "false".to_owned()),
            ("check_for_update_on_startup", "false".to_owned()),
        ];
        if let Some(effort) = &self.effort {
            options.push(("model_reasoning_effort", json!(effort).to_string()));
        }
        if let Some(tokens) = self.max_tokens {
            options.push((
                "features.rollout_budget",
                format!(
                    "{{enabled=true,limit_tokens={tokens},sampling_token_weight=1.0,prefill_token_weight=1.0,\
                     reminder_at_remaining_tokens=[]}}"
                ),
            ));
        }
        for (name, value) in options {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        // The instruction comes on stdin.
        arguments.push("-".to_owned());
        let env = BTreeMap::from([
            (KEY.to_owned(), way.key.clone()),
            ("CODEX_HOME".to_owned(), HOME_AT.to_owned()),
        ]);
        Invocation { program: "bin/codex", arguments, env }
    }

    fn read(&self, account: &[u8]) -> Told {
        let mut told = Told::default();
        let mut thinking = String::new();
        for event in lines(account) {
            match event["type"].as_str() {
                Some("item.started") => item(&mut told, &mut thinking, &event["item"], false),
                Some("item.completed") => item(&mut told, &mut thinking, &event["item"], true),
                Some("turn.completed") => {
                    told.exit = Some(AgentExit::Finished);
                    told.usage = usage(&event["usage"]);
                }
                Some("turn.failed") => {
                    let message = event["error"]["message"].as_str().unwrap_or("the turn failed");
                    let own_budget = message.contains("budget reached");
                    told.exit = Some(if own_budget { AgentExit::Budget } else { AgentExit::Crashed });
                    told.message = Some(message.chars().take(500).collect());
                }
                Some("error") => {
                    let message = event["message"].as_str().unwrap_or("error");
                    told.unanswered(message, message.starts_with("Reconnecting"));
                }
                _ => {}
            }
        }
        if told.findings.iter().any(|finding| finding.check == "agent_sandbox") {
            told.exit = Some(AgentExit::Crashed);
        }
        told
    }
}

fn item(told: &mut Told, thinking: &mut String, item: &Value, is_over: bool) {
    let text = |name: &str| item[name].as_str().unwrap_or_default();
    let id = text("id");
    let known = told.events.iter().rev().any(|event| {
        matches!(event, harness_agent::events::Event::Answered { calls, .. } if calls.iter().any(|call| call.id == id))
    });
    let mut call = |told: &mut Told, tool: &str, input: Value| {
        if !known {
            let called = Called { id: id.to_owned(), tool: tool.to_owned(), input };
            told.said("", &std::mem::take(thinking), vec![called], Usage::default());
        }
    };
    match text("type") {
        "reasoning" if is_over => thinking.push_str(text("text")),
        "agent_message" if is_over => {
            let thought = std::mem::take(thinking);
            told.said(text("text"), &thought, Vec::new(), Usage::default());
        }
        "command_execution" => {
            call(told, "shell", json!({"command": text("command")}));
            if is_over {
                let output = text("aggregated_output");
                if output.contains(NO_SANDBOX) {
                    told.finds("agent_sandbox", "its own sandbox could not be made, and its commands failed");
                }
                told.ran(id, output, item["exit_code"].as_i64() != Some(0));
            }
        }
        "error" if is_over => {
            let message = text("message");
            if message.contains(NO_SANDBOX) {
                told.finds("agent_sandbox", message);
            }
            told.unanswered(message, false);
        }
        // What it did by other means, in its own words.
        kind @ ("file_change" | "mcp_tool_call" | "web_search" | "collab_tool_call") if is_over => {
            call(told, kind, item.clone());
            told.ran(id, text("status"), text("status") == "failed");
        }
        _ => {}
    }
}

fn usage(told: &Value) -> Usage {
    let (input, output) = (number(told, "input_tokens"), number(told, "output_tokens"));
    let (read, written) = (number(told, "cached_input_tokens"), number(told, "cache_write_input_tokens"));
    let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
    Usage {
        requests: None,
        uncached_input_tokens: input.map(|input| input.saturating_sub(cached)),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: None,
        output_tokens: output,
        reasoning_tokens: number(told, "reasoning_output_tokens"),
        total_tokens: input.zip(output).map(|(input, output)| input.saturating_add(output)),
        source: (input.is_some() || output.is_some()).then_some(UsageSource::Agent),
    }
}

#[cfg(test)]
#[path = "codex_tests.rs"]
mod tests;
