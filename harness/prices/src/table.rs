//! The effective table: the layers in their order, looked up for one call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use harness_core::Digest;

use crate::bundled;
use crate::calendar::{DAY_MS, day_of, minute_of_day};
use crate::call::{Call, PriceWarning, Priced, Served, ServiceTier};
use crate::nearest::nearest;
use crate::overrides::{Entry, Layer, OverrideError};
use crate::rates::{Buckets, Rates};

const CORRECTIONS: &str = include_str!("../data/corrections.toml");
/// Names of our own, or of other tools, for providers that the bundled table calls otherwise.
const ALIASES: &[(&str, &str)] = &[
    ("openai-chat", "openai"),
    ("openai-responses", "openai"),
    ("gemini", "google"),
    ("vertex_ai", "google"),
];
/// Providers that only the corrections know; a test compares this with the file.
const CORRECTED_PROVIDERS: &[&str] = &["dashscope"];

/// The table that a price came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceSource {
    /// In the table's own words, or the crate and its version.
    pub table: String,
    /// The day of the table, `YYYY-MM-DD`.
    pub date: String,
    /// Who serves the model, as that table calls them; empty when it does not say.
    pub provider: String,
    /// The model, as that table calls it.
    pub model: String,
}

/// How much a model takes and gives; each `None` when no table says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelLimits {
    /// Input and output together, in tokens.
    pub context_window: Option<u64>,
    /// The longest answer, in tokens.
    pub max_output: Option<u64>,
}

/// The bundled prices under our corrections under the user's files.
#[derive(Debug, Clone)]
pub struct PriceTable {
    /// The strongest first.
    layers: Vec<Layer>,
    /// Names nearest to those that were not found: looking through all takes longer than anything else here, and an unknown
    /// model is priced again with each of its calls.
    nearest: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

/// How many unknown names are remembered; an agent may make up as many as it likes.
const REMEMBERED: usize = 256;

/// Rates found in some layer.
pub(crate) struct Found {
    pub(crate) source: Arc<PriceSource>,
    pub(crate) rates: Rates,
    /// Whether the table has a price for the very tier.
    tier_priced: bool,
    bundled: bool,
}

impl Found {
    /// The bundled table lists models that it has no price for; a price file says 0 when it means it.
    pub(crate) fn has_price(&self) -> bool {
        !self.bundled || !self.rates.is_empty()
    }
}

impl PriceTable {
    /// The bundled table and our corrections.
    pub fn bundled() -> PriceTable {
        let corrections = Layer::parse(CORRECTIONS, "corrections.toml")
            .expect("a test reads the corrections that are built in");
        PriceTable { layers: vec![corrections], nearest: Arc::default() }
    }

    /// The same table under one more file: what it names wins over everything before.
    ///
    /// # Errors
    /// As [`Layer::parse`].
    pub fn with_overrides(self, text: &str, origin: &str) -> Result<PriceTable, OverrideError> {
        Ok(self.with_layer(Layer::parse(text, origin)?))
    }

    /// The same table under one more layer.
    pub fn with_layer(mut self, layer: Layer) -> PriceTable {
        self.layers.insert(0, layer);
        self.nearest = Arc::default();
        self
    }

    /// What identifies all prices of this table: two runs with the same digest were priced alike.
    pub fn digest(&self) -> Digest {
        let mut text = format!("prices 1\nbundled genai-prices {}\n", bundled::VERSION);
        for layer in &self.layers {
            text.push_str(layer.digest.as_str());
            text.push('\n');
        }
        Digest::of(text.as_bytes())
    }

    /// The cost of one call.
    pub fn price(&self, call: &Call<'_>) -> Priced {
        let mut priced = Priced::default();
        let Some(buckets) = Buckets::of(&call.usage) else {
            priced.warnings.push(PriceWarning::UsageUnknown);
            return priced;
        };
        let input = buckets.input();
        let Some(billed) = self.find(&call.served, input) else {
            priced.warnings.push(self.unknown(&call.served));
            return priced;
        };
        let name = billed.source.model.clone();
        if !billed.has_price() {
            priced.warnings.push(PriceWarning::NoPrice { model: name });
            return priced;
        }
        if !billed.tier_priced {
            let tier = call.served.tier.name().to_owned();
            priced.warnings.push(PriceWarning::TierUnpriced { model: name, tier });
        }
        let list = self.dearest(&call.served, &buckets).unwrap_or(billed.rates);
        priced.billed = Some(billed.rates.charge(&buckets, call.web_searches));
        priced.list = Some(list.charge(&buckets, call.web_searches));
        priced.source = Some(Arc::unwrap_or_clone(billed.source));
        priced
    }

    /// The rates of a call of this input length; `None` when no table has a price for the model. What a reservation is
    /// computed from.
    pub fn rates(&self, served: &Served<'_>, input: u64) -> Option<Rates> {
        self.find(served, input).filter(Found::has_price).map(|found| found.rates)
    }

    /// How much a model takes and gives, as far as any table says.
    pub fn limits(&self, served: &Served<'_>) -> ModelLimits {
        let served = split(served);
        let day = day_of(served.at_ms);
        let mut limits = ModelLimits::default();
        for entry in self.layers.iter().filter_map(|layer| layer.find(served.provider, served.model, day)) {
            limits.context_window = limits.context_window.or(entry.context_window);
            limits.max_output = limits.max_output.or(entry.max_output);
        }
        if limits.context_window.is_none() {
            limits.context_window = bundled::find(&served, 1)
                .and_then(|found| bundled::context_window(&found.source.provider, &found.source.model));
        }
        limits
    }

    /// The layers, the strongest first, without the bundled table.
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn find(&self, served: &Served<'_>, input: u64) -> Option<Found> {
        let served = split(served);
        if let Some((layer, entry)) = self.entry(&served) {
            let (rates, tier_priced) = entry.rates(&served.tier, input, minute_of_day(served.at_ms));
            let source = Arc::new(PriceSource {
                table: layer.source.clone(),
                date: layer.date.clone(),
                provider: entry.provider.clone().unwrap_or_default(),
                model: entry.model.clone(),
            });
            return Some(Found { source, rates, tier_priced, bundled: false });
        }
        let found = bundled::find(&served, input)?;
        let tier_priced = served.tier == ServiceTier::Standard
            || bundled::find(&ordinary(&served, served.at_ms), input)
                .is_some_and(|standard| standard.rates != found.rates);
        Some(Found { source: found.source, rates: found.rates, tier_priced, bundled: true })
    }

    /// The entry of a price file for a model whose provider was split off its name.
    fn entry(&self, served: &Served<'_>) -> Option<(&Layer, &Entry)> {
        let day = day_of(served.at_ms);
        self.layers.iter().find_map(|layer| Some((layer, layer.find(served.provider, served.model, day)?)))
    }

    /// The ordinary rates of that day at the hour that makes this call dearest.
    fn dearest(&self, served: &Served<'_>, buckets: &Buckets) -> Option<Rates> {
        let served = split(served);
        let midnight = served.at_ms - served.at_ms % DAY_MS;
        let moments: Vec<u64> = match self.entry(&served) {
            Some((_, entry)) => entry.changes().map(|minute| midnight + u64::from(minute) * 60_000).collect(),
            None if bundled::has_windows(&served) => (0..DAY_MS / bundled::WINDOW_MS)
                .map(|half_hour| midnight + half_hour * bundled::WINDOW_MS)
                .collect(),
            None => vec![served.at_ms],
        };
        moments
            .into_iter()
            .filter_map(|at_ms| self.find(&ordinary(&served, at_ms), buckets.input()))
            .map(|found| found.rates)
            .max_by_key(|rates| rates.exact(buckets))
    }

    fn unknown(&self, served: &Served<'_>) -> PriceWarning {
        let model = match served.provider {
            Some(provider) => format!("{provider}/{}", served.model),
            None => served.model.to_owned(),
        };
        let lock = || self.nearest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nearest) = lock().get(served.model) {
            return PriceWarning::UnknownModel { model, nearest: nearest.clone() };
        }
        let ours =
            self.layers.iter().flat_map(|layer| layer.entries.iter().map(|entry| entry.model.as_str()));
        let theirs =
            bundled::calculator().providers().flat_map(|known| known.models().map(|model| model.id()));
        let nearest = nearest(served.model, ours.chain(theirs));
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(served.model.to_owned(), nearest.clone());
        PriceWarning::UnknownModel { model, nearest }
    }
}

/// What a price table calls the provider that a user calls `name` and reaches at `base_url`: the address decides, so that an
/// OpenAI-compatible server elsewhere is not priced as OpenAI. `None` when no table knows it; only a price file can then.
pub fn provider_name(name: &str, base_url: Option<&str>) -> Option<String> {
    if let Some(url) = base_url {
        return bundled::provider(None, Some(url)).map(str::to_owned);
    }
    let name = alias(name);
    bundled::provider(Some(name), None).map(str::to_owned)
}

fn alias(name: &str) -> &str {
    ALIASES.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(name)).map_or(name, |(_, theirs)| theirs)
}

/// The same call at the ordinary tier and another moment.
fn ordinary<'a>(served: &Served<'a>, at_ms: u64) -> Served<'a> {
    Served { tier: ServiceTier::Standard, at_ms, ..*served }
}

/// Provider and model apart; without a provider, the prefix of the model's name is one when a table has it.
fn split<'a>(served: &Served<'a>) -> Served<'a> {
    let (provider, model) = match (served.provider, served.model.split_once('/')) {
        (Some(provider), _) => (Some(alias(provider)), served.model),
        (None, Some((prefix, rest))) if is_provider(alias(prefix)) => (Some(alias(prefix)), rest),
        (None, _) => (None, served.model),
    };
    Served { provider, model, tier: served.tier.clone(), at_ms: served.at_ms }
}

fn is_provider(name: &str) -> bool {
    bundled::has_provider(name) || CORRECTED_PROVIDERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use harness_core::{NanoUsd, Usage};

    use super::*;

    /// 2026-11-21 12:00 UTC.
    const NOON: u64 = 20_778 * DAY_MS + 12 * 3_600_000;

    fn served<'a>(provider: Option<&'a str>, model: &'a str) -> Served<'a> {
        Served { provider, model, tier: ServiceTier::Standard, at_ms: NOON }
    }

    fn call(served: Served<'_>, input: u64, output: u64) -> Call<'_> {
        let usage =
            Usage { uncached_input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() };
        Call { served, usage, web_searches: 0 }
    }

    #[test]
    fn price_of_an_unknown_model_is_unknown_with_the_nearest_names() {
        let priced = PriceTable::bundled().price(&call(served(Some("openai"), "gpt-5-mimi"), 10, 10));
        assert_eq!((priced.billed, priced.list, priced.source.as_ref()), (None, None, None));
        let [PriceWarning::UnknownModel { model, nearest }] = priced.warnings.as_slice() else {
            panic!("{:?}", priced.warnings)
        };
        assert_eq!(model, "openai/gpt-5-mimi");
        assert_eq!(nearest[0], "gpt-5-mini");
        assert!(priced.warnings[0].to_string().contains("gpt-5-mini"));
    }

    #[test]
    fn price_of_a_known_model_at_a_provider_that_is_only_called_alike_is_unknown() {
        let priced = PriceTable::bundled().price(&call(served(Some("my-openai-proxy"), "gpt-5"), 10, 10));
        assert_eq!(priced.billed, None);
        assert!(matches!(priced.warnings[..], [PriceWarning::UnknownModel { .. }]));
    }

    #[test]
    fn price_of_a_model_that_the_table_lists_without_one_is_unknown_not_nothing() {
        let priced = PriceTable::bundled().price(&call(served(Some("github-copilot"), "gpt-4.1"), 10, 10));
        assert_eq!(priced.billed, None);
        assert!(matches!(priced.warnings[..], [PriceWarning::NoPrice { .. }]), "{:?}", priced.warnings);
        assert_eq!(PriceTable::bundled().rates(&served(Some("github-copilot"), "gpt-4.1"), 10), None);
    }

    #[test]
    fn price_without_an_output_count_is_unknown() {
        let mut call = call(served(Some("openai"), "gpt-5"), 10, 10);
        call.usage.output_tokens = None;
        let priced = PriceTable::bundled().price(&call);
        assert_eq!((priced.billed, priced.warnings), (None, vec![PriceWarning::UsageUnknown]));
    }

    #[test]
    fn price_by_the_hour_is_billed_as_served_and_listed_at_the_dearest_hour() {
        let table = PriceTable::bundled();
        // Peak is 01:00-04:00 and 06:00-10:00 UTC in the bundled table.
        let noon = table.price(&call(served(Some("deepseek"), "deepseek-flash"), 1_000_000, 0));
        let peak_call = Call {
            served: Served { at_ms: NOON - 4 * 3_600_000, ..served(Some("deepseek"), "deepseek-flash") },
            ..call(served(None, ""), 1_000_000, 0)
        };
        let peak = table.price(&peak_call);
        assert_eq!(noon.billed, Some(NanoUsd(150_000_000)));
        assert_eq!(peak.billed, Some(NanoUsd(300_000_000)));
        assert_eq!((noon.list, peak.list), (peak.billed, peak.billed));
    }

    #[test]
    fn price_at_a_tier_keeps_the_ordinary_one_as_list_and_warns_without_a_tier_price() {
        let table = PriceTable::bundled();
        let flex = Served { tier: ServiceTier::parse("flex"), ..served(Some("openai"), "gpt-5") };
        let priced = table.price(&call(flex, 1_000_000, 0));
        assert_eq!(priced.billed, Some(NanoUsd(625_000_000)));
        assert_eq!(priced.list, Some(NanoUsd(1_250_000_000)));
        assert_eq!(priced.warnings, []);
        let odd =
            Served { tier: ServiceTier::parse("priority"), ..served(Some("anthropic"), "claude-opus-4-5") };
        let priced = table.price(&call(odd, 1_000_000, 0));
        assert_eq!(priced.billed, priced.list);
        assert!(
            matches!(&priced.warnings[..], [PriceWarning::TierUnpriced { tier, .. }] if tier == "priority")
        );
    }

    #[test]
    fn price_follows_history() {
        let table = PriceTable::bundled();
        let before = Served { at_ms: 20_600 * DAY_MS, ..served(Some("openrouter"), "qwen/qwen3-coder") };
        let priced = table.price(&call(before, 1_000_000, 0)).billed;
        let now = table.price(&call(served(Some("openrouter"), "qwen/qwen3-coder"), 1_000_000, 0)).billed;
        assert_eq!((priced, now), (Some(NanoUsd(220_000_000)), Some(NanoUsd(300_000_000))));
    }

    #[test]
    fn price_tier_begins_one_token_after_its_length_and_covers_all_tokens() {
        let table = PriceTable::bundled();
        let at = |input| table.price(&call(served(Some("openai"), "gpt-6-sol"), input, 1)).billed.unwrap().0;
        assert_eq!(at(272_000), 272_000 * 2000 + 10_000);
        assert_eq!(at(272_001), 272_001 * 4000 + 15_000);
    }

    #[test]
    fn price_file_wins_by_layer_then_by_exactness_and_start() {
        let text = |input: &str| {
            format!(
                "source = \"contract\"\ndate = \"2026-11-01\"\n\
                 [[model]]\nmodel = \"gpt-5*\"\ninput = 9\noutput = 9\n\
                 [[model]]\nprovider = \"openai\"\nmodel = \"gpt-5\"\ninput = {input}\noutput = 2\n\
                 [[model]]\nprovider = \"openai\"\nmodel = \"gpt-5\"\nstarts = \"2026-12-01\"\ninput = 7\noutput = 7\n"
            )
        };
        let one = PriceTable::bundled().with_overrides(&text("1"), "a.toml").unwrap();
        let two = PriceTable::bundled()
            .with_overrides(&text("1"), "a.toml")
            .unwrap()
            .with_overrides(&text("3"), "b.toml")
            .unwrap();
        let cost = |table: &PriceTable, at_ms, model| {
            table
                .price(&call(Served { at_ms, ..served(Some("openai"), model) }, 1_000_000, 0))
                .billed
                .unwrap()
                .0
                / 1_000_000_000
        };
        assert_eq!(cost(&one, NOON, "gpt-5"), 1);
        assert_eq!(cost(&two, NOON, "GPT-5"), 3);
        assert_eq!(cost(&two, NOON, "gpt-5-new"), 9);
        assert_eq!(cost(&one, NOON + 30 * DAY_MS, "gpt-5"), 7);
        assert_ne!(one.digest(), two.digest());
        assert_ne!(one.digest(), PriceTable::bundled().digest());
        assert_eq!(PriceTable::bundled().digest(), PriceTable::bundled().digest());
    }

    #[test]
    fn provider_name_goes_by_the_address_when_there_is_one() {
        assert_eq!(provider_name("openai-chat", None).as_deref(), Some("openai"));
        assert_eq!(provider_name("gemini", None).as_deref(), Some("google"));
        assert_eq!(
            provider_name("openai-chat", Some("https://api.deepseek.com/v1")).as_deref(),
            Some("deepseek")
        );
        assert_eq!(provider_name("openai", Some("http://127.0.0.1:8000/v1")), None);
        assert_eq!(provider_name("scripted", None), None);
    }

    #[test]
    fn corrections_name_the_providers_that_only_they_know() {
        let mut only: Vec<String> = PriceTable::bundled().layers[0]
            .entries
            .iter()
            .filter_map(|entry| entry.provider.clone())
            .filter(|provider| !bundled::has_provider(provider))
            .collect();
        only.sort();
        only.dedup();
        assert_eq!(only, CORRECTED_PROVIDERS);
    }

    #[test]
    fn limits_come_from_the_first_table_that_says() {
        let table = PriceTable::bundled();
        let limits = table.limits(&served(Some("dashscope"), "qwen3-coder-plus"));
        assert_eq!((limits.context_window, limits.max_output), (Some(997_952), Some(65_536)));
        assert_eq!(table.limits(&served(Some("openai"), "gpt-6-sol")).context_window, Some(1_050_000));
        assert_eq!(table.limits(&served(None, "nobody-has-this")), ModelLimits::default());
    }
}
