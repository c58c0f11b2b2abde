//! The parser against streams of the real program, whole, cut at every byte, and made of nothing.

use super::*;
use crate::agents::{AgentKind as _, settings};
use harness_agent::events::Event;

const STREAM: &str = include_str!("samples/codex.jsonl");
const REFUSED: &str = include_str!("samples/codex-refused.jsonl");

fn program() -> Codex {
    let source = Source::Npm(Npm {
        package: String::new(),
        version: VERSION.into(),
        program: String::new(),
        name: "codex",
        needs_glibc: false,
    });
    let recipe = Recipe { program: NAME, version: VERSION.into(), source, says_version: vec!["bin/codex"] };
    Codex { recipe, effort: None, max_tokens: None, max_cost: None }
}

#[test]
fn codex_stream_gives_steps_and_exclusive_buckets() {
    let told = program().read(STREAM.as_bytes());
    assert_eq!(told.exit, Some(AgentExit::Finished));
    let usage = told.usage;
    assert_eq!((usage.uncached_input_tokens, usage.cache_read_tokens), (Some(2206 - 509 - 614), Some(509)));
    assert_eq!((usage.cache_write_tokens, usage.total()), (Some(614), Some(2206 + 422)));
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(422), Some(194)));
    let ran = told.events.iter().filter(|event| matches!(event, Event::Ran { is_error: false, .. })).count();
    let called = told
        .events
        .iter()
        .filter(|event| matches!(event, Event::Answered { calls, .. } if !calls.is_empty()))
        .count();
    assert_eq!((ran, called), (1, 1), "{told:?}");
}

#[test]
fn codex_refused_by_a_budget_says_so_and_has_no_usage() {
    let told = program().read(REFUSED.as_bytes());
    assert_eq!((told.exit, told.usage), (Some(AgentExit::Crashed), Usage::default()));
    assert!(told.message.unwrap().contains("Quota exceeded"));
}

#[test]
fn codex_without_its_own_sandbox_is_not_taken_for_finished() {
    let failed = format!(
        "{}\n{}\n",
        json!({"type": "item.completed", "item": {"id": "i", "type": "command_execution", "command": "ls",
            "aggregated_output": format!("bwrap: {NO_SANDBOX}"), "exit_code": 1}}),
        json!({"type": "turn.completed", "usage": {"input_tokens": 1, "output_tokens": 1}})
    );
    let told = program().read(failed.as_bytes());
    assert_eq!((told.exit, told.findings[0].check.as_str()), (Some(AgentExit::Crashed), "agent_sandbox"));
}

#[test]
fn codex_stream_cut_anywhere_or_broken_is_read_without_harm() {
    let whole = program().read(STREAM.as_bytes()).events.len();
    for end in 0..STREAM.len() {
        let told = program().read(&STREAM.as_bytes()[..end]);
        assert!(told.events.len() <= whole && (told.exit.is_none() || end + 2 >= STREAM.len()), "{end}");
    }
    let binary: Vec<u8> = (0..=255).rev().cycle().take(100_000).collect();
    assert_eq!(program().read(&binary), Told::default());
}

#[test]
fn codex_refuses_a_setting_by_name() {
    for (name, value) in [("effort", "max"), ("max_tokens", "lots"), ("version", "0.169")] {
        let given = BTreeMap::from([(name.to_owned(), Value::from(value))]);
        let given = settings::check(NAME, KIND.settings(), &given).unwrap();
        let told = KIND.configure(Some("openai/m"), &given).err().unwrap().to_string();
        assert!(told.contains(&format!("{name:?}")) && told.contains("codex"), "{told}");
    }
}
