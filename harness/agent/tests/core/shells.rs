//! Commands that misbehave, and files.

use std::time::{Duration, Instant};

use harness_core::AgentExit;
use serde_json::json;

use crate::support::{Canned, Outcome, Piece, calls, inside, run, sandbox, submit};

async fn runs(
    test: &str,
    commands: &[serde_json::Value],
    settings: &[(&str, serde_json::Value)],
) -> Option<Outcome> {
    let sandbox = sandbox(test).await?;
    let answers = commands.iter().map(|input| calls("bash", input.clone())).chain([submit()]);
    let outcome = Piece { settings, ..Piece::new(&*sandbox, Canned::new(answers)) }.work().await;
    assert_eq!(outcome.report().exit, AgentExit::Finished, "{:?}", outcome.report());
    Some(outcome)
}

#[test]
fn shell_keeps_folder_variables_functions_and_jobs() {
    run(async {
        let commands = [
            json!({"cmd": "mkdir -p a/b; cd a/b; X=1; export Y=2; f() { echo \"f says $X\"; }; sleep 60 & true"}),
            json!({"cmd": "pwd; f; echo $Y; jobs | wc -l"}),
            json!({"cmd": "cat <<'EOF'\nit's 'quoted' \"here\"\nEOF"}),
            json!({"cmd": "pwd", "session": "other"}),
            json!({"cmd": "if true; then"}),
            json!({"cmd": "echo still $X"}),
            json!({"cmd": "set -e; false"}),
            json!({"cmd": "pwd; echo new shell: ${X:-none}"}),
        ];
        let Some(outcome) = runs("shell_keeps", &commands, &[]).await else { return };
        let ran = outcome.ran();
        assert_eq!(ran[1], "/app/a/b\nf says 1\n2\n1\n");
        assert!(ran[2].starts_with("it's 'quoted' \"here\""), "{}", ran[2]);
        assert_eq!(ran[3], "/app\n");
        assert!(ran[4].contains("syntax error"), "{}", ran[4]);
        assert!(ran[5].starts_with("still 1"), "{}", ran[5]);
        assert!(ran[6].contains("the shell itself ended with status 1"), "{}", ran[6]);
        assert_eq!(ran[7], "/app/a/b\nnew shell: none\n");
    });
}

#[test]
fn shell_survives_commands_that_never_return_kill_it_or_wait_for_input() {
    run(async {
        let commands = [
            json!({"cmd": "cd /tmp"}),
            json!({"cmd": "cd /usr; echo begun; sleep 1000", "timeout": 0.5}),
            json!({"cmd": "pwd"}),
            json!({"cmd": "trap '' TERM INT; while :; do :; done", "timeout": 0.5}),
            json!({"cmd": "kill -9 $$"}),
            json!({"cmd": "exit 7"}),
            json!({"cmd": "exec true"}),
            json!({"cmd": "read answer; echo \"got '$answer' $?\"; cat"}),
            json!({"cmd": "python3 -c 'input()'"}),
            json!({"cmd": "exec >/dev/null 2>&1; echo lost"}),
            json!({"cmd": "printf '\\n0123 0 /\\036'; echo fine"}),
        ];
        let began = Instant::now();
        let Some(outcome) = runs("shell_survives", &commands, &[]).await else { return };
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let ran = &outcome.ran()[1..];
        assert!(ran[0].starts_with("begun\n[not done after 0.5 s: killed"), "{}", ran[0]);
        assert_eq!(ran[1], "/tmp\n", "the folder is kept");
        assert!(ran[2].contains("not done"));
        assert!(ran[3].contains("ended by signal 9"), "{}", ran[3]);
        assert!(ran[4].contains("ended with status 7"));
        assert!(ran[5].contains("ended with status 0"));
        assert_eq!(ran[6], "got '' 1\n");
        assert!(ran[7].contains("EOFError"));
        assert!(ran[9].contains("fine"), "a mark that was guessed is none: {}", ran[9]);
    });
}

#[test]
fn shell_output_of_a_gigabyte_is_cut_and_the_beginning_is_in_a_file() {
    run(async {
        let commands = [
            json!({"cmd": "head -c 1000000000 /dev/zero | tr '\\0' x; echo END"}),
            json!({"cmd": "ls -l /tmp/.agent-output/1.txt | awk '{print $5}'"}),
            json!({"cmd": "seq 1 100000"}),
            json!({"cmd": "sed -n 50000p /tmp/.agent-output/2.txt"}),
        ];
        let Some(outcome) = runs("shell_output", &commands, &[("output_cap", json!(2000))]).await else {
            return;
        };
        let ran = outcome.ran();
        assert!(
            ran[0].len() < 3000 && ran[0].contains("END") && ran[0].contains("of 1000000004 bytes left out"),
            "{}",
            &ran[0][..300]
        );
        assert_eq!(ran[1], format!("{}\n", 16 << 20));
        assert!(ran[2].starts_with("1\n2\n") && ran[2].contains("99999\n100000"));
        assert_eq!(ran[3], "50000\n");
    });
}

#[test]
fn services_that_a_shell_leaves_running_go_on_after_it() {
    run(async {
        let Some(sandbox) = sandbox("services").await else { return };
        let answers = [
            calls(
                "bash",
                json!({"cmd": "setsid sh -c 'while :; do date > /app/beat; sleep 0.1; done' >/dev/null 2>&1 &"}),
            ),
            calls(
                "bash",
                json!({"cmd": "sh -c 'while :; do date > /app/beat2; sleep 0.1; done' >/dev/null 2>&1 &"}),
            ),
            submit(),
        ];
        Piece::new(&*sandbox, Canned::new(answers)).work().await;
        inside(&*sandbox, "rm -f /app/beat /app/beat2; sleep 0.5").await;
        assert_eq!(inside(&*sandbox, "ls /app; ls -d /tmp/.agent-output 2>/dev/null").await, "beat\nbeat2\n");
    });
}

#[test]
fn files_keep_modes_owners_and_links_and_rights_are_those_of_the_user() {
    run(async {
        let Some(sandbox) = sandbox("files").await else { return };
        inside(&*sandbox, "cd /app; printf 'one\\ntwo\\n' > real; chmod 751 real; ln -s real link; mkfifo pipe; printf 'a\\0b' > bin").await;
        let answers = [
            calls("edit", json!({"path": "link", "old_string": "two", "new_string": "2"})),
            calls("read", json!({"path": "/app/real"})),
            calls("read", json!({"path": "pipe"})),
            calls("read", json!({"path": "bin"})),
            calls("read", json!({"path": "."})),
            calls("write", json!({"path": "new/deep/file", "content": "x"})),
            calls("write", json!({"path": "real/below", "content": "x"})),
            calls("search", json!({"pattern": "^o[n]e$"})),
            calls("search", json!({"pattern": "("})),
            calls("edit", json!({"path": "real", "old_string": "three", "new_string": "x"})),
            calls("edit", json!({"path": "real"})),
            submit(),
        ];
        let outcome = Piece::new(&*sandbox, Canned::new(answers)).work().await;
        let ran = outcome.ran();
        assert!(ran[0].contains("replaced at line 2"), "{}", ran[0]);
        assert_eq!(ran[1], "     1\tone\n     2\t2\n");
        assert!(ran[2].contains("no regular file") && ran[3].contains("no text"), "{ran:?}");
        assert!(ran[4].contains("real") && ran[5].contains("1 lines written"));
        assert!(ran[6].contains("cannot be written"), "{}", ran[6]);
        assert!(ran[7].contains("real:1:one"), "{}", ran[7]);
        assert!(ran[8].contains("grep says"), "{}", ran[8]);
        assert!(ran[9].contains("is not in /app/real"));
        assert!(ran[10].contains("`old_string` is missing; the input has path"), "{}", ran[10]);
        assert_eq!(inside(&*sandbox, "stat -c %a /app/real; readlink /app/link").await, "751\nreal\n");
    });
}
