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
    assert_snapshot!(room.harness("report r --format csv").exits(0).out.lines().next().unwrap(), @"run,task,variant,agent,model,attempt,outcome,blame,phase,reason,agent_exit,score,rewards,steps,tests_passed,tests_failed,fail_to_pass_passed,fail_to_pass_total,pass_to_pass_passed,pass_to_pass_total,requests,uncached_input_tokens,cache_read_tokens,cache_write_tokens,cache_write_1h_tokens,output_tokens,reasoning_tokens,total_tokens,usage_source,cost_usd,diff_files,diff_hunks,diff_added,diff_removed,diff_simplicity,prepare_ms,solve_ms,capture_ms,verify_ms,teardown_ms,total_ms,cpu_ms,peak_memory_bytes,connections,connections_refused,integrity_findings,integrity_worst,tries,sandbox,rootfs,network,started_ms,finished_ms");
    assert_snapshot!(room.harness("report r --format markdown").exits(0).shown(), @r"
    ## run r · tasks · DATE · harness 0.1.0

    tasks: 2 resolved / 2 run / 0 skipped / 0 invalid of 2 selected

    trials: 2 resolved / 2 unresolved / 0 stopped of 4 planned

    no model took part in this run

    | variant | resolved | rate | 95% interval | \$/resolved | \$ total | tokens | time | p95 | lines | excluded |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | oracle | 2/2 | 100% | 34%–100% | - | - | - | TIME | TIME | +1 -0 | 0 |
    | noop | 0/2 | 0% | 0%–66% | - | - | - | TIME | TIME | +0 -0 | 0 |

    95% interval: wilson, for tasks like these; tokens: mean; time, lines: median

    unknown for oracle: cost, tokens, tests (2 of 2 trials)

    unknown for noop: cost, tokens, tests (2 of 2 trials)

    | task | variant | outcome | tests | time | tokens | cost | lines | why |
    | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |
    | one | oracle | resolved | - | TIME | - | - | +1 -0 |  |
    | one | noop | unresolved | - | TIME | - | - | +0 -0 | reward is 0, below 1 |
    | two | oracle | resolved | - | TIME | - | - | +1 -0 |  |
    | two | noop | unresolved | - | TIME | - | - | +0 -0 | reward is 0, below 1 |
    ");
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
    assert_snapshot!(done.said(), @"wrote report.md");
    assert!(done.out.is_empty());
    assert_eq!(room.read("report.md"), room.harness("report --format markdown").exits(0).out);
    assert_snapshot!(room.harness("report -o no/such/folder").exits(1).said(), @"error: cannot write no/such/folder: No such file or directory (os error 2)");
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
    assert_snapshot!(done.shown(), @"
    run r · tasks · DATE · harness 0.1.0
    tasks: 1 resolved / 1 run / 1 skipped / 0 invalid of 2 selected
    trials: 1 resolved / 0 unresolved / 0 stopped of 1 planned
    no model took part in this run

    variant  resolved  rate  95% interval  $/resolved  $ total  tokens  time  p95  lines  excluded
    oracle  1/1  100%  21%–100%  -  -  -  TIME  TIME  +1 -0  0
    95% interval: wilson, for tasks like these; tokens: mean; time, lines: median
    unknown for oracle: cost, tokens, tests (1 of 1 trial)

    task  variant  outcome  tests  time  tokens  cost  lines  why
    one  oracle  resolved  -  TIME  -  -  +1 -0

    skipped  why
    two  no-such-tool not found in memory
    ");
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    [1/2] resolved  one/oracle/1 (TIME)
    skipped two: no-such-tool not found in memory
    completed (exit 0 means that all was tried, not that it was solved)
    ");
}

#[test]
fn a_damaged_run_is_refused_by_the_file_that_is_damaged() {
    let room = ran();
    room.write(".harness/runs/r/manifest.json", "{");
    assert_snapshot!(room.harness("report r").exits(3).said(), @"error: .harness/runs/r/manifest.json, line 1, does not read: EOF while parsing an object at line 1 column 1");
    assert_snapshot!(room.harness("resume r").exits(3).said(), @"error: .harness/runs/r/manifest.json does not read: EOF while parsing an object at line 1 column 1");
}

#[test]
fn a_single_run_compares_its_own_variants() {
    let room = ran();
    assert_snapshot!(room.harness("compare r").exits(0).shown(), @"
    noop against oracle
    2 tasks that all took part in

                      oracle  noop
    resolved  2/2  0/2
    rate  100%  0%
    change  base  -100pp
    95% interval  34%–100%  0%–66%
    $/resolved  -  -
    $ total  -  -
    tokens  -  -
    time  TIME  TIME
    p95  TIME  TIME
    lines  +1 -0  +0 -0
    better  0
    worse  2
    unknown cost  2  2
    unknown tokens  2  2
    unknown diff  0  0

    what differs  oracle  noop
    agent  oracle  noop

    task  change  oracle  noop
    one  worse  1/1 - TIME  0/1 - TIME
    two  worse  1/1 - TIME  0/1 - TIME
    0 tasks are solved equally often on every side
    ");
}

#[test]
fn runs_are_compared_side_by_side() {
    let room = Room::with(&["one", "two"]);
    room.harness("run suite tasks --sandbox memory --agent noop --run-id before").exits(0);
    room.harness("run suite tasks --sandbox memory --run-id after").exits(0);
    let done = room.harness("compare before after:oracle").exits(0);
    assert_snapshot!(done.shown(), @"
    oracle against noop
    2 tasks that all took part in

                      noop  oracle
    resolved  0/2  2/2
    rate  0%  100%
    change  base  +100pp
    95% interval  0%–66%  34%–100%
    $/resolved  -  -
    $ total  -  -
    tokens  -  -
    time  TIME  TIME
    p95  TIME  TIME
    lines  +0 -0  +1 -0
    better  2
    worse  0
    unknown cost  2  2
    unknown tokens  2  2
    unknown diff  0  0

    what differs  noop  oracle
    agent  noop  oracle

    task  change  noop  oracle
    one  better  0/1 - TIME  1/1 - TIME
    two  better  0/1 - TIME  1/1 - TIME
    0 tasks are solved equally often on every side
    ");
    for format in ["markdown", "json"] {
        room.harness(&format!("compare before after:oracle --format {format}")).exits(0);
    }
    assert_snapshot!(room.harness("compare after before").exits(2).said(), @"
    error: the base after has several variants
    hint: name one: after:oracle or after:noop
    ");
    assert_snapshot!(room.harness("compare before after:orcale").exits(2).said(), @"error: run after has no variant orcale; it has: oracle, noop");
    assert_snapshot!(room.harness("compare before").exits(2).said(), @"
    error: the run before has one variant, and nothing to compare it with
    hint: name a second run: harness compare before RUN
    ");
    assert_snapshot!(room.harness("compare before nowhere").exits(2).said(), @"
    error: .harness/runs/nowhere is not a run directory: it has no manifest.json
    hint: `harness list runs` shows what there is
    ");
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
