//! The table as people want to see it: each model with its rates, its context steps, and where they come from.

use crate::bundled;
use crate::call::{Served, ServiceTier};
use crate::rates::Rates;
use crate::table::{PriceSource, PriceTable};

/// Longest input that steps are looked for in: two million tokens, above the largest context window.
const LONGEST: u64 = 1 << 21;

/// Rates that hold above an input length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The longest input that they do not hold for, in tokens.
    pub above: u64,
    /// The rates of every token of a longer call.
    pub rates: Rates,
}

/// One model's price, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPrice {
    /// Where it comes from, and what the model is called there.
    pub source: PriceSource,
    /// The ordinary rates of short calls, then.
    pub rates: Rates,
    /// What replaces them in longer ones.
    pub steps: Vec<Step>,
}

impl PriceTable {
    /// One model's ordinary price at a moment; `None` when no table has one. A step that lies between two equal rates at
    /// powers of two would be missed here (and only here): the bundled table shows no steps, they are searched for.
    pub fn listed(&self, provider: Option<&str>, model: &str, at_ms: u64) -> Option<ListedPrice> {
        let served = Served { provider, model, tier: ServiceTier::Standard, at_ms };
        let first = self.find(&served, 1).filter(|found| found.has_price())?;
        let at = |input| self.find(&served, input).map(|found| found.rates).unwrap_or_default();
        let mut steps = Vec::new();
        let mut below = (1, first.rates);
        while below.0 < LONGEST {
            let above = (below.0 * 2, at(below.0 * 2));
            if below.1 == above.1 {
                below = above;
                continue;
            }
            // The first step after `below`; several may lie before `above`.
            let (mut low, mut high) = (below.0, above.0);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if at(middle) == below.1 { low = middle } else { high = middle }
            }
            below = (high, at(high));
            steps.push(Step { above: low, rates: below.1 });
        }
        Some(ListedPrice { source: std::sync::Arc::unwrap_or_clone(first.source), rates: first.rates, steps })
    }

    /// Provider and model of everything that has an entry, ours first; an entry of a price file may end in a star. Names
    /// only: reading two thousand prices takes a second.
    pub fn names(&self) -> Vec<(String, String)> {
        let ours = self.layers().iter().flat_map(|layer| {
            layer
                .entries
                .iter()
                .map(|entry| (entry.provider.clone().unwrap_or_default(), entry.model.clone()))
        });
        let theirs = bundled::calculator().providers().flat_map(|provider| {
            provider.models().map(move |model| (provider.id().to_owned(), model.id().to_owned()))
        });
        let mut seen = std::collections::HashSet::new();
        ours.chain(theirs).filter(|name| seen.insert(name.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 20_778 * 86_400_000 + 43_200_000;

    #[test]
    fn listed_price_has_every_step() {
        let table = PriceTable::bundled();
        let qwen = table.listed(None, "dashscope/qwen3-coder-plus", NOON).unwrap();
        let steps: Vec<_> =
            qwen.steps.iter().map(|step| (step.above, step.rates.uncached / 1_000_000)).collect();
        assert_eq!(steps, [(32_000, 1800), (128_000, 3000), (256_000, 6000)]);
        assert!(qwen.source.table.starts_with("LiteLLM"));
        let gpt = table.listed(Some("openai"), "gpt-6-sol", NOON).unwrap();
        assert_eq!(gpt.steps.iter().map(|step| step.above).collect::<Vec<_>>(), [272_000]);
        assert_eq!(gpt.source.table, format!("genai-prices {}", bundled::VERSION));
        assert_eq!(table.listed(Some("openai"), "nobody", NOON), None);
    }

    #[test]
    fn names_hold_each_model_once_with_our_own_first() {
        let names = PriceTable::bundled().names();
        assert_eq!(names[0], ("deepseek".to_owned(), "deepseek-chat".to_owned()));
        assert_eq!(names.iter().filter(|(_, model)| model == "deepseek-chat").count(), 1);
        assert!(names.len() > 1000);
    }
}
