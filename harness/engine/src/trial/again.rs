//! Going on with a trial whose harness was killed: its sandbox is taken over where it still lives and its agent works inside; else the
//! trial begins anew, and it is said why.

use std::sync::Arc;
use std::time::Duration;

use harness_core::record::TryRecord;
use harness_core::{Event, Outcome, Step};
use harness_sandbox::{EnvironmentRequest, Image, Sandbox};

use super::TrialContext;
use super::attempt::Attempt;
use super::left::{Held, Left, LeftFile};
use super::stop::Stop;
use crate::environments;
use crate::journal_writer::now_ms;

/// How long a sandbox waits for somebody who resumes its run.
const LINGER: Duration = Duration::from_secs(24 * 3600);
/// Under which PID 1 knows the environment's own ENTRYPOINT. Those of an agent's processes are digests.
pub(super) const ENTRYPOINT: u64 = 0;

/// A sandbox that was taken over.
pub(super) struct Taken {
    pub(super) sandbox: Arc<dyn Sandbox>,
    pub(super) image: Arc<Image>,
    pub(super) left: Left,
    pub(super) held: Held,
    /// How often that happened to this trial, this time included.
    pub(super) times: usize,
}

/// What goes on where it was, if anything; what is on record of the try before says which of the two happened.
pub(super) async fn take_up(context: &TrialContext, tries: &mut [TryRecord]) -> Option<Taken> {
    if !context.interrupted {
        return None;
    }
    let times = 1 + tries.iter().filter(|one| one.reattached).count();
    let taken = take_over(context, times).await;
    let what = match &taken {
        Ok(taken) => format!("its sandbox {} lived on, and it goes on there", taken.sandbox.id()),
        Err(why) => format!("it starts over: {why}"),
    };
    context.journal.write(Event::Warning {
        message: format!("{}: the harness was killed while it was under way; {what}", context.id),
    });
    if let Some(TryRecord { outcome: Outcome::Stopped { reason, .. }, .. }) = tries.last_mut() {
        *reason = format!("{reason}; {what}");
    }
    taken.ok()
}

async fn take_over(context: &TrialContext, times: usize) -> Result<Taken, String> {
    let left = Left::read(&context.dir);
    let Some(held) = left.held.clone() else {
        return Err(if !context.backend.caps().outlives {
            format!("sandboxes of {} go with the harness", context.backend.name())
        } else if !context.agent.lives_inside() {
            "its agent worked in the harness, and went with it".into()
        } else if context.task.steps.len() > 1 {
            "its agent was not at work in the first step, after which verdicts are in the harness alone"
                .into()
        } else {
            "its agent was not at work: it had not begun, or its tests had".into()
        });
    };
    let environment = &context.task.environment;
    let request = EnvironmentRequest {
        spec: environment.clone(),
        digest: environments::digest(&context.task, environment),
        log: Some(context.dir.join("build.log")),
    };
    let said = |error: harness_sandbox::SandboxError| Stop::from(error).reason;
    let image = context.environments.get(&request).await.map_err(said)?;
    let spec = context.whose().agents_sandbox(image.clone());
    let sandbox = context.backend.take_over(spec, &held.ticket).await.map_err(said)?;
    Ok(Taken { sandbox, image, left, held, times })
}

impl Attempt {
    /// Lets the sandbox outlive us while its agent works, where that is of use: the agent lives inside, and no verdicts of earlier
    /// steps are in this process alone. `began_ms` is when the agent began.
    pub(super) async fn outlive(&self, sandbox: &Arc<dyn Sandbox>, step: &Step) -> Option<String> {
        let context = &self.context;
        let first = context.task.steps.first() == Some(step);
        if !first || !context.agent.lives_inside() {
            return None;
        }
        // A nicety: where it cannot be had, `resume` starts over, and says so.
        sandbox.outlive(LINGER).await.ok()
    }

    /// Writes down what a successor needs.
    pub(super) async fn hold(
        &self,
        sandbox: &Arc<dyn Sandbox>,
        ticket: Option<String>,
        port: Option<u16>,
        began_ms: Option<i64>,
    ) -> Option<LeftFile> {
        let ticket = ticket?;
        let held = Held { number: self.number, ticket, port, began_ms: began_ms.unwrap_or_else(now_ms) };
        let file = LeftFile::open(&self.context.dir, &held).ok();
        if file.is_none() {
            // A sandbox that nobody could take over shall not wait.
            self.no_more(sandbox, None).await;
        }
        file
    }

    /// The agent is done: nobody inside reaches a listener any more, but the sandbox still waits.
    pub(super) async fn close_listeners(&self, sandbox: &Arc<dyn Sandbox>) {
        // One that is lost says so in what follows.
        let _closed = sandbox.outlive(Duration::ZERO).await;
        let _again = sandbox.outlive(LINGER).await;
    }

    /// From here on the sandbox goes with us.
    pub(super) async fn no_more(&self, sandbox: &Arc<dyn Sandbox>, file: Option<LeftFile>) {
        if let Some(file) = file {
            file.remove();
        }
        let _ended = sandbox.outlive(Duration::ZERO).await;
    }
}
