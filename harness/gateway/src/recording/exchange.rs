//! What a recording says of one exchange, beside the bytes of its bodies.

use harness_core::{NanoUsd, Usage};
use serde::{Deserialize, Serialize};

use super::canonical::Asked;
use super::pack::Place;
use crate::wire::Operation;

/// How a recorded answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As it should.
    Complete,
    /// It broke off after the last piece.
    Cut,
    /// Nothing came back but this message; what the agent got was the gateway's own error.
    Unanswered {
        /// What was said of it, without secrets.
        message: String,
        /// Whether it was a time-out.
        timed_out: bool,
        /// Whether it was charged all the same.
        charged: bool,
    },
}

/// What an exchange cost when it was recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens in exclusive buckets.
    pub usage: Option<Usage>,
    /// What the provider charged.
    pub billed: Option<NanoUsd>,
    /// What the ordinary service costs.
    pub list: Option<NanoUsd>,
    /// The price table that was followed.
    pub prices: Option<String>,
}

/// One exchange.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Exchange {
    pub(super) trial: String,
    pub(super) request: u64,
    pub(super) at_ms: u64,
    pub(super) wire: String,
    pub(super) operation: String,
    pub(super) model: String,
    pub(super) stream: bool,
    /// The request's body as the agent sent it.
    pub(super) asked: Vec<Place>,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) attempts: u32,
    /// Until the headers of the answer came.
    pub(super) headers_us: u64,
    /// The answer's body as the upstream sent it, unpacked.
    pub(super) answered: Vec<Place>,
    /// Its pieces: two numbers of 32 bits each, microseconds since the piece before and the piece's length.
    pub(super) pieces: Vec<Place>,
    pub(super) ending: Ending,
    pub(super) cost: Cost,
}

impl Exchange {
    /// What was asked, with its body.
    pub(super) fn asked<'a>(&'a self, body: &'a [u8]) -> Asked<'a> {
        let operation = [Operation::Generate, Operation::CountTokens, Operation::Models]
            .into_iter()
            .find(|operation| format!("{operation:?}") == self.operation)
            .unwrap_or(Operation::Generate);
        Asked { wire: &self.wire, operation, model: &self.model, stream: self.stream, body }
    }
}
