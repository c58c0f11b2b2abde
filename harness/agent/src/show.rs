//! Events for people to read: a pure function from a line of the log to a few lines of text.

use std::fmt::Write as _;

use serde_json::Value;

use crate::events::{CallRecord, Event, Line, Purpose};
use crate::text::middle_out;

/// Most of an output that is shown.
const OUTPUT: usize = 1200;
/// Most of what the model says that is shown.
const SAID: usize = 4000;

/// What an event says, ending in a line end; nothing for what only machines want to know. The text is the model's and the
/// sandbox's: whoever prints it makes it harmless for a terminal.
pub fn line(line: &Line) -> String {
    let mut text = String::new();
    match &line.event {
        Event::Started { model, wire, instruction, workdir, .. } => {
            let wire = bracketed(std::slice::from_ref(wire));
            let _ = writeln!(text, "model {model}{wire}, working folder {workdir}");
            block(&mut text, "task", instruction, SAID);
        }
        Event::Planned { text: plan } => block(&mut text, "plan", plan, SAID),
        Event::Answered { purpose, text: said, thinking, calls, usage, took_ms, stop, .. } => {
            let what = match purpose {
                Purpose::Act => "model",
                Purpose::Plan => "model, planning",
                Purpose::Review => "model, reviewing",
                Purpose::Summary => "model, summing up",
            };
            let tokens = usage.total().map(|tokens| format!("{tokens} tokens")).unwrap_or_default();
            // Of programs of others neither the time nor the end of an answer is known.
            let took =
                if *took_ms > 0 { format!("{:.1} s", *took_ms as f64 / 1000.0) } else { String::new() };
            let _ = writeln!(text, "── {what}{}", bracketed(&[tokens, took, stop.clone()]));
            if !thinking.trim().is_empty() {
                block(&mut text, "thinks", thinking, OUTPUT);
            }
            indented(&mut text, "  ", said.trim(), SAID);
            calls.iter().for_each(|call| self::call(&mut text, call));
        }
        Event::Unanswered { message, again, .. } => {
            let next = if *again { "; asked again" } else { "" };
            let _ = writeln!(text, "! no answer: {message}{next}");
        }
        Event::Ran { tool, output, is_error, .. } => {
            let _ = writeln!(text, "  ← {tool}{}", if *is_error { " failed" } else { "" });
            indented(&mut text, "    ", output.trim_end(), OUTPUT);
        }
        Event::Nudged { why, text: told } => {
            let _ = writeln!(text, "! told ({why}): {}", middle_out(told, SAID));
        }
        Event::EffortRaised { from, to, why } => {
            let _ = writeln!(text, "! effort raised from {from} to {to} ({why})");
        }
        Event::Compacted { how, before, after } => {
            let _ = writeln!(text, "! window: {how}, from about {before} to {after} tokens");
        }
        Event::Violation { path, tool, outcome } => {
            let _ = writeln!(text, "! out of bounds: {path} ({tool}): {outcome}");
        }
        Event::Tested { command, passed, output, .. } => {
            let _ = writeln!(text, "! `{command}` {}", if *passed { "passes" } else { "fails" });
            if !passed {
                indented(&mut text, "    ", output.trim_end(), OUTPUT);
            }
        }
        Event::Reviewed { approved, findings } => {
            let _ = writeln!(text, "! review: {}", if *approved { "approved" } else { "sent back" });
            indented(&mut text, "    ", findings, OUTPUT);
        }
        Event::Ended { exit, reason, steps, usage, violations } => {
            let tokens = usage.total().map_or("unknown".to_owned(), |tokens| tokens.to_string());
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let _ = writeln!(text, "── {} after {steps} steps, {tokens} tokens{why}", exit.name());
            if *violations > 0 {
                let _ = writeln!(text, "   {violations} paths out of bounds were tried");
            }
        }
        Event::Asked { .. } | Event::Heartbeat { .. } => {}
    }
    text
}

/// What is known of these, in brackets behind a word.
fn bracketed(parts: &[String]) -> String {
    let known: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) }
}

/// A call as one would type it, where that can be said.
fn call(text: &mut String, call: &CallRecord) {
    let shown = match (&call.input["cmd"], &call.input) {
        (Value::String(command), _) => command.clone(),
        (_, Value::Object(input)) => {
            let members = input.iter().map(|(name, value)| match value {
                Value::String(value) if value.contains('\n') => format!("\n{name}:\n{value}"),
                Value::String(value) => format!("{name}={value}"),
                value => format!("{name}={value}"),
            });
            members.collect::<Vec<_>>().join(" ")
        }
        (_, other) => other.to_string(),
    };
    let _ = writeln!(text, "  → {}", call.tool);
    indented(text, "    ", &shown, OUTPUT);
}

fn block(text: &mut String, name: &str, body: &str, most: usize) {
    let _ = writeln!(text, "{name}:");
    indented(text, "  ", body.trim(), most);
}

fn indented(text: &mut String, by: &str, body: &str, most: usize) {
    if body.is_empty() {
        return;
    }
    for line in middle_out(body, most).lines() {
        let _ = writeln!(text, "{by}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_shows_a_step_as_one_would_tell_it() {
        let log = concat!(
            r#"{"seq":1,"at_ms":0,"event":"answered","request":1,"purpose":"act","model":"m","text":"I look.","thinking":"","#,
            r#""calls":[{"id":"c","tool":"bash","input":{"cmd":"ls\npwd"}},{"id":"d","tool":"edit","input":{"path":"a","old_string":"x"}}],"#,
            r#""stop":"tools","usage":{"uncached_input_tokens":5,"output_tokens":2},"raw_usage":null,"took_ms":1500}"#,
            "\n",
            r#"{"seq":2,"at_ms":0,"event":"ran","id":"c","tool":"bash","output":"file\n/app\n","is_error":false,"took_ms":3}"#,
            "\n",
            r#"{"seq":3,"at_ms":0,"event":"ran","id":"#
        );
        let shown: String = crate::events::read(log).map(|event| line(&event)).collect();
        assert_eq!(
            shown,
            "── model (7 tokens, 1.5 s, tools)\n  I look.\n  → bash\n    ls\n    pwd\n  → edit\n    path=a old_string=x\n  ← bash\n    file\n    /app\n"
        );
    }
}
