//! Asking the model: what is sent, again where an answer broke off, and what of it is written down.

use std::time::Duration;

use harness_core::{AgentExit, UsageSource};

use super::{Work, millis};
use crate::client::{Asked, Model, ModelError};
use crate::events::{CallRecord, Event, Purpose, clip};
use crate::job::{Fault, Halt};
use crate::settings::ContextPolicy;
use crate::wires::{Heard, Prompt, Turn};

/// How often an answer that broke off is asked for.
const TRIES: u32 = 5;
/// The first wait between two tries; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How often a window that is smaller than was thought is tried to fit.
const FITTINGS: u32 = 6;

impl Work<'_> {
    /// Asks for the next step, making the conversation shorter where it does not fit.
    pub(super) async fn next_answer(&mut self) -> Result<Heard, Halt> {
        for _ in 0..FITTINGS {
            let mut body = self.body();
            if self.window.is_filling(body.len()) && self.make_room(body.len()).await? {
                body = self.body();
            }
            let bytes = body.len();
            match self.ask(Purpose::Act, &self.job.model.clone(), body).await {
                Err(Halt::Overflow(message)) => {
                    if self.job.settings.context_policy == ContextPolicy::None {
                        return Err(Halt::End(AgentExit::GaveUp, message));
                    }
                    self.window.overflowed(bytes);
                }
                Err(Halt::TooLarge) => {
                    self.useless(
                        "Your answer was too long to be read and was not kept. Say less at a time.",
                    )?;
                }
                other => return other,
            }
        }
        Err(Halt::End(
            AgentExit::GaveUp,
            "the conversation does not fit into the model's window, however short".to_owned(),
        ))
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let settings = self.job.settings;
        self.job.model.body(&Prompt {
            model: &self.job.model.name,
            system: &self.system,
            tools: &self.specs,
            turns: &self.turns,
            effort: self.effort(),
            temperature: settings.temperature,
            seed: settings.seed,
            max_output: settings.max_output,
            caching: settings.caching,
            cache_key: &self.cache_key,
        })
    }

    /// Asks something apart from the conversation.
    pub(crate) async fn ask_aside(
        &mut self,
        purpose: Purpose,
        system: &str,
        turns: Vec<Turn>,
    ) -> Result<Heard, Halt> {
        let settings = self.job.settings;
        let is_other = self.job.subtask_model.is_some();
        let model = self.job.subtask_model.clone().unwrap_or_else(|| self.job.model.clone());
        let body = model.body(&Prompt {
            model: &model.name,
            system,
            tools: &[],
            turns: &turns,
            // What is set is set for the model itself; another may not have it.
            effort: self.effort().filter(|_| !is_other),
            temperature: settings.temperature.filter(|_| !is_other),
            seed: settings.seed.filter(|_| !is_other),
            max_output: settings.max_output.min(8192),
            caching: settings.caching,
            cache_key: &self.cache_key,
        });
        self.ask(purpose, &model, body).await
    }

    /// One request, and again while its answer breaks off.
    pub(super) async fn ask(
        &mut self,
        purpose: Purpose,
        model: &Model,
        body: Vec<u8>,
    ) -> Result<Heard, Halt> {
        let body = bytes::Bytes::from(body);
        let estimated = self.window.estimate(body.len());
        if let Some(most) = self.job.settings.max_tokens {
            let used = self.usage.total().unwrap_or(0);
            if used.saturating_add(estimated) >= most {
                let reason =
                    format!("max_tokens_per_task of {most} has no room for another request ({used} used)");
                return Err(Halt::End(AgentExit::Budget, reason));
            }
        }
        if let (Some(most), Some(spent)) = (self.job.settings.max_cost, self.job.spent) {
            match spent() {
                Some(spent) if spent >= most => {
                    return Err(Halt::End(
                        AgentExit::Budget,
                        format!("max_cost of {most} is spent ({spent})"),
                    ));
                }
                Some(_) => {}
                None => {
                    let reason = "max_cost cannot be kept: what the model's tokens cost is not known";
                    return Err(Halt::End(AgentExit::Budget, reason.to_owned()));
                }
            }
        }
        let label = match purpose {
            Purpose::Act => None,
            Purpose::Plan => Some("plan"),
            Purpose::Review => Some("review"),
            Purpose::Summary => Some("summary"),
        };
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES {
            self.requests += 1;
            let request = self.requests;
            let effort = self.effort().map(str::to_owned);
            self.job.log.write(Event::Asked { request, purpose, effort, estimated_tokens: estimated });
            self.waiting.now_for("the model");
            let asked =
                model.ask(&body, label, &|| self.waiting.now_for("the rest of the model's answer")).await;
            let again = matches!(asked, Err(ModelError::Broken(_))) && attempt < TRIES;
            let error = match asked {
                Ok(asked) => {
                    self.heard(request, purpose, model, &asked);
                    return Ok(asked.heard);
                }
                Err(error) => error,
            };
            self.job.log.write(Event::Unanswered { request, message: error.to_string(), again });
            match error {
                ModelError::Broken(_) if again => {
                    self.waiting.now_for("a better moment to ask again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                ModelError::Budget(message) => return Err(Halt::End(AgentExit::Budget, message)),
                ModelError::Overflow(message) => return Err(Halt::Overflow(message)),
                ModelError::TooLarge => return Err(Halt::TooLarge),
                error @ ModelError::Rejected { .. } => {
                    return Err(Halt::End(AgentExit::Crashed, error.to_string()));
                }
                error @ (ModelError::Away(_) | ModelError::Broken(_)) => {
                    return Err(Halt::Fault(Fault::Upstream(error.to_string())));
                }
            }
        }
        unreachable!("the last try returns")
    }

    pub(super) fn heard(&mut self, request: u64, purpose: Purpose, model: &Model, asked: &Asked) {
        let heard = &asked.heard;
        let wire = harness_gateway::wire::by_name(model.dialect.name()).expect("every dialect is a wire");
        let mut usage = heard.usage.as_ref().map(|raw| wire.usage(raw)).unwrap_or_default();
        usage.requests = Some(1);
        usage.source = Some(UsageSource::Agent);
        usage.total_tokens = None;
        usage.total_tokens = usage.total();
        self.usage = self.usage.plus(&usage);
        if purpose == Purpose::Act {
            self.window.learn(asked.sent, &usage);
        }
        self.job.log.write(Event::Answered {
            request,
            purpose,
            model: heard.model.clone(),
            text: clip(&heard.text),
            thinking: clip(&heard.thinking),
            calls: heard.calls.iter().map(CallRecord::of).collect(),
            stop: format!("{:?}", heard.stop).to_lowercase(),
            usage,
            raw_usage: heard.usage.clone(),
            took_ms: millis(asked.took),
        });
    }
}
