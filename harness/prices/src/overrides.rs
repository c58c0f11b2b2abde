//! Price files: TOML with a source and a date, dollars for a million tokens. Users write them, and our own corrections are
//! one. Also what a script of the scripted model declares as its price.
//!
//! ```toml
//! source = "our contract of 2026"      # where the numbers come from
//! date = "2026-11-01"                  # when they were looked up
//!
//! [[model]]
//! provider = "openai"                  # left out: whoever serves it
//! model = "gpt-5*"                     # a name, or the beginning of one and a star
//! starts = "2026-07-01"                # of entries for one model, the latest that has started holds
//! input = 1.25                         # the rates that are left out: cache_read and cache_write are input,
//! output = 10                          # cache_write_1h is cache_write, reasoning is output
//! tiers = [{ above = 272000, input = 2.5 }]                      # when the whole input is longer
//! services = [{ name = "flex", input = 0.625, output = 5 }]      # batch, flex, priority or the provider's own word
//! hours = [{ from = "16:30", to = "00:30", input = 0.7 }]        # UTC; a window may go past midnight
//! ```

use serde::Deserialize;

use crate::calendar::{parse_day, parse_minute};
use crate::call::ServiceTier;
use crate::rates::{MAX_RATE_USD, Rates, nano};

/// Longer price files are not read: the largest public table is a tenth of it.
const MAX_BYTES: usize = 32 << 20;
/// Longest list of tiers, services or windows in one entry.
const MAX_PARTS: usize = 64;

/// Why a price file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// Not TOML, or a key that means nothing here; the text names the place and the known keys.
    #[error("{origin}: {message}")]
    Syntax {
        /// The file.
        origin: String,
        /// What the parser says.
        message: String,
    },
    /// A value that is no price, date or hour.
    #[error("{origin}: {place}: {message}")]
    Value {
        /// The file.
        origin: String,
        /// The entry and key.
        place: String,
        /// What is wrong and what is wanted.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFile {
    source: String,
    date: String,
    #[serde(default)]
    model: Vec<WireModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireModel {
    provider: Option<String>,
    model: String,
    starts: Option<String>,
    context_window: Option<u64>,
    max_output: Option<u64>,
    input: Option<f64>,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
    cache_write_1h: Option<f64>,
    output: Option<f64>,
    reasoning: Option<f64>,
    request: Option<f64>,
    web_search: Option<f64>,
    #[serde(default)]
    tiers: Vec<WireTier>,
    #[serde(default)]
    services: Vec<WireService>,
    #[serde(default)]
    hours: Vec<WireHours>,
}

/// The price of one model as it is written wherever a price can be declared: dollars for a million tokens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSet {
    /// Input that came from no cache.
    pub input: Option<f64>,
    /// Input read from a cache; left out, it is `input`.
    pub cache_read: Option<f64>,
    /// Input written to a cache; left out, it is `input`.
    pub cache_write: Option<f64>,
    /// Input written to a cache for an hour; left out, it is `cache_write`.
    pub cache_write_1h: Option<f64>,
    /// Output.
    pub output: Option<f64>,
    /// Reasoning; left out, it is `output`.
    pub reasoning: Option<f64>,
    /// Dollars for each request.
    pub request: Option<f64>,
    /// Dollars for each search of the web.
    pub web_search: Option<f64>,
}

macro_rules! part {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $($field: $type,)+
            input: Option<f64>,
            cache_read: Option<f64>,
            cache_write: Option<f64>,
            cache_write_1h: Option<f64>,
            output: Option<f64>,
            reasoning: Option<f64>,
        }
        impl $name {
            fn rates(&self) -> RateSet {
                RateSet {
                    input: self.input,
                    cache_read: self.cache_read,
                    cache_write: self.cache_write,
                    cache_write_1h: self.cache_write_1h,
                    output: self.output,
                    reasoning: self.reasoning,
                    request: None,
                    web_search: None,
                }
            }
        }
    };
}

part!(WireTier { above: u64 });
part!(
    // `serde(flatten)` would be shorter, but it cannot name unknown keys.
    WireService { name: String, tiers: Option<Vec<WireTier>> }
);
part!(WireHours { from: String, to: String, tiers: Option<Vec<WireTier>> });

/// Rates in nano-dollars, each only where it was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Partial {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    request: Option<u64>,
    web_search: Option<u64>,
}

impl Partial {
    fn under(self, over: Partial) -> Partial {
        Partial {
            input: over.input.or(self.input),
            cache_read: over.cache_read.or(self.cache_read),
            cache_write: over.cache_write.or(self.cache_write),
            cache_write_1h: over.cache_write_1h.or(self.cache_write_1h),
            output: over.output.or(self.output),
            reasoning: over.reasoning.or(self.reasoning),
            request: over.request.or(self.request),
            web_search: over.web_search.or(self.web_search),
        }
    }

    /// Every rate filled in; `None` without a rate for input or output.
    fn filled(self) -> Option<Rates> {
        let (uncached, output) = (self.input?, self.output?);
        let cache_write = self.cache_write.unwrap_or(uncached);
        Some(Rates {
            uncached,
            cache_read: self.cache_read.unwrap_or(uncached),
            cache_write,
            cache_write_1h: self.cache_write_1h.unwrap_or(cache_write),
            output,
            reasoning: self.reasoning.unwrap_or(output),
            request: self.request.unwrap_or(0),
            web_search: self.web_search.unwrap_or(0),
        })
    }
}

/// Rates and what replaces them in longer contexts, in rising order.
#[derive(Debug, Clone, Default)]
struct Ladder {
    base: Partial,
    steps: Vec<(u64, Partial)>,
}

impl Ladder {
    fn at(&self, input: u64) -> Partial {
        self.steps
            .iter()
            .filter(|(above, _)| input > *above)
            .fold(self.base, |rates, (_, step)| rates.under(*step))
    }
}

#[derive(Debug, Clone)]
struct Window {
    from: u16,
    to: u16,
    rates: Ladder,
}

impl Window {
    fn holds(&self, minute: u16) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

/// One model's entry of a price file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) provider: Option<String>,
    pub(crate) model: String,
    starts: Option<i64>,
    pub(crate) context_window: Option<u64>,
    pub(crate) max_output: Option<u64>,
    rates: Ladder,
    services: Vec<(ServiceTier, Ladder)>,
    hours: Vec<Window>,
}

impl Entry {
    fn names(&self, provider: Option<&str>, model: &str) -> bool {
        let of_provider = match (&self.provider, provider) {
            (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
            (None, _) => true,
            // Who serves it was not said: only an exact name is enough.
            (Some(_), None) => !self.model.ends_with('*'),
        };
        let model = model.to_ascii_lowercase();
        of_provider
            && match self.model.strip_suffix('*') {
                Some(start) => model.starts_with(start),
                None => model == self.model,
            }
    }

    /// The rates then and there, and whether the tier had a price of its own.
    pub(crate) fn rates(&self, tier: &ServiceTier, input: u64, minute: u16) -> (Rates, bool) {
        let mut rates = self.rates.at(input);
        for window in self.hours.iter().filter(|window| window.holds(minute)) {
            rates = rates.under(window.rates.at(input));
        }
        let service = self.services.iter().find(|(name, _)| name == tier);
        if let Some((_, ladder)) = service {
            rates = rates.under(ladder.at(input));
        }
        (rates.filled().unwrap_or_default(), service.is_some() || *tier == ServiceTier::Standard)
    }

    /// Minutes of the day at which the rates may change.
    pub(crate) fn changes(&self) -> impl Iterator<Item = u16> + '_ {
        std::iter::once(0).chain(self.hours.iter().flat_map(|window| [window.from, window.to]))
    }
}

/// A checked price file.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where the numbers come from, in the file's own words.
    pub source: String,
    /// When they were looked up, `YYYY-MM-DD`.
    pub date: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) digest: harness_core::Digest,
}

impl Layer {
    /// Reads a price file. `origin` is what errors call it.
    ///
    /// # Errors
    /// A key that means nothing here, a date, hour or price that is none, or an entry without input or output.
    pub fn parse(text: &str, origin: &str) -> Result<Layer, OverrideError> {
        if text.len() > MAX_BYTES {
            let message = format!("longer than {MAX_BYTES} bytes");
            return Err(OverrideError::Syntax { origin: origin.to_owned(), message });
        }
        let wire: WireFile = toml::from_str(text).map_err(|error| OverrideError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let value = |place: &str, message: &str| OverrideError::Value {
            origin: origin.to_owned(),
            place: place.to_owned(),
            message: message.to_owned(),
        };
        if wire.source.trim().is_empty() {
            return Err(value("source", "is empty: say where the numbers come from"));
        }
        parse_day(&wire.date).ok_or_else(|| value("date", "is no day as YYYY-MM-DD"))?;
        let entries = wire
            .model
            .iter()
            .map(|model| {
                entry(model)
                    .map_err(|(key, message)| value(&format!("model {:?}: {key}", model.model), &message))
            })
            .collect::<Result<_, _>>()?;
        let digest = harness_core::Digest::of(text.as_bytes());
        Ok(Layer { source: wire.source, date: wire.date, entries, digest })
    }

    /// A layer of one model with one flat price: how a script of the scripted model declares what it costs.
    ///
    /// # Errors
    /// A rate that is none, or no rate for input or output.
    pub fn flat(provider: &str, model: &str, rates: &RateSet) -> Result<Layer, OverrideError> {
        let value = |(place, message): (String, String)| OverrideError::Value {
            origin: format!("{provider}/{model}"),
            place,
            message,
        };
        let base = partial(rates).map_err(value)?;
        if base.filled().is_none() {
            return Err(value(("price".to_owned(), "needs `input` and `output`".to_owned())));
        }
        let entry = Entry {
            provider: Some(provider.to_ascii_lowercase()),
            model: model.to_ascii_lowercase(),
            starts: None,
            context_window: None,
            max_output: None,
            rates: Ladder { base, steps: Vec::new() },
            services: Vec::new(),
            hours: Vec::new(),
        };
        let digest = harness_core::Digest::of(format!("{provider}/{model} {base:?}").as_bytes());
        Ok(Layer {
            source: "declared by its script".to_owned(),
            date: String::new(),
            entries: vec![entry],
            digest,
        })
    }

    /// The entry for a model on a day: the most exact name, then the latest start.
    pub(crate) fn find(&self, provider: Option<&str>, model: &str, day: i64) -> Option<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.names(provider, model) && entry.starts.is_none_or(|start| start <= day))
            .max_by_key(|entry| {
                let exact = !entry.model.ends_with('*');
                (exact, entry.model.len(), entry.provider.is_some(), entry.starts)
            })
    }
}

type Wrong = (String, String);

fn entry(wire: &WireModel) -> Result<Entry, Wrong> {
    if wire.model.trim().is_empty() || wire.model.trim_end_matches('*').contains('*') {
        return Err(("model".to_owned(), "is empty or has a star elsewhere than at its end".to_owned()));
    }
    let starts = match &wire.starts {
        Some(text) => {
            Some(parse_day(text).ok_or_else(|| ("starts".to_owned(), "is no day as YYYY-MM-DD".to_owned()))?)
        }
        None => None,
    };
    for (key, length) in
        [("tiers", wire.tiers.len()), ("services", wire.services.len()), ("hours", wire.hours.len())]
    {
        if length > MAX_PARTS {
            return Err((key.to_owned(), format!("has more than {MAX_PARTS} parts")));
        }
    }
    let own = RateSet {
        input: wire.input,
        cache_read: wire.cache_read,
        cache_write: wire.cache_write,
        cache_write_1h: wire.cache_write_1h,
        output: wire.output,
        reasoning: wire.reasoning,
        request: wire.request,
        web_search: wire.web_search,
    };
    let rates = ladder(&own, &wire.tiers)?;
    if rates.base.filled().is_none() {
        return Err((
            "price".to_owned(),
            "needs `input` and `output`; a price of nothing is written 0".to_owned(),
        ));
    }
    let services = wire
        .services
        .iter()
        .map(|part| {
            Ok((ServiceTier::parse(&part.name), ladder(&part.rates(), part.tiers.as_deref().unwrap_or(&[]))?))
        })
        .collect::<Result<_, Wrong>>()?;
    let hours = wire
        .hours
        .iter()
        .map(|part| {
            let minute = |key: &str, text: &str| {
                parse_minute(text).ok_or_else(|| (key.to_owned(), "is no time as HH:MM (UTC)".to_owned()))
            };
            Ok(Window {
                from: minute("hours.from", &part.from)?,
                to: minute("hours.to", &part.to)?,
                rates: ladder(&part.rates(), part.tiers.as_deref().unwrap_or(&[]))?,
            })
        })
        .collect::<Result<_, Wrong>>()?;
    Ok(Entry {
        provider: wire.provider.as_ref().map(|name| name.to_ascii_lowercase()),
        model: wire.model.to_ascii_lowercase(),
        starts,
        context_window: wire.context_window,
        max_output: wire.max_output,
        rates,
        services,
        hours,
    })
}

fn ladder(own: &RateSet, tiers: &[WireTier]) -> Result<Ladder, Wrong> {
    let mut steps = tiers
        .iter()
        .map(|tier| Ok((tier.above, partial(&tier.rates())?)))
        .collect::<Result<Vec<_>, Wrong>>()?;
    steps.sort_by_key(|(above, _)| *above);
    if steps.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(("tiers".to_owned(), "name the same length twice".to_owned()));
    }
    Ok(Ladder { base: partial(own)?, steps })
}

fn partial(rates: &RateSet) -> Result<Partial, Wrong> {
    let read = |key: &str, value: Option<f64>| match value {
        None => Ok(None),
        Some(usd) => nano(usd).map(Some).ok_or_else(|| {
            (
                key.to_owned(),
                format!("is {usd}, not dollars between 0 and {MAX_RATE_USD} for a million tokens"),
            )
        }),
    };
    Ok(Partial {
        input: read("input", rates.input)?,
        cache_read: read("cache_read", rates.cache_read)?,
        cache_write: read("cache_write", rates.cache_write)?,
        cache_write_1h: read("cache_write_1h", rates.cache_write_1h)?,
        output: read("output", rates.output)?,
        reasoning: read("reasoning", rates.reasoning)?,
        request: read("request", rates.request)?,
        web_search: read("web_search", rates.web_search)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "source = \"us\"\ndate = \"2026-11-01\"\n";

    fn layer(body: &str) -> Result<Layer, OverrideError> {
        Layer::parse(&format!("{HEAD}{body}"), "prices.toml")
    }

    fn message(body: &str) -> String {
        layer(body).unwrap_err().to_string()
    }

    #[test]
    fn price_file_with_an_unknown_key_names_it_and_the_line() {
        let told = message("[[model]]\nmodel = \"m\"\ninput = 1\noutput = 1\ncached = 3\n");
        assert!(told.contains("cached") && told.contains("cache_read") && told.contains("line 7"), "{told}");
        let told = message("[[model]]\nmodel = \"m\"\ninput = 1\noutput = 1\ntiers = [{ over = 3 }]\n");
        assert!(told.contains("over"), "{told}");
        assert!(message("sauce = 1\n").contains("sauce"));
    }

    #[test]
    fn price_file_with_a_wrong_value_names_the_entry() {
        let entry = |body: &str| format!("[[model]]\nmodel = \"m\"\n{body}");
        for (body, told) in [
            ("input = -1\noutput = 1", "model \"m\": input"),
            ("input = 2e6\noutput = 1", "model \"m\": input"),
            ("input = nan\noutput = 1", "model \"m\": input"),
            ("input = 1", "needs `input` and `output`"),
            ("input = 1\noutput = 1\nstarts = \"soon\"", "model \"m\": starts"),
            ("input = 1\noutput = 1\nhours = [{ from = \"25:00\", to = \"01:00\" }]", "hours.from"),
            ("input = 1\noutput = 1\ntiers = [{ above = 1 }, { above = 1 }]", "twice"),
        ] {
            let text = message(&entry(body));
            assert!(text.contains(told) && text.starts_with("prices.toml: "), "{text}");
        }
        assert!(message("[[model]]\nmodel = \"a*b\"\ninput = 1\noutput = 1").contains("star"));
        assert!(
            Layer::parse("source = \"\"\ndate = \"2026-11-01\"", "p")
                .unwrap_err()
                .to_string()
                .contains("source")
        );
        assert!(
            Layer::parse("source = \"x\"\ndate = \"yesterday\"", "p")
                .unwrap_err()
                .to_string()
                .contains("date")
        );
    }

    #[test]
    fn rates_left_out_are_those_that_the_provider_then_charges_and_zero_stays_zero() {
        let layer =
            layer("[[model]]\nmodel = \"m\"\ninput = 2\noutput = 3\ncache_read = 0\ncache_write = 4\n")
                .unwrap();
        let (rates, _) = layer.find(None, "m", 0).unwrap().rates(&ServiceTier::Standard, 1, 0);
        let dollars = |n: u64| n * 1_000_000_000;
        assert_eq!(
            rates,
            Rates {
                uncached: dollars(2),
                cache_read: 0,
                cache_write: dollars(4),
                cache_write_1h: dollars(4),
                output: dollars(3),
                reasoning: dollars(3),
                request: 0,
                web_search: 0,
            }
        );
    }

    #[test]
    fn rates_by_tier_service_and_hour_lie_over_each_other() {
        let layer = layer(
            "[[model]]\nmodel = \"m\"\ninput = 8\noutput = 8\n\
             tiers = [{ above = 100, input = 16 }]\n\
             services = [{ name = \"flex\", input = 4, tiers = [{ above = 100, input = 6 }] }]\n\
             hours = [{ from = \"22:00\", to = \"02:00\", output = 1 }]\n",
        )
        .unwrap();
        let entry = layer.find(None, "m", 0).unwrap();
        let at = |tier: &str, input, minute| {
            let (rates, priced) = entry.rates(&ServiceTier::parse(tier), input, minute);
            (rates.uncached / 1_000_000_000, rates.output / 1_000_000_000, priced)
        };
        assert_eq!(at("default", 100, 720), (8, 8, true));
        assert_eq!(at("default", 101, 720), (16, 8, true));
        assert_eq!(at("flex", 100, 720), (4, 8, true));
        assert_eq!(at("flex", 101, 23 * 60), (6, 1, true));
        assert_eq!(at("priority", 1, 60), (8, 1, false));
        assert_eq!(at("default", 1, 120), (8, 8, true));
    }

    #[test]
    fn flat_layer_of_a_script_prices_its_own_model_alone() {
        let rates = RateSet { input: Some(1.0), output: Some(2.0), ..RateSet::default() };
        let layer = Layer::flat("scripted", "Hello", &rates).unwrap();
        assert!(layer.find(Some("scripted"), "hello", 0).is_some());
        assert!(layer.find(Some("openai"), "hello", 0).is_none());
        assert!(Layer::flat("scripted", "x", &RateSet::default()).is_err());
    }
}
