//! Budgets and time that run out, in each phase.

use std::time::{Duration, Instant};

use harness_agent::events::Event;
use harness_core::AgentExit;
use harness_gateway::wire::{ErrorKind, WIRES};
use serde_json::{Value, json};

use crate::support::{Canned, Piece, Played, calls, message, run, sandbox, submit};

#[test]
fn a_refusal_of_the_gateways_ends_it_after_one_request_in_each_phase() {
    run(async {
        let Some(sandbox) = sandbox("a_refusal").await else { return };
        let ok = |answer: Value| (200, answer.to_string().into_bytes());
        let plan = || ok(message(json!([{"type": "text", "text": "1. x"}]), "end_turn"));
        let refused = harness_gateway::wire::by_name("anthropic")
            .unwrap()
            .error(ErrorKind::BudgetExhausted, "the trial's budget of 9 tokens has no room");
        let refused = || (refused.status, refused.body.clone().into_bytes());
        let settings = [("plan", json!("on")), ("review", json!("on"))];
        for (answers, requests) in [
            (vec![refused()], 1),
            (vec![plan(), refused()], 2),
            (vec![plan(), ok(calls("bash", json!({"cmd": "ls"}))), refused()], 3),
            (vec![plan(), ok(calls("bash", json!({"cmd": "ls"}))), ok(submit()), refused()], 4),
        ] {
            let canned = Canned::raw(answers);
            let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, canned.clone()) }.work().await;
            assert_eq!(outcome.report().exit, AgentExit::Budget);
            assert!(outcome.report().reason.contains("budget of 9 tokens"));
            assert_eq!(canned.bodies.lock().unwrap().len(), requests);
        }
        for wire in WIRES {
            let refused = wire.error(ErrorKind::BudgetExhausted, "the variant's time of 3 s is over");
            let canned = Canned::raw([(refused.status, refused.body.into_bytes())]);
            let outcome = Piece { wire: wire.name(), ..Piece::new(&*sandbox, canned.clone()) }.work().await;
            assert_eq!(
                (outcome.report().exit, canned.bodies.lock().unwrap().len()),
                (AgentExit::Budget, 1),
                "{wire:?}"
            );
        }
    });
}

#[test]
fn tokens_and_steps_have_a_limit() {
    run(async {
        let Some(sandbox) = sandbox("tokens_and_steps").await else { return };
        let many = || {
            Canned::new((0..50).map(|at| calls("bash", json!({"cmd": format!("echo {}", "x".repeat(at))}))))
        };
        for (name, value, says) in [
            ("max_tokens_per_task", json!(6000), "max_tokens_per_task of 6000"),
            ("max_steps", json!(4), "max_steps of 4"),
        ] {
            let settings = [(name, value)];
            let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, many()) }.work().await;
            let report = outcome.report();
            assert_eq!(report.exit, AgentExit::Budget);
            assert!(report.reason.contains(says), "{}", report.reason);
            assert!(report.usage.total().unwrap() <= 6000);
        }
    });
}

#[test]
fn money_has_a_limit_and_an_unknown_price_is_no_price() {
    run(async {
        let Some(sandbox) = sandbox("money").await else { return };
        let settings = [("max_cost", json!(0.5))];
        let canned = Canned::new([calls("bash", json!({"cmd": "date +%N"}))]);
        let bodies = || canned.bodies.lock().unwrap().len() as i64;
        let spent = || Some(harness_core::NanoUsd(bodies() * 200_000_000));
        let piece =
            Piece { settings: &settings, spent: Some(&spent), ..Piece::new(&*sandbox, canned.clone()) };
        let outcome = piece.work().await;
        assert_eq!((outcome.report().exit, bodies()), (AgentExit::Budget, 3), "{:?}", outcome.report());
        let unknown = || None;
        let piece =
            Piece { settings: &settings, spent: Some(&unknown), ..Piece::new(&*sandbox, canned.clone()) };
        assert!(piece.work().await.report().reason.contains("not known"));
    });
}

#[test]
fn time_ends_it_wherever_it_is_and_keeps_the_account() {
    run(async {
        let Some(sandbox) = sandbox("time_ends").await else { return };
        let began = Instant::now();
        let answers = [calls("bash", json!({"cmd": "sleep 1000", "timeout": 900}))];
        let outcome = Piece { time: Duration::from_secs(6), ..Piece::new(&*sandbox, Canned::new(answers)) }
            .work()
            .await;
        assert_eq!(outcome.report().exit, AgentExit::TimedOut, "{:?}", outcome.report());
        assert_eq!(outcome.report().usage.requests, Some(1));
        let slow = Played::slow("[[turn]]\nrun = \"true\"\n", Duration::from_secs(100));
        let settings = [("max_duration", json!(0.5))];
        let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, slow.clone()) }.work().await;
        assert_eq!(outcome.report().exit, AgentExit::TimedOut);
        assert!(outcome.report().reason.contains("max_duration of 0.5 s"));
        let (tell, cancel) = tokio::sync::watch::channel(false);
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            tell.send(true).unwrap();
        };
        let piece = Piece { cancel: Some(cancel), ..Piece::new(&*sandbox, slow) };
        let (outcome, ()) = tokio::join!(piece.work(), later);
        assert_eq!(outcome.report().exit, AgentExit::Cancelled);
        assert!(matches!(&outcome.lines.last().unwrap().event, Event::Ended { .. }));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    });
}

#[test]
fn heartbeats_say_what_is_waited_for() {
    run(async {
        let Some(sandbox) = sandbox("heartbeats").await else { return };
        let slow = Played::slow("[[turn]]\nfinish = \"x\"\n", Duration::from_secs(22));
        let outcome = Piece { time: Duration::from_secs(21), ..Piece::new(&*sandbox, slow) }.work().await;
        let beats = outcome.count(|event| matches!(event, Event::Heartbeat { waiting_for, for_ms } if waiting_for == "the model" && *for_ms > 15_000));
        assert_eq!(beats, 1);
    });
}
