//! A patch and a file: where its lines are, by what they say, and the file afterwards.

use super::super::nearest::{Near, nearest};
use super::Hunk;

/// Most places of several matches that are named.
const PLACES: usize = 8;

/// The file after all hunks.
pub(super) fn changed(path: &str, text: &str, hunks: &[Hunk]) -> Result<String, String> {
    let crlf = text.contains("\r\n");
    let ended = text.is_empty() || text.ends_with('\n');
    let mut lines: Vec<&str> = text.split('\n').collect();
    if ended {
        lines.pop();
    }
    let mut result: Vec<String> = Vec::new();
    let mut from = 0;
    for hunk in hunks {
        let at = place(path, text, &lines, from, hunk)?;
        result.extend(lines[from..at].iter().map(|line| (*line).to_owned()));
        let ending = if crlf { "\r" } else { "" };
        result.extend(hunk.new.iter().map(|line| {
            // A line that stays keeps its own ending.
            let kept = lines[at..at + hunk.old.len()].iter().find(|old| bare(old) == bare(line));
            kept.map_or_else(|| format!("{}{ending}", bare(line)), |kept| (*kept).to_owned())
        }));
        from = at + hunk.old.len();
    }
    result.extend(lines[from..].iter().map(|line| (*line).to_owned()));
    let mut changed = result.join("\n");
    if ended && !result.is_empty() {
        changed.push('\n');
    }
    Ok(changed)
}

fn bare(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// The line at which a hunk begins, from 0; nothing before `from` counts.
fn place(path: &str, text: &str, lines: &[&str], from: usize, hunk: &Hunk) -> Result<usize, String> {
    let mut from = from;
    for said in &hunk.after {
        let found = lines[from..].iter().position(|line| line.trim() == said.trim());
        let found = found.or_else(|| lines[from..].iter().position(|line| line.contains(said.as_str())));
        match found {
            Some(at) => from += at + 1,
            None => {
                let near = shown(nearest(text, said));
                return Err(format!(
                    "line {} of the patch: after `@@` stands {said:?}, which no line of {path} says{}.{near}",
                    hunk.line,
                    if from > 0 { " from there on" } else { "" },
                ));
            }
        }
    }
    if hunk.old.is_empty() {
        if hunk.at_end || lines.is_empty() {
            return Ok(lines.len());
        }
        if hunk.after.is_empty() {
            return Err(format!(
                "line {} of the patch only adds lines and does not say where: give lines that stay, or `@@ LINE BEFORE`",
                hunk.line
            ));
        }
        return Ok(from);
    }
    let fits = |at: &usize| {
        lines[*at..].len() >= hunk.old.len()
            && hunk.old.iter().zip(&lines[*at..]).all(|(old, line)| bare(old) == bare(line))
            && (!hunk.at_end || at + hunk.old.len() == lines.len())
    };
    // A heading names the place; the lines need not be at one place alone then.
    let found: Vec<usize> = (from..lines.len()).filter(fits).take(PLACES + 1).collect();
    match found.as_slice() {
        [at] => Ok(*at),
        [at, ..] if !hunk.after.is_empty() => Ok(*at),
        [] => {
            let sought = hunk.old.join("\n");
            let before = (0..from).any(|at| fits(&at));
            let why = if before {
                " after the place before it; changes stand in the order of the file"
            } else {
                ""
            };
            Err(format!(
                "line {} of the patch: the lines that stay or go are not in {path}{why}.{}",
                hunk.line,
                if before { String::new() } else { shown(nearest(text, &sought)) }
            ))
        }
        several => {
            let more = if several.len() > PLACES { ", …" } else { "" };
            let at: Vec<String> = several.iter().take(PLACES).map(|at| (at + 1).to_string()).collect();
            Err(format!(
                "line {} of the patch: the lines that stay or go are in {path} several times, at lines {}{more}. Give more lines \
                 that stay, or `@@ LINE BEFORE`.",
                hunk.line,
                at.join(", ")
            ))
        }
    }
}

fn shown(near: Option<Near>) -> String {
    match near {
        Some(near) => {
            let what = if near.only_spaces { "The same but for spaces is at" } else { "The nearest is at" };
            format!(" {what} lines {} to {}:\n{}", near.first, near.last, near.text)
        }
        None => " Nothing there is like it; read the file again.".to_owned(),
    }
}
