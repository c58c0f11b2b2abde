//! Sub-goals before the work: asked for apart from the conversation, so that only the plan itself takes room in it.

use crate::events::{Event, Purpose};
use crate::job::Halt;
use crate::prompts;
use crate::steps::Work;
use crate::wires::Turn;

/// Longest plan that is kept.
const MAX_PLAN: usize = 8000;

impl Work<'_> {
    /// Asks for a plan; none where the model has none to give. A window that is too small for it is no reason to end.
    pub(crate) async fn plan(&mut self) -> Result<Option<String>, Halt> {
        let task = format!(
            "<task>\n{}\n</task>\n\nThe working folder is {}.",
            self.job.instruction, self.job.workdir
        );
        let answer = match self.ask_aside(Purpose::Plan, prompts::PLAN, vec![Turn::User(task)]).await {
            Ok(answer) => answer,
            Err(Halt::Overflow(_) | Halt::TooLarge) => return Ok(None),
            Err(halt) => return Err(halt),
        };
        let plan = answer.text.trim();
        let plan = crate::text::head(plan, MAX_PLAN).to_owned();
        if plan.is_empty() {
            return Ok(None);
        }
        self.job.log.write(Event::Planned { text: plan.clone() });
        Ok(Some(plan))
    }
}
