//! The parser against a stream of the real program, whole, cut at every byte, and made of nothing.

use super::*;
use crate::agents::{AgentKind as _, settings};
use harness_agent::events::Event;
use std::collections::BTreeMap;

/// A short stream in the program's own form.
const STREAM: &str = include_str!("samples/claude.jsonl");

fn agent(given: &[(&str, &str)]) -> Result<Arc<dyn Agent>, String> {
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    let given = settings::check(NAME, KIND.settings(), &given).map_err(|error| error.to_string())?;
    KIND.configure(Some("anthropic/m"), &given).map_err(|error| error.to_string())
}

fn program() -> ClaudeCode {
    let source = Source::Npm(Npm {
        package: String::new(),
        version: VERSION.into(),
        program: String::new(),
        name: "claude",
        needs_glibc: true,
    });
    ClaudeCode {
        recipe: Recipe { program: NAME, version: VERSION.into(), source, says_version: vec!["bin/claude"] },
        is_bare: false,
        max_turns: None,
        max_cost: None,
        effort: None,
        append_prompt: None,
        tools: Vec::new(),
    }
}

#[test]
fn claude_code_stream_gives_steps_usage_and_cost() {
    let told = program().read(STREAM.as_bytes());
    assert_eq!(told.exit, Some(AgentExit::Finished));
    assert_eq!(told.version.as_deref(), Some(VERSION));
    assert_eq!((told.usage.uncached_input_tokens, told.usage.output_tokens), (Some(2206), Some(422)));
    assert_eq!((told.usage.cache_read_tokens, told.usage.cache_write_tokens), (Some(1018), Some(400)));
    assert_eq!(told.usage.cache_write_1h_tokens, Some(214));
    assert_eq!(told.cost, NanoUsd::from_usd(0.016_037_4));
    assert!(matches!(&told.events[0], Event::Answered { calls, .. } if calls[0].tool == "Bash"), "{told:?}");
    assert!(matches!(&told.events[1], Event::Ran { tool, is_error: false, .. } if tool == "Bash"));
    assert!(matches!(&told.events[2], Event::Answered { text, .. } if text.starts_with("Done")));
}

#[test]
fn claude_code_end_is_read_from_its_reason_and_not_from_subtype() {
    for (reason, is_error, exit) in [
        ("completed", false, AgentExit::Finished),
        ("max_turns", true, AgentExit::Budget),
        ("budget_exhausted", true, AgentExit::Budget),
        ("api_error", true, AgentExit::Crashed),
    ] {
        let line = serde_json::json!({"type": "result", "subtype": "success", "is_error": is_error,
            "terminal_reason": reason, "total_cost_usd": 0.5, "result": "said",
            "modelUsage": {"m": {"inputTokens": 3, "outputTokens": 1, "costBasis": "unknown"}}});
        let told = program().read(line.to_string().as_bytes());
        assert_eq!(told.exit, Some(exit), "{reason}");
        // A price that it made up is none.
        assert_eq!(told.cost, None);
    }
}

#[test]
fn claude_code_stream_cut_anywhere_or_broken_is_read_without_harm() {
    let program = program();
    let whole = program.read(STREAM.as_bytes()).events.len();
    for end in (0..STREAM.len()).step_by(if cfg!(debug_assertions) { 3 } else { 1 }) {
        let told = program.read(&STREAM.as_bytes()[..end]);
        assert!(told.events.len() <= whole);
        assert!(told.exit.is_none() || end + 2 >= STREAM.len(), "{end}");
    }
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(program.read(&binary), Told::default());
    for odd in [
        r#"{"type":"assistant"}"#,
        r#"{"type":"user","message":{"content":7}}"#,
        r#"{"type":"result","modelUsage":[]}"#,
    ] {
        program.read(odd.as_bytes());
    }
}

#[test]
fn claude_code_refuses_a_setting_by_name() {
    assert!(
        agent(&[("mode", "bare"), ("max_turns", "3"), ("effort", "low"), ("version", "2.1.200")]).is_ok()
    );
    for (name, value) in [
        ("mode", "fast"),
        ("max_turns", "0"),
        ("max_cost", "-1"),
        ("effort", "none"),
        ("version", "latest"),
        ("version", "2"),
        ("version", "1.2.3;ls"),
    ] {
        let told = agent(&[(name, value)]).err().unwrap();
        assert!(told.contains(&format!("{name:?}")) && told.contains("claude-code"), "{told}");
    }
    assert!(KIND.configure(None, &BTreeMap::new()).is_err());
}
