//! The same conversation on all four wires.

use harness_agent::atif::{self, Facts};
use harness_agent::events::Event;
use harness_agent::rebuilt::{Exchanged, conversations};
use harness_core::AgentExit;

use crate::support::{Piece, Played, inside, run, sandbox};

const SCRIPT: &str = r#"
[[turn]]
say = "I look around."
run = ["pwd", "ls -la"]
usage = { input = 594, cache_read = 509, cache_write = 7, output = 211, reasoning = 97 }

[[turn]]
edit = { path = "hello.txt", content = "helo\n" }

[[turn]]
edit = { path = "hello.txt", old = "helo", new = "hello" }

[[turn]]
run = "cat hello.txt && cd / && X=kept"

[[turn]]
run = "pwd; echo $X"

[[turn]]
finish = "It says hello."
"#;

#[test]
fn core_works_on_every_wire() {
    run(async {
        for wire in harness_gateway::wire::WIRES {
            let Some(sandbox) = sandbox("core_works_on_every_wire").await else { return };
            let played = Played::new(SCRIPT);
            let outcome = Piece { wire: wire.name(), ..Piece::new(&*sandbox, played.clone()) }.work().await;
            let report = outcome.report();
            assert_eq!(
                (report.exit, report.reason.as_str(), report.steps),
                (AgentExit::Finished, "It says hello.", 6)
            );
            assert_eq!(inside(&*sandbox, "cat /app/hello.txt").await, "hello\n", "{wire:?}");
            let ran = outcome.ran();
            assert_eq!(ran.len(), 7, "{ran:?}");
            assert!(ran[0].starts_with("/app") && ran[1].contains("total"), "{ran:?}");
            assert!(ran[4].contains("hello") && ran[5].starts_with("/\nkept"), "{ran:?}");
            assert_eq!(report.usage.requests, Some(6));
            assert!(report.usage.cache_read_tokens.is_some_and(|tokens| tokens >= 509));
            let facts = Facts { session_id: "t", cost_usd: Some(0.5), costs_usd: &[Some(0.1)] };
            let document = atif::trajectory(outcome.lines, &facts).unwrap();
            assert_eq!(document["steps"].as_array().unwrap().len(), 8);
            assert_eq!(
                document["steps"][2]["observation"]["results"][1]["source_call_id"],
                document["steps"][2]["tool_calls"][1]["tool_call_id"]
            );
            assert_eq!(document["steps"][2]["metrics"]["completion_tokens"], 211);
            assert_eq!(document["extra"]["exit"], "finished");
        }
    });
}

#[test]
fn prompts_grow_only_at_their_end() {
    run(async {
        for wire in harness_gateway::wire::WIRES {
            let Some(sandbox) = sandbox("prompts_grow_only_at_their_end").await else { return };
            let played = Played::new(SCRIPT);
            Piece { wire: wire.name(), ..Piece::new(&*sandbox, played.clone()) }.work().await;
            let bodies = played.bodies.lock().unwrap();
            let list = |at: usize| {
                let body = &bodies[at];
                let list =
                    ["messages", "input", "contents"].iter().find_map(|key| body[*key].as_array()).unwrap();
                let text = serde_json::to_string(list).unwrap();
                // Marks for the cache move on with the conversation.
                text.replace(r#","cache_control":{"type":"ephemeral"}"#, "")
            };
            for at in 1..bodies.len() {
                let (before, after) = (list(at - 1), list(at));
                assert!(
                    after.starts_with(&before[..before.len() - 1]),
                    "{wire:?} at {at}:\n{before}\n{after}"
                );
                assert_eq!(bodies[at]["tools"], bodies[0]["tools"]);
            }
            if wire.name() == "anthropic" {
                let marks = bodies[3].to_string().matches("cache_control").count();
                assert_eq!(marks, 3, "after the system prompt and the last two turns of ours");
            }
        }
    });
}

#[test]
fn trajectory_rebuilt_from_the_wire_is_what_the_core_wrote() {
    run(async {
        for wire in harness_gateway::wire::WIRES {
            let Some(sandbox) = sandbox("trajectory_rebuilt").await else { return };
            let played = Played::new(SCRIPT);
            let settings = [("plan", serde_json::json!("on"))];
            let piece =
                Piece { wire: wire.name(), settings: &settings, ..Piece::new(&*sandbox, played.clone()) };
            let outcome = piece.work().await;
            let bodies: Vec<Vec<u8>> =
                played.bodies.lock().unwrap().iter().map(|body| body.to_string().into_bytes()).collect();
            let answers = played.answers.lock().unwrap().clone();
            let exchanges = bodies.iter().zip(&answers).map(|(request, answer)| Exchanged {
                wire: wire.name(),
                at_ms: 1,
                took_ms: 1,
                model: "m",
                request,
                content_type: None,
                answer,
                usage: harness_core::Usage::default(),
            });
            let found = conversations(exchanges);
            assert_eq!(found.len(), 2, "{wire:?}: the plan was asked for apart");
            let told = |lines: &[harness_agent::events::Line]| {
                let told = lines.iter().filter_map(|line| match &line.event {
                    Event::Answered { text, calls, purpose: harness_agent::events::Purpose::Act, .. } => {
                        let calls: Vec<_> =
                            calls.iter().map(|call| (&call.tool, call.input.to_string())).collect();
                        Some(format!("{text} {calls:?}"))
                    }
                    Event::Ran { output, tool, .. } => Some(format!("{tool} {output}")),
                    _ => None,
                });
                told.collect::<Vec<_>>()
            };
            let mut own = told(&outcome.lines);
            // What came of the last call nobody was told any more.
            own.pop();
            assert_eq!(told(&found[1]), own, "{wire:?}");
            let document = atif::trajectory(found[1].clone(), &Facts::default()).unwrap();
            assert_eq!(document["steps"].as_array().unwrap().len(), 8);
        }
    });
}
