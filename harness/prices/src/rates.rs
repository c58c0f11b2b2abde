//! The rates of one call and the arithmetic on them: whole numbers from the rate to the nano-dollar.

use harness_core::{NanoUsd, Usage};

/// Above this no rate is read: a million dollars for a million tokens. It also keeps every sum below inside 128 bits.
pub(crate) const MAX_RATE_USD: f64 = 1e6;

/// What one call is charged, in nano-dollars for a million tokens; fees in nano-dollars each.
///
/// Every rate is filled in: where a table has no rate of its own for cached or reasoning tokens, it is the one that the
/// provider then charges (input, or output).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that came from no cache.
    pub uncached: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to the cache for its ordinary lifetime.
    pub cache_write: u64,
    /// Input written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Output that can be seen.
    pub output: u64,
    /// Output that was reasoning.
    pub reasoning: u64,
    /// For each request, whatever its size (nano-dollars).
    pub request: u64,
    /// For each search of the web by the provider (nano-dollars).
    pub web_search: u64,
}

/// Tokens of one call in buckets that exclude each other, reasoning included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Input that came from no cache.
    pub uncached: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache, ordinary lifetime.
    pub cache_write: u64,
    /// Input written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Output that can be seen.
    pub visible: u64,
    /// Output that was reasoning.
    pub reasoning: u64,
}

impl Buckets {
    /// The buckets of a usage; `None` when nobody counted the uncached input or the output, because the cost is unknown then.
    /// A cache or reasoning count that nobody reported is none: providers without these report no such field.
    pub fn of(usage: &Usage) -> Option<Buckets> {
        let reasoning = usage.reasoning_tokens.unwrap_or(0);
        Some(Buckets {
            uncached: usage.uncached_input_tokens?,
            cache_read: usage.cache_read_tokens.unwrap_or(0),
            cache_write: usage.cache_write_tokens.unwrap_or(0),
            cache_write_1h: usage.cache_write_1h_tokens.unwrap_or(0),
            visible: usage.output_tokens?.saturating_sub(reasoning),
            reasoning,
        })
    }

    /// All input, cached or not: what context tiers are decided by.
    pub fn input(&self) -> u64 {
        [self.cache_read, self.cache_write, self.cache_write_1h]
            .into_iter()
            .fold(self.uncached, u64::saturating_add)
    }
}

impl Rates {
    /// What these tokens cost, in millionths of a nano-dollar: exact, and additive as long as the rates are the same.
    pub fn exact(&self, buckets: &Buckets) -> u128 {
        let term = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
        [
            term(buckets.uncached, self.uncached),
            term(buckets.cache_read, self.cache_read),
            term(buckets.cache_write, self.cache_write),
            term(buckets.cache_write_1h, self.cache_write_1h),
            term(buckets.visible, self.output),
            term(buckets.reasoning, self.reasoning),
        ]
        .into_iter()
        .fold(0, u128::saturating_add)
    }

    /// What one call costs with its fees, rounded once, half up. An amount too large for the type is its largest, so that
    /// absurd counts exhaust a budget and never slip under it.
    pub fn charge(&self, buckets: &Buckets, web_searches: u64) -> NanoUsd {
        let tokens = self.exact(buckets).saturating_add(500_000) / 1_000_000;
        let searches = u128::from(web_searches) * u128::from(self.web_search);
        let total = tokens.saturating_add(u128::from(self.request)).saturating_add(searches);
        NanoUsd(i64::try_from(total).unwrap_or(i64::MAX))
    }

    /// Whether there is any charge at all.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Rates::default()
    }
}

/// Dollars for a million tokens, or for one thing, as nano-dollars; `None` for what is no rate.
pub(crate) fn nano(usd: f64) -> Option<u64> {
    // A price of at most a million dollars has fifteen digits in nano-dollars: exact in a double after rounding.
    (usd.is_finite() && (0.0..=MAX_RATE_USD).contains(&usd)).then(|| (usd * 1e9).round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_rates() -> impl Strategy<Value = Rates> {
        let rate = 0..=1_000_000_000_000_000_u64;
        proptest::array::uniform8(rate).prop_map(|r| Rates {
            uncached: r[0],
            cache_read: r[1],
            cache_write: r[2],
            cache_write_1h: r[3],
            output: r[4],
            reasoning: r[5],
            request: r[6],
            web_search: r[7],
        })
    }

    fn buckets_of(n: [u64; 6]) -> Buckets {
        Buckets {
            uncached: n[0],
            cache_read: n[1],
            cache_write: n[2],
            cache_write_1h: n[3],
            visible: n[4],
            reasoning: n[5],
        }
    }

    proptest! {
        #[test]
        fn charge_never_falls_when_a_bucket_grows(
            rates in any_rates(), n in any::<[u64; 6]>(), which in 0..6_usize, more in any::<u64>(), fees in any::<u64>(),
        ) {
            let mut grown = n;
            grown[which] = grown[which].saturating_add(more);
            prop_assert!(rates.charge(&buckets_of(grown), fees) >= rates.charge(&buckets_of(n), fees));
        }

        #[test]
        fn exact_is_additive_and_charge_differs_by_its_one_rounding(
            rates in any_rates(), a in proptest::array::uniform6(0..1u64 << 40), b in proptest::array::uniform6(0..1u64 << 40),
        ) {
            let rates = Rates { request: 0, ..rates };
            let sum = std::array::from_fn(|i| a[i] + b[i]);
            let (a, b, sum) = (buckets_of(a), buckets_of(b), buckets_of(sum));
            prop_assert_eq!(rates.exact(&a) + rates.exact(&b), rates.exact(&sum));
            let (apart, together) = (rates.charge(&a, 0).0.checked_add(rates.charge(&b, 0).0), rates.charge(&sum, 0).0);
            if let Some(apart) = apart && together < i64::MAX {
                prop_assert!((apart - together).abs() <= 1, "{} {}", apart, together);
            }
        }
    }

    #[test]
    fn charge_of_the_largest_counts_is_the_largest_amount() {
        let most = Rates { uncached: 1_000_000_000_000_000, ..Rates::default() };
        assert_eq!(most.charge(&buckets_of([u64::MAX; 6]), u64::MAX), NanoUsd(i64::MAX));
        let all = Rates { request: u64::MAX, web_search: u64::MAX, ..most };
        assert_eq!(all.charge(&buckets_of([u64::MAX; 6]), u64::MAX), NanoUsd(i64::MAX));
    }

    #[test]
    fn charge_rounds_half_a_nano_dollar_up_once_per_call() {
        let rates = Rates { uncached: 62_500_000, cache_read: 500_000, ..Rates::default() };
        assert_eq!(rates.charge(&buckets_of([1, 0, 0, 0, 0, 0]), 0), NanoUsd(63));
        assert_eq!(rates.charge(&buckets_of([0, 1, 0, 0, 0, 0]), 0), NanoUsd(1));
        assert_eq!(rates.charge(&buckets_of([1, 1, 0, 0, 0, 0]), 0), NanoUsd(63));
    }

    #[test]
    fn buckets_of_a_usage_without_output_are_unknown() {
        let usage = Usage { uncached_input_tokens: Some(3), ..Usage::default() };
        assert_eq!(Buckets::of(&usage), None);
        let usage = Usage { output_tokens: Some(5), reasoning_tokens: Some(2), ..usage };
        assert_eq!(Buckets::of(&usage), Some(buckets_of([3, 0, 0, 0, 3, 2])));
    }

    #[test]
    fn nano_refuses_what_is_no_rate() {
        assert_eq!(nano(0.0625), Some(62_500_000));
        assert_eq!(nano(0.003625), Some(3_625_000));
        for wrong in [-0.1, f64::NAN, f64::INFINITY, 1.1e6] {
            assert_eq!(nano(wrong), None);
        }
    }
}
