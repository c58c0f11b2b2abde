//! Connections that programs in a sandbox tried to make to the outside: what was asked for, and what became of it.

use serde::{Deserialize, Serialize};

use crate::Phase;

/// Most connections that are kept of one sandbox; more are counted.
pub const MAX_CONNECTIONS: usize = 500;

/// What was tried, as far as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// By the time of their begin.
    pub connections: Vec<Connection>,
    /// So many more were tried.
    pub left_out: u64,
}

impl Connections {
    /// Takes over another sandbox's, within the limit.
    pub fn extend(&mut self, other: Connections) {
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.connections.extend(other.connections);
        self.connections.sort_by_key(|connection| connection.at_ms);
        let over = self.connections.len().saturating_sub(MAX_CONNECTIONS);
        self.connections.truncate(MAX_CONNECTIONS);
        self.left_out = self.left_out.saturating_add(over as u64);
    }
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// When it began: milliseconds since the epoch, by the host's clock.
    pub at_ms: i64,
    /// The trial's phase then; `None` when unknown.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// Name or address that was asked for, cut to 255 characters; empty when the request was not understood.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What became of it.
    pub result: ConnectionResult,
    /// Why, where it was not simply let through.
    pub reason: Option<String>,
    /// Bytes from inside to outside.
    pub sent_bytes: Option<u64>,
    /// Bytes from outside to inside.
    pub received_bytes: Option<u64>,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionResult {
    /// It was made.
    Allowed,
    /// The rules of the network do not let it through.
    Refused,
    /// It was let through and could not be made.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_several_sandboxes_are_kept_in_order_and_within_the_limit() {
        let at = |at_ms| Connection {
            at_ms,
            phase: None,
            host: "example.org".into(),
            port: 443,
            result: ConnectionResult::Allowed,
            reason: None,
            sent_bytes: Some(1),
            received_bytes: None,
        };
        let mut all = Connections {
            connections: (0..MAX_CONNECTIONS as i64).map(|n| at(2 * n)).collect(),
            left_out: 3,
        };
        all.extend(Connections { connections: vec![at(3), at(5)], left_out: 1 });
        assert_eq!((all.connections.len(), all.left_out), (MAX_CONNECTIONS, 6));
        let first: Vec<_> = all.connections.iter().take(5).map(|one| one.at_ms).collect();
        assert_eq!(first, [0, 2, 3, 4, 5]);
    }
}
