//! `edit` by a patch: several changes to several files, all of them or none. Lines are found by what they say, never by number,
//! and what does not match is answered with what would. The form is the one that codex's `apply_patch` made common
//! (<https://github.com/openai/codex>), which models write from memory.

mod parse;
mod place;
#[cfg(test)]
mod tests;

use harness_sandbox::SandboxError;

use parse::parse;
use place::changed;

use super::files::MAX_FILE;
use super::{Desk, Found, Output};

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
