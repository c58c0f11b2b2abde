//! How work ends: goals, plans, reviews, and saying that it cannot be done.

use harness_agent::events::{Event, Purpose};
use harness_core::AgentExit;
use serde_json::json;

use crate::support::{Canned, Piece, Played, calls, inside, message, run, sandbox, submit};

#[test]
fn a_false_claim_of_success_is_not_accepted_before_the_test_passes() {
    run(async {
        let Some(sandbox) = sandbox("a_false_claim").await else { return };
        let answers = [
            message(json!([{"type": "text", "text": "1. make it pass"}]), "end_turn"),
            calls("bash", json!({"cmd": "ls"})),
            submit(),
            calls("write", json!({"path": "ok", "content": ""})),
            submit(),
        ];
        let canned = Canned::new(answers);
        let settings = [("test_command", json!("echo looked; test -f ok")), ("effort", json!("dynamic"))];
        let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, canned.clone()) }.work().await;
        assert_eq!(outcome.report().exit, AgentExit::Finished);
        assert!(
            outcome.ran()[1].contains("Not accepted: `echo looked; test -f ok` fails.\nlooked"),
            "{:?}",
            outcome.ran()
        );
        assert_eq!(outcome.count(|event| matches!(event, Event::Tested { passed: false, .. })), 1);
        assert_eq!(outcome.count(|event| matches!(event, Event::Tested { passed: true, .. })), 1);
        assert_eq!(outcome.count(|event| matches!(event, Event::Planned { .. })), 1);
        assert!(canned.bodies.lock().unwrap()[1].to_string().contains("make it pass"));
        assert_eq!(outcome.count(|event| matches!(event, Event::EffortRaised { .. })), 1);
    });
}

#[test]
fn claims_without_end_give_up() {
    run(async {
        let Some(sandbox) = sandbox("claims_without_end").await else { return };
        let canned = Canned::new([calls("bash", json!({"cmd": "ls"})), submit()]);
        let settings = [("test_command", json!("date +%N; false")), ("plan", json!("off"))];
        let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, canned) }.work().await;
        assert_eq!(outcome.report().exit, AgentExit::GaveUp, "{:?}", outcome.report());
    });
}

#[test]
fn goal_finds_the_projects_own_test_and_advice_is_given_once() {
    run(async {
        for (files, command) in [
            ("printf 'test:\\n\\tfalse\\n' > Makefile", "make -s test"),
            ("echo '[package]' > Cargo.toml", "cargo test -q"),
            ("echo '{\"scripts\": {\"test\": \"exit 1\"}}' > package.json", "npm test --silent"),
            ("mkdir tests; echo > tests/test_a.py", "python3 -m"),
            ("echo 'exit 1' > check.sh", "sh check.sh"),
        ] {
            let Some(sandbox) = sandbox("goal_finds").await else { return };
            inside(&*sandbox, &format!("cd /app; {files}")).await;
            let canned = Canned::new([calls("bash", json!({"cmd": "ls"})), submit()]);
            let settings = [("goal", json!("advise")), ("test_timeout", json!(20))];
            let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, canned) }.work().await;
            assert_eq!(outcome.report().exit, AgentExit::Finished);
            let tested = |event: &Event| matches!(event, Event::Tested { command: run, .. } if run.starts_with(command));
            assert!(outcome.count(tested) >= 1, "{command}: {:?}", outcome.lines);
        }
    });
}

#[test]
fn a_review_sends_work_back_and_sees_the_change() {
    run(async {
        let Some(sandbox) = sandbox("a_review").await else { return };
        inside(&*sandbox, "echo old > /app/file").await;
        let answers = [
            calls("bash", json!({"cmd": "echo new > file; echo more > other"})),
            submit(),
            message(
                json!([{"type": "text", "text": "REVISE\nother: remove what was left over"}]),
                "end_turn",
            ),
            calls("bash", json!({"cmd": "rm other"})),
            submit(),
            message(json!([{"type": "text", "text": "APPROVE"}]), "end_turn"),
        ];
        let canned = Canned::new(answers);
        let settings = [("review", json!("on"))];
        let outcome = Piece { settings: &settings, ..Piece::new(&*sandbox, canned.clone()) }.work().await;
        assert_eq!(outcome.report().exit, AgentExit::Finished);
        assert!(outcome.ran()[1].contains("remove what was left over"));
        let bodies = canned.bodies.lock().unwrap();
        let reviewed = bodies[2]["messages"].to_string();
        assert!(
            reviewed.contains("-old") && reviewed.contains("+new") && reviewed.contains("b/other"),
            "{reviewed}"
        );
        assert!(bodies[2].get("tools").is_none());
        assert_eq!(
            outcome.count(|event| matches!(event, Event::Answered { purpose: Purpose::Review, .. })),
            2
        );
    });
}

#[test]
fn the_model_may_say_that_it_cannot_go_on_and_nothing_at_all_is_asked_about() {
    run(async {
        let Some(sandbox) = sandbox("cannot_go_on").await else { return };
        let canned = Canned::new([calls("submit", json!({"message": "no compiler", "cannot_go_on": true}))]);
        let report = Piece::new(&*sandbox, canned).work().await.report.unwrap();
        assert_eq!((report.exit, report.reason.as_str()), (AgentExit::GaveUp, "no compiler"));
        let outcome = Piece::new(&*sandbox, Canned::new([submit()])).work().await;
        assert_eq!((outcome.report().exit, outcome.report().steps), (AgentExit::Finished, 2));
        assert!(outcome.ran()[0].contains("not looked at anything"));
    });
}

#[test]
fn a_script_plays_plan_and_review_as_what_is_beside_it() {
    run(async {
        let Some(sandbox) = sandbox("beside").await else { return };
        let script = "[[turn]]\nrun = \"true\"\n[[turn]]\nfinish = \"x\"\n";
        let settings = [("plan", json!("on")), ("review", json!("on"))];
        for wire in harness_gateway::wire::WIRES {
            let outcome = Piece {
                wire: wire.name(),
                settings: &settings,
                ..Piece::new(&*sandbox, Played::new(script))
            }
            .work()
            .await;
            assert_eq!(
                (outcome.report().exit, outcome.report().usage.requests),
                (AgentExit::Finished, Some(4)),
                "{wire:?}"
            );
        }
    });
}
