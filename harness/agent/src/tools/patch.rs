//! `edit` by a patch: several changes to several files, all of them or none. Lines are found by what they say, never by number,
//! and what does not match is answered with what would. The form is the one that codex's `apply_patch` made common
//! (<https://github.com/openai/codex>), which models write from memory.

use harness_sandbox::SandboxError;

use super::files::MAX_FILE;
use super::nearest::nearest;
use super::{Desk, Found, Output};

/// Largest patch that is read.
const MAX_PATCH: usize = 1 << 20;
/// Most files that one patch changes.
const MAX_FILES: usize = 100;
/// Most places of several matches that are named.
const PLACES: usize = 8;

/// How the form is explained to the model.
pub(super) const FORM: &str = "Changes files by a patch, all of it or nothing:\n\
*** Begin Patch\n*** Update File: src/a.py\n@@ def greet():\n name = ask()\n-print(\"Hi\")\n+print(\"Hello\", name)\n\
*** Add File: src/b.py\n+x = 1\n*** Delete File: old.py\n*** End Patch\n\
After `*** Update File: A` a line `*** Move to: B` renames it. A line `@@ TEXT` says after which line of the file to look; it may be \
left out. Then come lines that begin with a space (they stay), `-` (they go) or `+` (they come). Lines that stay or go must be in the \
file as they stand, one after the other, at one place only: give about three that stay on each side. Paths are relative to the working \
folder, or from the root.";

/// One file of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Add { path: String, text: String },
    Delete { path: String },
    Update { path: String, to: Option<String>, hunks: Vec<Hunk> },
}

/// Lines that stand one after the other, and what is to stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hunk {
    /// Where it begins in the patch, from 1.
    line: usize,
    /// Lines of the file after which it is, in their order.
    after: Vec<String>,
    old: Vec<String>,
    new: Vec<String>,
    /// It ends where the file ends.
    at_end: bool,
}

/// What is to be done once everything is known to fit.
enum Step {
    Write { path: String, text: String, told: String },
    Remove { path: String },
    Move { from: String, to: String },
}

/// Applies a patch, or says why not and changes nothing.
pub(super) async fn apply(desk: &mut Desk<'_>, patch: &str) -> Result<Output, SandboxError> {
    let changes = match parse(patch) {
        Ok(changes) => changes,
        Err(why) => return Ok(Output::error(why)),
    };
    let mut steps = Vec::new();
    for change in changes {
        match plan(desk, change).await? {
            Ok(planned) => steps.extend(planned),
            Err(output) => return Ok(output),
        }
    }
    let mut told = Vec::new();
    for step in steps {
        let (done, says) = match step {
            Step::Write { path, text, told } => (desk.write_file(&path, text.as_bytes()).await?, told),
            Step::Remove { path } => (desk.remove_file(&path).await?, format!("{path}: deleted")),
            Step::Move { from, to } => (desk.move_file(&from, &to).await?, format!("{from}: is now {to}")),
        };
        if let Err(why) = done {
            told.push(format!("{why}; nothing after this was done"));
            return Ok(Output::error(told.join("\n")));
        }
        desk.edits += 1;
        told.push(says);
    }
    Ok(Output::ok(told.join("\n")))
}

/// What one change comes to, after a look at the file.
async fn plan(desk: &mut Desk<'_>, change: Change) -> Result<Result<Vec<Step>, Output>, SandboxError> {
    let named = match &change {
        Change::Add { path, .. } | Change::Delete { path } | Change::Update { path, .. } => path.clone(),
    };
    let path = match desk.writable("edit", &named) {
        Ok(path) => path,
        Err(output) => return Ok(Err(output)),
    };
    let no = |why: String| Ok(Err(Output::error(why)));
    let found = desk.read_file(&path).await?;
    match change {
        Change::Add { text, .. } => match found {
            Found::Nothing => {
                let told = format!("{path}: made, {} lines", text.lines().count());
                Ok(Ok(vec![Step::Write { path, text, told }]))
            }
            _ => {
                no(format!("{path} exists already; use `*** Update File:` to change it. Nothing was changed"))
            }
        },
        Change::Delete { .. } => match found {
            Found::Nothing => no(format!("{path} does not exist. Nothing was changed")),
            Found::Folder(_) => no(format!("{path} is a folder; remove it with bash. Nothing was changed")),
            Found::File(_) | Found::Refused(_) => Ok(Ok(vec![Step::Remove { path }])),
        },
        Change::Update { to, hunks, .. } => {
            let bytes = match found {
                Found::File(bytes) => bytes,
                Found::Nothing => {
                    return no(format!("{path} does not exist; use `*** Add File:`. Nothing was changed"));
                }
                Found::Folder(_) => return no(format!("{path} is a folder. Nothing was changed")),
                Found::Refused(why) => return no(why),
            };
            let Ok(text) = String::from_utf8(bytes) else {
                return no(format!("{path} is no UTF-8; change it with bash. Nothing was changed"));
            };
            let changed = match changed(&path, &text, &hunks) {
                Ok(changed) if changed.len() <= MAX_FILE => changed,
                Ok(_) => {
                    return no(format!("{path} would have more than {MAX_FILE} bytes. Nothing was changed"));
                }
                Err(why) => return no(format!("{why}\nNothing was changed")),
            };
            let told = format!("{path}: {} changed", places(hunks.len()));
            let mut steps = Vec::new();
            if changed != text {
                steps.push(Step::Write { path: path.clone(), text: changed, told });
            } else if to.is_none() {
                return no(format!("the patch leaves {path} as it is. Nothing was changed"));
            }
            if let Some(to) = to {
                let to = match desk.writable("edit", &to) {
                    Ok(to) => to,
                    Err(output) => return Ok(Err(output)),
                };
                if desk.read_file(&to).await? != Found::Nothing {
                    return no(format!("{to} exists already. Nothing was changed"));
                }
                steps.push(Step::Move { from: path, to });
            }
            Ok(Ok(steps))
        }
    }
}

fn places(count: usize) -> String {
    if count == 1 { "1 place".to_owned() } else { format!("{count} places") }
}

/// Reads a patch as a whole.
fn parse(patch: &str) -> Result<Vec<Change>, String> {
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
        let body = |lines: &mut std::iter::Peekable<_>| body(lines);
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
fn body<'a, I: Iterator<Item = (usize, &'a str)>>(lines: &mut std::iter::Peekable<I>) -> Lines<'a> {
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

/// The file after all hunks.
fn changed(path: &str, text: &str, hunks: &[Hunk]) -> Result<String, String> {
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

fn shown(near: Option<super::nearest::Near>) -> String {
    match near {
        Some(near) => {
            let what = if near.only_spaces { "The same but for spaces is at" } else { "The nearest is at" };
            format!(" {what} lines {} to {}:\n{}", near.first, near.last, near.text)
        }
        None => " Nothing there is like it; read the file again.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "fn one() {\n    go(1);\n    end();\n}\n\nfn two() {\n    go(2);\n    end();\n}\n";

    fn updated(text: &str, body: &str) -> Result<String, String> {
        let patch = format!("*** Begin Patch\n*** Update File: f.rs\n{body}\n*** End Patch\n");
        match parse(&patch)?.as_slice() {
            [Change::Update { hunks, .. }] => changed("f.rs", text, hunks),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn updated_finds_lines_by_what_they_say() {
        let text = updated(FILE, "@@ fn two() {\n     go(2);\n-    end();\n+    stop();\n }").unwrap();
        assert_eq!(text, FILE.replace("go(2);\n    end", "go(2);\n    stop"));
        let text = updated(FILE, "@@ fn two() {\n-    end();\n@@\n }\n+// last").unwrap();
        assert_eq!(text, FILE.replace("(2);\n    end();\n}\n", "(2);\n}\n// last\n"));
        let text = updated(FILE, "@@ -1,3 +1,4 @@\n fn one() {\n+    first();").unwrap();
        assert_eq!(text, FILE.replace("one() {\n", "one() {\n    first();\n"));
        let text = updated(FILE, "@@\n+fn three() {}\n*** End of File").unwrap();
        assert_eq!(text, format!("{FILE}fn three() {{}}\n"));
        assert_eq!(updated("a\nb", " a\n-b\n+c").unwrap(), "a\nc", "no line end where there was none");
        assert_eq!(updated("a\r\nb\r\n", " a\n-b\n+c\n+d").unwrap(), "a\r\nc\r\nd\r\n");
        assert_eq!(updated("", "+a").unwrap(), "a\n");
        assert_eq!(updated("a\n", "-a").unwrap(), "");
    }

    #[test]
    fn updated_teaches_what_is_wrong() {
        for (body, says) in [
            ("-    end();\n+    stop();", "several times, at lines 3, 8"),
            ("-    end();;;\n     go(1);", "not in f.rs. The nearest is at lines"),
            ("-  go(1);\n-  end();", "The same but for spaces is at lines 2 to 3"),
            ("@@ fn three() {\n-    end();", "no line of f.rs says. The nearest is"),
            (" fn two() {\n+x\n@@\n fn one() {\n+y", "order of the file"),
            ("+x", "does not say where"),
            ("@@", "no line that stays, goes or comes"),
            ("oops", "begins with neither a space"),
            ("", "no line that stays, goes or comes"),
            (" fn two() {\n*** End of File\n-x", "nothing can follow"),
        ] {
            let told = updated(FILE, body).unwrap_err();
            assert!(told.contains(says), "{body:?}: {told}");
        }
        for (patch, says) in [
            ("", "must begin with"),
            ("*** Begin Patch\n*** Update File: a\n-x\n", "may have been cut off"),
            ("*** Begin Patch\n*** Update File: a\n*** End Patch", "no change to a follows"),
            ("*** Begin Patch\n*** End Patch", "changes nothing"),
            ("*** Begin Patch\nhello\n*** End Patch", "line 2 of the patch: expected"),
            ("*** Begin Patch\n*** Add File: a\nx\n*** End Patch", "begins with `+`"),
            ("*** Begin Patch\n*** Delete File: a\n*** Delete File: a\n*** End Patch", "names a twice"),
        ] {
            let told = parse(patch).unwrap_err();
            assert!(told.contains(says), "{patch:?}: {told}");
        }
        let long = format!("*** Begin Patch\n{}", "x".repeat(MAX_PATCH));
        assert!(parse(&long).unwrap_err().contains("more than"));
    }

    proptest! {
        /// Whatever a patch says, it is read or refused; and one that is cut off anywhere is refused.
        #[test]
        fn parse_never_panics_and_takes_no_half(patch in "([ +@*-]{0,3}[a-z ]{0,6}\n|\\*\\*\\* (Update|Add) File: [ab]\n|@@[ a-z]{0,4}\n){0,12}", cut in 0_usize..40) {
            let whole = format!("*** Begin Patch\n{patch}*** End Patch");
            if let Ok(changes) = parse(&whole) {
                for change in &changes {
                    if let Change::Update { hunks, .. } = change {
                        let _ = changed("f", "a\nb\n", hunks);
                    }
                }
                let mut end = whole.len().saturating_sub(1 + cut);
                while !whole.is_char_boundary(end) { end -= 1; }
                prop_assert!(parse(&whole[..end]).is_err());
            }
        }

        /// A patch made from two texts turns the one into the other.
        #[test]
        fn changed_turns_one_text_into_another(lines in prop::collection::vec(0_u8..250, 1..30), at in 0_usize..30, new in "[a-z]{1,5}") {
            // Different lines, so that one place is meant.
            let mut seen = std::collections::BTreeSet::new();
            let lines: Vec<String> = lines.into_iter().filter(|line| seen.insert(*line)).map(|line| format!("line {line}")).collect();
            let at = at % lines.len();
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut wanted = lines.clone();
            wanted[at] = new.clone();
            let before = if at > 0 { format!(" {}\n", lines[at - 1]) } else { String::new() };
            let got = updated(&text, &format!("{before}-{}\n+{new}", lines[at])).unwrap();
            prop_assert_eq!(got, wanted.iter().map(|line| format!("{line}\n")).collect::<String>());
        }
    }
}
