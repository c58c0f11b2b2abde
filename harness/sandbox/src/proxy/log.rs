//! What was tried through the proxies of one sandbox, as far as it is kept.

use std::sync::{Mutex, PoisonError};

use harness_core::connection::MAX_CONNECTIONS;
use harness_core::{Connection, Connections};

/// Most characters of a host's name or of a reason.
const MAX_TEXT: usize = 255;

/// A bounded list that connections are added to when they are over.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLog(Mutex<Connections>);

impl ConnectionLog {
    /// Adds one, or counts it where there are too many.
    pub(crate) fn add(&self, mut connection: Connection) {
        let cut = |text: &mut String| {
            if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(at);
            }
        };
        cut(&mut connection.host);
        connection.reason.iter_mut().for_each(cut);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.connections.len() < MAX_CONNECTIONS {
            all.connections.push(connection);
        } else {
            all.left_out = all.left_out.saturating_add(1);
        }
    }

    /// What was tried until now, by the time of its begin.
    pub(crate) fn so_far(&self) -> Connections {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.connections.sort_by_key(|connection| connection.at_ms);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_core::ConnectionResult;

    #[test]
    fn proxy_log_keeps_so_many_and_counts_the_rest() {
        let log = ConnectionLog::default();
        for at_ms in (0..MAX_CONNECTIONS as i64 + 7).rev() {
            log.add(Connection {
                at_ms,
                phase: None,
                host: "ü".repeat(300),
                port: 1,
                result: ConnectionResult::Refused,
                reason: Some("x".repeat(10_000)),
                sent_bytes: Some(0),
                received_bytes: Some(0),
            });
        }
        let all = log.so_far();
        assert_eq!((all.connections.len(), all.left_out), (MAX_CONNECTIONS, 7));
        assert!(all.connections.is_sorted_by_key(|one| one.at_ms));
        assert_eq!(all.connections[0].host.chars().count(), MAX_TEXT);
        assert_eq!(all.connections[0].reason.as_deref().map(str::len), Some(MAX_TEXT));
    }
}
