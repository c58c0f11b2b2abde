//! `harness report` and `harness compare`: every format, from anywhere, of anything.

use insta::assert_snapshot;

use crate::room::Room;

fn ran() -> Room {
    let room = Room::with(&["one", "two"]);
    room.harness("run suite tasks --sandbox memory -j 1 --run-id r").exits(0);
    room
}

#[test]
fn a_report_comes_in_every_format_that_is_listed() {
    let room = ran();
    let formats = room.harness("list formats --format json").exits(0).json();
    let names = formats.as_array().unwrap().iter().filter(|row| row["of"] == "reports");
    let names: Vec<_> = names.map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["terminal", "markdown", "json", "csv"]);
    for name in names {
        let done = room.harness(&format!("report r --format {name}")).exits(0);
        assert!(done.err.is_empty() && done.out.contains("one"), "{name}: {}", done.err);
    }
    assert_snapshot!(room.harness("report r --format csv").exits(0).out.lines().next().unwrap(), @"");
    assert_snapshot!(room.harness("report r --format markdown").exits(0).shown(), @"");
}

#[test]
fn a_report_is_the_same_from_another_folder_and_into_a_file() {
    let room = ran();
    let here = room.harness("report r").exits(0).out;
    std::fs::create_dir(room.path("away")).unwrap();
    for line in ["report r --runs-dir ../.harness/runs", "report ../.harness/runs/r"] {
        let mut command = room.command();
        command.current_dir(room.path("away")).args(line.split(' '));
        assert_eq!(room.finish(command, line).exits(0).out, here);
    }
    let done = room.harness("report -o report.md --format markdown").exits(0);
    assert_snapshot!(done.said(), @"");
    assert!(done.out.is_empty());
    assert_eq!(room.read("report.md"), room.harness("report --format markdown").exits(0).out);
    assert_snapshot!(room.harness("report -o no/such/folder").exits(1).said(), @"");
}

#[test]
fn derived_files_can_be_deleted_and_the_report_stays() {
    let room = ran();
    let before = room.harness("report r").exits(0).out;
    std::fs::remove_file(room.path(".harness/runs/r/results.json")).unwrap();
    std::fs::remove_file(room.path(".harness/runs/r/trials.csv")).unwrap();
    assert_eq!(room.harness("report r").exits(0).out, before);
}

#[test]
fn a_report_says_in_one_line_why_each_task_was_skipped() {
    let room = Room::with(&["one", "two"]);
    let text =
        room.read("tasks/two/task.toml").replace("language =", "tools = [\"no-such-tool\"]\nlanguage =");
    room.write("tasks/two/task.toml", &text);
    let done = room.harness("run suite tasks --agent oracle --sandbox memory -j 1 --run-id r").exits(0);
    assert_snapshot!(done.shown(), @"");
    assert_snapshot!(done.said(), @"");
}

#[test]
fn a_damaged_run_is_refused_by_the_file_that_is_damaged() {
    let room = ran();
    room.write(".harness/runs/r/manifest.json", "{");
    assert_snapshot!(room.harness("report r").exits(3).said(), @"");
    assert_snapshot!(room.harness("resume r").exits(3).said(), @"");
}

#[test]
fn a_single_run_compares_its_own_variants() {
    let room = ran();
    assert_snapshot!(room.harness("compare r").exits(0).shown(), @"");
}

#[test]
fn runs_are_compared_side_by_side() {
    let room = Room::with(&["one", "two"]);
    room.harness("run suite tasks --sandbox memory --agent noop --run-id before").exits(0);
    room.harness("run suite tasks --sandbox memory --run-id after").exits(0);
    let done = room.harness("compare before after:oracle").exits(0);
    assert_snapshot!(done.shown(), @"");
    for format in ["markdown", "json"] {
        room.harness(&format!("compare before after:oracle --format {format}")).exits(0);
    }
    assert_snapshot!(room.harness("compare after before").exits(2).said(), @"");
    assert_snapshot!(room.harness("compare before after:orcale").exits(2).said(), @"");
    assert_snapshot!(room.harness("compare before").exits(2).said(), @"");
    assert_snapshot!(room.harness("compare before nowhere").exits(2).said(), @"");
}

#[test]
fn no_color_is_kept_and_colour_is_never_written_to_a_pipe() {
    let room = ran();
    let mut command = room.command();
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color").args(["report", "r"]);
    assert!(!room.finish(command, "report r").exits(0).out.contains('\u{1b}'));
}

#[test]
fn a_report_fits_the_columns_that_there_are() {
    let room = Room::with(&["a-task-with-a-rather-long-name-that-goes-on-and-on", "two"]);
    room.harness("run suite tasks --sandbox memory -j 1 --run-id r").exits(0);
    for columns in ["40", "80", "120"] {
        for line in ["report r", "compare r", "show trial r two/noop"] {
            let mut command = room.command();
            command.env("COLUMNS", columns).args(line.split(' '));
            let done = room.finish(command, line).exits(0);
            for row in done.out.lines() {
                assert!(row.chars().count() <= columns.parse().unwrap(), "{line} at {columns}: {row}");
            }
        }
    }
}
