//! `write`: a file as a whole.

use async_trait::async_trait;
use harness_sandbox::SandboxError;
use serde_json::{Map, Value, json};

use super::files::MAX_FILE;
use super::{Desk, Input, Output, Private, Tool};
use crate::Settings;
use crate::wires::ToolSpec;

pub(super) struct Write;

impl Tool for Write {
    fn name(&self) -> &'static str {
        "write"
    }

    fn spec(&self, _settings: &Settings) -> ToolSpec {
        ToolSpec {
            name: "write",
            about: "Writes a file as a whole: makes it with its folders, or puts other content in its place (mode and owner stay)."
                .to_owned(),
            schema: json!({"type": "object", "properties": {
                "path": {"type": "string", "description": "relative to the working folder, or from the root"},
                "content": {"type": "string", "description": "all that the file holds afterwards"}
            }, "required": ["path", "content"]}),
        }
    }
}

#[async_trait]
impl Private for Write {
    async fn run(&self, desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError> {
        let input = Input(input);
        let (path, content) = match (|| Ok((input.text("path")?, input.text("content")?)))() {
            Ok(asked) => asked,
            Err(output) => return Ok(output),
        };
        if content.len() > MAX_FILE {
            return Ok(Output::error(format!("`content` has more than {MAX_FILE} bytes")));
        }
        let path = match desk.writable("write", path) {
            Ok(path) => path,
            Err(output) => return Ok(output),
        };
        Ok(match desk.write_file(&path, content.as_bytes()).await? {
            Ok(()) => {
                desk.edits += 1;
                Output::ok(format!("{path}: {} lines written", content.lines().count()))
            }
            Err(why) => Output::error(why),
        })
    }
}
