//! Run directories → results, comparisons and documents. Reads files and returns text; starts nothing and prints nothing.
//!
//! ```text
//! run directory ──read──▶ RunFiles ──fold──▶ Results ──┬─▶ formats (terminal, markdown, json, csv)
//!                                                      ├─▶ compare ──▶ formats
//!                                                      └─▶ story (one trial)
//! ```
//! `Results` is the interface that DESIGN.md calls "Result fields"; everything that is shown is made from it alone.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may unwrap"))]

pub mod compare;
pub mod derive;
pub mod fold;
pub mod formats;
mod frame;
pub mod grid;
pub mod measure;
pub mod read;
pub mod reprice;
pub mod results;
pub mod show;
pub mod stats;
pub mod story;
pub mod summary;
pub mod text;

pub use compare::{CompareError, Comparison, Side, compare};
pub use derive::derive;
pub use fold::fold;
pub use formats::{FORMATS, FormatError, Look, ReportFormat, format};
pub use read::{ReadError, RunFiles};
pub use reprice::reprice;
pub use results::Results;
pub use story::{Story, StoryError, story};
