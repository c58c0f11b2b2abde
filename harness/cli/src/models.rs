//! The models of a run: which upstream answers which variant on which task, at what price, within which budgets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use harness_core::manifest::UpstreamNote;
use harness_core::{Digest, Task, TaskId};
use harness_engine::journal_writer::now_ms;
use harness_engine::models::Replay;
use harness_engine::{Cell, ModelsSpec, Route};
use harness_gateway::budget::{Budgets, Limits};
use harness_gateway::recording::{Mode, Pace, Recording};
use harness_gateway::redact::Redactor;
use harness_prices::{Served, ServiceTier};

use crate::exit::{Exit, Failure};
use crate::printer;
use crate::providers::{self, SCRIPTED, Upstreams};
use crate::settings::Settings;

/// What a run's models come to, before anything is on disk.
pub struct Prepared {
    /// For the engine.
    pub spec: ModelsSpec,
    /// For the manifest.
    pub notes: BTreeMap<String, UpstreamNote>,
    /// For the manifest.
    pub prices: Digest,
}

/// Everything that the variants' models need; `None` when no variant has one.
pub fn prepare(
    settings: &Settings,
    cells: &[Cell],
    tasks: &BTreeMap<TaskId, Arc<Task>>,
) -> Result<Option<Prepared>, Failure> {
    let budgets = budgets(settings)?;
    if cells.iter().all(|cell| cell.variant.model.is_none()) {
        return Ok(None);
    }
    let replay = replay(settings)?;
    let mut upstreams = Upstreams::new(settings)?;
    upstreams.asks = replay.as_ref().is_none_or(|replay| replay.mode == Mode::Passthrough);
    let mut routes = HashMap::new();
    // What must have a price: the model, and what price tables call its provider.
    let mut asked: BTreeMap<String, (String, String)> = BTreeMap::new();
    for cell in cells {
        let Some(model) = &cell.variant.model else { continue };
        let (provider, name) = providers::split(model)?;
        for (id, task) in tasks {
            let (upstream, price_provider) = if provider == SCRIPTED {
                upstreams.script(name, Some(task))?
            } else {
                upstreams.of(provider)?
            };
            let wires = upstreams.provider(provider)?.wires.clone();
            let can = cell.agent.can_ask(model, &wires);
            can.map_err(|message| Failure::new(Exit::Invalid, message))?;
            let route = Route {
                model: model.clone(),
                name: name.to_owned(),
                upstreams: wires.into_iter().map(|wire| (wire, Arc::clone(&upstream))).collect(),
            };
            asked.insert(format!("{model} {price_provider}"), (price_provider, name.to_owned()));
            routes.insert((cell.variant.name.clone(), id.clone()), Arc::new(route));
        }
    }
    let redactor = upstreams.redactor();
    cells.iter().try_for_each(|cell| passes_no_key(cell, &redactor))?;
    let prices = std::mem::take(&mut upstreams.layers)
        .into_iter()
        .fold(providers::prices(settings)?, harness_prices::PriceTable::with_layer);
    for (provider, model) in asked.values() {
        let at_ms = u64::try_from(now_ms()).unwrap_or(0);
        let served = Served { provider: Some(provider), model, tier: ServiceTier::Standard, at_ms };
        if prices.rates(&served, 1).is_some() {
            continue;
        }
        let unknown = format!("no price is known for {model} of {provider}");
        let hint = "name a price file by `prices` in harness.toml or --prices FILE; `harness list models` shows what has a price";
        if budgets.limit_money()
            || cells.iter().any(|cell| is_of(cell, model) && cell.agent.limits().nano_usd.is_some())
        {
            return Err(Failure::new(Exit::Invalid, format!("a budget in money cannot be kept: {unknown}"))
                .hint(hint));
        }
        printer::warn(&format!("{unknown}: its cost will be unknown"));
    }
    let digest = prices.digest();
    let days = settings.path("runs_dir").join(".spending");
    let spec = ModelsSpec {
        prices,
        budgets,
        redactor,
        routes,
        days: Some(days),
        record: settings.switch("record"),
        replay,
        preflight: settings.switch("preflight"),
    };
    Ok(Some(Prepared { spec, notes: upstreams.notes, prices: digest }))
}

/// Whether a variant asks this model of whatever provider.
fn is_of(cell: &Cell, model: &str) -> bool {
    cell.variant
        .model
        .as_deref()
        .and_then(|asked| asked.split_once('/'))
        .is_some_and(|(_, name)| name == model)
}

/// The recording that is to be played: `RUN`, or `RUN:MODE`.
fn replay(settings: &Settings) -> Result<Option<Replay>, Failure> {
    let asked = settings.text("replay");
    if asked.is_empty() {
        return Ok(None);
    }
    let (run, mode) = match asked.rsplit_once(':') {
        Some((run, mode)) if !mode.contains('/') => (run, Some(mode)),
        _ => (asked, None),
    };
    let mode = match mode {
        None => Mode::default(),
        Some(mode) => Mode::parse(mode).ok_or_else(|| {
            let known: Vec<&str> = Mode::ALL.iter().map(|(name, _)| *name).collect();
            settings.bad("replay", &format!("must be RUN or RUN:MODE, with a mode of {}", known.join(", ")))
        })?,
    };
    let pace = match settings.text("replay_pace") {
        "at-once" => Pace::AtOnce,
        "recorded" => Pace::Recorded,
        _ => return Err(settings.bad("replay_pace", "must be at-once or recorded")),
    };
    let folder = std::path::Path::new(run);
    let by_path = run.contains('/') && folder.join("manifest.json").is_file();
    let folder = if by_path { folder.to_owned() } else { settings.path("runs_dir").join(run) };
    let recording = Recording::open(&folder.join("recording")).map_err(|error| {
        Failure::new(Exit::Usage, format!("the run {run} has no recording that can be played: {error}"))
            .hint("record one: harness run … --record")
    })?;
    Ok(Some(Replay { recording, mode, pace }))
}

/// An agent with a model needs no real key: the gateway has it. Variables that the gateway sets itself hold another value anyway.
fn passes_no_key(cell: &Cell, redactor: &Redactor) -> Result<(), Failure> {
    const OURS: [&str; 3] = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"];
    if cell.variant.model.is_none() {
        return Ok(());
    }
    let names = harness_engine::agents::settings::list(&cell.variant.settings, "env");
    for name in names.iter().filter(|name| !OURS.contains(&name.as_str())) {
        if std::env::var(name).is_ok_and(|value| redactor.finds(value.as_bytes())) {
            let message = format!(
                "the setting \"env\" of {} passes on {name}, which holds a provider's key",
                cell.variant.name
            );
            return Err(Failure::new(Exit::Invalid, message)
                .hint("leave it out: the agent is given an address and a key of the harness's own"));
        }
    }
    Ok(())
}

/// The budgets as the settings have them; 0 limits nothing.
pub fn budgets(settings: &Settings) -> Result<Budgets, Failure> {
    let usd = |name: &'static str| -> Result<Option<u64>, Failure> {
        let amount = settings.number(name)?;
        Ok((amount > 0.0).then(|| (amount * 1e9).min(9e18) as u64))
    };
    let count = |name: &'static str| Ok(Some(settings.count(name)?).filter(|count| *count > 0));
    let wall = |name: &'static str| -> Result<Option<u64>, Failure> {
        Ok(settings.limit(name)?.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    };
    Ok(Budgets {
        request: Limits {
            tokens: count("request_max_tokens")?,
            nano_usd: usd("request_max_cost")?,
            ..Limits::default()
        },
        trial: Limits {
            tokens: count("max_tokens_per_task")?,
            nano_usd: usd("max_cost")?,
            requests: count("max_requests_per_task")?,
            wall_ms: wall("max_model_sec_per_task")?,
        },
        variant: Limits {
            tokens: count("variant_budget_tokens")?,
            nano_usd: usd("variant_budget_usd")?,
            ..Limits::default()
        },
        run: Limits {
            tokens: count("budget_tokens")?,
            nano_usd: usd("budget_usd")?,
            requests: count("budget_requests")?,
            wall_ms: wall("budget_sec")?,
        },
        day: Limits {
            tokens: count("day_budget_tokens")?,
            nano_usd: usd("day_budget_usd")?,
            ..Limits::default()
        },
    })
}
