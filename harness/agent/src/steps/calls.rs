//! Running what the model calls, in order, and telling it what came of that.

use std::time::Instant;

use harness_core::AgentExit;

use super::judge::Judged;
use super::{USELESS, Work, millis};
use crate::events::{Event, clip};
use crate::guard::Noticed;
use crate::job::Halt;
use crate::tools::{self, Output};
use crate::wires::{Call, ToolResult, Turn};

/// Most calls of one answer that are run.
const MAX_CALLS: usize = 32;

impl Work<'_> {
    /// Runs calls in order, and tells what came of them.
    pub(super) async fn call(&mut self, calls: Vec<Call>) -> Result<(), Halt> {
        let mut results: Vec<ToolResult> = Vec::new();
        let mut outputs: Vec<String> = Vec::new();
        let mut usable = 0;
        for (at, call) in calls.iter().enumerate() {
            self.waiting.now_for("a tool");
            let began = Instant::now();
            let tool =
                tools::by_name(&call.name).filter(|tool| self.job.settings.tools.contains(&tool.name()));
            let mut output = match (tool, &call.input) {
                _ if at >= MAX_CALLS => Output::error(format!("not run: at most {MAX_CALLS} calls at once")),
                (None, _) => tools::unknown(&call.name, &self.job.settings.tools),
                (Some(_), Err(broken)) => Output::error(format!(
                    "the input is no JSON object; it begins: {}",
                    broken.chars().take(200).collect::<String>()
                )),
                (Some(tool), Ok(input)) => {
                    usable += 1;
                    if tool.name() != "submit" {
                        self.calls += 1;
                    }
                    let output = tool.run(&mut self.desk, input).await?;
                    if tool.name() == "bash" { self.keep_rules(output).await? } else { output }
                }
            };
            let submission = output.submitted.take();
            let mut ends = None;
            if let Some(submission) = &submission {
                match (submission.done, calls.len() > at + 1) {
                    (true, true) => {
                        output =
                            Output::error("not handed in: other calls follow it. Submit when they are done.");
                    }
                    (true, false) => match self.judge(submission).await? {
                        Judged::Accepted => ends = Some(AgentExit::Finished),
                        Judged::Back(told) => output = Output::error(told),
                    },
                    (false, _) => ends = Some(AgentExit::GaveUp),
                }
            }
            self.job.log.write(Event::Ran {
                id: call.id.clone(),
                tool: call.name.chars().take(80).collect(),
                output: clip(&output.text),
                is_error: output.is_error,
                took_ms: millis(began.elapsed()),
            });
            if let (Some(exit), Some(submission)) = (ends, submission) {
                return Err(Halt::End(exit, submission.message));
            }
            self.count_failed_tests(&output);
            outputs.push(output.text.clone());
            results.push(ToolResult {
                id: call.id.clone(),
                name: call.name.clone(),
                text: output.text,
                is_error: output.is_error,
                masked: false,
            });
        }
        self.turns.push(Turn::Results { results, note: None });
        if usable == 0 {
            self.streaks.useless += 1;
            if self.streaks.useless >= USELESS {
                return Err(Halt::End(
                    AgentExit::GaveUp,
                    format!("{USELESS} answers in a row held no call that can be run"),
                ));
            }
        } else {
            self.streaks.useless = 0;
        }
        match self.guard.step(&calls, &outputs, self.desk.edits) {
            Noticed::Fine => {}
            Noticed::Loop(told) => {
                self.nudge("loop", &told);
                self.raise_effort("loop");
            }
            Noticed::Idle(told) => self.nudge("idle", &told),
            Noticed::Hopeless(reason) => return Err(Halt::End(AgentExit::GaveUp, reason)),
        }
        Ok(())
    }

    pub(super) fn count_failed_tests(&mut self, output: &Output) {
        if !output.failed_test {
            return;
        }
        self.failed_tests += 1;
        // The first failure is how work begins; the next ones say that it is hard.
        if self.failed_tests.is_multiple_of(2) {
            self.raise_effort("failing_tests");
        }
    }

    /// Undoes what a command changed out of bounds.
    pub(super) async fn keep_rules(&mut self, mut output: Output) -> Result<Output, Halt> {
        if self.desk.rules.is_empty() {
            return Ok(output);
        }
        let Some(baseline) = &self.baseline else { return Ok(output) };
        let broken = baseline.enforce(self.job.sandbox, self.job.workdir, &self.desk.rules).await?;
        if !broken.is_empty() {
            let told = self.desk.rules.told().unwrap_or_default();
            output.text.push_str(&format!("\n[undone: {}. {told}]", broken.join(", ")));
        }
        for path in broken {
            self.desk.violate("bash", &path, "undone");
        }
        Ok(output)
    }
}
