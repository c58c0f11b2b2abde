//! How a run is told to stop: once to drain, twice to kill.

use std::sync::Arc;

use tokio::sync::watch;

/// How urgently a run shall stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Go on.
    Run,
    /// Start nothing new; let what runs finish.
    Drain,
    /// Drop what runs. What is not finished is tried again by `resume`.
    Kill,
}

/// A stage that only ever rises, shared by everyone who must hear of it.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<watch::Sender<Stage>>);

impl Default for Cancel {
    fn default() -> Cancel {
        Cancel(Arc::new(watch::Sender::new(Stage::Run)))
    }
}

impl Cancel {
    /// Raises the stage; a lower one changes nothing.
    pub fn raise(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let higher = stage > *now;
            if higher {
                *now = stage;
            }
            higher
        });
    }

    /// The next stage up: what one more Ctrl-C means.
    pub fn raise_once(&self) -> Stage {
        let next = if self.stage() == Stage::Run { Stage::Drain } else { Stage::Kill };
        self.raise(next);
        next
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Waits until the stage is at least this.
    pub async fn reached(&self, stage: Stage) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so this can only end by the stage.
        let _ended = receiver.wait_for(|now| *now >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cancel_rises_and_never_falls() {
        let cancel = Cancel::default();
        assert_eq!(cancel.raise_once(), Stage::Drain);
        cancel.raise(Stage::Run);
        assert_eq!(cancel.stage(), Stage::Drain);
        assert_eq!(cancel.raise_once(), Stage::Kill);
        assert_eq!(cancel.raise_once(), Stage::Kill);
        cancel.reached(Stage::Kill).await;
    }
}
