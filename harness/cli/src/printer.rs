//! The two streams: stdout is data, stderr is talk. Every line that the program says goes through here.

#![expect(clippy::print_stderr, reason = "this module is where talk goes")]

use std::io::{self, IsTerminal, Write};

use crate::exit::{Exit, Failure};

/// Writes data. A reader that went away (`| head`) ends the program quietly.
pub fn data(text: &str) {
    raw(text.as_bytes());
}

/// Writes data as bytes.
pub fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(Exit::Completed as i32);
    }
}

/// Says something.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Says something that somebody should look at.
pub fn warn(text: &str) {
    eprintln!("{}: {text}", paint("warning", Ink::Yellow));
}

/// Says why the command failed, and what to do about it.
pub fn error(failure: &Failure) {
    eprintln!("{}: {}", paint("error", Ink::Red), failure.message);
    if let Some(hint) = &failure.hint {
        eprintln!("{}: {hint}", paint("hint", Ink::Cyan));
    }
}

/// The few colours that we use.
#[derive(Clone, Copy)]
pub enum Ink {
    /// Failures.
    Red,
    /// Warnings.
    Yellow,
    /// Hints.
    Cyan,
}

fn paint(text: &str, ink: Ink) -> String {
    if !colour(&io::stderr()) {
        return text.to_owned();
    }
    let code = match ink {
        Ink::Red => 31,
        Ink::Yellow => 33,
        Ink::Cyan => 36,
    };
    format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
}

/// Whether a stream takes colours: a terminal, without NO_COLOR (<https://no-color.org>).
pub fn colour(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb && stream.is_terminal()
}

/// Characters in a line of stdout: the terminal's, or COLUMNS, or 100.
pub fn width() -> usize {
    let terminal = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let given = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    terminal().or(given).filter(|columns| *columns > 0).unwrap_or(100)
}

/// Text from elsewhere for a terminal: no control characters but the line break.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
