//! `harness gateway`: the metering proxy alone, one JSON line a request on stdout.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};

use harness_gateway::budget::{Budgets, Ledger, Line};
use harness_gateway::proxy::{
    Access, Caller, ExchangeRecord, Gateway as Proxy, GatewayThread, Journal, Parts, Upstream,
};
use harness_gateway::redact::Redactor;

use super::{Context, runtime};
use crate::args::Gateway;
use crate::exit::{Exit, Failure};
use crate::providers::{self, SCRIPTED, Upstreams};
use crate::{models, printer};

/// Each request as a line on stdout.
struct Printed(Redactor);

impl Journal for Printed {
    fn ledger(&self, _: &Line) {}

    fn exchange(&self, record: ExchangeRecord) {
        printer::raw(&self.0.redact(&harness_core::journal::line(&record)));
    }
}

/// Serves until it is interrupted.
pub fn gateway(mut context: Context, options: &Gateway) -> Result<Exit, Failure> {
    let address: SocketAddr = options.listen.parse().map_err(|_| {
        Failure::new(Exit::Usage, format!("--listen {} is no ADDRESS:PORT", options.listen))
            .hint("for example 127.0.0.1:8080; port 0 takes any that is free")
    })?;
    let settings = &mut context.settings;
    settings.flag("prices", options.prices.as_ref().map(|file| file.display().to_string()));
    settings.flag("budget_usd", options.budget_usd);
    settings.flag("budget_tokens", options.budget_tokens);
    let settings = &context.settings;
    let access = |caller| key(&options.key_env, address, caller);
    // One program is at the other end: limits of trials and variants would only repeat the run's.
    let budgets = models::budgets(settings)?;
    let budgets = Budgets { request: budgets.request, run: budgets.run, ..Budgets::default() };
    let mut upstreams = Upstreams::new(settings)?;
    let routes = routes(&mut upstreams, options)?;
    let redactor = upstreams.redactor();
    let prices = std::mem::take(&mut upstreams.layers)
        .into_iter()
        .fold(providers::prices(settings)?, harness_prices::PriceTable::with_layer);
    let access = access(Arc::new(Caller::new("gateway", "gateway", routes)))?;
    let failed =
        |what: &str, error: &std::io::Error| Failure::new(Exit::Unexpected, format!("{what}: {error}"));
    let gateway = Proxy::new(Parts {
        prices,
        ledger: Ledger::new(budgets),
        journal: Arc::new(Printed(redactor.clone())),
        redactor,
    });
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| failed(&format!("cannot listen on {address}"), &error))?;
    let cannot = |error| failed("cannot listen", &error);
    let address = listener.local_addr().map_err(cannot)?;
    let thread = GatewayThread::start().map_err(cannot)?;
    let served = thread.serve(&gateway, listener, access).map_err(cannot)?;
    printer::say(&format!("listening on http://{address}; Ctrl-C ends it"));
    runtime()?.block_on(async {
        tokio::select! {
            ended = served => ended.map_err(|error| Failure::of(Exit::Unexpected, &error))?,
            ended = tokio::signal::ctrl_c() => ended.map_err(|error| failed("no signals", &error))?,
        }
        Ok(Exit::Completed)
    })
}

/// Who answers on each wire: those that were named, else every provider whose key is there.
fn routes(
    upstreams: &mut Upstreams<'_>,
    options: &Gateway,
) -> Result<BTreeMap<&'static str, Arc<Upstream>>, Failure> {
    let mut routes: BTreeMap<&'static str, Arc<Upstream>> = BTreeMap::new();
    if let Some(script) = &options.script {
        let (upstream, _) = upstreams.script(&script.display().to_string(), None)?;
        let wires = upstreams.provider(SCRIPTED)?.wires.clone();
        return Ok(wires.into_iter().map(|wire| (wire, Arc::clone(&upstream))).collect());
    }
    let names = if options.provider.is_empty() { upstreams.with_keys() } else { options.provider.clone() };
    for name in names {
        for wire in upstreams.provider(&name)?.wires.clone() {
            if routes.contains_key(wire) {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("several providers speak {wire}, {name} among them"),
                )
                .hint("name the ones to use: --provider NAME, one for each wire"));
            }
            routes.insert(wire, upstreams.of(&name)?.0);
        }
    }
    if routes.is_empty() {
        return Err(Failure::new(Exit::Invalid, "no provider has a key here")
            .hint("set one, for example OPENAI_API_KEY, or play a script: --script FILE"));
    }
    Ok(routes)
}

/// Who may call: everybody on this machine's loopback, or whoever shows the key of a variable.
fn key(variable: &Option<String>, address: SocketAddr, caller: Arc<Caller>) -> Result<Access, Failure> {
    let Some(variable) = variable else {
        if address.ip().is_loopback() {
            return Ok(Access::Own(caller));
        }
        return Err(Failure::new(Exit::Usage, format!("{address} can be reached by others"))
            .hint("name a variable whose value callers must show as their key: --key-env NAME"));
    };
    let key = std::env::var(variable).ok().filter(|key| key.len() >= 16).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--key-env {variable} holds no key of at least 16 characters"))
    })?;
    Ok(Access::Keys(Arc::new(RwLock::new(HashMap::from([(key, caller)])))))
}

/// Scripts of a folder by their names.
pub fn scripts(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        let file = entry.path();
        let is_script = file.extension().is_some_and(|end| end == "toml");
        is_script.then(|| file.file_stem()?.to_str().map(str::to_owned)).flatten()
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names
}
