//! What a task hands to its agent beside the instruction, what is kept of the agent, and what is not put beside the tests.

use crate::room::Room;

const PRIOR: &str = r#"{"schema_version":"ATIF-v1.6","agent":{"name":"x","version":"1"},"steps":[{"step_id":1,"source":"user","message":"hello"}]}"#;

fn room() -> Room {
    let room = Room::with(&["t"]);
    let text =
        room.read("tasks/t/task.toml").replace("[environment]\n", "[environment]\nskills_dir = \"skills\"\n");
    room.write("tasks/t/task.toml", &text);
    room.write("tasks/t/trajectory.json", PRIOR);
    room
}

#[test]
fn a_command_inside_gets_skills_and_prior_conversation_and_its_trajectory_is_kept() {
    let room = room();
    let run = "echo \"$HARNESS_SKILLS_DIR\" > /app/out; cat \"$HARNESS_PRIOR_TRAJECTORY_FILE\" > \"$HARNESS_TRAJECTORY_FILE\"; echo done >> /app/out";
    let line = format!("run suite tasks --agent command --agent-set run='{run}' --sandbox memory --run-id r");
    let done = room.harness(&line).exits(0);
    assert!(!done.err.contains("warning"), "nothing is left to warn of: {}", done.err);
    let trial = ".harness/runs/r/trials/t";
    let variant = std::fs::read_dir(room.path(trial)).unwrap().next().unwrap().unwrap().file_name();
    let trial = format!("{trial}/{}/1", variant.to_str().unwrap());
    assert_eq!(room.read(&format!("{trial}/trajectory.json")), PRIOR);
    assert!(room.read(&format!("{trial}/patch.diff")).contains("+/app/skills\n+done"));
}

#[test]
fn a_program_on_the_host_is_told_of_both() {
    let room = room();
    room.write(
        "agent.sh",
        "read -r task\nprintf %s \"$task\" > told\necho '{\"call\":\"done\",\"status\":\"finished\"}'\n",
    );
    let line = "run suite tasks --agent command --agent-set host='sh agent.sh' --sandbox memory --run-id r";
    room.harness(line).exits(0);
    let told: serde_json::Value = serde_json::from_str(&room.read("told")).unwrap();
    assert_eq!(told["skills_dir"], "/app/skills");
    assert_eq!(told["prior_trajectory"], serde_json::from_str::<serde_json::Value>(PRIOR).unwrap());
}

#[test]
fn what_harborignore_names_is_put_beside_neither_tests_nor_solution() {
    let room = Room::with(&["t"]);
    room.write("tasks/t/tests/.harborignore", "*.bin\n!keep.bin\n");
    room.write("tasks/t/tests/big.bin", "big");
    room.write("tasks/t/tests/keep.bin", "kept");
    room.write("tasks/t/solution/.harborignore", "draft\n");
    room.write("tasks/t/solution/draft", "draft");
    room.write("tasks/t/solution/used", "used");
    room.write(
        "tasks/t/solution/solve.sh",
        "cat /solution/draft > /app/out\ncat /solution/used >> /app/out\n",
    );
    room.write(
        "tasks/t/tests/test.sh",
        "cat /tests/big.bin /tests/.harborignore > /app/more\ncat /tests/keep.bin >> /app/more\n\
         if grep -q used /app/out && grep -q kept /app/more; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi\n\
         if grep -q draft /app/out; then echo 0 > /logs/verifier/reward.txt; fi\n\
         if grep -q big /app/more; then echo 0 > /logs/verifier/reward.txt; fi\n",
    );
    let done = room.harness("run suite tasks --agent oracle --sandbox memory --run-id r").exits(0);
    let report = room.harness("report r --format json").exits(0).json();
    assert_eq!(report["trials"][0]["outcome"], "resolved", "{}\n{report:#}", done.err);
}
