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

/// Says something. On a terminal long sentences break between words.
pub fn say(text: &str) {
    for line in text.split('\n') {
        eprintln!("{}", broken(line, talk_width()));
    }
}

/// A sentence in lines of so many characters; what stands in backquotes stays whole, and so do indented lines: they are
/// there to be copied.
fn broken(line: &str, width: usize) -> String {
    if line.starts_with(' ') || line.chars().count() <= width {
        return line.to_owned();
    }
    let (mut out, mut used, mut quoted) = (String::new(), 0, false);
    for (at, part) in line.split('`').enumerate() {
        if at > 0 {
            out.push('`');
            quoted = !quoted;
        }
        let words: Vec<&str> = if quoted { vec![part] } else { part.split(' ').collect() };
        for (number, word) in words.iter().enumerate() {
            let long = word.chars().count();
            // The word that a quotation continues must stay with it; where that is too long, the break is before.
            if number > 0 {
                let next = if number + 1 == words.len() && !quoted { quotation(line, at) } else { 0 };
                if used + 1 + long + next > width {
                    out.push('\n');
                    used = 0;
                } else {
                    out.push(' ');
                    used += 1;
                }
            }
            out.push_str(word);
            used += long;
        }
        used += usize::from(at > 0);
    }
    out
}

/// Characters of the quotation that follows the part `at` of a line, its marks included.
fn quotation(line: &str, at: usize) -> usize {
    line.split('`').nth(at + 1).map_or(0, |part| part.chars().count() + 2)
}

/// Says something that somebody should look at.
pub fn warn(text: &str) {
    say(&format!("{}: {text}", paint("warning", Ink::Yellow)));
}

/// Says why the command failed, and what to do about it.
pub fn error(failure: &Failure) {
    say(&format!("{}: {}", paint("error", Ink::Red), failure.message));
    if let Some(hint) = &failure.hint {
        say(&format!("{}: {hint}", paint("hint", Ink::Cyan)));
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

/// Characters in a line of stderr: the terminal's, or no limit where nobody looks.
pub fn talk_width() -> usize {
    let terminal = rustix::termios::tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col));
    terminal.filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

/// A line cut to so many characters.
pub fn fitted(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `1 trial`, `2 trials`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Text from elsewhere for a terminal: no control characters but the line break.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_break_between_words_and_commands_stay_whole() {
        let line = "interrupted: 4 of 8 trials finished; go on with `harness resume some-run`";
        let expected = "interrupted: 4 of 8 trials finished; go\non with `harness resume some-run`";
        assert_eq!(broken(line, 40), expected);
        assert_eq!(broken(line, 80), line);
        assert_eq!(broken("a b `c d e f` g", 8), "a b\n`c d e f`\ng");
        assert_eq!(broken("  harness run suite", 8), "  harness run suite");
    }

    #[test]
    fn words_are_quoted_so_that_a_shell_reads_them_back() {
        assert_eq!(quoted(".harness/runs"), ".harness/runs");
        assert_eq!(quoted("my runs"), "'my runs'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
