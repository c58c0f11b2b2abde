//! `harness list models`: what can be asked, on which wire, at what price, and where that price comes from.

use std::path::PathBuf;

use harness_engine::journal_writer::now_ms;
use harness_prices::{ListedPrice, PriceTable, Rates};
use serde_json::{Value, json};

use super::{Context, gateway};
use crate::exit::Failure;
use crate::providers::{self, Provider, SCRIPTED, Upstreams};

/// One row a model that has a price, by provider, and one for each provider without any.
pub fn rows(context: &Context, only: Option<&str>, file: Option<PathBuf>) -> Result<Vec<Value>, Failure> {
    let mut prices = providers::prices(&context.settings)?;
    if let Some(file) = file {
        prices = providers::with_file(prices, &file)?;
    }
    let upstreams = Upstreams::new(&context.settings)?;
    if let Some(name) = only {
        upstreams.provider(name)?;
    }
    let names = prices.names();
    let wanted = |provider: &&Provider| only.is_none_or(|name| name == provider.name);
    let mut rows = Vec::new();
    for provider in providers::all(&context.settings)?.iter().filter(wanted) {
        if provider.name == SCRIPTED {
            rows.extend(scripted(context, provider));
            continue;
        }
        let at_ms = u64::try_from(now_ms()).unwrap_or(0);
        let before = rows.len();
        for (_, model) in names.iter().filter(|(of, _)| *of == provider.price_provider) {
            if let Some(price) = prices.listed(Some(&provider.price_provider), model, at_ms) {
                rows.push(row(provider, model, Some(&price)));
            }
        }
        if rows.len() == before {
            rows.push(row(provider, "…", None));
        }
    }
    Ok(rows)
}

/// Scripts of the scripts folder, with the price that each declares.
fn scripted(context: &Context, provider: &Provider) -> Vec<Value> {
    let Ok(mut upstreams) = Upstreams::new(&context.settings) else { return Vec::new() };
    let names = gateway::scripts(&context.settings.path("scripts_dir"));
    let mut rows: Vec<Value> = names
        .iter()
        .map(|name| match upstreams.script(name, None) {
            Ok((_, price_provider)) => {
                let prices = upstreams.layers.drain(..).fold(PriceTable::bundled(), PriceTable::with_layer);
                row(provider, name, prices.listed(Some(&price_provider), name, 0).as_ref())
            }
            Err(failure) => json!({"name": format!("{SCRIPTED}/{name}"), "invalid": failure.message}),
        })
        .collect();
    if rows.is_empty() {
        rows.push(row(provider, "…", None));
    }
    rows
}

/// Dollars for a million tokens.
fn usd(nano: u64) -> f64 {
    nano as f64 / 1e9
}

fn rates(rates: &Rates) -> Value {
    json!({
        "input": usd(rates.uncached), "cache_read": usd(rates.cache_read), "cache_write": usd(rates.cache_write),
        "cache_write_1h": usd(rates.cache_write_1h), "output": usd(rates.output), "reasoning": usd(rates.reasoning),
        "request": usd(rates.request), "web_search": usd(rates.web_search),
    })
}

fn row(provider: &Provider, model: &str, price: Option<&ListedPrice>) -> Value {
    let wires = provider.wires.join(", ");
    let key = match &provider.key_from {
        Some(from) if provider.has_key => format!("{from} is set"),
        Some(from) => format!("{from} is not set"),
        None => "needs no key".to_owned(),
    };
    let about = match price {
        Some(price) => {
            let longer = if price.steps.is_empty() { "" } else { ", dearer in long contexts" };
            let (table, date) = (&price.source.table, &price.source.date);
            let date = if date.is_empty() { String::new() } else { format!(", {date}") };
            format!(
                "{wires}; ${} in, ${} cached, ${} out{longer} ({table}{date})",
                usd(price.rates.uncached),
                usd(price.rates.cache_read),
                usd(price.rates.output),
            )
        }
        None if provider.name == SCRIPTED => {
            "a script: simulated, no money is spent; it declares its own price".to_owned()
        }
        None => format!("{wires}; price unknown; {key}"),
    };
    json!({
        "name": format!("{}/{model}", provider.name),
        "about": about,
        "provider": provider.name,
        "model": model,
        "wires": provider.wires,
        "base_url": provider.base_url,
        "key": key,
        "simulated": provider.name == SCRIPTED,
        "usd_per_million_tokens": price.map(|price| rates(&price.rates)),
        "steps": price.map(|price| {
            price.steps.iter().map(|step| json!({"above": step.above, "usd_per_million_tokens": rates(&step.rates)})).collect::<Vec<_>>()
        }),
        "source": price.map(|price| &price.source.table),
        "date": price.map(|price| &price.source.date),
    })
}
