//! Whether work that is handed in is accepted: by the test that must pass, and by fresh eyes.

use harness_core::AgentExit;

use super::{Work, millis};
use crate::events::{Event, clip};
use crate::goal;
use crate::job::Halt;
use crate::settings::Goal;
use crate::tools::Submission;

/// How often work may be handed in while the test fails.
const REJECTIONS: u32 = 8;

/// What is done about a submission.
pub(super) enum Judged {
    Accepted,
    Back(String),
}

impl Work<'_> {
    /// Whether work that is handed in is accepted.
    pub(super) async fn judge(&mut self, _submission: &Submission) -> Result<Judged, Halt> {
        let settings = self.job.settings;
        if self.calls == 0 && !self.asked_about_nothing {
            self.asked_about_nothing = true;
            return Ok(Judged::Back(
                "You have not looked at anything yet. If there is really nothing to do, submit again."
                    .to_owned(),
            ));
        }
        let mut tests = None;
        if let Some(command) = self.test.clone() {
            self.waiting.now_for("the test command");
            let tested = goal::test(&self.desk, &command).await?;
            self.job.log.write(Event::Tested {
                command: command.clone(),
                passed: tested.passed,
                output: clip(&tested.output),
                took_ms: millis(tested.took),
            });
            let insists = settings.goal == Goal::Require || !self.advised;
            if !tested.passed && insists {
                self.advised = true;
                self.rejections += 1;
                self.raise_effort("failing_tests");
                if self.rejections >= REJECTIONS {
                    let reason = format!("it handed the work in {REJECTIONS} times while `{command}` failed");
                    return Err(Halt::End(AgentExit::GaveUp, reason));
                }
                return Ok(Judged::Back(format!("Not accepted: `{command}` fails.\n{}", tested.output)));
            }
            tests = Some(tested.output);
        } else if settings.goal == Goal::Require && !self.advised {
            // Nothing was found that could be required: said once, and then left to the model's own checks.
            self.advised = true;
            return Ok(Judged::Back(
                "No test command was found. Check the work yourself by commands that fail if it is wrong, then submit again."
                    .to_owned(),
            ));
        }
        if settings.review && self.reviews < settings.review_rounds {
            self.reviews += 1;
            if let Some(findings) = self.review(tests.as_deref()).await? {
                self.raise_effort("review");
                return Ok(Judged::Back(format!("Not accepted yet: a review asks for this.\n{findings}")));
            }
        }
        Ok(Judged::Accepted)
    }
}
