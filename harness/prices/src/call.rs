//! What is to be priced and what came of it.

use std::fmt;

use harness_core::{NanoUsd, Usage};

use crate::table::PriceSource;

/// The class of service that a call was answered with. Providers charge by the one *served*, not the one asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceTier {
    /// The ordinary one.
    #[default]
    Standard,
    /// Answered within a day, usually at half the price.
    Batch,
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
    /// Any other, by the provider's own name.
    Named(String),
}

impl ServiceTier {
    /// From a provider's own word: `default`, `auto`, `standard` and nothing are the ordinary one.
    pub fn parse(word: &str) -> ServiceTier {
        match word.trim().to_ascii_lowercase().as_str() {
            "" | "default" | "auto" | "standard" | "on_demand" => ServiceTier::Standard,
            "batch" | "batches" => ServiceTier::Batch,
            "flex" => ServiceTier::Flex,
            "priority" => ServiceTier::Priority,
            other => ServiceTier::Named(other.to_owned()),
        }
    }

    /// Its name in price files and reports.
    pub fn name(&self) -> &str {
        match self {
            ServiceTier::Standard => "standard",
            ServiceTier::Batch => "batch",
            ServiceTier::Flex => "flex",
            ServiceTier::Priority => "priority",
            ServiceTier::Named(name) => name,
        }
    }
}

/// Who served a call, and when: all of what a price depends on but the tokens.
#[derive(Debug, Clone)]
pub struct Served<'a> {
    /// Who answered, as a price table calls them (see [`crate::provider_name`]). `None` takes it from the model's name:
    /// a prefix `PROVIDER/`, or a name that only one maker uses.
    pub provider: Option<&'a str>,
    /// The model that answered.
    pub model: &'a str,
    /// The class of service that was given.
    pub tier: ServiceTier,
    /// When, in milliseconds since 1970 UTC: prices change, some of them by the hour.
    pub at_ms: u64,
}

/// One answered call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Who served it, and when.
    pub served: Served<'a>,
    /// The tokens of this one call; context tiers are decided by the whole of its input, so calls must not be added up first.
    pub usage: Usage,
    /// Searches of the web that the provider made for it.
    pub web_searches: u64,
}

/// What a call costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Priced {
    /// What the provider charges: the tier that was served, at that time. `None` when unknown.
    pub billed: Option<NanoUsd>,
    /// What the ordinary service costs on that day at its dearest hour: comparable between runs made at different hours and tiers.
    pub list: Option<NanoUsd>,
    /// The table that was followed; `None` when none knows the model.
    pub source: Option<PriceSource>,
    /// What whoever reads the number must know.
    pub warnings: Vec<PriceWarning>,
}

/// Why a cost is unknown or weaker than it looks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriceWarning {
    /// No table has the model; its cost is unknown.
    UnknownModel {
        /// `PROVIDER/MODEL`, or the model alone.
        model: String,
        /// Names that tables do have, the nearest first.
        nearest: Vec<String>,
    },
    /// A table has the model but no price for it; its cost is unknown.
    NoPrice {
        /// As the table calls it.
        model: String,
    },
    /// The table has no price of its own for the tier: the ordinary one is used.
    TierUnpriced {
        /// As the table calls it.
        model: String,
        /// The tier that was served.
        tier: String,
    },
    /// Input or output was not counted; the cost is unknown.
    UsageUnknown,
}

impl fmt::Display for PriceWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PriceWarning::UnknownModel { model, nearest } => {
                write!(f, "no price table knows {model}, so its cost is unknown")?;
                if !nearest.is_empty() {
                    write!(f, "; nearest names: {}", nearest.join(", "))?;
                }
                Ok(())
            }
            PriceWarning::NoPrice { model } => {
                write!(f, "the price table lists {model} without a price, so its cost is unknown")
            }
            PriceWarning::TierUnpriced { model, tier } => {
                write!(f, "no price for {model} at the {tier} tier: the ordinary price is used")
            }
            PriceWarning::UsageUnknown => {
                f.write_str("input or output was not counted, so the cost is unknown")
            }
        }
    }
}
