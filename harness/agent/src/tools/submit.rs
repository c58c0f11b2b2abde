//! `submit`: the model says that it is done, or that it cannot go on.

use async_trait::async_trait;
use harness_sandbox::SandboxError;
use serde_json::{Map, Value, json};

use super::{Desk, Input, Output, Private, Submission, Tool};
use crate::Settings;
use crate::wires::ToolSpec;

pub(super) struct Submit;

impl Tool for Submit {
    fn name(&self) -> &'static str {
        "submit"
    }

    fn spec(&self, _settings: &Settings) -> ToolSpec {
        ToolSpec {
            name: "submit",
            about: "Hands the work in and ends it. Call it when the task is done and you have checked that it is; or with \
                    `cannot_go_on` true when there is no way to do it."
                .to_owned(),
            schema: json!({"type": "object", "properties": {
                "message": {"type": "string", "description": "what was done and how it was checked, or what is in the way"},
                "cannot_go_on": {"type": "boolean", "description": "true when the task cannot be done"}
            }, "required": ["message"]}),
        }
    }
}

#[async_trait]
impl Private for Submit {
    async fn run(&self, _desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError> {
        let input = Input(input);
        let cannot = match input.switch("cannot_go_on") {
            Ok(cannot) => cannot,
            Err(output) => return Ok(output),
        };
        // Whoever hands in without a word has still handed in.
        let message =
            input.optional("message").ok().flatten().unwrap_or_default().chars().take(4000).collect();
        let submitted = Some(Submission { done: !cannot, message });
        Ok(Output { submitted, ..Output::ok("[handed in]") })
    }
}
