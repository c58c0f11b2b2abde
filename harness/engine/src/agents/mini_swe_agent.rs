//! `mini-swe-agent`: one tool and a linear history, from PyPI with an interpreter of its own, over the Chat or the Responses wire.

use std::sync::Arc;

use harness_core::{AgentExit, NanoUsd, Usage, UsageSource};
use serde_json::{Value, json};

use super::programs::{Check, ProgramKind};
use super::settings::SettingSpec;
use super::{Agent, Endpoint, ModelAccess, Session, SettingError};
use crate::installed::{Account, Called, HOME_AT, Installed, Invocation, Program, Told, number, object};
use crate::tools::{Pip, Recipe, Source};

const NAME: &str = "mini-swe-agent";
/// The version whose account the parser was written after, and whose needs are locked.
const VERSION: &str = "2.4.6";
const LOCK: &str = include_str!("../tools/locks/mini-swe-agent.txt");
const LAUNCHER: &str = include_str!("../tools/locks/mini-swe-agent.py");
const ACCOUNT_AT: &str = "/logs/agent/home/mini.traj.json";

const SETTINGS: &[SettingSpec] = &[
    SettingSpec::text(
        "version",
        "which version of PyPI's package, exactly; the one that `list agents` shows by default",
    ),
    SettingSpec::text("max_steps", "at most so many answers of the model"),
    SettingSpec::text(
        "max_cost",
        "dollars: by its own bill, which knows few models, and by the gateway's before each request",
    ),
    SettingSpec::text("command_timeout_sec", "seconds that one command may take; 30 by default"),
    SettingSpec::text(
        "wire",
        "openai-chat or openai (Responses); where the provider has both, openai-chat by default",
    ),
];

pub(super) const KIND: ProgramKind = ProgramKind {
    name: NAME,
    about: "mini-swe-agent from PyPI with its own Python, in the sandbox, for models of the Chat and Responses APIs",
    version: VERSION,
    settings: SETTINGS,
    example: "openai-chat",
    make,
};

/// Where it comes from.
fn source() -> Source {
    Source::Pip(Pip {
        package: NAME,
        lock: LOCK,
        locked_version: VERSION,
        python: (3, 10),
        launcher: LAUNCHER,
        name: "mini",
    })
}

fn make(check: &Check<'_>) -> Result<Arc<dyn Agent>, SettingError> {
    let recipe = Recipe {
        program: NAME,
        version: check.version(VERSION)?,
        source: source(),
        says_version: vec!["bin/mini", "--version"],
    };
    let wires: &'static [&'static str] = match check.one_of("wire", &["openai-chat", "openai"])? {
        Some("openai") => &["openai"],
        Some(_) => &["openai-chat"],
        None => &["openai-chat", "openai"],
    };
    Ok(Arc::new(Installed::new(MiniSweAgent {
        recipe,
        wires,
        max_steps: check.count("max_steps")?,
        max_cost: check.amount("max_cost")?,
        command_timeout: check.count("command_timeout_sec")?,
    })))
}

struct MiniSweAgent {
    recipe: Recipe,
    wires: &'static [&'static str],
    max_steps: Option<u64>,
    max_cost: Option<f64>,
    command_timeout: Option<u64>,
}

impl Program for MiniSweAgent {
    fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    fn wires(&self) -> &'static [&'static str] {
        self.wires
    }

    fn max_cost(&self) -> Option<f64> {
        self.max_cost
    }

    fn account(&self) -> Account {
        Account::File(ACCOUNT_AT, "mini.traj.json")
    }

    fn invocation(&self, session: &Session<'_>, access: &ModelAccess, way: &Endpoint) -> Invocation {
        let wire = self.wires.iter().find(|wire| access.wires.contains(wire)).copied();
        let class = if wire == Some("openai") { "litellm_response" } else { "litellm" };
        // Who waits for a provider is the gateway.
        let mut config = vec![
            format!("model.model_kwargs.timeout={}", session.timeout.as_secs().max(60)),
            "model.model_kwargs.num_retries=0".to_owned(),
            "model.model_kwargs.max_retries=0".to_owned(),
        ];
        config.extend(self.max_steps.map(|steps| format!("agent.step_limit={steps}")));
        config.extend(self.command_timeout.map(|seconds| format!("environment.timeout={seconds}")));
        let options = json!({
            "model": format!("openai/{}", access.name), "model_class": class, "output": ACCOUNT_AT,
            "cost_limit": self.max_cost.unwrap_or(0.0), "config": config,
        });
        let base = format!("{}/v1", way.base_url);
        let env = [
            ("OPENAI_API_BASE", base.as_str()),
            ("OPENAI_BASE_URL", &base),
            ("OPENAI_API_KEY", &way.key),
            ("MSWEA_CONFIGURED", "true"),
            ("MSWEA_SILENT_STARTUP", "1"),
            ("MSWEA_GLOBAL_CONFIG_DIR", HOME_AT),
            // A model that its price list lacks is an error otherwise.
            ("MSWEA_COST_TRACKING", "ignore_errors"),
            // It takes faults of its own for passing ones, and repeats them for minutes.
            ("MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT", "2"),
            // Its price list is fetched from outside otherwise, at every start.
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("LITELLM_TELEMETRY", "False"),
            ("HF_HUB_OFFLINE", "1"),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Invocation { program: "bin/mini", arguments: vec![options.to_string()], env }
    }

    fn read(&self, account: &[u8]) -> Told {
        let mut told = Told::default();
        let Some(document) = object(account) else { return told };
        let mut usage: Option<Usage> = None;
        for message in document["messages"].as_array().into_iter().flatten() {
            let own = message_of(&mut told, message);
            usage = match (usage, own) {
                (Some(sum), Some(own)) => Some(sum.plus(&own)),
                (sum, own) => sum.or(own),
            };
        }
        let info = &document["info"];
        told.usage = usage.unwrap_or_default();
        told.usage.requests = number(&info["model_stats"], "api_calls");
        told.version = info["mini_version"].as_str().map(str::to_owned);
        // Nothing is what it says of a model whose price it does not know.
        let cost = info["model_stats"]["instance_cost"].as_f64().filter(|cost| *cost > 0.0);
        told.cost = cost.and_then(NanoUsd::from_usd);
        let status = info["exit_status"].as_str().unwrap_or_default();
        told.exit = match status {
            "" => None,
            "Submitted" => Some(AgentExit::Finished),
            // It ends with status 0 all the same.
            "LimitsExceeded" => Some(AgentExit::Budget),
            "TimeExceeded" => Some(AgentExit::TimedOut),
            "RepeatedFormatError" => Some(AgentExit::GaveUp),
            _ => Some(AgentExit::Crashed),
        };
        if !matches!(status, "" | "Submitted") {
            let last = document["messages"].as_array().and_then(|messages| messages.last());
            let said = last.and_then(|last| last["content"].as_str()).unwrap_or_default();
            told.message = Some(format!("{status}: {said}").chars().take(500).collect());
        }
        told
    }
}

/// One message as events; the usage of the answer that it is, if it is one.
fn message_of(told: &mut Told, message: &Value) -> Option<Usage> {
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    match (message["role"].as_str(), message["object"].as_str(), message["type"].as_str()) {
        (Some("assistant"), ..) => {
            let called = |call: &Value| Called {
                id: text(&call["id"]),
                tool: text(&call["function"]["name"]),
                input: input_of(&call["function"]["arguments"]),
            };
            let calls = message["tool_calls"].as_array().into_iter().flatten().map(called).collect();
            let usage = chat_usage(&message["extra"]["response"]["usage"]);
            told.said(&text(&message["content"]), &text(&message["reasoning_content"]), calls, usage);
            Some(usage)
        }
        (_, Some("response"), _) => {
            let (mut said, mut calls) = (String::new(), Vec::new());
            for item in message["output"].as_array().into_iter().flatten() {
                for part in item["content"].as_array().into_iter().flatten() {
                    said.push_str(part["text"].as_str().unwrap_or_default());
                }
                if item["type"] == "function_call" {
                    let (id, tool) = (text(&item["call_id"]), text(&item["name"]));
                    calls.push(Called { id, tool, input: input_of(&item["arguments"]) });
                }
            }
            let usage = responses_usage(&message["usage"]);
            told.said(&said, "", calls, usage);
            Some(usage)
        }
        (Some("tool"), ..) | (_, _, Some("function_call_output")) => {
            let id = message["tool_call_id"].as_str().or_else(|| message["call_id"].as_str());
            let output = message["content"].as_str().or_else(|| message["output"].as_str());
            let failed = message["extra"]["returncode"].as_i64().is_some_and(|code| code != 0);
            told.ran(id.unwrap_or_default(), output.unwrap_or_default(), failed);
            None
        }
        _ => None,
    }
}

fn input_of(arguments: &Value) -> Value {
    let text = arguments.as_str().unwrap_or_default();
    object(text.as_bytes()).unwrap_or_else(|| arguments.clone())
}

fn chat_usage(usage: &Value) -> Usage {
    let (input, details) = (number(usage, "prompt_tokens"), &usage["prompt_tokens_details"]);
    let reasoning = number(&usage["completion_tokens_details"], "reasoning_tokens");
    buckets(input, details, number(usage, "completion_tokens"), reasoning)
}

fn responses_usage(usage: &Value) -> Usage {
    let (input, details) = (number(usage, "input_tokens"), &usage["input_tokens_details"]);
    let reasoning = number(&usage["output_tokens_details"], "reasoning_tokens");
    buckets(input, details, number(usage, "output_tokens"), reasoning)
}

fn buckets(input: Option<u64>, details: &Value, output: Option<u64>, reasoning: Option<u64>) -> Usage {
    let (read, written) = (number(details, "cached_tokens"), number(details, "cache_write_tokens"));
    let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
    Usage {
        requests: None,
        uncached_input_tokens: input.map(|input| input.saturating_sub(cached)),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: None,
        output_tokens: output,
        reasoning_tokens: reasoning,
        total_tokens: input.zip(output).map(|(input, output)| input.saturating_add(output)),
        source: (input.is_some() || output.is_some()).then_some(UsageSource::Agent),
    }
}

#[cfg(test)]
#[path = "mini_swe_agent_tests.rs"]
mod tests;
