//! Settings and where each comes from: default, the user's file, the project's, the environment, a flag.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn each_layer_wins_over_the_one_before_and_is_named() {
    let room = Room::with(&["one"]);
    room.write("../home/.config/harness/harness.toml", "attempts = 2\nretries = 1\nseed = 7\n");
    room.write("harness.toml", "attempts = 3\nretries = 0\n");
    let rows = room.harness("show settings --format json --runs-dir elsewhere").exits(0).json();
    let of = |name: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        let source = row["source"].as_str().unwrap().replace(&room.root().display().to_string(), "ROOM");
        format!(
            "{name} = {} ({source})",
            row["value"].to_string().replace(&room.root().display().to_string(), "ROOM")
        )
    };
    let shown: Vec<_> = ["jobs", "seed", "attempts", "retries", "state_dir", "runs_dir"].map(of).into();
    assert_snapshot!(shown[1..].join("\n"), @"");
    assert!(shown[0].ends_with("(default)"), "{}", shown[0]);

    // What the run used is in its manifest, source and all; a flag wins over everything.
    room.harness("run suite tasks --agent noop --sandbox memory --attempts 1 --run-id r").exits(0);
    let manifest: serde_json::Value =
        serde_json::from_str(&room.read(".harness/runs/r/manifest.json")).unwrap();
    assert_eq!(manifest["settings"]["attempts"]["source"], "flag");
    assert_eq!(manifest["settings"]["retries"]["source"], "harness.toml");
    assert_eq!(manifest["attempts"], 1);
}

#[test]
fn settings_are_shown_for_people() {
    let room = Room::new();
    room.write("harness.toml", "jobs = 3\n");
    assert_snapshot!(room.harness("show settings").exits(0).shown(), @"");
}

#[test]
fn a_wrong_setting_is_refused_with_the_file_and_what_there_is() {
    let room = Room::with(&["one"]);
    let said = |text: &str| {
        room.write("harness.toml", text);
        room.harness("run suite tasks --sandbox memory").exits(3).said()
    };
    assert_snapshot!(said("atempts = 2\n"), @"");
    assert_snapshot!(said("attempts = \"many\"\n"), @"");
    assert_snapshot!(said("attempts = -1\n"), @"");
    assert_snapshot!(said("attempts = \n"), @"");
    assert_snapshot!(said("network = \"loud\"\n"), @"");
    assert_snapshot!(said("sandbox = \"dokcer\"\n"), @"");
    assert_snapshot!(said("timeout_multiplier = 0\n"), @"");
    assert!(!room.path(".harness/runs").exists());
}

#[test]
fn the_runs_folder_can_be_named_by_flag_variable_and_file() {
    let room = Room::with(&["one"]);
    let run = "run suite tasks --agent noop --sandbox memory --run-id r";
    room.harness(&format!("{run} --runs-dir flagged")).exits(0);
    assert!(room.path("flagged/r/manifest.json").is_file());
    room.write("harness.toml", "runs_dir = \"filed\"\n");
    room.harness(run).exits(0);
    assert!(room.path("filed/r/manifest.json").is_file());
    let mut command = room.command();
    command.env("HARNESS_RUNS_DIR", room.path("named")).args(run.split(' '));
    room.finish(command, run).exits(0);
    assert!(room.path("named/r/manifest.json").is_file());
}
