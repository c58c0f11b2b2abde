//! `core`: the built-in agent. Its loop runs here, its tools act in the sandbox, its model is reached through the gateway; nothing
//! of it is inside, so it works in any image.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use harness_agent::client::{Exchange, Http, HttpExchange, Model};
use harness_agent::events::{EventLog, Line};
use harness_agent::settings::{SETTINGS, Support, support};
use harness_agent::wires::{DIALECTS, Dialect};
use harness_agent::{Fault, Job, Settings, atif, events, show};
use harness_core::{AgentExit, NanoUsd};
use harness_gateway::budget::{Limits, Scope};
use harness_sandbox::SandboxError;
use serde_json::Value;

use super::{Agent, AgentKind, AgentReport, Session, SettingError, SettingSpec, settings};

/// The agent's name.
const NAME: &str = "core";
/// The provider whose models are scripts.
const SCRIPTED: &str = "scripted";
/// Largest conversation that came before, in bytes.
const MAX_PRIOR: u64 = 1 << 20;
/// Most bytes of the log for people.
const MAX_LOG: u64 = 64 << 20;

static SPECS: LazyLock<Vec<SettingSpec>> = LazyLock::new(|| {
    let kind = |is_list| if is_list { settings::SettingKind::List } else { settings::SettingKind::Text };
    let spec = |spec: &harness_agent::settings::SettingSpec| SettingSpec {
        name: spec.name,
        about: spec.about,
        kind: kind(spec.is_list),
    };
    SETTINGS.iter().map(spec).collect()
});

pub(super) struct CoreKind;

impl AgentKind for CoreKind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "the built-in agent: a loop on the host, tools in the sandbox, nothing to install"
    }

    fn settings(&self) -> &'static [SettingSpec] {
        &SPECS
    }

    fn uses_model(&self) -> bool {
        true
    }

    fn configure(
        &self,
        model: Option<&str>,
        given: &BTreeMap<String, Value>,
    ) -> Result<Arc<dyn Agent>, SettingError> {
        let missing = || SettingError::Missing {
            agent: NAME.to_owned(),
            what: "a model: --model PROVIDER/MODEL, for example scripted/starter, which needs no key"
                .to_owned(),
        };
        let (provider, name) = model.and_then(|model| model.split_once('/')).ok_or_else(missing)?;
        let checked = Settings::check(&known(provider, name), name, given).map_err(bad)?;
        // One route leads to one provider: what is billed to whom is settled before the run.
        if let Some(other) = &checked.subtask_model
            && other.split_once('/').is_none_or(|(other, _)| other != provider)
        {
            let message = format!("must be a model of the same provider, {provider}/MODEL");
            return Err(SettingError::Bad { agent: NAME.into(), name: "subtask_model".into(), message });
        }
        Ok(Arc::new(Core { settings: checked, given: given.clone(), http: Arc::new(Http::default()) }))
    }
}

fn bad(error: harness_agent::SettingError) -> SettingError {
    SettingError::Bad { agent: NAME.into(), name: error.name, message: error.message }
}

/// What a model has, by its provider's name: before a run that is all that is known of providers of the user's own.
fn known(provider: &str, name: &str) -> Support {
    match provider {
        SCRIPTED => support("openai-chat", name, true),
        wire if DIALECTS.iter().any(|dialect| dialect.name() == wire) => support(wire, name, false),
        _ => support("openai-chat", name, false),
    }
}

struct Core {
    settings: Settings,
    given: BTreeMap<String, Value>,
    http: Arc<Http>,
}

impl Core {
    /// The wire that a model is asked by whose provider speaks these; `Err` says what does not suit it.
    fn dialect(&self, model: &str, wires: &[&'static str]) -> Result<&'static dyn Dialect, String> {
        let spoken = DIALECTS.iter().copied().filter(|dialect| wires.contains(&dialect.name()));
        let chosen = match self.settings.wire {
            Some(wire) => spoken.clone().find(|dialect| dialect.name() == wire),
            None => spoken.clone().next(),
        };
        let dialect = chosen.ok_or_else(|| {
            let wires: Vec<&str> = spoken.map(Dialect::name).collect();
            format!(
                "the setting \"wire\" of the agent {NAME} is none of the provider's: {}",
                wires.join(", ")
            )
        })?;
        // Only now is it known what a provider of the user's own speaks.
        let (provider, name) = model.split_once('/').unwrap_or(("", model));
        if provider != SCRIPTED {
            let support = support(dialect.name(), name, false);
            Settings::check(&support, name, &self.given).map_err(|error| bad(error).to_string())?;
        }
        Ok(dialect)
    }
}

#[async_trait]
impl Agent for Core {
    fn can_ask(&self, model: &str, wires: &[&'static str]) -> Result<(), String> {
        self.dialect(model, wires).map(drop)
    }

    fn asks_from_inside(&self) -> bool {
        false
    }

    /// Reserved at the gateway before each request: looked at afterwards alone, the last request would go beyond them.
    fn limits(&self) -> Limits {
        let nano_usd = self.settings.max_cost.and_then(|most| u64::try_from(most.0).ok());
        Limits { nano_usd, tokens: self.settings.max_tokens, ..Limits::default() }
    }

    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        let crashed = |message: String| AgentReport {
            message: Some(message),
            ..AgentReport::ended(AgentExit::Crashed)
        };
        let Some(access) = &session.model else {
            return Ok(crashed("there is no way to a model".to_owned()));
        };
        let dialect = match self.dialect(&access.model, &access.wires) {
            Ok(dialect) => dialect,
            Err(message) => return Ok(crashed(message)),
        };
        let way = HttpExchange::new(Arc::clone(&self.http), &access.host.base_url, &access.host.key);
        let exchange: Arc<dyn Exchange> = match way {
            Ok(way) => Arc::new(way),
            Err(message) => return Ok(crashed(message)),
        };
        let model = |name: &str| Model { dialect, name: name.to_owned(), exchange: Arc::clone(&exchange) };
        let subtask = self.settings.subtask_model.as_deref().and_then(|other| other.split_once('/'));
        let scope = Scope::Trial(access.caller.trial.clone());
        let before = access.gateway.ledger().spent(&scope);
        let spent = || {
            let spent = access.gateway.ledger().spent(&scope);
            // Tokens that cost nothing are tokens whose price nobody knows.
            let known = spent.nano_usd > before.nano_usd || spent.tokens == before.tokens;
            known.then(|| NanoUsd(i64::try_from(spent.nano_usd).unwrap_or(i64::MAX)))
        };
        let file = events_file(session);
        let log = open(&file, session.log)?;
        let prior = session.step.agent.trajectory.as_deref().map(prior).transpose()?;
        let skills_dir = session.skills_dir();
        let report = harness_agent::work(Job {
            settings: &self.settings,
            model: model(&access.name),
            model_name: &access.model,
            subtask_model: subtask.map(|(_, name)| model(name)),
            spent: Some(&spent),
            sandbox: session.sandbox,
            instruction: &session.step.instruction,
            workdir: session.workdir,
            user: session.user,
            env: session.env,
            skills_dir: skills_dir.as_deref(),
            prior: prior.as_deref(),
            log: &log,
            time: session.timeout,
            cancel: None,
        })
        .await;
        write_trajectory(session, &file)?;
        match report {
            Ok(report) => Ok(AgentReport {
                exit: report.exit,
                usage: report.usage,
                cost: None,
                message: Some(report.reason).filter(|reason| !reason.is_empty()),
                findings: Vec::new(),
            }),
            Err(Fault::Sandbox(error)) => Err(error),
            // The gateway knows what became of the provider, and whose fault it is.
            Err(Fault::Upstream(message)) => Ok(crashed(message)),
            Err(Fault::Log(error)) => Err(SandboxError::host("write the agent's events", error)),
        }
    }
}

/// The events of one step, beside its log.
fn events_file(session: &Session<'_>) -> PathBuf {
    session.log.with_file_name(match &session.step.name {
        Some(step) => format!("events-{}.jsonl", plain(step)),
        None => "events.jsonl".to_owned(),
    })
}

fn plain(step: &str) -> String {
    step.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
        .collect()
}

/// The log of events, told for people in the agent's own log as it goes.
fn open(file: &Path, told: &Path) -> Result<EventLog, SandboxError> {
    let refused = |error| SandboxError::host("open the agent's log", error);
    let sink = OpenOptions::new().create(true).append(true).open(file).map_err(refused)?;
    let told = OpenOptions::new().create(true).append(true).open(told).map_err(refused)?;
    let told = Mutex::new((told, 0_u64));
    let tell = move |line: &Line| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let text = show::line(line);
        if told.1 < MAX_LOG {
            told.1 += text.len() as u64;
            // The events are the truth; a log that cannot be written is a nicety less.
            let _ = told.0.write_all(text.as_bytes());
        }
    };
    Ok(EventLog::new(Box::new(sink), Box::new(tell)))
}

/// A conversation that came before.
fn prior(file: &Path) -> Result<String, SandboxError> {
    use std::io::Read as _;
    let refused = |error| SandboxError::host(format!("read {}", file.display()), error);
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(refused)?;
    open.take(MAX_PRIOR).read_to_string(&mut text).map_err(refused)?;
    Ok(text)
}

/// The trajectory of the step, made from its events, beside its log: what an agent inside would leave as its own.
fn write_trajectory(session: &Session<'_>, file: &Path) -> Result<(), SandboxError> {
    let refused = |error| SandboxError::host("write the agent's trajectory", error);
    let text = std::fs::read(file).map_err(refused)?;
    let id = session.model.as_ref().map(|access| access.caller.trial.clone()).unwrap_or_default();
    let facts = atif::Facts { session_id: &id, ..atif::Facts::default() };
    let text = String::from_utf8_lossy(&text);
    // A try before this one wrote into the same file.
    let begun = text.match_indices("\"event\":\"started\"").last().map_or(0, |(at, _)| at);
    let begun = text[..begun].rfind('\n').map_or(0, |end| end + 1);
    let Some(document) = atif::trajectory(events::read(&text[begun..]), &facts) else {
        return Ok(());
    };
    let name = match &session.step.name {
        Some(step) => format!("trajectory-{}.json", plain(step)),
        None => "trajectory.json".to_owned(),
    };
    std::fs::write(session.log.with_file_name(name), document.to_string()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(model: Option<&str>, given: &[(&str, &str)]) -> Result<Arc<dyn Agent>, String> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let given = settings::check(NAME, CoreKind.settings(), &given).map_err(|error| error.to_string())?;
        CoreKind.configure(model, &given).map_err(|error| error.to_string())
    }

    #[test]
    fn core_names_the_setting_that_a_model_does_not_have() {
        assert!(configured(Some("scripted/starter"), &[("effort", "dynamic"), ("seed", "1")]).is_ok());
        assert!(configured(Some("mine/qwen3-coder"), &[("temperature", "0.2"), ("seed", "1")]).is_ok());
        for (model, given, says) in [
            (None, ("plan", "on"), "needs a model: --model PROVIDER/MODEL"),
            (Some("gpt-5"), ("plan", "on"), "needs a model"),
            (
                Some("openai/gpt-5"),
                ("temperature", "1"),
                "\"temperature\" of the agent core is not supported",
            ),
            (
                Some("anthropic/claude-sonnet-4-5"),
                ("seed", "1"),
                "\"seed\" of the agent core is not supported",
            ),
            (Some("openai/gpt-5"), ("subtask_model", "anthropic/x"), "of the same provider, openai/MODEL"),
            (Some("openai/gpt-5"), ("tools", "bash,fly"), "\"fly\""),
            (Some("openai/gpt-5"), ("speed", "1"), "has no setting \"speed\""),
        ] {
            let told = configured(model, &[given]).err().unwrap();
            assert!(told.contains(says), "{given:?}: {told}");
        }
    }

    #[test]
    fn core_names_the_setting_that_a_provider_of_ones_own_does_not_have() {
        let core = configured(Some("mine/m"), &[("seed", "1")]).unwrap();
        assert_eq!(core.can_ask("mine/m", &["openai-chat"]), Ok(()));
        let told = core.can_ask("mine/m", &["anthropic"]).unwrap_err();
        assert!(told.contains("\"seed\" of the agent core is not supported"), "{told}");
        let core = configured(Some("mine/m"), &[("wire", "google")]).unwrap();
        let told = core.can_ask("mine/m", &["openai-chat"]).unwrap_err();
        assert!(told.contains("none of the provider's: openai-chat"), "{told}");
    }

    #[test]
    fn core_asks_from_the_host_alone() {
        assert!(!configured(Some("scripted/starter"), &[]).unwrap().asks_from_inside());
    }
}
