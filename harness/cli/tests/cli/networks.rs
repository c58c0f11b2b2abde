//! Phases of one task that want different networks, and what is on record of whom they asked for.

use serde_json::{Value, json};

use crate::native::room;
use crate::room::Room;

/// Asks the proxy that the variables name for a way to an address of this machine, which it refuses: prints its status, or `none`.
const ASK: &str = r#"ask() {
    address=${1#http://}; key=; port=${address##*:}
    case $address in *@*) key=$(printf %s "${address%@*}" | base64 -w0);; esac
    [ -n "$port" ] || { echo none; return; }
    PORT=$port KEY=$key timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/$PORT || exit 1
        printf "CONNECT 127.0.0.1:9 HTTP/1.1\r\n" >&3
        [ -z "$KEY" ] || printf "Proxy-Authorization: Basic %s\r\n" "$KEY" >&3
        printf "\r\n" >&3; head -n 1 <&3' 2> /dev/null | cut -d ' ' -f 2 | grep . || echo none
}
"#;

/// A task whose agent and tests each say what they find; the tests are satisfied with what is expected of both.
fn task(room: &Room, id: &str, networks: &str, expected: [&str; 2]) {
    let [agent, verifier] = expected;
    let file = |name: &str, text: &str| room.write(&format!("tasks/{id}/{name}"), text);
    file("task.toml", &format!("version = \"1.0\"\n[metadata.harness]\nlanguage = \"shell\"\n{networks}"));
    file("instruction.md", "Say what the network is.\n");
    file("environment/Dockerfile", "FROM debian:bookworm\nWORKDIR /app\n");
    // What it leaves running finds the tests' proxy by its port, as anybody inside can, and asks there without a key.
    let stays = "(while :; do for port in $(awk '$4 == \"0A\" { split($2, at, \":\"); print at[2] }' /proc/net/tcp); do \
                 ask \"http://127.0.0.1:$((0x$port))\"; done >> /app/later; sleep 0.1; done) > /dev/null 2>&1 &";
    file(
        "solution/solve.sh",
        &format!("#!/bin/bash\n{ASK}ask \"$http_proxy\" > /app/agent\nenv > /app/env\n{stays}\nexit 0\n"),
    );
    let test = format!(
        "#!/bin/bash\n{ASK}# What was said before now, or is just being written, was said in the network of the agent.\n         sleep 1; : > /app/later\nsaid=$(ask \"$http_proxy\")\nsleep 1\necho \"agent $(cat /app/agent), tests $said, later $(sort -u /app/later | tr '\\n' ' ')\"\n\
         if [ \"$(cat /app/agent)\" = {agent} ] && [ \"$said\" = {verifier} ] && ! grep -qv -e 407 -e none /app/later; then echo 1; else echo 0; fi \
         > /logs/verifier/reward.txt\n"
    );
    file("tests/test.sh", &test);
}

fn mode(table: &str, mode: &str) -> String {
    format!("[{table}]\nnetwork_mode = \"{mode}\"\n")
}

#[test]
fn agent_and_tests_may_have_different_networks_and_every_connection_is_on_record() {
    let Some(room) = room() else { return };
    let (closed, open) = ("no-network", "public");
    task(&room, "tests-open", &(mode("environment", closed) + &mode("verifier", open)), ["none", "403"]);
    task(&room, "agent-open", &(mode("agent", open) + &mode("verifier", closed)), ["403", "none"]);
    task(&room, "only-agent-closed", &(mode("environment", open) + &mode("agent", closed)), ["none", "403"]);
    room.harness("run suite tasks --agent oracle --sandbox native --rootfs host --run-id r").exits(0);
    let report = room.harness("report r --format json").exits(0).json();
    let trial = |task: &str| -> Value {
        let trials = report["trials"].as_array().unwrap();
        trials.iter().find(|trial| trial["task"] == task).unwrap_or_else(|| panic!("{report:#}")).clone()
    };
    for (task, networks, phase) in [
        ("tests-open", ["none", "open"], "verify"),
        ("agent-open", ["open", "none"], "solve"),
        ("only-agent-closed", ["none", "open"], "verify"),
    ] {
        let trial = trial(task);
        let log = room.read(&format!(".harness/runs/r/trials/{task}/oracle/1/verify.log"));
        assert_eq!(trial["outcome"], "resolved", "{task}: {log}\n{trial:#}");
        assert_eq!(
            json!([trial["sandbox"]["network"], trial["sandbox"]["verifier_network"]]),
            json!(networks)
        );
        let tried = trial["network"]["connections"].as_array().unwrap();
        let judged = tried.iter().find(|one| one["reason"] == "127.0.0.1 is not a public address");
        let judged = judged.unwrap_or_else(|| panic!("{task}: {tried:#?}"));
        assert_eq!(
            json!([judged["phase"], judged["host"], judged["port"], judged["result"], judged["sent_bytes"]]),
            json!([phase, "127.0.0.1", 9, "refused", 0])
        );
        // What the agent left asked too, while the tests ran, and was told apart from them.
        let stranger = tried.iter().any(|one| {
            one["phase"] == "verify" && one["reason"].as_str().unwrap().starts_with("this network is for")
        });
        assert_eq!(stranger, networks[1] == "open", "{task}: {tried:#?}");
    }
    let shown = room.harness("show trial r tests-open/oracle").exits(0).out;
    assert!(shown.contains("network of the tests: open"), "{shown}");
    assert!(shown.contains("verify: 127.0.0.1:9 refused (127.0.0.1 is not a public address)"), "{shown}");
    // One network for all phases is the user's word.
    let line = "run suite tasks --agent oracle --sandbox native --rootfs host --network none --run-id closed";
    room.harness(line).exits(0);
    let report = room.harness("report closed --format json").exits(0).json();
    for trial in report["trials"].as_array().unwrap() {
        assert_eq!(
            json!([trial["sandbox"]["network"], trial["network"]]),
            json!(["none", null]),
            "{trial:#}"
        );
    }
}

#[test]
fn where_a_network_cannot_change_such_a_task_is_skipped_by_name() {
    let room = Room::new();
    task(&room, "t", &(mode("environment", "no-network") + &mode("verifier", "public")), ["none", "403"]);
    let said = room.harness("run suite tasks --agent oracle --sandbox memory").exits(4).err;
    assert!(
        said.contains(
            "its phases want different networks (none, open), and a sandbox of memory has one: --network MODE"
        ),
        "{said}"
    );
}
