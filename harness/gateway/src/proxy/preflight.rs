//! One small call for each model before a run that costs money: a wrong key, name or address shows before any trial begins.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::{HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::{Caller, Gateway};
use crate::meter::{Framing, Meter};
use crate::stream::decode::Encoding;
use crate::wire::{by_name, recognise};

/// Why a model cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    /// No wire of that name, or the caller has no upstream for it.
    #[error("no model is set up for the API {0}")]
    NoUpstream(String),
    /// It answered with an error, or not at all.
    #[error("the model {model} cannot be used: {said} (status {status})")]
    Refused {
        /// The model.
        model: String,
        /// The status that an agent would have got.
        status: u16,
        /// What was said, without any key.
        said: String,
    },
}

impl Gateway {
    /// Asks a model for a few tokens, as an agent of this caller would: it is metered, charged to its budgets, and recorded.
    /// The answer may be cut by its cap; that it came is what counts.
    ///
    /// # Errors
    /// The model cannot be used.
    pub async fn preflight(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        wire: &str,
        model: &str,
    ) -> Result<(), PreflightError> {
        let none = || PreflightError::NoUpstream(wire.to_owned());
        let known = by_name(wire).ok_or_else(none)?;
        let upstream = caller.upstreams.get(known.name()).ok_or_else(none)?;
        let (path, mut body) = known.smallest(model);
        let old = body.get("max_completion_tokens").cloned().filter(|_| upstream.spec.old_cap_name);
        if let (Some(cap), Some(body)) = (old, body.as_object_mut()) {
            body.remove("max_completion_tokens");
            body.insert("max_tokens".to_owned(), cap);
        }
        let (wire, route) = recognise("POST", &path).ok_or_else(none)?;
        let here = Arc::new(());
        let exchange = Exchange {
            gateway: Arc::clone(self),
            caller: Arc::clone(caller),
            upstream: Arc::clone(upstream),
            wire,
            route,
            path,
            headers: [("content-type", "application/json"), ("anthropic-version", "2023-06-01")]
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .into_iter()
                .collect(),
            agent: Arc::downgrade(&here),
            begun: Instant::now(),
        };
        let answer = exchange.run(Bytes::from(body.to_string())).await;
        let status = answer.status().as_u16();
        let refused = |said| PreflightError::Refused { model: model.to_owned(), status, said };
        let body = answer.into_body().collect().await.map_err(|error| refused(error.to_string()))?;
        if status < 400 {
            return Ok(());
        }
        let body = body.to_bytes();
        let mut meter = Meter::new(wire, Framing::Whole, Encoding::Identity);
        meter.push(&body);
        let said = meter.finish().answer.error;
        Err(refused(said.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect())))
    }
}
