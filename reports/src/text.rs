//! Text that came from somewhere else, made safe and measured for a terminal.
//!
//! Names, reasons and logs may hold escape sequences, direction overrides and characters without a width. None of them
//! may reach a terminal or move a column.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// One line of safe text: line breaks become `⏎`, tabs a blank, other control characters their visible pictures,
/// and what is invisible or turns the direction of writing U+FFFD.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| safe(c) == Some(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter_map(safe).collect())
}

/// What stands for one character; `None` where nothing needs to.
fn safe(c: char) -> Option<char> {
    match c {
        '\n' => Some('⏎'),
        '\t' => Some(' '),
        // A carriage return before a line break says nothing, and the picture of one says enough elsewhere.
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32),
        '\x7f' => Some('␡'),
        // Emoji and text presentation: only a hint, and terminals disagree about the width that it gives.
        '\u{fe00}'..='\u{fe0f}' => None,
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => Some('\u{fffd}'),
        _ => Some(c),
    }
}

/// Columns that clean text takes in a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// What gives way where text is too wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The end: prose.
    End,
    /// The middle: names, whose ends tell them apart.
    Middle,
}

/// Clean text in at most `room` columns, `…` where something was left out.
pub fn fit(text: &str, room: usize, cut: Cut) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    if room == 0 {
        return String::new();
    }
    let tail_room = if cut == Cut::Middle && room > 6 { (room - 1) / 2 } else { 0 };
    let head = take(text.chars(), room - 1 - tail_room);
    let tail: String = take(text.chars().rev(), tail_room).chars().rev().collect();
    // A mark without a width of its own would hang on the ellipsis.
    let tail = tail.trim_start_matches(|c| char_width(c) == 0);
    format!("{head}…{tail}")
}

fn take(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut used = 0;
    let mut taken = String::new();
    for c in chars {
        used += char_width(c);
        // Thousands of combining marks on one letter have no width and would still fill the line.
        if used > room || taken.len() > room.saturating_mul(16) {
            break;
        }
        taken.push(c);
    }
    taken
}

/// Where text stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Names and prose.
    Left,
    /// Numbers.
    Right,
}

/// Clean text filled up to `room` columns.
pub fn pad(text: &str, room: usize, align: Align) -> String {
    let blanks = " ".repeat(room.saturating_sub(width(text)));
    match align {
        Align::Left => format!("{text}{blanks}"),
        Align::Right => format!("{blanks}{text}"),
    }
}

/// Clean text broken into lines of at most `room` columns, between words where that is possible. Indentation stays.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for (at, word) in text.split(' ').enumerate() {
        let gap = usize::from(at > 0);
        if used + gap + width(word) <= room {
            line.push_str(if gap == 1 { " " } else { "" });
            line.push_str(word);
            used += gap + width(word);
            continue;
        }
        if !line.trim().is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        line.clear();
        let mut rest = word;
        while width(rest) > room {
            let part = take(rest.chars(), room);
            rest = &rest[part.len()..];
            lines.push(part);
        }
        line.push_str(rest);
        used = width(rest);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn clean_shows_what_a_terminal_would_obey() {
        assert_eq!(clean("a\u{1b}[31mb\nc\td\r"), "a␛[31mb⏎c d␍");
        assert_eq!(clean("x\u{202e}y\u{9b}z"), "x\u{fffd}y\u{fffd}z");
        assert!(matches!(clean("修正 é"), Cow::Borrowed(_)));
    }

    #[test]
    fn fit_keeps_both_ends_of_a_name() {
        assert_eq!(fit("django__django-12345", 11, Cut::Middle), "djang…12345");
        assert_eq!(fit("a long sentence", 7, Cut::End), "a long…");
        assert_eq!(fit("修正修正", 5, Cut::End), "修正…");
    }

    #[test]
    fn wrap_breaks_between_words_and_inside_long_ones() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("    indented  text", 20), ["    indented  text"]);
        assert_eq!(wrap("", 20), [""]);
    }

    proptest! {
        #[test]
        fn nothing_gets_through_or_out_of_its_column(text in any::<String>(), room in 1usize..60) {
            let safe = clean(&text);
            prop_assert!(!safe.chars().any(char::is_control));
            for cut in [Cut::End, Cut::Middle] {
                let fitted = fit(&safe, room, cut);
                prop_assert!(width(&fitted) <= room && fitted.width() <= room, "{fitted:?}");
                prop_assert_eq!(width(&pad(&fitted, room, Align::Right)), room);
            }
            for line in wrap(&safe, room) {
                prop_assert!(width(&line) <= room.max(2), "{line:?}");
            }
        }
    }
}
