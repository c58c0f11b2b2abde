//! `search`: lines that match, by the sandbox's own grep.

use async_trait::async_trait;
use harness_sandbox::{Exit, SandboxError};
use serde_json::{Map, Value, json};

use super::{Desk, Input, Output, Private, Tool};
use crate::Settings;
use crate::text::head;
use crate::wires::ToolSpec;

/// Most lines that are shown.
const LINES: usize = 200;
/// Longest line that is shown whole.
const LINE: usize = 300;

const GREP: &str = "set -- \"$1\" \"$2\" \"$3\"
if [ -n \"$3\" ]; then grep -rnIE --exclude-dir=.git --include=\"$3\" -e \"$1\" \"$2\"; else grep -rnIE --exclude-dir=.git -e \"$1\" \"$2\"; fi";
/// For a grep that knows little.
const PLAIN: &str = "grep -rnE -e \"$1\" \"$2\"";

pub(super) struct Search;

impl Tool for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn spec(&self, _settings: &Settings) -> ToolSpec {
        ToolSpec {
            name: "search",
            about: format!(
                "Finds lines that match an extended regular expression, in a file or below a folder; at most {LINES}."
            ),
            schema: json!({"type": "object", "properties": {
                "pattern": {"type": "string", "description": "extended regular expression, as grep -E takes it"},
                "path": {"type": "string", "description": "file or folder; the working folder when left out"},
                "glob": {"type": "string", "description": "only files whose names match, for example *.c"}
            }, "required": ["pattern"]}),
        }
    }
}

#[async_trait]
impl Private for Search {
    async fn run(&self, desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError> {
        let input = Input(input);
        let asked = (|| {
            let path = input.optional("path")?.unwrap_or(".");
            Ok((input.text("pattern")?, path, input.optional("glob")?.unwrap_or_default()))
        })();
        let (pattern, path, glob) = match asked {
            Ok(asked) => asked,
            Err(output) => return Ok(output),
        };
        if pattern.is_empty() || pattern.contains('\0') || glob.contains('\0') {
            return Ok(Output::error("`pattern` must be a regular expression that is not empty"));
        }
        let root = match desk.readable("search", path) {
            Ok(root) => root,
            Err(output) => return Ok(output),
        };
        // Paths are shown as they were asked for: short ones for the working folder.
        let shown = if root == desk.spec.workdir { ".".to_owned() } else { root };
        let cap = desk.spec.settings.output_cap;
        let mut result = desk.script(GREP, &[pattern, &shown, glob], None, cap * 8).await?;
        let complaint = result.stderr.text();
        if result.exit == Exit::Code(2) && result.stdout.total == 0 && complaint.contains("nrecognized") {
            result = desk.script(PLAIN, &[pattern, &shown], None, cap * 8).await?;
        }
        match result.exit {
            Exit::Code(1) => return Ok(Output::ok("[no line matches]")),
            Exit::TimedOut => {
                return Ok(Output::error("searching took too long; search in a smaller folder"));
            }
            Exit::Code(0) => {}
            // Unreadable files among those that were searched.
            Exit::Code(2) if result.stdout.total > 0 => {}
            _ => return Ok(Output::error(format!("grep says: {}", result.stderr.text().trim()))),
        }
        let found = String::from_utf8_lossy(&result.stdout.head).into_owned();
        Ok(Output::ok(lines(&found, result.stdout.total > result.stdout.head.len() as u64, cap)))
    }
}

fn lines(found: &str, cut: bool, cap: usize) -> String {
    let mut shown = String::new();
    let mut more = cut;
    for (count, line) in found.lines().enumerate() {
        let end = head(line, LINE).len();
        if count == LINES || shown.len() + end > cap {
            more = true;
            break;
        }
        shown.push_str(line[..end].strip_prefix("./").unwrap_or(&line[..end]));
        shown.push_str(if end < line.len() { " …\n" } else { "\n" });
    }
    if more {
        shown.push_str("[more lines match; search for something narrower, or in a smaller folder]");
    }
    shown
}
