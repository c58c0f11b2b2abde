//! Runs the program on files in a temporary folder.
use std::fs;
use std::process::Command;

fn merge(name: &str, files: &[&str], options: &[&str]) -> String {
    let folder = std::env::temp_dir().join(format!("logmerge-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_logmerge"));
    command.args(options).current_dir(&folder);
    for (i, text) in files.iter().enumerate() {
        fs::write(folder.join(format!("{i}.log")), text).unwrap();
        command.arg(format!("{i}.log"));
    }
    let output = command.output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn merge_sorts_by_time() {
    let one = "2024-01-01T10:00:00 one\n2024-01-01T10:00:02 three\n";
    let two = "2024-01-01T10:00:01 two\n    at somewhere\n2024-01-01T10:00:03 four\n";
    let all = "2024-01-01T10:00:00 one\n2024-01-01T10:00:01 two\n    at somewhere\n2024-01-01T10:00:02 three\n2024-01-01T10:00:03 four\n";
    assert_eq!(merge("sorts", &[one, two], &[]), all);
}

#[test]
fn last_records_only() {
    assert_eq!(merge("last", &["1 a\n3 c\n", "2 b\n4 d\n"], &["-n", "2"]), "3 c\n4 d\n");
}
