//! Help, completions and the streams: what a newcomer types first.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::room::Room;

/// Every command, as the generated reference lists them.
fn commands() -> Vec<String> {
    let reference = include_str!("../../REFERENCE.md");
    let lines = reference.lines().filter_map(|line| line.strip_prefix("## `harness")?.strip_suffix('`'));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_command_has_help_that_fits_eighty_columns_and_says_something() {
    let room = Room::new();
    let commands = commands();
    assert!(commands.len() > 20);
    for command in commands {
        let mut help = room.command();
        help.env("COLUMNS", "80").args(command.split_whitespace()).arg("--help");
        let help = room.finish(help, &command).exits(0);
        assert!(help.err.is_empty() && help.out.contains("Usage: harness"), "{command}");
        assert!(help.out.lines().next().unwrap().len() > 10, "{command} has no text");
        for line in help.out.lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
    }
}

#[test]
fn every_option_of_every_command_says_what_it_means() {
    let reference = include_str!("../../REFERENCE.md");
    for row in reference.lines().filter(|line| line.starts_with("| `")) {
        let meaning = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(meaning.trim().len() > 4, "{row}");
    }
}

#[test]
fn completions_parse_in_the_shells_that_are_here() {
    let room = Room::new();
    for (shell, check) in
        [("bash", vec!["bash", "-n"]), ("zsh", vec!["zsh", "-n"]), ("fish", vec!["fish", "--no-execute"])]
    {
        let script = room.harness(&format!("completions {shell}")).exits(0);
        assert!(script.out.contains("harness") && script.out.len() > 1000);
        room.write("script", &script.out);
        let parsed = Command::new(check[0]).args(&check[1..]).arg(room.path("script")).output();
        match parsed {
            Ok(parsed) => {
                assert!(parsed.status.success(), "{shell}: {}", String::from_utf8_lossy(&parsed.stderr))
            }
            Err(_) => println!("skipped: {shell} is not here"),
        }
    }
    room.harness("completions tcsh").exits(2);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let room = Room::with(&["one", "two"]);
    room.harness("run suite tasks --sandbox memory --run-id r").exits(0);
    for line in ["report r", "report r --format json", "list formats", "reference", "show settings", "--help"]
    {
        let mut child = room
            .command()
            .args(line.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // As `| head -1`: one line, then nobody listens.
        let mut first = String::new();
        let mut reader = BufReader::with_capacity(1, child.stdout.take().unwrap());
        reader.read_line(&mut first).unwrap();
        drop(reader);
        let status = crate::room::wait(&mut child, std::time::Duration::from_secs(20)).expect("it ends");
        let mut err = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
        assert!(!err.contains("panicked"), "{line}: {err}");
        assert_eq!(err, "", "{line}");
        assert!(status.success(), "{line}: {status}");
    }
}

#[test]
fn the_version_is_said() {
    let room = Room::new();
    assert_snapshot!(room.harness("--version").exits(0).shown(), @"harness 0.1.0");
}

#[test]
fn without_a_command_the_help_says_what_to_try_first() {
    let room = Room::new();
    assert_snapshot!(room.harness("").exits(2).said(), @"
    Runs coding agents over task suites in sandboxes, judges them by the tasks' own tests, and compares
    them

    Usage: harness [OPTIONS] <COMMAND>

    Commands:
      run  Run agents over a suite or over single tasks
      resume  Go on with a run that was interrupted
      check  Prove an instrument before it is used
      report  Show what one or more runs came to
      compare  Compare variants side by side, task by task
      gateway  Meter, price and limit model traffic of any program, without a run
      list  List what there is
      show  Show one thing in full
      new  Begin something new
      doctor  Say what works on this machine, what does not, and how to mend it
      clean  Remove what crashes left: sandboxes, mounts, control groups, scratch files
      completions  Print a completion script for a shell

    Options:
      -h, --help  Print help (see more with '--help')
      -V, --version  Print version

    Everywhere:
          --runs-dir <DIR>  Folder that holds the runs. Default: .harness/runs, or `runs_dir` of the
                             settings
          --format <FORMAT>  How results are written to stdout. Default: a table
    ");
}
