//! `edit`: one text in a file by another, exactly; what does not match is answered with what would. Or by a patch, where the
//! variant asks for that.

use async_trait::async_trait;
use harness_sandbox::SandboxError;
use serde_json::{Map, Value, json};

use super::nearest::nearest;
use super::{Desk, Found, Input, Output, Private, Tool, patch};
use crate::Settings;
use crate::settings::EditFormat;
use crate::wires::ToolSpec;

/// Lines of context that are shown after an edit.
const AROUND: usize = 3;
/// Most places of several matches that are named.
const PLACES: usize = 8;

pub(super) struct Edit;

impl Tool for Edit {
    fn name(&self) -> &'static str {
        "edit"
    }

    fn spec(&self, settings: &Settings) -> ToolSpec {
        if settings.edit_format == EditFormat::Patch {
            return ToolSpec {
                name: "edit",
                about: patch::FORM.to_owned(),
                schema: json!({"type": "object", "properties": {
                    "patch": {"type": "string", "description": "from `*** Begin Patch` to `*** End Patch`"}
                }, "required": ["patch"]}),
            };
        }
        ToolSpec {
            name: "edit",
            about: "Replaces a text in a file by another. `old_string` must be in the file exactly once, with all its spaces and \
                    line ends and without line numbers; take in as many lines around it as that needs, or set `replace_all`."
                .to_owned(),
            schema: json!({"type": "object", "properties": {
                "path": {"type": "string", "description": "relative to the working folder, or from the root"},
                "old_string": {"type": "string", "description": "the text as it stands in the file"},
                "new_string": {"type": "string", "description": "what stands there afterwards"},
                "replace_all": {"type": "boolean", "description": "replace every occurrence"}
            }, "required": ["path", "old_string", "new_string"]}),
        }
    }
}

#[async_trait]
impl Private for Edit {
    async fn run(&self, desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError> {
        let input = Input(input);
        if desk.spec.settings.edit_format == EditFormat::Patch {
            return match input.text("patch") {
                Ok(text) => patch::apply(desk, text).await,
                Err(output) => Ok(output),
            };
        }
        let asked = (|| {
            Ok((
                input.text("path")?,
                input.text("old_string")?,
                input.text("new_string")?,
                input.switch("replace_all")?,
            ))
        })();
        let (path, old, new, all) = match asked {
            Ok(asked) => asked,
            Err(output) => return Ok(output),
        };
        let path = match desk.writable("edit", path) {
            Ok(path) => path,
            Err(output) => return Ok(output),
        };
        let bytes = match desk.read_file(&path).await? {
            Found::File(bytes) => bytes,
            Found::Nothing => return Ok(Output::error(format!("{path} does not exist; make it with write"))),
            Found::Folder(_) => return Ok(Output::error(format!("{path} is a folder"))),
            Found::Refused(why) => return Ok(Output::error(why)),
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return Ok(Output::error(format!("{path} is no UTF-8; change it with bash")));
        };
        let (changed, told) = match replaced(&path, &text, old, new, all) {
            Ok(done) => done,
            Err(why) => return Ok(Output::error(why)),
        };
        Ok(match desk.write_file(&path, changed.as_bytes()).await? {
            Ok(()) => {
                desk.edits += 1;
                Output::ok(told)
            }
            Err(why) => Output::error(why),
        })
    }
}

/// The text after the edit and what is told of it, or why there is none.
fn replaced(path: &str, text: &str, old: &str, new: &str, all: bool) -> Result<(String, String), String> {
    if old.is_empty() {
        return Err("`old_string` is empty; to make a file or to replace all of it use write".to_owned());
    }
    if old == new {
        return Err("`old_string` and `new_string` are the same: nothing would change".to_owned());
    }
    let places: Vec<usize> = text.match_indices(old).map(|(at, _)| at).collect();
    let line_of = |at: usize| text[..at].matches('\n').count() + 1;
    match places.as_slice() {
        [] => Err(absent(path, text, old)),
        [at] => {
            let changed = text.replacen(old, new, 1);
            let told = around(path, &changed, *at, new);
            Ok((changed, told))
        }
        places if all => {
            Ok((text.replace(old, new), format!("{path}: {} occurrences replaced", places.len())))
        }
        places => {
            let lines: Vec<String> = places.iter().take(PLACES).map(|at| line_of(*at).to_string()).collect();
            let more = if places.len() > PLACES { ", …" } else { "" };
            Err(format!(
                "`old_string` is {} times in {path}, at lines {}{more}. Take in more of the lines around the one you mean, or set \
                 `replace_all`.",
                places.len(),
                lines.join(", ")
            ))
        }
    }
}

/// The lines around an edit as they are now.
fn around(path: &str, changed: &str, at: usize, new: &str) -> String {
    let first = changed[..at].matches('\n').count() + 1;
    let last = first + new.trim_end_matches('\n').matches('\n').count();
    format!(
        "{path}: replaced at line {first}{}",
        shown(changed, first.saturating_sub(AROUND).max(1), last + AROUND)
    )
}

fn shown(text: &str, from: usize, last: usize) -> String {
    const MOST: usize = 16;
    if last.saturating_sub(from) > MOST {
        return format!(", now up to line {last}");
    }
    let lines = text.lines().enumerate().skip(from - 1).take(last + 1 - from);
    lines.map(|(at, line)| format!("\n{:>6}\t{line}", at + 1)).collect()
}

/// Why a text is not there, and what is there instead.
fn absent(path: &str, text: &str, old: &str) -> String {
    let mut told = format!("`old_string` is not in {path}.");
    if old.contains('\n')
        && !old.contains('\r')
        && text.contains("\r\n")
        && text.replace("\r\n", "\n").contains(old)
    {
        told.push_str(
            " The file's lines end in CRLF: write \\r\\n in both strings, or replace one line at a time.",
        );
        return told;
    }
    let bare: String = old
        .lines()
        .map(|line| {
            line.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ')
                .strip_prefix('\t')
                .unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n");
    if bare != old.trim_end_matches('\n') && !bare.is_empty() && text.contains(&bare) {
        told.push_str(" It is there without the line numbers, which are not a part of the file.");
        return told;
    }
    match nearest(text, old) {
        Some(near) => {
            let what = if near.only_spaces { "The same but for spaces is at" } else { "The nearest is at" };
            told.push_str(&format!(" {what} lines {} to {}:\n{}", near.first, near.last, near.text));
        }
        None => told.push_str(" Nothing there is like it; read the file again."),
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "fn one() {\n    let a = 1;\n    go(a);\n}\n\nfn two() {\n    let b = 2;\n    go(b);\n}\n";

    #[test]
    fn replaced_once_shows_the_place() {
        let (text, told) = replaced("f.rs", FILE, "let b = 2;", "let b = 3;", false).unwrap();
        assert!(text.contains("let b = 3;"));
        assert!(told.contains("line 7") && told.contains("     7\t    let b = 3;"), "{told}");
    }

    #[test]
    fn replaced_teaches_what_is_wrong() {
        for (old, new, says) in [
            ("", "x", "use write"),
            ("let a", "let a", "the same"),
            ("go(", "run(", "2 times in f.rs, at lines 3, 8"),
            (
                "fn one() {\n  let a = 1;",
                "x",
                "The same but for spaces is at lines 1 to 2:\nfn one() {\n    let a = 1;",
            ),
            ("    let bb = 2;\n    go(b);", "x", "The nearest is at lines 7 to 8"),
            ("     7\t    let b = 2;", "x", "without the line numbers"),
            ("wholly different words of which nothing is here", "x", "read the file again"),
        ] {
            let told = replaced("f.rs", FILE, old, new, false).unwrap_err();
            assert!(told.contains(says), "{old:?}: {told}");
        }
        let crlf = FILE.replace('\n', "\r\n");
        assert!(replaced("f.rs", &crlf, "{\n    let a", "x", false).unwrap_err().contains("CRLF"));
        assert!(replaced("f.rs", FILE, "go(", "run(", true).unwrap().0.contains("run(b)"));
    }
}
