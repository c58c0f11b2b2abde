//! A patch as it is written: which files, and which lines of them. One that was cut off is refused.

use std::iter::Peekable;

use super::{Change, FORM, Hunk};

/// Largest patch that is read.
pub(super) const MAX_PATCH: usize = 1 << 20;
/// Most files that one patch changes.
const MAX_FILES: usize = 100;

/// Reads a patch as a whole.
pub(super) fn parse(patch: &str) -> Result<Vec<Change>, String> {
    if patch.len() > MAX_PATCH {
        return Err(format!("`patch` has more than {MAX_PATCH} bytes; change less at a time"));
    }
    let mut lines = patch.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
    while lines.next_if(|(_, line)| line.trim().is_empty()).is_some() {}
    if lines.next().is_none_or(|(_, line)| line.trim() != "*** Begin Patch") {
        return Err(format!("`patch` must begin with the line `*** Begin Patch`. {FORM}"));
    }
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let Some((at, line)) = lines.next() else {
            return Err("`patch` does not end with the line `*** End Patch`: it may have been cut off. Nothing was changed"
                .to_owned());
        };
        let line = line.trim_end();
        if line == "*** End Patch" {
            break;
        }
        let body = |lines: &mut Peekable<_>| body(lines);
        if let Some(path) = line.strip_prefix("*** Add File: ") {
            changes.push(Change::Add { path: path.to_owned(), text: added(path, &body(&mut lines))? });
        } else if let Some(path) = line.strip_prefix("*** Delete File: ") {
            changes.push(Change::Delete { path: path.to_owned() });
        } else if let Some(path) = line.strip_prefix("*** Update File: ") {
            let to = lines.next_if(|(_, line)| line.starts_with("*** Move to: "));
            let to = to.map(|(_, line)| line["*** Move to: ".len()..].trim_end().to_owned());
            let hunks = hunks(&body(&mut lines))?;
            if hunks.is_empty() && to.is_none() {
                return Err(format!("line {at} of the patch: no change to {path} follows"));
            }
            changes.push(Change::Update { path: path.to_owned(), to, hunks });
        } else if !line.is_empty() {
            return Err(format!(
                "line {at} of the patch: expected `*** Update File: `, `*** Add File: `, `*** Delete File: ` or \
                 `*** End Patch`, found {:?}",
                line.chars().take(80).collect::<String>()
            ));
        }
        if changes.len() > MAX_FILES {
            return Err(format!("the patch changes more than {MAX_FILES} files; change fewer at a time"));
        }
    }
    let mut paths: Vec<&str> = changes
        .iter()
        .map(|change| match change {
            Change::Add { path, .. } | Change::Delete { path } | Change::Update { path, .. } => path.as_str(),
        })
        .collect();
    paths.sort_unstable();
    match paths.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(format!("the patch names {} twice; put all changes to a file under one heading", pair[0]))
        }
        None if changes.is_empty() => Err("the patch changes nothing".to_owned()),
        None => Ok(changes),
    }
}

type Lines<'a> = Vec<(usize, &'a str)>;

/// The lines up to the next heading.
fn body<'a, I: Iterator<Item = (usize, &'a str)>>(lines: &mut Peekable<I>) -> Lines<'a> {
    let mut body = Vec::new();
    while let Some(line) =
        lines.next_if(|(_, line)| !line.starts_with("*** ") || line.trim_end() == "*** End of File")
    {
        body.push(line);
    }
    body
}

fn added(path: &str, lines: &Lines<'_>) -> Result<String, String> {
    let mut text = String::new();
    for (at, line) in lines {
        match line.strip_prefix('+') {
            Some(line) => {
                text.push_str(line);
                text.push('\n');
            }
            None if line.trim().is_empty() => {}
            None => {
                return Err(format!(
                    "line {at} of the patch: each line of the new file {path} begins with `+`"
                ));
            }
        }
    }
    Ok(text)
}

fn hunks(lines: &Lines<'_>) -> Result<Vec<Hunk>, String> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let fresh = |line: usize| Hunk { line, ..Hunk::default() };
    for (at, line) in lines {
        let begun = hunks.last().is_some_and(|hunk| hunk.old.len() + hunk.new.len() > 0);
        if *line == "@@" || line.starts_with("@@ ") {
            if begun || hunks.is_empty() {
                hunks.push(fresh(*at));
            }
            if let (Some(said), Some(hunk)) = (header(line), hunks.last_mut()) {
                hunk.after.push(said.to_owned());
            }
            continue;
        }
        if hunks.is_empty() {
            hunks.push(fresh(*at));
        }
        let Some(hunk) = hunks.last_mut() else { continue };
        if hunk.at_end {
            return Err(format!(
                "line {at} of the patch: nothing can follow `*** End of File` but `@@` or another file"
            ));
        }
        let (kind, rest) = (line.chars().next(), line.get(1..).unwrap_or_default().to_owned());
        match kind {
            // A blank line that lost its space.
            None => {
                hunk.old.push(String::new());
                hunk.new.push(String::new());
            }
            Some(' ') => {
                hunk.old.push(rest.clone());
                hunk.new.push(rest);
            }
            Some('-') => hunk.old.push(rest),
            Some('+') => hunk.new.push(rest),
            Some('*') if line.trim_end() == "*** End of File" => hunk.at_end = true,
            Some(_) => {
                return Err(format!(
                    "line {at} of the patch begins with neither a space, `-`, `+` nor `@@`: {:?}",
                    line.chars().take(80).collect::<String>()
                ));
            }
        }
    }
    // Blank lines before the next heading are the writer's, not the file's.
    for hunk in &mut hunks {
        while hunk.old.last().is_some_and(String::is_empty)
            && hunk.new.last().is_some_and(String::is_empty)
            && !hunk.at_end
        {
            hunk.old.pop();
            hunk.new.pop();
        }
    }
    if let Some(hunk) = hunks.iter().find(|hunk| hunk.old.is_empty() && hunk.new.is_empty()) {
        return Err(format!("line {} of the patch: no line that stays, goes or comes follows", hunk.line));
    }
    Ok(hunks)
}

/// What a line that begins with `@@` says of the place; line numbers, as `diff` writes them, say nothing.
fn header(line: &str) -> Option<&str> {
    let said = line[2..].trim();
    let said = if said.starts_with('-') {
        said.split_once("@@").map_or("", |(_, said)| said.trim())
    } else {
        said.strip_suffix("@@").unwrap_or(said).trim()
    };
    Some(said).filter(|said| !said.is_empty())
}
