//! Ends a sandbox that writes more than it may: engines limit what a container writes on few kinds of storage only. Where we may
//! look into the container's own folder it is watched there, else the engine is asked again and again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness_core::Limits;
use tokio::time::{Instant, sleep};

use super::running::Running;
use crate::SandboxError;
use crate::link::Live;
use crate::native::disk;
use crate::native::disk::watchdog::Watchdog;

/// Between two questions about a sandbox with a limit, and about one without.
const OFTEN: Duration = Duration::from_millis(200);
const SELDOM: Duration = Duration::from_secs(10);
/// An engine counts by looking at every file: it shall not do that all the time.
const SHARE: u32 = 10;

/// Begins to watch.
pub(crate) fn watch(
    watchdog: &Watchdog,
    running: &Arc<Running>,
    limits: &Limits,
    state: &Path,
) -> Result<(), SandboxError> {
    let refused = |error| SandboxError::host("watch what a sandbox writes", error);
    let limit = match limits.disk_bytes {
        Some(limit) => limit,
        None => disk::default_limit(state).map_err(refused)?,
    };
    let weak = Arc::downgrade(running);
    match running.upper() {
        Some(upper) => {
            let over = Box::new(move |why: String| {
                if let Some(running) = weak.upgrade() {
                    running.end(&format!("it wrote {why}"));
                }
            });
            running.keep(watchdog.watch(&upper, limit, over).map_err(refused)?);
        }
        None => {
            let pause = if limits.disk_bytes.is_some() { OFTEN } else { SELDOM };
            running.engine.background(async move {
                let mut cost = Duration::ZERO;
                loop {
                    sleep(pause.max(cost * SHARE)).await;
                    let Some(running) = weak.upgrade() else { return };
                    if running.guest.lost().is_some() {
                        return;
                    }
                    let begun = Instant::now();
                    let written = running.engine.written(&running.name).await;
                    cost = begun.elapsed();
                    if written.is_some_and(|written| written > limit) {
                        running.end(&format!(
                            "it wrote more than the {} MiB that it may write to disk",
                            limit >> 20
                        ));
                        return;
                    }
                }
            });
        }
    }
    Ok(())
}
