//! Events as a trajectory in the Agent Trajectory Interchange Format, version 1.8: a pure function, so that a trajectory can be
//! made at any time and again. The format has no place for exclusive buckets, for the loop's own words or for how it ended: those
//! are in `extra`, where it has one.

use harness_core::Usage;
use serde_json::{Map, Value, json};

use crate::events::{Event, Line, Purpose};

/// The version that is written.
pub const SCHEMA_VERSION: &str = "ATIF-v1.8";

/// What events do not say and a trajectory has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts<'a> {
    /// Names the conversation, for example the trial.
    pub session_id: &'a str,
    /// Dollars of all requests together, from the gateway; unknown stays unknown.
    pub cost_usd: Option<f64>,
    /// Dollars of single requests, in the order of asking; may be shorter.
    pub costs_usd: &'a [Option<f64>],
}

/// The trajectory of one log of events; `None` when nothing has begun in it.
pub fn trajectory(lines: impl IntoIterator<Item = Line>, facts: &Facts<'_>) -> Option<Value> {
    let mut writer = Writer {
        facts: facts.clone(),
        steps: Vec::new(),
        agent: Value::Null,
        extra: Map::new(),
        model: String::new(),
        total: Usage::default(),
        effort: None,
    };
    lines.into_iter().for_each(|line| writer.line(line));
    if writer.agent.is_null() {
        return None;
    }
    let Writer { mut steps, agent, extra, total, .. } = writer;
    for (at, step) in steps.iter_mut().enumerate() {
        step.insert("step_id".to_owned(), json!(at + 1));
        step.sort_keys();
    }
    let mut metrics = Map::new();
    put(&mut metrics, "total_prompt_tokens", prompt_tokens(&total));
    put(&mut metrics, "total_completion_tokens", total.output_tokens);
    put(&mut metrics, "total_cached_tokens", total.cache_read_tokens);
    put(&mut metrics, "total_cost_usd", facts.cost_usd);
    metrics.insert("total_steps".to_owned(), json!(steps.len()));
    metrics.insert("extra".to_owned(), buckets(&total));
    let mut document = json!({
        "schema_version": SCHEMA_VERSION, "session_id": facts.session_id, "trajectory_id": facts.session_id,
        "agent": agent, "steps": steps, "final_metrics": metrics,
    });
    if !extra.is_empty() {
        document["extra"] = Value::Object(extra);
    }
    Some(document)
}

struct Writer<'a> {
    facts: Facts<'a>,
    steps: Vec<Map<String, Value>>,
    agent: Value,
    extra: Map<String, Value>,
    model: String,
    total: Usage,
    effort: Option<String>,
}

impl Writer<'_> {
    fn line(&mut self, line: Line) {
        let at = timestamp(line.at_ms);
        match line.event {
            Event::Started { program, model, instruction, system, tools, wire, .. } => {
                let definitions: Vec<Value> = tools
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|tool| json!({"type": "function", "function": tool}))
                    .collect();
                // A program of others says its name before its version.
                let (name, version) = program.split_once(' ').unwrap_or(("harness-core", &program));
                self.agent = json!({
                    "name": name, "version": version, "model_name": model, "tool_definitions": definitions,
                    "extra": {"wire": wire},
                });
                self.model = model;
                self.step(&at, "system", &system);
                self.step(&at, "user", &instruction);
            }
            Event::Planned { text } => {
                self.step(&at, "system", &format!("Plan:\n{text}"));
            }
            Event::Asked { effort, .. } => self.effort = effort,
            Event::Answered {
                request, purpose, model, text, thinking, calls, stop, usage, took_ms, ..
            } => {
                self.total = self.total.plus(&usage);
                let cost = usize::try_from(request)
                    .ok()
                    .and_then(|at| self.facts.costs_usd.get(at.checked_sub(1)?))
                    .copied()
                    .flatten();
                let (effort, asked_of) = (self.effort.clone(), model.unwrap_or_else(|| self.model.clone()));
                let message = match purpose {
                    Purpose::Act => text,
                    Purpose::Plan => format!("[plan] {text}"),
                    Purpose::Review => format!("[review] {text}"),
                    Purpose::Summary => format!("[summary] {text}"),
                };
                let step = self.step(&at, "agent", &message);
                step.insert("model_name".to_owned(), json!(asked_of));
                put(step, "reasoning_effort", effort);
                if !thinking.is_empty() {
                    step.insert("reasoning_content".to_owned(), json!(thinking));
                }
                if !calls.is_empty() {
                    let calls: Vec<Value> = calls
                        .iter()
                        .map(|call| {
                            let input = match &call.input {
                                Value::Object(_) => call.input.clone(),
                                other => json!({"input_that_was_no_json_object": other}),
                            };
                            json!({"tool_call_id": call.id, "function_name": call.tool, "arguments": input})
                        })
                        .collect();
                    step.insert("tool_calls".to_owned(), json!(calls));
                }
                let mut metrics = Map::new();
                put(&mut metrics, "prompt_tokens", prompt_tokens(&usage));
                put(&mut metrics, "completion_tokens", usage.output_tokens);
                put(&mut metrics, "cached_tokens", usage.cache_read_tokens);
                put(&mut metrics, "cost_usd", cost);
                metrics.insert("extra".to_owned(), buckets(&usage));
                step.insert("metrics".to_owned(), Value::Object(metrics));
                step.insert("llm_call_count".to_owned(), json!(1));
                step.insert(
                    "extra".to_owned(),
                    json!({"stop": stop, "request": request, "took_ms": took_ms}),
                );
            }
            Event::Ran { id, output, .. } => {
                // Results belong to the step that made the call.
                let step = self.steps.iter_mut().rev().find(|step| {
                    let calls = step.get("tool_calls").and_then(Value::as_array);
                    calls.is_some_and(|calls| calls.iter().any(|call| call["tool_call_id"] == id.as_str()))
                });
                if let Some(step) = step {
                    let observation = step.entry("observation").or_insert_with(|| json!({"results": []}));
                    if let Some(results) = observation["results"].as_array_mut() {
                        results.push(json!({"source_call_id": id, "content": output}));
                    }
                }
            }
            Event::Nudged { text, .. } => {
                self.step(&at, "user", &text);
            }
            Event::Compacted { how, before, after } => {
                let text = format!("[window: {how}, from about {before} to {after} tokens]");
                self.step(&at, "system", &text);
            }
            Event::Tested { command, passed, output, .. } => {
                let verdict = if passed { "passes" } else { "fails" };
                self.step(&at, "system", &format!("[`{command}` {verdict}]\n{output}"));
            }
            Event::Violation { path, tool, outcome } => {
                self.step(&at, "system", &format!("[out of bounds: {path} by {tool}: {outcome}]"));
            }
            Event::Ended { exit, reason, violations, .. } => {
                self.extra.insert("exit".to_owned(), json!(exit.name()));
                self.extra.insert("reason".to_owned(), json!(reason));
                self.extra.insert("violations".to_owned(), json!(violations));
            }
            Event::Unanswered { .. }
            | Event::EffortRaised { .. }
            | Event::Reviewed { .. }
            | Event::Heartbeat { .. } => {}
        }
    }

    fn step(&mut self, at: &str, source: &str, message: &str) -> &mut Map<String, Value> {
        let mut step = Map::new();
        step.insert("timestamp".to_owned(), json!(at));
        step.insert("source".to_owned(), json!(source));
        step.insert("message".to_owned(), json!(message));
        self.steps.push(step);
        self.steps.last_mut().expect("it has just been pushed")
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

/// All input, as the format counts it.
fn prompt_tokens(usage: &Usage) -> Option<u64> {
    let cached = [usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens];
    Some(cached.into_iter().flatten().fold(usage.uncached_input_tokens?, u64::saturating_add))
}

/// The exclusive buckets, which the format has no fields for.
fn buckets(usage: &Usage) -> Value {
    json!({
        "uncached_input_tokens": usage.uncached_input_tokens, "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens, "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "reasoning_tokens": usage.reasoning_tokens, "source": usage.source,
    })
}

/// ISO 8601 in UTC.
fn timestamp(at_ms: u64) -> String {
    // Howard Hinnant's civil_from_days, for days that are not negative.
    let (days, rest) = (at_ms / 86_400_000 + 719_468, at_ms % 86_400_000);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}
