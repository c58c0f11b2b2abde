//! The reader against an account of the real program, whole, cut at every byte, and made of nothing.

use super::*;
use crate::agents::{AgentKind as _, settings};
use harness_agent::events::Event;
use std::collections::BTreeMap;

const ACCOUNT: &str = include_str!("samples/mini.traj.json");

fn program() -> MiniSweAgent {
    let recipe =
        Recipe { program: NAME, version: VERSION.into(), source: source(), says_version: vec!["bin/mini"] };
    MiniSweAgent { recipe, wires: &["openai-chat"], max_steps: None, max_cost: None, command_timeout: None }
}

#[test]
fn mini_swe_agent_account_gives_steps_usage_and_cost() {
    let told = program().read(ACCOUNT.as_bytes());
    assert_eq!((told.exit, told.version.as_deref()), (Some(AgentExit::Finished), Some(VERSION)));
    let usage = told.usage;
    assert_eq!((usage.requests, usage.output_tokens, usage.total()), (Some(2), Some(422), Some(2628)));
    assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (Some(1018), Some(614)));
    assert_eq!(usage.uncached_input_tokens, Some(2206 - 1018 - 614));
    assert_eq!(told.cost, NanoUsd::from_usd(0.005_832_25));
    assert!(
        matches!(&told.events[0], Event::Answered { calls, .. } if calls[0].input["command"].is_string())
    );
    assert!(matches!(&told.events[1], Event::Ran { tool, is_error: false, .. } if tool == "bash"));
}

#[test]
fn mini_swe_agent_end_is_read_from_its_status() {
    for (status, exit) in [
        ("LimitsExceeded", AgentExit::Budget),
        ("TimeExceeded", AgentExit::TimedOut),
        ("RepeatedFormatError", AgentExit::GaveUp),
        ("AuthenticationError", AgentExit::Crashed),
    ] {
        let account =
            json!({"info": {"exit_status": status}, "messages": [{"role": "exit", "content": "why"}]});
        let told = program().read(account.to_string().as_bytes());
        assert_eq!((told.exit, told.message), (Some(exit), Some(format!("{status}: why"))));
    }
}

#[test]
fn mini_swe_agent_account_cut_anywhere_or_broken_is_read_without_harm() {
    let end = ACCOUNT.trim_end().len();
    for end in 0..end {
        assert_eq!(program().read(&ACCOUNT.as_bytes()[..end]), Told::default(), "{end}");
    }
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(program().read(&binary), Told::default());
    program().read(br#"{"messages":{"role":1},"info":[]}"#);
    program().read(br#"{"messages":[{"role":"assistant","tool_calls":[1,{"function":{"arguments":"{"}}]}]}"#);
}

#[test]
fn mini_swe_agent_lock_names_one_version_of_each() {
    let own = format!("{NAME}=={VERSION}");
    assert!(LOCK.lines().any(|line| line == own));
    let names: Vec<&str> = LOCK.lines().map(|line| line.split_once("==").unwrap().0).collect();
    let mut distinct = names.clone();
    distinct.dedup();
    assert_eq!(names, distinct);
}

#[test]
fn mini_swe_agent_refuses_a_setting_by_name() {
    for (name, value) in [("max_steps", "none"), ("wire", "anthropic"), ("version", ">=2")] {
        let given = BTreeMap::from([(name.to_owned(), Value::from(value))]);
        let given = settings::check(NAME, KIND.settings(), &given).unwrap();
        let told = KIND.configure(Some("openai-chat/m"), &given).err().unwrap().to_string();
        assert!(told.contains(&format!("{name:?}")) && told.contains("mini-swe-agent"), "{told}");
    }
}
