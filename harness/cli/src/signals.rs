//! Ctrl-C once drains, twice kills; SIGTERM ends in order at once.

use harness_engine::{Cancel, Stage};
use tokio::signal::unix::{SignalKind, signal};

use crate::live::Voice;

/// Listens until the run is over.
pub fn listen(cancel: Cancel, say: Voice) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => match cancel.raise_once() {
                    Stage::Drain => say("interrupted: letting the running trials finish; Ctrl-C again to stop them"),
                    _ => say("stopping the running trials"),
                },
                _ = terminate.recv() => cancel.raise(Stage::Kill),
                _ = hangup.recv() => cancel.raise(Stage::Kill),
            }
        }
    }))
}
