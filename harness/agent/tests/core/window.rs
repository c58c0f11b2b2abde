//! Windows that fill, and that overflow at each possible step.

use harness_agent::events::{Event, Purpose};
use harness_core::AgentExit;
use serde_json::{Value, json};

use crate::support::{Canned, Piece, call, message, run, sandbox, submit};

fn noisy(at: usize) -> Value {
    let thinking =
        json!({"type": "thinking", "thinking": format!("thought {at}"), "signature": format!("SIG{at}==")});
    let cmd = format!("echo step{at}; head -c 9000 /dev/zero | tr '\\0' {}", at % 10);
    // Without usage, so that the window's size is judged by the bytes alone.
    json!({"type": "message", "content": [thinking, call(&format!("c{at}"), "bash", json!({"cmd": cmd}))], "stop_reason": "tool_use"})
}

#[test]
fn policies_keep_the_conversation_in_its_window_and_thoughts_verbatim() {
    run(async {
        for (policy, how) in [("mask", "mask"), ("summarise", "summarise"), ("hybrid", "mask")] {
            let Some(sandbox) = sandbox("policies").await else { return };
            let summary = message(json!([{"type": "text", "text": "SUMMARY: steps were taken"}]), "end_turn");
            let canned = Canned::with_aside((0..14).map(noisy).chain([submit()]), &summary);
            let settings = [
                ("context_policy", json!(policy)),
                ("context_window", json!(26_000)),
                ("max_output_tokens", json!(1000)),
                ("output_cap", json!(20_000)),
                ("max_steps", json!(18)),
                ("prompt", json!("brief")),
            ];
            let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, canned.clone()) }.work().await;
            assert!(
                outcome.count(|event| matches!(event, Event::Compacted { how: done, .. } if done == how)) > 0,
                "{policy}: {:?}",
                outcome.report()
            );
            let bodies = canned.bodies.lock().unwrap();
            let acts: Vec<String> =
                bodies.iter().filter(|body| body.get("tools").is_some()).map(Value::to_string).collect();
            assert!(acts.iter().all(|body| body.len() < 26_000 * 4), "{policy}");
            let last = acts.last().unwrap();
            assert!(last.contains("SIG13=="), "{policy}: the newest thoughts are there verbatim");
            assert!(last.contains("Do it."), "{policy}: the task is never forgotten");
            assert_eq!(
                outcome.count(|event| matches!(event, Event::Answered { purpose: Purpose::Summary, .. })) > 0,
                policy == "summarise"
            );
            assert_eq!(outcome.report().exit, AgentExit::Finished);
            assert_eq!(last.contains("SUMMARY: steps were taken"), policy == "summarise");
            if policy != "summarise" {
                assert!(last.contains("taken out of the window") && last.contains("SIG0=="), "{policy}");
            }
        }
    });
}

#[test]
fn a_window_that_overflows_at_any_step_is_made_to_fit_or_ends_it() {
    run(async {
        let overflow = || {
            (400, br#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 250000 tokens > 200000 maximum"}}"#.to_vec())
        };
        let ok = |answer: Value| (200, answer.to_string().into_bytes());
        for step in 0..6 {
            let Some(sandbox) = sandbox("a_window_that_overflows").await else { return };
            let mut answers: Vec<_> = (0..5).map(|at| ok(noisy(at))).collect();
            answers.push(ok(submit()));
            answers.insert(step, overflow());
            let settings = [("context_policy", json!("mask"))];
            let outcome =
                Piece { settings: &settings, ..Piece::new(&*sandbox, Canned::raw(answers)) }.work().await;
            assert_eq!(outcome.report().exit, AgentExit::Finished, "{step}: {:?}", outcome.report());
        }
        let Some(sandbox) = sandbox("a_window_that_overflows").await else { return };
        let canned = Canned::raw([ok(noisy(1)), overflow()]);
        let outcome = Piece::new(&*sandbox, canned.clone()).work().await;
        assert_eq!(outcome.report().exit, AgentExit::GaveUp);
        assert!(outcome.report().reason.contains("however short"));
        assert!(canned.bodies.lock().unwrap().len() < 20);
        let settings = [("context_policy", json!("none"))];
        let outcome =
            Piece { settings: &settings, ..Piece::new(&*sandbox, Canned::raw([overflow()])) }.work().await;
        assert_eq!((outcome.report().exit, outcome.report().usage.requests), (AgentExit::GaveUp, None));
        let beside = [("plan", json!("on")), ("review", json!("on"))];
        let canned = Canned::raw([overflow(), ok(noisy(1)), ok(submit()), overflow()]);
        let outcome = Piece { settings: &beside, ..Piece::new(&*sandbox, canned) }.work().await;
        assert_eq!(
            outcome.report().exit,
            AgentExit::Finished,
            "plan and review are helps: {:?}",
            outcome.report()
        );
    });
}
