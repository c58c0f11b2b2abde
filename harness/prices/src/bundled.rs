//! The bundled table as integer rates. The crate behind it computes in floating point and shows no rates, so each rate is
//! read back from the price of a made-up call with the same input length: the result is a whole number of nano-dollars for
//! a million tokens again, and all arithmetic on real usage is ours.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use genai_prices::{Calculator, PriceCalculation, PriceRequest, Usage, UsageKey};

use crate::calendar::{DAY_MS, day_of};
use crate::call::{Served, ServiceTier};
use crate::rates::{Rates, nano};
use crate::table::PriceSource;

/// The version of the crate that carries the table; a test compares it with `Cargo.lock`.
pub(crate) const VERSION: &str = "0.2.1";
/// The day on which that version was taken up, which bounds the age of its prices.
pub(crate) const DATE: &str = "2026-11-21";
/// Tokens of output in a made-up call; output rates depend on the input's length alone.
const MILLION: f64 = 1e6;

/// A model of the bundled table, at one moment and input length.
#[derive(Clone, PartialEq)]
pub(crate) struct Found {
    /// The table, with its own names of provider and model.
    pub(crate) source: Arc<PriceSource>,
    pub(crate) rates: Rates,
}

/// The table itself. Reading it the first time takes tens of milliseconds.
pub(crate) fn calculator() -> &'static Calculator {
    Calculator::bundled()
}

/// What was found for inputs of these lengths, both ends included.
struct Span {
    least: u64,
    most: u64,
    found: Option<Found>,
}

/// What was asked, and what was found.
struct Asked {
    provider: Option<String>,
    model: String,
    tier: ServiceTier,
    half_hour: u64,
    spans: Vec<Span>,
}

impl Asked {
    fn new(query: &Served<'_>) -> Asked {
        Asked {
            provider: query.provider.map(str::to_owned),
            model: query.model.to_owned(),
            tier: query.tier.clone(),
            half_hour: query.at_ms / WINDOW_MS,
            spans: Vec::new(),
        }
    }

    fn is(&self, query: &Served<'_>) -> bool {
        self.provider.as_deref() == query.provider
            && self.model == query.model
            && self.tier == query.tier
            && self.half_hour == query.at_ms / WINDOW_MS
    }
}

/// The rates of a model; `None` when the table does not have it, or has a rate that is none. Asking takes ten microseconds, and
/// each call of an agent asks five times, so that answers are kept for their half hour: two lengths with the same rates have
/// no step between them.
pub(crate) fn find(query: &Served<'_>, input: u64) -> Option<Found> {
    // By a hash of the question, so that to look for it needs no copy.
    static KNOWN: Mutex<Option<HashMap<u64, Vec<Asked>>>> = Mutex::new(None);
    let mut hasher = DefaultHasher::new();
    (query.provider, query.model, query.at_ms / WINDOW_MS).hash(&mut hasher);
    let key = hasher.finish();
    let lock = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(asked) = lock().as_ref().and_then(|all| all.get(&key)?.iter().find(|asked| asked.is(query)))
        && let Some(span) = asked.spans.iter().find(|span| (span.least..=span.most).contains(&input))
    {
        return span.found.clone();
    }
    let found = read(query, input);
    let mut all = lock();
    let all = all.get_or_insert_default();
    if all.len() >= KEPT {
        all.clear();
    }
    let alike = all.entry(key).or_default();
    let at = alike.iter().position(|asked| asked.is(query)).unwrap_or_else(|| {
        // Tiers are few; more than that are made up by an agent.
        alike.truncate(MOST_SPANS);
        alike.push(Asked::new(query));
        alike.len() - 1
    });
    let spans = &mut alike[at].spans;
    let is_full = spans.len() >= MOST_SPANS;
    match spans.iter_mut().find(|span| span.found == found) {
        Some(span) => {
            span.least = span.least.min(input);
            span.most = span.most.max(input);
        }
        None if is_full => {}
        None => spans.push(Span { least: input, most: input, found: found.clone() }),
    }
    found
}

/// Asks the table itself.
fn read(query: &Served<'_>, input: u64) -> Option<Found> {
    // The crate finds providers by parts of their names too: somebody's `my-openai-proxy` must not be priced by that.
    if query.provider.is_some_and(|name| !has_provider(name)) {
        return None;
    }
    // The longest real prompt is far below this, and up to it a double holds dollars and fees to a tenth of a nano-dollar.
    let input = input.clamp(1, 1_000_000_000) as f64;
    let ask = |parts: &[(UsageKey, f64)]| -> Option<PriceCalculation> {
        let mut usage = Usage::new();
        for (key, value) in parts {
            usage.insert(key.clone(), *value);
        }
        let moment = UNIX_EPOCH.checked_add(Duration::from_millis(query.at_ms))?;
        let mut request = PriceRequest::new(query.model, &usage).with_timestamp(moment);
        request.provider_id = query.provider;
        match &query.tier {
            ServiceTier::Standard => {}
            ServiceTier::Batch => request = request.with_price_context("processing", "batch"),
            tier => request = request.with_price_context("service_tier", tier.name()),
        }
        calculator().calculate(&request).ok()
    };
    let per_million = |price: f64| nano(price / input * MILLION);

    let plain = ask(&[(UsageKey::INPUT_TOKENS, input), (UsageKey::OUTPUT_TOKENS, MILLION)])?;
    let request = plain.total_price - plain.input_price - plain.output_price;
    let read = ask(&[
        (UsageKey::INPUT_TOKENS, input),
        (UsageKey::CACHE_READ_TOKENS, input),
        (UsageKey::OUTPUT_TOKENS, MILLION),
        (UsageKey::OUTPUT_REASONING_TOKENS, MILLION),
    ])?;
    let write = ask(&[
        (UsageKey::INPUT_TOKENS, input),
        (UsageKey::CACHE_WRITE_TOKENS, input),
        (UsageKey::WEB_SEARCHES, 1000.0),
    ])?;
    let searches = write.total_price - write.input_price - write.output_price - request;
    let write_1h = ask(&[
        (UsageKey::INPUT_TOKENS, input),
        (UsageKey::CACHE_WRITE_TOKENS, input),
        (UsageKey::CACHE_WRITE_1H_TOKENS, input),
    ])?;
    Some(Found {
        rates: Rates {
            uncached: per_million(plain.input_price)?,
            cache_read: per_million(read.input_price)?,
            cache_write: per_million(write.input_price)?,
            cache_write_1h: per_million(write_1h.input_price)?,
            output: nano(plain.output_price)?,
            reasoning: nano(read.output_price)?,
            request: nano(request.max(0.0))?,
            web_search: nano(searches.max(0.0) / 1000.0)?,
        },
        source: Arc::new(PriceSource {
            table: format!("genai-prices {VERSION}"),
            date: DATE.to_owned(),
            provider: plain.provider_id,
            model: plain.model_id,
        }),
    })
}

/// The table's own name of a provider that is called so, or lives at this address.
pub(crate) fn provider(name: Option<&str>, url: Option<&str>) -> Option<&'static str> {
    calculator().find_provider(name, url).ok().flatten().map(|provider| provider.id())
}

/// Whether the table has this provider under this very name.
pub(crate) fn has_provider(name: &str) -> bool {
    calculator().providers().any(|provider| provider.id() == name)
}

/// The context window of a model by the table's own names.
pub(crate) fn context_window(provider: &str, model: &str) -> Option<u64> {
    let provider = calculator().providers().find(|known| known.id() == provider)?;
    provider.models().find(|known| known.id() == model)?.context_window()
}

/// Most context tiers of a model that are kept; no provider has more than five.
const MOST_SPANS: usize = 16;

/// Provider, model and day.
type Key = (String, String, i64);
/// How many models the answer below is kept for; more are simply asked again.
const KEPT: usize = 1024;
/// Half an hour: no provider's daily window begins or ends elsewhere.
pub(crate) const WINDOW_MS: u64 = 1_800_000;

/// Whether the table prices this model by the hour on that day. It shows no windows, so that every half hour is asked
/// for; the answer is kept, because it costs as much as the rest of the work on a call.
pub(crate) fn has_windows(served: &Served<'_>) -> bool {
    static ANSWERS: Mutex<Option<HashMap<Key, bool>>> = Mutex::new(None);
    let key = (served.provider.unwrap_or_default().to_owned(), served.model.to_owned(), day_of(served.at_ms));
    let lock = || ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = lock().as_ref().and_then(|answers| answers.get(&key)) {
        return *answer;
    }
    let midnight = served.at_ms - served.at_ms % DAY_MS;
    let at = |half_hour: u64| {
        let usage = Usage::from([(UsageKey::INPUT_TOKENS, 1e6), (UsageKey::OUTPUT_TOKENS, 1e6)]);
        let moment = UNIX_EPOCH.checked_add(Duration::from_millis(midnight + half_hour * WINDOW_MS))?;
        let mut request = PriceRequest::new(served.model, &usage).with_timestamp(moment);
        request.provider_id = served.provider;
        calculator().calculate(&request).ok().map(|price| price.total_price)
    };
    let first = at(0);
    let answer = first.is_some() && (1..DAY_MS / WINDOW_MS).any(|half_hour| at(half_hour) != first);
    let mut answers = lock();
    let answers = answers.get_or_insert_default();
    if answers.len() >= KEPT {
        answers.clear();
    }
    answers.insert(key, answer);
    answer
}
