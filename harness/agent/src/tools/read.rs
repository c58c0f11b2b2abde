//! `read`: a part of a file with line numbers, or what is in a folder.

use async_trait::async_trait;
use harness_sandbox::SandboxError;
use serde_json::{Map, Value, json};

use super::{Desk, Found, Input, Output, Private, Tool};
use crate::Settings;
use crate::text::head;
use crate::wires::ToolSpec;

/// Lines that are shown where nobody says how many.
const LINES: usize = 400;
/// Longest line that is shown whole.
const LINE: usize = 2000;

pub(super) struct Read;

impl Tool for Read {
    fn name(&self) -> &'static str {
        "read"
    }

    fn spec(&self, _settings: &Settings) -> ToolSpec {
        ToolSpec {
            name: "read",
            about: format!(
                "Shows a file with line numbers, {LINES} lines unless `limit` says otherwise, or lists a folder. The numbers are \
                 not a part of the file."
            ),
            schema: json!({"type": "object", "properties": {
                "path": {"type": "string", "description": "relative to the working folder, or from the root"},
                "offset": {"type": "integer", "description": "first line, from 1"},
                "limit": {"type": "integer", "description": "how many lines"}
            }, "required": ["path"]}),
        }
    }
}

#[async_trait]
impl Private for Read {
    async fn run(&self, desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError> {
        let input = Input(input);
        let asked = (|| Ok((input.text("path")?, input.number("offset")?, input.number("limit")?)))();
        let (path, offset, limit) = match asked.and_then(|(path, offset, limit)| {
            Ok((
                desk.readable("read", path)?,
                offset.unwrap_or(1.0) as usize,
                limit.unwrap_or(LINES as f64) as usize,
            ))
        }) {
            Ok(asked) => asked,
            Err(output) => return Ok(output),
        };
        let bytes = match desk.read_file(&path).await? {
            Found::File(bytes) => bytes,
            Found::Folder(list) => return Ok(Output::ok(list)),
            Found::Nothing => return Ok(Output::error(format!("{path} does not exist"))),
            Found::Refused(why) => return Ok(Output::error(why)),
        };
        if memchr::memchr(0, &bytes[..bytes.len().min(8192)]).is_some() {
            return Ok(Output::error(format!(
                "{path} is no text ({} bytes); look at it with bash",
                bytes.len()
            )));
        }
        if bytes.is_empty() {
            return Ok(Output::ok(format!("[{path} is empty]")));
        }
        Ok(Output::ok(numbered(
            &String::from_utf8_lossy(&bytes),
            offset.max(1),
            limit.max(1),
            desk.spec.settings.output_cap,
        )))
    }
}

fn numbered(text: &str, offset: usize, limit: usize, cap: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = String::new();
    let mut next = offset;
    for (at, line) in lines.iter().enumerate().skip(offset - 1).take(limit) {
        let end = head(line, LINE).len();
        let rest =
            if end < line.len() { format!(" [… {} bytes more]", line.len() - end) } else { String::new() };
        let row = format!("{:>6}\t{}{rest}\n", at + 1, &line[..end]);
        if shown.len() + row.len() > cap {
            break;
        }
        shown.push_str(&row);
        next = at + 2;
    }
    if offset > lines.len() {
        return format!("[the file has {} lines]", lines.len());
    }
    if next <= lines.len() {
        shown.push_str(&format!("[{} lines in all; go on with offset {next}]", lines.len()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_says_how_to_go_on() {
        let text = "a\nb\nc\nd\n";
        assert_eq!(numbered(text, 2, 2, 1000), "     2\tb\n     3\tc\n[4 lines in all; go on with offset 4]");
        assert_eq!(numbered(text, 4, 9, 1000), "     4\td\n");
        assert_eq!(numbered(text, 9, 9, 1000), "[the file has 4 lines]");
        assert!(numbered(&"é".repeat(4000), 1, 1, 10_000).contains("bytes more"));
    }
}
