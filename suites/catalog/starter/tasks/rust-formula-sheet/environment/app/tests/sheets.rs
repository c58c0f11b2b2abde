//! Runs the program on small sheets.
use std::io::Write;
use std::process::{Command, Stdio};

fn sheet(text: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sheet"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn simple_formulas_are_evaluated_in_order() {
    assert_eq!(sheet("b = a * 2\na = 20 + 1\n"), "a = 21\nb = 42\n");
    assert_eq!(sheet("# nothing\nx = (1 + 2) * 3\ny = x > 8\n"), "x = 9\ny = 1\n");
}

#[test]
fn errors_are_values() {
    assert_eq!(sheet("a = 1 / 0\nb = a + 1\nc = nope\n"), "a ! division by zero\nb ! uses a\nc ! unknown nope\n");
    assert_eq!(sheet("a = a\n"), "a ! cycle\n");
}
