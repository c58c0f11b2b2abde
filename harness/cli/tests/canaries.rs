//! An agent that looks everywhere: nothing of the tests, the solution, the host's user, the runs, other trials or the harness's
//! own environment can be read inside, `/proc` and PID 1 included.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Split, so that this test's own binary and the command line of the agent do not hold it.
const CANARY: [&str; 2] = ["canary-7f3a", "91c2-do-not-find"];

/// Looks at every file that can be read, whatever it is, and at what processes show. `/usr` is the system's own and large: there
/// only what is younger than the sandbox would be ours.
const LOOK: &str = r#"
word="$1$2"
out=/app/found
: > $out
find / -xdev \( -path /usr -o -path /proc -o -path /app/found \) -prune -o -type f -size -200M -print0 2>/dev/null | xargs -0 -r grep -laF "$word" >> $out 2>/dev/null
for mount in $(awk '{print $5}' /proc/self/mountinfo); do
  # The places of device nodes are files to `find`, and some of them never end.
  case $mount in /dev/shm) ;; /|/proc*|/usr|/dev*) continue;; esac
  find "$mount" -xdev -type f -size -200M -print0 2>/dev/null | xargs -0 -r grep -laF "$word" >> $out 2>/dev/null
done
find /usr -newer /etc/hostname -type f -print0 2>/dev/null | xargs -0 -r grep -laF "$word" >> $out 2>/dev/null
for p in /proc/1 /proc/self /proc/[0-9]*; do
  for f in environ cmdline maps mountinfo mounts status exe comm; do
    grep -aF "$word" $p/$f > /dev/null 2>&1 && [ "$p" != "/proc/self" ] && [ "$p" != "/proc/$$" ] && echo "$p/$f" >> $out
  done
  for fd in $p/fd/*; do [ -f "$fd" ] && grep -laF "$word" "$fd" >> $out 2>/dev/null; done
  ls $p/root/ 2>/dev/null | grep -F "$word" >> $out
done
grep -laF "$word" /proc/mounts /proc/self/mountinfo /proc/cmdline /proc/keys /proc/net/unix >> $out 2>/dev/null
env | grep -F "$word" >> $out
ls -la / /root /home /tmp /var/tmp /run /mnt /srv /opt /dev/shm >> /app/seen 2>&1
cat /proc/self/mountinfo >> /app/seen
true
"#;

fn write(folder: &Path, path: &str, text: &str) {
    let file = folder.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn nothing_of_tests_solutions_or_the_host_can_be_found_inside() {
    let harness = env!("CARGO_BIN_EXE_harness");
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = dir.path().join("state");
    let doctor = Command::new(harness)
        .args(["doctor", "--sandbox", "native"])
        .env("HARNESS_STATE_DIR", &state)
        .output()
        .unwrap();
    if !doctor.status.success() {
        println!(
            "skipped canaries: the native sandbox does not work here: {}",
            String::from_utf8_lossy(&doctor.stdout)
        );
        return;
    }
    let word = CANARY.concat();
    let task = dir.path().join("tasks/look");
    write(
        &task,
        "task.toml",
        "schema_version = \"1.4\"\n[metadata.harness]\nhost_root = true\n[environment]\nnetwork_mode = \"no-network\"\n[agent]\ntimeout_sec = 300.0\n",
    );
    write(&task, "instruction.md", "Look around.\n");
    write(&task, "environment/Dockerfile", "FROM debian:12\nWORKDIR /app\nRUN echo built > /app/built\n");
    // The verdict: nothing was found. What was found is in the log.
    write(
        &task,
        "tests/test.sh",
        &format!(
            "#!/bin/sh\n# {word}\ncat /app/seen | head -n 200\necho FOUND:; cat /app/found\nif [ -f /app/found ] && [ ! -s /app/found ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt\n"
        ),
    );
    write(&task, "tests/hidden.txt", &word);
    write(&task, "solution/solve.sh", &format!("# {word}\n"));
    write(&task, "checks/wrong/a.sh", &format!("# {word}\n"));
    // The host: a home, a project with a key, a temporary file, another run.
    write(dir.path(), "home/.ssh/id_ed25519", &word);
    write(dir.path(), "home/.config/harness/other.toml", &format!("# {word}\n"));
    write(dir.path(), ".env", &word);
    write(dir.path(), ".harness/runs/other/trials/x/y/1/agent.log", &word);
    let temporary = tempfile::NamedTempFile::new().unwrap();
    fs::write(temporary.path(), &word).unwrap();
    let output = Command::new(harness)
        .current_dir(dir.path())
        .args(["run", "suite", "./tasks", "--sandbox", "native", "--run-id", "r", "--agent", "command"])
        .args(["--agent-set", &format!("run=set -- {} {}\n{LOOK}", CANARY[0], CANARY[1])])
        .env("HARNESS_STATE_DIR", &state)
        .env("HOME", dir.path().join("home"))
        .env("SECRET_OF_THE_HOST", &word)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let results: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join(".harness/runs/r/results.json")).expect(&said))
            .unwrap();
    let trial = &results["trials"][0];
    let variant = trial["variant"].as_str().unwrap();
    let log = dir.path().join(".harness/runs/r/trials/look").join(variant).join("1/verify.log");
    let log = fs::read_to_string(log).unwrap_or_default();
    assert_eq!(trial["outcome"], "resolved", "{said}\n{log}");
    // The search itself must be able to find: the same words planted inside are found.
    assert!(log.contains("FOUND:"), "{log}");
}

#[test]
fn the_search_finds_what_is_planted_inside() {
    let harness = env!("CARGO_BIN_EXE_harness");
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = dir.path().join("state");
    if !Command::new(harness)
        .args(["doctor", "--sandbox", "native"])
        .env("HARNESS_STATE_DIR", &state)
        .output()
        .unwrap()
        .status
        .success()
    {
        println!("skipped canaries: the native sandbox does not work here");
        return;
    }
    let task = dir.path().join("tasks/look");
    write(
        &task,
        "task.toml",
        "schema_version = \"1.4\"\n[metadata.harness]\nhost_root = true\n[environment]\nnetwork_mode = \"no-network\"\n[agent]\ntimeout_sec = 300.0\n",
    );
    write(&task, "instruction.md", "Look around.\n");
    write(
        &task,
        "environment/Dockerfile",
        &format!("FROM debian:12\nWORKDIR /app\nRUN echo {} > /var/planted\n", CANARY.concat()),
    );
    write(
        &task,
        "tests/test.sh",
        "#!/bin/sh\ncat /app/found\nif grep -q /var/planted /app/found; then echo 1; else echo 0; fi > /logs/verifier/reward.txt\n",
    );
    let output = Command::new(harness)
        .current_dir(dir.path())
        .args(["run", "suite", "./tasks", "--sandbox", "native", "--run-id", "r", "--agent", "command"])
        .args(["--agent-set", &format!("run=set -- {} {}\n{LOOK}", CANARY[0], CANARY[1])])
        .env("HARNESS_STATE_DIR", &state)
        .output()
        .unwrap();
    let results: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join(".harness/runs/r/results.json")).unwrap()).unwrap();
    assert_eq!(results["trials"][0]["outcome"], "resolved", "{}", String::from_utf8_lossy(&output.stderr));
}
