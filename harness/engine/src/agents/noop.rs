//! The agent that does nothing: what a suite must never resolve.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use harness_core::AgentExit;
use harness_sandbox::SandboxError;

use super::{Agent, AgentKind, AgentReport, Session, SettingError};

pub(super) struct Noop;

impl AgentKind for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn about(&self) -> &'static str {
        "does nothing: what a sound task does not resolve"
    }

    fn configure(
        &self,
        _model: Option<&str>,
        _settings: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Arc<dyn Agent>, SettingError> {
        Ok(Arc::new(Noop))
    }
}

#[async_trait]
impl Agent for Noop {
    async fn work(&self, _session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        Ok(AgentReport::ended(AgentExit::Finished))
    }
}
