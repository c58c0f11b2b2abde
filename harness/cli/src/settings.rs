//! Settings and the layer that set each: default, the user's file, the project's file, a flag.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::providers::ProviderTable;
use crate::variants::Defaults;

/// Largest settings file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// One setting that there is.
pub struct Known {
    /// Its name in `harness.toml`.
    pub name: &'static str,
    /// What it means; a unit where it has one.
    pub about: &'static str,
    /// Its default.
    pub default: fn() -> Value,
    /// Whether results depend on it: then it goes into the manifest and `resume` refuses when it changed.
    pub matters: bool,
}

/// All settings.
pub const KNOWN: &[Known] = &[
    Known {
        name: "runs_dir",
        about: "folder that holds the runs",
        default: || json!(".harness/runs"),
        matters: false,
    },
    Known {
        name: "state_dir",
        about: "folder for layers, scratch space and unpacked suites",
        default: || json!(state_dir()),
        matters: false,
    },
    Known { name: "jobs", about: "most trials at once", default: || json!(cpus()), matters: false },
    Known {
        name: "attempts",
        about: "independent attempts of each task by each variant",
        default: || json!(1),
        matters: true,
    },
    Known {
        name: "retries",
        about: "how often a trial that the harness broke is tried again",
        default: || json!(2),
        matters: true,
    },
    Known { name: "seed", about: "seed of every random choice", default: || json!(0), matters: true },
    Known {
        name: "timeout_multiplier",
        about: "multiplies every time limit of agents and tests",
        default: || json!(1.0),
        matters: true,
    },
    Known {
        name: "agent_timeout_sec",
        about: "the agent's time where a task sets none, seconds",
        default: || json!(3600),
        matters: true,
    },
    Known {
        name: "simple_timeout_sec",
        about: "the agent's time in tasks of the tier simple, in place of what they say, seconds; 0 means as they say",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "medium_timeout_sec",
        about: "the agent's time in tasks of the tier medium, in place of what they say, seconds; 0 means as they say",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "complex_timeout_sec",
        about: "the agent's time in tasks of the tier complex, in place of what they say, seconds; 0 means as they say",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "major_timeout_sec",
        about: "the agent's time in tasks of the tier major, in place of what they say, seconds; 0 means as they say",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "stall_timeout_sec",
        about: "an agent without output and model traffic for so long is ended, seconds; 0 only shows that it looks stalled",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "agent_timeout_max_sec",
        about: "no agent gets longer, seconds; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "verifier_timeout_max_sec",
        about: "no verification gets longer, seconds; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "sandbox",
        about: "sandbox to use; auto chooses and says which",
        default: || json!("auto"),
        matters: true,
    },
    Known {
        name: "rootfs",
        about: "root file system for every task: host, a folder or a tar; task means what each task says",
        default: || json!("task"),
        matters: true,
    },
    Known {
        name: "network",
        about: "network for every task: none, gateway, open; task means what each task says",
        default: || json!("task"),
        matters: true,
    },
    Known {
        name: "image_quota_gb",
        about: "images that were built or pulled on an engine, least recently used beyond this go; 0 means no limit",
        default: || json!(100),
        matters: false,
    },
    Known {
        name: "fail_fast",
        about: "start nothing new after the first trial that is not resolved",
        default: || json!(false),
        matters: false,
    },
    Known {
        name: "prices",
        about: "price file of your own (TOML with source and date), over the bundled prices",
        default: || json!(""),
        matters: true,
    },
    Known {
        name: "scripts_dir",
        about: "folder with scripts of the scripted model",
        default: || json!(".harness/scripts"),
        matters: false,
    },
    Known {
        name: "budget_usd",
        about: "most that the run may spend on models, dollars; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "budget_tokens",
        about: "most tokens of the run; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "budget_requests",
        about: "most requests of the run; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "budget_sec",
        about: "longest time from the first request to a model to the last, seconds; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "variant_budget_usd",
        about: "most that each variant may spend, dollars; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "variant_budget_tokens",
        about: "most tokens of each variant; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "max_cost",
        about: "most that each trial may spend, dollars; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "max_tokens_per_task",
        about: "most tokens of each trial; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "max_requests_per_task",
        about: "most requests of each trial; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "max_model_sec_per_task",
        about: "longest time from a trial's first request to its last, seconds; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "request_max_cost",
        about: "most that one request may cost, dollars; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "request_max_tokens",
        about: "most tokens of one request; 0 means no such limit",
        default: || json!(0),
        matters: true,
    },
    Known {
        name: "day_budget_usd",
        about: "most that all runs of the runs folder may spend on a day (UTC), dollars; 0 means no such limit",
        default: || json!(0),
        matters: false,
    },
    Known {
        name: "day_budget_tokens",
        about: "most tokens of all runs of the runs folder on a day (UTC); 0 means no such limit",
        default: || json!(0),
        matters: false,
    },
    Known {
        name: "outage_sec",
        about: "how long the outage of a provider is waited for in all, seconds",
        default: || json!(90),
        matters: false,
    },
    Known {
        name: "model_timeout_sec",
        about: "how long a provider may take to begin an answer, seconds",
        default: || json!(300),
        matters: false,
    },
    Known {
        name: "record",
        about: "record what models are asked and answer, for replays",
        default: || json!(false),
        matters: false,
    },
    Known {
        name: "replay",
        about: "play the recording of this run instead of asking models: RUN, or RUN:MODE with strict, exact, lenient or passthrough",
        default: || json!(""),
        matters: true,
    },
    Known {
        name: "replay_pace",
        about: "how fast a recording is played: at-once, or recorded, with the times that were recorded",
        default: || json!("at-once"),
        matters: true,
    },
    Known {
        name: "preflight",
        about: "ask each model that costs money for a few tokens before the first trial",
        default: || json!(true),
        matters: false,
    },
];

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn state_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/harness".into();
    }
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("XDG_STATE_HOME")
        .or_else(|| Some(var("HOME")?.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("harness")
}

/// A value and the layer that set it.
#[derive(Debug, Clone, PartialEq)]
pub struct Layered {
    /// The value.
    pub value: Value,
    /// `default`, a file's path, `HARNESS_…` or `flag`.
    pub source: String,
}

/// All settings, each with its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    values: BTreeMap<&'static str, Layered>,
    /// `[providers.NAME]`, and the file that says so.
    providers: BTreeMap<String, (ProviderTable, String)>,
    /// `[agents.NAME]`: settings of agents where an experiment says nothing.
    agents: Defaults,
}

impl Settings {
    /// Defaults, then the user's file, then the project's `harness.toml`, then `HARNESS_STATE_DIR` and `HARNESS_RUNS_DIR`.
    pub fn load() -> Result<Settings, Failure> {
        let default =
            |known: &Known| (known.name, Layered { value: (known.default)(), source: "default".into() });
        let mut settings = Settings {
            values: KNOWN.iter().map(default).collect(),
            providers: BTreeMap::new(),
            agents: Defaults::new(),
        };
        for file in files() {
            settings.read(&file)?;
        }
        for (name, variable) in [("state_dir", "HARNESS_STATE_DIR"), ("runs_dir", "HARNESS_RUNS_DIR")] {
            if let Some(value) = std::env::var(variable).ok().filter(|value| !value.is_empty()) {
                settings.values.insert(name, Layered { value: json!(value), source: variable.into() });
            }
        }
        Ok(settings)
    }

    fn read(&mut self, file: &Path) -> Result<(), Failure> {
        let invalid = |message: String| Failure::new(Exit::Invalid, format!("{}: {message}", file.display()));
        let size = std::fs::metadata(file).map(|meta| meta.len());
        match size {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(invalid(error.to_string())),
            Ok(size) if size > MAX_BYTES => return Err(invalid(format!("is larger than {MAX_BYTES} bytes"))),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(file).map_err(|error| invalid(error.to_string()))?;
        let table: BTreeMap<String, Value> =
            toml::from_str(&text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
        for (name, value) in table {
            if name == "providers" {
                self.read_providers(value, file)?;
                continue;
            }
            if name == "agents" {
                self.read_agents(value, file)?;
                continue;
            }
            let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
                let all: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
                return Err(invalid(format!("there is no setting {name:?}"))
                    .hint(format!("the settings are {}", all.join(", "))));
            };
            let fits = |a: &Value, b: &Value| {
                (a.is_number() && b.is_number())
                    || (a.is_string() && b.is_string())
                    || (a.is_boolean() && b.is_boolean())
            };
            if !fits(&(known.default)(), &value) {
                let kind = match (known.default)() {
                    Value::Number(_) => "a number",
                    Value::Bool(_) => "true or false",
                    _ => "a text in quotes",
                };
                return Err(invalid(format!("{name} must be {kind}, not {value}")));
            }
            self.values.insert(known.name, Layered { value, source: file.display().to_string() });
        }
        Ok(())
    }

    /// `[providers.NAME]`: a later file's table replaces an earlier one's of the same name whole.
    fn read_providers(&mut self, value: Value, file: &Path) -> Result<(), Failure> {
        let invalid = |message: String| Failure::new(Exit::Invalid, format!("{}: {message}", file.display()));
        let tables: BTreeMap<String, Value> =
            serde_json::from_value(value).map_err(|error| invalid(format!("[providers]: {error}")))?;
        for (name, table) in tables {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if name.is_empty() || !plain || name == crate::providers::SCRIPTED {
                return Err(invalid(format!("[providers.{name}]: no provider can have this name")));
            }
            let table = serde_json::from_value(table)
                .map_err(|error| invalid(format!("[providers.{name}]: {error}")))?;
            self.providers.insert(name, (table, file.display().to_string()));
        }
        Ok(())
    }

    /// `[agents.NAME]`: a later file's value goes before an earlier one's. Agents check the values when they are asked for.
    fn read_agents(&mut self, value: Value, file: &Path) -> Result<(), Failure> {
        let invalid = |message: String| Failure::new(Exit::Invalid, format!("{}: {message}", file.display()));
        let tables: BTreeMap<String, BTreeMap<String, Value>> =
            serde_json::from_value(value).map_err(|error| invalid(format!("[agents]: {error}")))?;
        for (agent, settings) in tables {
            if harness_engine::agents::by_name(&agent).is_none() {
                return Err(invalid(format!("[agents.{agent}]: there is no such agent"))
                    .hint("`harness list agents` shows those that there are"));
            }
            let source = file.display().to_string();
            let told = settings.into_iter().map(|(name, value)| (name, (value, source.clone())));
            self.agents.entry(agent).or_default().extend(told);
        }
        Ok(())
    }

    /// Settings of agents where an experiment says nothing.
    pub fn agents(&self) -> &Defaults {
        &self.agents
    }

    /// Adds what a suite says of agents, where no file does; whether that was anything.
    pub fn suite_agents(&mut self, told: &suites::defaults::AgentDefaults) -> bool {
        let mut any = false;
        for (agent, settings) in told {
            let known = self.agents.entry(agent.clone()).or_default();
            for (name, told) in settings {
                known.entry(name.clone()).or_insert_with(|| {
                    any = true;
                    (told.value.clone(), told.source.clone())
                });
            }
        }
        any
    }

    /// Sets what a file that a flag named says, where no other flag did.
    pub fn file(&mut self, name: &'static str, value: impl Into<Value>, source: &str) {
        if self.source(name) != "flag" {
            self.values.insert(name, Layered { value: value.into(), source: source.to_owned() });
        }
    }

    /// Providers of the settings files, each with the file that says so.
    pub fn providers(&self) -> &BTreeMap<String, (ProviderTable, String)> {
        &self.providers
    }

    /// Sets what a flag said.
    pub fn flag(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.values.insert(name, Layered { value: value.into(), source: "flag".into() });
        }
    }

    /// Sets what a suite says, where no file and no flag did.
    pub fn suite(&mut self, name: &'static str, value: Option<impl Into<Value>>, source: &str) {
        let untouched = self.values.get(name).is_some_and(|layered| layered.source == "default");
        if let Some(value) = value.filter(|_| untouched) {
            self.values.insert(name, Layered { value: value.into(), source: source.to_owned() });
        }
    }

    /// All settings by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Layered)> {
        self.values.iter().map(|(name, layered)| (*name, layered))
    }

    /// Those that results depend on.
    pub fn mattering(&self) -> impl Iterator<Item = (&'static str, &Layered)> {
        self.iter().filter(|(name, _)| KNOWN.iter().any(|known| known.matters && known.name == *name))
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(|layered| layered.value.as_str()).unwrap_or_default()
    }

    /// The layer that set it.
    pub fn source(&self, name: &str) -> &str {
        self.values.get(name).map_or("default", |layered| &layered.source)
    }

    /// A path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.text(name).into()
    }

    /// A whole number that is not negative.
    pub fn count(&self, name: &'static str) -> Result<u64, Failure> {
        let layered = &self.values[name];
        layered.value.as_u64().ok_or_else(|| self.bad(name, "must be a whole number that is not negative"))
    }

    /// A number above zero.
    pub fn positive(&self, name: &'static str) -> Result<f64, Failure> {
        let value = self.values[name].value.as_f64().filter(|value| value.is_finite() && *value > 0.0);
        value.ok_or_else(|| self.bad(name, "must be a number above 0"))
    }

    /// A number that is not negative.
    pub fn number(&self, name: &'static str) -> Result<f64, Failure> {
        let value = self.values[name].value.as_f64().filter(|value| value.is_finite() && *value >= 0.0);
        value.ok_or_else(|| self.bad(name, "must be a number that is not negative"))
    }

    /// Seconds, where 0 means no limit.
    pub fn limit(&self, name: &'static str) -> Result<Option<std::time::Duration>, Failure> {
        let seconds = self.values[name]
            .value
            .as_f64()
            .filter(|value| value.is_finite() && (0.0..=3.2e8).contains(value));
        let seconds = seconds.ok_or_else(|| self.bad(name, "must be a number of seconds, not negative"))?;
        Ok((seconds > 0.0).then(|| std::time::Duration::from_secs_f64(seconds)))
    }

    /// Gigabytes as bytes, where 0 means no limit.
    pub fn gigabytes(&self, name: &'static str) -> Result<Option<u64>, Failure> {
        let many = self.values[name].value.as_f64().filter(|value| (0.0..=1e6).contains(value));
        let many = many.ok_or_else(|| self.bad(name, "must be a number of gigabytes, not negative"))?;
        Ok((many > 0.0).then_some((many * 1e9) as u64))
    }

    /// A yes or no.
    pub fn switch(&self, name: &str) -> bool {
        self.values.get(name).and_then(|layered| layered.value.as_bool()).unwrap_or_default()
    }

    /// That a setting is wrong, with its value and the layer that set it.
    pub fn bad(&self, name: &'static str, what: &str) -> Failure {
        let layered = &self.values[name];
        let code = if layered.source == "flag" { Exit::Usage } else { Exit::Invalid };
        Failure::new(code, format!("{name} {what}, not {} (from {})", layered.value, layered.source))
    }
}

/// The settings files, weakest first.
fn files() -> Vec<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = var("XDG_CONFIG_HOME").or_else(|| Some(var("HOME")?.join(".config")));
    let user = config.map(|folder| folder.join("harness/harness.toml"));
    user.into_iter().chain([PathBuf::from("harness.toml")]).collect()
}
