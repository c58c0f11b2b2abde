//! One cell of the comparison: agent + model + configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::VariantName;

/// One cell of the comparison. Two variants that differ in any setting never share a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Short and stable.
    pub name: VariantName,
    /// Name of the agent.
    pub agent: String,
    /// `PROVIDER/MODEL`; `None` for agents that use none.
    pub model: Option<String>,
    /// Every setting of the agent, as validated before the run.
    pub settings: BTreeMap<String, serde_json::Value>,
}
