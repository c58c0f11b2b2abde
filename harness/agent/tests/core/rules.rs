//! Paths out of bounds: refused, undone, put back, and counted.

use harness_agent::events::Event;
use harness_core::AgentExit;
use serde_json::json;
use std::time::Duration;

use crate::support::{Canned, Piece, calls, inside, run, sandbox, submit};

const SETUP: &str = "cd /app; mkdir -p src/deep tests/hidden docs; echo code > src/a.c; echo test > tests/t.sh; chmod 751 tests/t.sh; \
    echo secret > tests/hidden/key; ln -s key tests/hidden/link; echo words > docs/read.me";

#[test]
fn edits_out_of_bounds_are_refused_or_undone_and_counted() {
    run(async {
        let Some(sandbox) = sandbox("edits_out_of_bounds").await else { return };
        inside(&*sandbox, SETUP).await;
        let answers = [
            calls("write", json!({"path": "src/deep/new.c", "content": "x"})),
            calls("write", json!({"path": "src/../tests/t.sh", "content": "exit 0"})),
            calls("edit", json!({"path": "/app/docs/read.me", "old_string": "words", "new_string": "x"})),
            calls("read", json!({"path": "tests/hidden/key"})),
            calls("bash", json!({"cmd": "cat tests/hidden/key; ls tests"})),
            calls(
                "bash",
                json!({"cmd": "echo 'exit 0' > tests/t.sh; rm -r docs; echo new > top; echo fine > src/a.c; mkdir tests/hidden; echo fake > tests/hidden/key"}),
            ),
            calls("bash", json!({"cmd": "cat tests/t.sh docs/read.me; ls; ls tests"})),
            calls("bash", json!({"cmd": "ln -s /app/tests/t.sh src/way; echo broken > src/way"})),
            submit(),
        ];
        let settings = [("allowed_paths", json!("src/**")), ("excluded_paths", json!("tests/hidden"))];
        let outcome =
            Piece { settings: &settings, ..Piece::new(&*sandbox, Canned::new(answers)) }.work().await;
        assert_eq!(outcome.report().exit, AgentExit::Finished, "{:?}", outcome.report());
        let ran = outcome.ran();
        assert!(ran[0].contains("written"), "{ran:?}");
        assert!(
            ran[1].contains("/app/tests/t.sh may not be changed. Files may be changed only at: /app/src/**"),
            "{}",
            ran[1]
        );
        assert!(ran[2].contains("may not be changed") && ran[3].contains("does not exist"), "{ran:?}");
        assert!(
            !ran[4].contains("secret") && ran[4].contains("t.sh"),
            "out of sight for the shell too: {}",
            ran[4]
        );
        assert!(ran[5].contains("[undone: "), "{}", ran[5]);
        assert!(
            ran[6].starts_with("test\nwords\n") && !ran[6].contains("top") && !ran[6].contains("hidden"),
            "{}",
            ran[6]
        );
        assert!(ran[7].contains("/app/tests/t.sh"), "a link leads nowhere else: {}", ran[7]);
        let left = inside(&*sandbox, "cd /app; cat src/a.c tests/t.sh docs/read.me tests/hidden/key tests/hidden/link; stat -c %a tests/t.sh; ls").await;
        assert_eq!(left, "fine\ntest\nwords\nsecret\nsecret\n751\ndocs\nsrc\ntests\n");
        let violations = outcome.count(|event| matches!(event, Event::Violation { .. }));
        assert_eq!(outcome.report().violations, violations as u64);
        assert!(violations >= 7, "{violations}");
    });
}

#[test]
fn what_was_hidden_is_back_after_a_time_out() {
    run(async {
        let Some(sandbox) = sandbox("what_was_hidden").await else { return };
        inside(&*sandbox, SETUP).await;
        let answers = [calls("bash", json!({"cmd": "ls -R; sleep 1000"}))];
        let settings = [("excluded_paths", json!("tests/**"))];
        let piece = Piece {
            settings: &settings,
            time: Duration::from_millis(1500),
            ..Piece::new(&*sandbox, Canned::new(answers))
        };
        assert_eq!(piece.work().await.report().exit, AgentExit::TimedOut);
        assert_eq!(inside(&*sandbox, "cat /app/tests/hidden/key /app/tests/t.sh").await, "secret\ntest\n");
    });
}
