//! How an agent reaches its model: addresses and keys that mean something to this gateway alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_gateway::proxy::{Caller, Gateway};

/// The key for a listener that is the trial's own: any key will do there, but clients refuse to start without one.
pub(super) const PLACEHOLDER: &str = "sk-harness-needs-no-key";

/// How an agent reaches its model. No real key is in it.
#[derive(Clone)]
pub struct ModelAccess {
    /// `PROVIDER/MODEL`.
    pub model: String,
    /// The model's name alone, as requests name it.
    pub name: String,
    /// The wires that the provider speaks.
    pub wires: Vec<&'static str>,
    /// From inside the sandbox; `None` where it has no listener.
    pub inside: Option<Endpoint>,
    /// From the host.
    pub host: Endpoint,
    /// The gateway itself, for agents in this process.
    pub gateway: Arc<Gateway>,
    /// The try's identity there.
    pub caller: Arc<Caller>,
}

/// Where a model is reached, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a path: `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Virtual.
    pub key: String,
}

impl ModelAccess {
    /// The variables that agents and client libraries look at, for programs that reach `endpoint`.
    pub fn variables(&self, endpoint: &Endpoint) -> BTreeMap<String, String> {
        let Endpoint { base_url, key } = endpoint;
        let v1 = format!("{base_url}/v1");
        [
            ("OPENAI_BASE_URL", v1.as_str()),
            ("OPENAI_API_BASE", &v1),
            ("OPENAI_API_KEY", key),
            ("ANTHROPIC_BASE_URL", base_url),
            ("ANTHROPIC_API_KEY", key),
            ("GOOGLE_GEMINI_BASE_URL", base_url),
            ("GEMINI_API_KEY", key),
            ("HARNESS_MODEL", &self.model),
            ("HARNESS_MODEL_NAME", &self.name),
            ("HARNESS_MODEL_URL", base_url),
            ("HARNESS_MODEL_KEY", key),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain([("HARNESS_MODEL_WIRES".to_owned(), self.wires.join(","))])
        .collect()
    }
}
