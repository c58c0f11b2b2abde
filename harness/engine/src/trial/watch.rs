//! Whether an agent is heard of: heartbeats while it works, and what becomes of one that has neither output nor model traffic for
//! too long. Looking costs a few file sizes a second; nothing inside the sandbox is asked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness_core::{AgentExit, Event};

use super::attempt::Attempt;
use super::stop::Stop;
use crate::agents::{AgentReport, Session};

/// How often it is looked.
const PACE: Duration = Duration::from_secs(1);
/// How often it is told.
const BEAT: Duration = Duration::from_secs(60);
/// Silence that looks like a stall where no limit says so.
const LOOKS_STALLED: Duration = Duration::from_secs(300);

/// What has been heard of an agent so far: it changes with every sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signs {
    /// Sizes of what it writes on the host.
    written: Vec<u64>,
    /// Requests that it made, and how many are under way.
    requests: (u64, u64),
}

impl Attempt {
    /// Lets the agent work, telling that it does, until it is done or has been silent for too long.
    pub(super) async fn while_heard(
        &self,
        session: &Session<'_>,
        work: impl Future<Output = Result<AgentReport, Stop>>,
    ) -> Result<AgentReport, Stop> {
        let limit = self.context.settings.stall_timeout;
        tokio::select! {
            biased;
            report = work => report,
            silent = self.watch(session.log, limit) => {
                let message = Some(format!(
                    "stalled: no output and no model traffic for {} s",
                    silent.as_secs()
                ));
                Ok(AgentReport { message, ..AgentReport::ended(AgentExit::TimedOut) })
            }
        }
    }

    /// Tells of the agent for as long as it is left to work; returns how long it has been silent when that is too long.
    async fn watch(&self, log: &Path, limit: Option<Duration>) -> Duration {
        let began = Instant::now();
        let looks_stalled = limit.map_or(LOOKS_STALLED, |limit| (limit / 2).max(PACE).min(LOOKS_STALLED));
        let (mut heard, mut told, mut stalled) = (began, began, false);
        let mut last = self.signs(log);
        loop {
            tokio::time::sleep(PACE.min(limit.unwrap_or(PACE))).await;
            let now = self.signs(log);
            // A request that is under way is traffic: whoever waits for an answer is not silent.
            if now != last || now.requests.1 > 0 {
                heard = Instant::now();
                last = now;
            }
            let silent = heard.elapsed();
            let is_stalled = silent >= looks_stalled;
            if is_stalled != stalled || told.elapsed() >= BEAT {
                (stalled, told) = (is_stalled, Instant::now());
                self.context.journal.write(Event::Heartbeat {
                    id: self.context.id.clone(),
                    working_ms: began.elapsed().as_millis() as u64,
                    silent_ms: silent.as_millis() as u64,
                    stalled,
                });
            }
            if limit.is_some_and(|limit| silent >= limit) {
                return silent;
            }
        }
    }

    fn signs(&self, log: &Path) -> Signs {
        let beside = |name: &str| -> PathBuf { log.with_file_name(name) };
        let size = |file: PathBuf| std::fs::metadata(file).map_or(0, |about| about.len());
        let tally = self.traffic.as_ref().map(super::traffic::Traffic::tally);
        Signs {
            written: vec![size(log.to_owned()), size(beside("gateway.jsonl"))],
            requests: tally.map_or((0, 0), |tally| (tally.requests, tally.open)),
        }
    }
}
