//! Fresh eyes on what was done: task, change and test output in a context of their own.

use crate::events::{Event, Purpose};
use crate::job::Halt;
use crate::prompts;
use crate::steps::Work;
use crate::wires::Turn;

/// Longest findings that go back.
const MAX_FINDINGS: usize = 8000;

impl Work<'_> {
    /// `Some` are findings that have to be dealt with. A review that cannot be held approves: it is a help and no judge.
    pub(crate) async fn review(&mut self, tests: Option<&str>) -> Result<Option<String>, Halt> {
        let diff = match &self.baseline {
            Some(baseline) => baseline.diff(self.job.sandbox, self.job.workdir).await?,
            None => "[the change is not available]".to_owned(),
        };
        let tests = tests.unwrap_or("[no tests were run]");
        let text = format!(
            "<task>\n{}\n</task>\n\n<change>\n{diff}\n</change>\n\n<tests>\n{tests}\n</tests>",
            self.job.instruction
        );
        let answer = match self.ask_aside(Purpose::Review, prompts::REVIEW, vec![Turn::User(text)]).await {
            Ok(answer) => answer,
            Err(Halt::Overflow(_) | Halt::TooLarge) => {
                let findings = "the change does not fit into the reviewer's window".to_owned();
                self.job.log.write(Event::Reviewed { approved: true, findings });
                return Ok(None);
            }
            Err(halt) => return Err(halt),
        };
        let (verdict, rest) = answer.text.trim().split_once('\n').unwrap_or((answer.text.trim(), ""));
        let approved = !verdict.to_ascii_uppercase().contains("REVISE");
        let findings = if approved { answer.text.trim() } else { rest.trim() };
        let findings = crate::text::head(findings, MAX_FINDINGS).to_owned();
        self.job.log.write(Event::Reviewed { approved, findings: findings.clone() });
        Ok((!approved && !findings.is_empty()).then_some(findings))
    }
}
