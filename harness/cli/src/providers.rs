//! Providers of models: where each is, which variable holds its key, and the upstreams of a run made from that.
//!
//! Real keys are read here and go into upstreams and the redactor, nowhere else.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use harness_core::manifest::UpstreamNote;
use harness_core::{Digest, Task};
use harness_gateway::proxy::{
    FaultRates, HttpProxy, Patience, Rates, Roots, Target, Timeouts, Upstream, UpstreamOptions, UpstreamSpec,
};
use harness_gateway::redact::Redactor;
use harness_gateway::scripted::Script;
use harness_gateway::wire::WIRES;
use harness_prices::{Layer, PriceTable};
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// The scripted model's provider.
pub const SCRIPTED: &str = "scripted";
/// Largest key file, and largest script or price file, in bytes.
const MAX_KEY: u64 = 64 << 10;
const MAX_TEXT: u64 = 4 << 20;

/// `[providers.NAME]` of a settings file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderTable {
    /// One of the wires; a built-in provider has its own.
    pub wire: Option<String>,
    /// The beginning of its paths.
    pub base_url: Option<String>,
    /// The variable that holds its key.
    pub key_env: Option<String>,
    /// Or a file that holds it.
    pub key_file: Option<PathBuf>,
    /// Further headers. Their values are kept secret like keys.
    pub headers: BTreeMap<String, String>,
    /// Requests at once.
    pub concurrency: Option<usize>,
    /// What price tables call it, where its address does not say.
    pub prices: Option<String>,
    /// Requests that it allows in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens that it allows in a minute, in and out.
    pub tokens_per_minute: Option<u64>,
    /// The HTTP proxy before it, `http://HOST:PORT`.
    pub proxy: Option<String>,
    /// The variable that holds what the proxy wants in `proxy-authorization`.
    pub proxy_auth_env: Option<String>,
    /// Certificates (PEM) that may vouch for it, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Faults put in on purpose, for tests of agents.
    pub faults: Option<FaultRates>,
}

/// A provider that needs no settings.
struct Known {
    name: &'static str,
    wire: &'static str,
    base_url: &'static str,
    base_env: &'static str,
    key_env: &'static str,
    /// By how much its tokenizer counts more than the one that estimates are made with, in hundredths.
    margin_percent: u64,
}

const KNOWN: &[Known] = &[
    Known {
        name: "openai",
        wire: "openai",
        base_url: "https://api.openai.com/v1",
        base_env: "OPENAI_BASE_URL",
        key_env: "OPENAI_API_KEY",
        margin_percent: 5,
    },
    Known {
        name: "openai-chat",
        wire: "openai-chat",
        base_url: "https://api.openai.com/v1",
        base_env: "OPENAI_BASE_URL",
        key_env: "OPENAI_API_KEY",
        margin_percent: 5,
    },
    Known {
        name: "anthropic",
        wire: "anthropic",
        base_url: "https://api.anthropic.com",
        base_env: "ANTHROPIC_BASE_URL",
        key_env: "ANTHROPIC_API_KEY",
        margin_percent: 35,
    },
    Known {
        name: "google",
        wire: "google",
        base_url: "https://generativelanguage.googleapis.com",
        base_env: "GOOGLE_GEMINI_BASE_URL",
        key_env: "GEMINI_API_KEY",
        margin_percent: 15,
    },
];
/// The same of providers that are not known.
const UNKNOWN_MARGIN: u64 = 20;

/// A provider as it stands after settings and variables.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name before the slash of a model.
    pub name: String,
    /// Its wires.
    pub wires: Vec<&'static str>,
    /// Where it is; `None` for scripts.
    pub base_url: Option<String>,
    /// Where its key comes from.
    pub key_from: Option<String>,
    /// Whether the key is there.
    pub has_key: bool,
    /// What price tables call it.
    pub price_provider: String,
    key: Option<String>,
    key_needed: bool,
    headers: BTreeMap<String, String>,
    concurrency: usize,
    margin_percent: u64,
    old_cap_name: bool,
    options: UpstreamOptions,
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Invalid, message)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty()).map(|value| value.trim().to_owned())
}

/// A file that is small, as text.
pub fn small_text(file: &Path) -> Result<String, Failure> {
    limited(file, MAX_TEXT)
}

fn limited(file: &Path, most: u64) -> Result<String, Failure> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| invalid(format!("{}: {error}", file.display()));
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(failed)?;
    open.take(most + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > most {
        return Err(invalid(format!("{} is larger than {most} bytes", file.display())));
    }
    Ok(text)
}

/// All providers: the built-in ones, those of the settings, and scripts.
pub fn all(settings: &Settings) -> Result<Vec<Provider>, Failure> {
    let mut names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    names.extend(
        settings.providers().keys().map(String::as_str).filter(|name| KNOWN.iter().all(|k| k.name != *name)),
    );
    let mut all = names.into_iter().map(|name| provider(settings, name)).collect::<Result<Vec<_>, _>>()?;
    all.push(Provider {
        name: SCRIPTED.to_owned(),
        wires: WIRES.iter().map(|wire| wire.name()).collect(),
        base_url: None,
        key_from: None,
        has_key: true,
        price_provider: SCRIPTED.to_owned(),
        key: None,
        key_needed: false,
        headers: BTreeMap::new(),
        concurrency: 1024,
        margin_percent: 0,
        old_cap_name: false,
        options: UpstreamOptions::default(),
    });
    Ok(all)
}

/// One of them, from the settings over the variables over what is built in.
fn provider(settings: &Settings, name: &str) -> Result<Provider, Failure> {
    let known = KNOWN.iter().find(|known| known.name == name);
    let (table, source) = match settings.providers().get(name) {
        Some((table, source)) => (table.clone(), source.as_str()),
        None => (ProviderTable::default(), "default"),
    };
    let bad = |what: String| invalid(format!("[providers.{name}] {what} (from {source})"));
    let wire = table.wire.clone().or_else(|| known.map(|known| known.wire.to_owned()));
    let wires: Vec<&'static str> = WIRES.iter().map(|wire| wire.name()).collect();
    let wire = wire.ok_or_else(|| bad(format!("needs wire: one of {}", wires.join(", "))))?;
    let wire = wires
        .iter()
        .copied()
        .find(|known| *known == wire)
        .ok_or_else(|| bad(format!("wire {wire:?} is none of {}", wires.join(", "))))?;
    let told = table.base_url.clone().or_else(|| known.and_then(|known| variable(known.base_env)));
    let base_url = told.clone().or_else(|| known.map(|known| known.base_url.to_owned()));
    let base_url = base_url.ok_or_else(|| bad("needs base_url".to_owned()))?;
    if !(base_url.starts_with("https://") || base_url.starts_with("http://")) {
        return Err(bad(format!("base_url {base_url:?} begins with neither https:// nor http://")));
    }
    if base_url
        .split("//")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .is_some_and(|host| host.contains('@'))
    {
        return Err(bad("base_url holds a password: name it by key_env or key_file".to_owned()));
    }
    let key_env = table.key_env.clone().or_else(|| known.map(|known| known.key_env.to_owned()));
    let (key, key_from) = match (&table.key_file, &key_env) {
        (Some(file), _) => {
            let key = limited(file, MAX_KEY)?.trim().to_owned();
            (Some(key).filter(|key| !key.is_empty()), Some(file.display().to_string()))
        }
        (None, Some(env)) => (variable(env), Some(env.clone())),
        (None, None) => (None, None),
    };
    let elsewhere = told.is_some();
    let price_provider =
        table.prices.clone().or_else(|| harness_prices::provider_name(name, Some(&base_url)));
    // A compatible server somewhere else is not priced as the provider whose name it is used under.
    let host =
        || base_url.split("//").nth(1).unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
    let price_provider =
        price_provider.unwrap_or_else(|| if known.is_some() { host() } else { name.to_owned() });
    let ca = table.ca_file.as_deref().map(|file| limited(file, MAX_TEXT)).transpose()?;
    let authorization = table.proxy_auth_env.as_deref().and_then(variable);
    let options = UpstreamOptions {
        rates: Rates {
            requests_per_minute: table.requests_per_minute,
            tokens_per_minute: table.tokens_per_minute,
        },
        faults: table.faults,
        proxy: table.proxy.clone().map(|address| HttpProxy { address, authorization }),
        roots: ca.map_or(Roots::System, |pem| Roots::Also(pem.into_bytes())),
    };
    Ok(Provider {
        options,
        name: name.to_owned(),
        wires: vec![wire],
        has_key: key.is_some(),
        key,
        // A server of one's own may want none.
        key_needed: !elsewhere || table.key_env.is_some() || table.key_file.is_some(),
        key_from,
        old_cap_name: wire == "openai-chat" && elsewhere,
        base_url: Some(base_url),
        price_provider,
        headers: table.headers,
        concurrency: table.concurrency.unwrap_or(64).clamp(1, 4096),
        margin_percent: known.filter(|_| !elsewhere).map_or(UNKNOWN_MARGIN, |known| known.margin_percent),
    })
}

/// Splits `PROVIDER/MODEL`.
pub fn split(model: &str) -> Result<(&str, &str), Failure> {
    model.split_once('/').filter(|(provider, name)| !provider.is_empty() && !name.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--model {model} is not PROVIDER/MODEL"))
            .hint("for example openai/gpt-5, anthropic/claude-sonnet-4-5, or scripted/NAME; `harness list models` shows the providers")
    })
}

/// The upstreams of a run, each made once, and what must be kept secret.
pub struct Upstreams<'a> {
    settings: &'a Settings,
    providers: Vec<Provider>,
    made: HashMap<String, Arc<Upstream>>,
    scripts: HashMap<PathBuf, Arc<Upstream>>,
    /// Prices that scripts declare.
    pub layers: Vec<Layer>,
    /// What the manifest says of them.
    pub notes: BTreeMap<String, UpstreamNote>,
    /// Whether providers are asked at all: a replay needs no key.
    pub asks: bool,
    patience: Patience,
    timeouts: Timeouts,
}

impl<'a> Upstreams<'a> {
    /// None made yet.
    pub fn new(settings: &'a Settings) -> Result<Upstreams<'a>, Failure> {
        let outage = settings.limit("outage_sec")?.unwrap_or(Duration::ZERO);
        let headers = settings.limit("model_timeout_sec")?.unwrap_or(Timeouts::default().headers);
        Ok(Upstreams {
            settings,
            providers: all(settings)?,
            made: HashMap::new(),
            scripts: HashMap::new(),
            layers: Vec::new(),
            notes: BTreeMap::new(),
            asks: true,
            patience: Patience { outage, ..Patience::default() },
            timeouts: Timeouts { headers, ..Timeouts::default() },
        })
    }

    /// Knows every key and every header's value.
    pub fn redactor(&self) -> Redactor {
        let secrets = self.providers.iter().flat_map(|provider| {
            let proxy = provider.options.proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref());
            provider.key.iter().chain(provider.headers.values()).chain(proxy)
        });
        Redactor::new(secrets.map(String::as_bytes))
    }

    /// The providers whose key is there.
    pub fn with_keys(&self) -> Vec<String> {
        let has_key = |provider: &&Provider| provider.has_key && provider.name != SCRIPTED;
        self.providers.iter().filter(has_key).map(|provider| provider.name.clone()).collect()
    }

    /// The provider of this name.
    pub fn provider(&self, name: &str) -> Result<&Provider, Failure> {
        self.providers.iter().find(|provider| provider.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.providers.iter().map(|provider| provider.name.as_str()).collect();
            Failure::new(Exit::Usage, format!("there is no provider {name:?}")).hint(format!(
                "the providers are {}; `[providers.{name}]` in harness.toml adds one",
                names.join(", ")
            ))
        })
    }

    /// The upstream of a provider, with what price tables call it.
    pub fn of(&mut self, name: &str) -> Result<(Arc<Upstream>, String), Failure> {
        let provider = self.provider(name)?.clone();
        if let Some(made) = self.made.get(name) {
            return Ok((Arc::clone(made), provider.price_provider));
        }
        if self.asks && provider.key_needed && provider.key.is_none() {
            let from = provider.key_from.clone().unwrap_or_default();
            return Err(invalid(format!("no key for {name}: {from} is not set")).hint(format!(
                "set {from}, or name another by key_env or key_file in [providers.{name}] of harness.toml"
            )));
        }
        let upstream = self.make(
            UpstreamSpec {
                name: name.to_owned(),
                price_provider: provider.price_provider.clone(),
                target: Target::Http {
                    base_url: provider.base_url.clone().unwrap_or_default(),
                    key: provider.key.clone(),
                    key_from: provider.key_from.clone().unwrap_or_else(|| format!("[providers.{name}]")),
                    key_header: None,
                    headers: provider.headers.clone().into_iter().collect(),
                },
                concurrency: provider.concurrency,
                patience: self.patience,
                timeouts: self.timeouts,
                drain: Duration::from_secs(20),
                old_cap_name: provider.old_cap_name,
                margin_percent: provider.margin_percent,
            },
            provider.options.clone(),
        )?;
        self.notes.insert(
            name.to_owned(),
            UpstreamNote {
                wires: provider.wires.iter().map(|wire| (*wire).to_owned()).collect(),
                base_url: provider.base_url,
                key_from: provider.key_from,
                price_provider: provider.price_provider.clone(),
                script: None,
            },
        );
        self.made.insert(name.to_owned(), Arc::clone(&upstream));
        Ok((upstream, provider.price_provider))
    }

    /// The script of a name for a task, or for whoever asks: the task's own, else one of the scripts folder, else the file
    /// that the name is.
    pub fn script(&mut self, name: &str, task: Option<&Task>) -> Result<(Arc<Upstream>, String), Failure> {
        let folder = self.settings.path("scripts_dir");
        let own = task.map(|task| task.origin.join("scripted").join(format!("{name}.toml")));
        let by_task = task.map(|task| folder.join(name).join(format!("{}.toml", task.id)));
        let places: Vec<PathBuf> = own
            .into_iter()
            .chain(by_task)
            .chain([folder.join(format!("{name}.toml")), PathBuf::from(name)])
            .collect();
        let found = places.iter().find(|place| place.is_file());
        let (file, text) = match (found, bundled_script(name, task)?) {
            (Some(file), _) => (file.clone(), small_text(file)?),
            // Inside the program alone: what is called so lies on no disk.
            (None, Some(text)) => {
                let id = task.map(|task| task.id.to_string()).unwrap_or_default();
                (PathBuf::from(format!("the bundled conversation {name}/{id}")), text)
            }
            (None, None) => {
                let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
                let whose = task.map(|task| format!(" for the task {}", task.id)).unwrap_or_default();
                return Err(invalid(format!("there is no script {name:?}{whose}"))
                    .hint(format!("looked for {}", places.join(", "))));
            }
        };
        let file = &file;
        let digest = Digest::of(text.as_bytes());
        let price_provider = format!("{SCRIPTED}-{}", digest.short());
        if let Some(made) = self.scripts.get(file) {
            return Ok((Arc::clone(made), price_provider));
        }
        let script = Script::parse(&text, &file.display().to_string())
            .map_err(|error| Failure::of(Exit::Invalid, &error))?;
        // A price of its own, whatever the agent calls the model.
        let price = script.price(&price_provider, "*").map_err(|error| Failure::of(Exit::Invalid, &error))?;
        let declared = self.notes.values().any(|note| note.price_provider == price_provider);
        self.layers.extend(price.filter(|_| !declared));
        let upstream = self.make(
            UpstreamSpec {
                name: format!("{SCRIPTED}/{name}"),
                price_provider: price_provider.clone(),
                target: Target::Script(Arc::new(script)),
                concurrency: 1024,
                patience: self.patience,
                timeouts: self.timeouts,
                drain: Duration::from_secs(20),
                old_cap_name: false,
                margin_percent: 0,
            },
            UpstreamOptions::default(),
        )?;
        let place = task.filter(|_| file != &places[places.len() - 1]).map(|task| format!(" {}", task.id));
        self.notes.insert(
            format!("{SCRIPTED}/{name}{}", place.unwrap_or_default()),
            UpstreamNote {
                wires: WIRES.iter().map(|wire| wire.name().to_owned()).collect(),
                price_provider: price_provider.clone(),
                script: Some(digest),
                ..UpstreamNote::default()
            },
        );
        self.scripts.insert(file.clone(), Arc::clone(&upstream));
        Ok((upstream, price_provider))
    }

    fn make(&self, spec: UpstreamSpec, options: UpstreamOptions) -> Result<Arc<Upstream>, Failure> {
        let made = Upstream::with_options(spec, options);
        made.map(Arc::new)
            .map_err(|error| Failure::new(Exit::Unexpected, format!("an upstream cannot be set up: {error}")))
    }
}

/// What the scripted model says in a task of a bundled suite of this name.
fn bundled_script(name: &str, task: Option<&Task>) -> Result<Option<String>, Failure> {
    let (Some(bundled), Some(task)) = (suites::catalog::by_name(name), task) else { return Ok(None) };
    let broken =
        |error| Failure::new(Exit::Unexpected, format!("the bundled conversations cannot be read: {error}"));
    Ok(bundled.conversations().map_err(broken)?.remove(task.id.as_str()))
}

/// The bundled prices, under the user's own file where the settings name one.
pub fn prices(settings: &Settings) -> Result<PriceTable, Failure> {
    let file = settings.text("prices");
    if file.is_empty() {
        return Ok(PriceTable::bundled());
    }
    with_file(PriceTable::bundled(), Path::new(file))
}

/// Prices under one more file.
pub fn with_file(prices: PriceTable, file: &Path) -> Result<PriceTable, Failure> {
    let text = small_text(file)?;
    prices
        .with_overrides(&text, &file.display().to_string())
        .map_err(|error| Failure::of(Exit::Invalid, &error))
}
