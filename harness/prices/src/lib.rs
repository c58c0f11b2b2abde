//! Usage → money: dated tables, overrides, and integer arithmetic. Pure: no clock, network or file is touched here.
//!
//! Three tables, the first that knows the model wins:
//!
//! 1. the user's own files, the last one first ([`PriceTable::with_overrides`]);
//! 2. `data/corrections.toml`: the few models where public tables disagree, or where the bundled one has none, each with
//!    the table that is followed;
//! 3. the table bundled in the crate `genai-prices`, with price history, context tiers, service tiers and daily windows.
//!
//! A model that no table knows has an unknown cost and a warning, never zero and never a guess.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bundled;
mod calendar;
mod call;
mod listing;
mod nearest;
mod overrides;
mod rates;
mod table;

pub use call::{Call, PriceWarning, Priced, Served, ServiceTier};
pub use listing::{ListedPrice, Step};
pub use overrides::{Layer, OverrideError, RateSet};
pub use rates::{Buckets, Rates};
pub use table::{ModelLimits, PriceSource, PriceTable, provider_name};
