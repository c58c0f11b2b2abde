//! One image from a registry, tried again for as long as that makes sense: a registry that limits pulls is waited for as it
//! asks, a network that fails is given some time, and what is not there is not asked for twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::credentials::Credentials;
use super::disk::Disk;
use super::fault::{self, PullFault};
use super::log::Log;
use crate::docker::client::{Client, plain};
use crate::{Progress, SandboxError};

/// Tries against a failing network.
const TRIES: u32 = 5;
/// Before the second try; doubles from there.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Where a registry limits pulls and does not say for how long; doubles from there.
const LIMITED_WAIT: Duration = Duration::from_secs(20);
/// What is pulled takes this many times its size on the engine's disk, packed and unpacked.
const UNPACKED: u64 = 3;
/// Most layers that are counted.
const MOST_LAYERS: usize = 1000;

/// What one pull is made with.
pub(crate) struct PullCall<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: &'a str,
    pub(crate) credentials: &'a Credentials,
    pub(crate) disk: &'a Disk,
    pub(crate) timeout: Duration,
    pub(crate) progress: &'a Progress,
}

impl PullCall<'_> {
    /// Pulls. Returns when the image is there.
    ///
    /// # Errors
    /// [`SandboxError::Environment`] where there is no such image, else [`SandboxError::Host`].
    pub(crate) async fn run(&self, log: &mut Log) -> Result<(), SandboxError> {
        let deadline = Instant::now() + self.timeout;
        let (mut failed, mut limited) = (0, 0);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(pulled) = tokio::time::timeout(left, self.once()).await else {
                return Err(self.out_of_time());
            };
            let Err(stopped) = pulled else { return Ok(()) };
            let error = match stopped {
                Stopped::NoRoom(why) => return Err(why),
                Stopped::Failed(error) => error,
            };
            log.line(&format!("pulling {}: {}", self.name, plain(&error)));
            let fault = fault::of_pull(&error);
            let wait = match &fault {
                PullFault::RateLimited(told) => {
                    limited += 1;
                    told.unwrap_or(LIMITED_WAIT * (1 << (limited - 1).min(6)))
                }
                PullFault::Passing if failed + 1 < TRIES => {
                    failed += 1;
                    FIRST_WAIT * (1 << (failed - 1))
                }
                _ => return Err(fault::given_up(self.name, &fault, &error)),
            };
            // Several processes that were sent away together should not come back together.
            let wait = wait + spread(self.name, wait);
            if wait >= deadline.saturating_duration_since(Instant::now()) {
                return Err(fault::given_up(self.name, &fault, &error));
            }
            let why = if matches!(fault, PullFault::RateLimited(_)) {
                "the registry limits how often it is asked"
            } else {
                "it failed"
            };
            let line = format!("pulling {}: {why}; again in {:.1} s", self.name, wait.as_secs_f64());
            log.line(&line);
            (self.progress)(&line);
            tokio::time::sleep(wait).await;
        }
    }

    fn out_of_time(&self) -> SandboxError {
        let text = format!("not pulled within {} s", self.timeout.as_secs_f64());
        fault::host(self.name, std::io::ErrorKind::TimedOut, text)
    }

    async fn once(&self) -> Result<(), Stopped> {
        let options = CreateImageOptionsBuilder::default().from_image(&with_tag(self.name)).build();
        let credentials = self.credentials.for_image(self.name);
        let mut said = self.client.long().create_image(Some(options), None, credentials);
        let mut layers = Layers::default();
        let mut shown = Instant::now();
        (self.progress)(&format!("pulling {}", self.name));
        while let Some(info) = said.next().await {
            layers.note(info.map_err(Stopped::Failed)?);
            if shown.elapsed() >= Duration::from_secs(1) {
                shown = Instant::now();
                (self.progress)(&format!("pulling {}: {layers}", self.name));
                let needed = layers.left().saturating_mul(UNPACKED);
                self.disk.check(self.name, needed).map_err(Stopped::NoRoom)?;
            }
        }
        (self.progress)(&format!("pulling {}: {layers}", self.name));
        // A stream that has ended is no image.
        match self.client.ask(self.client.short().inspect_image(self.name)).await {
            Ok(_) => Ok(()),
            Err(error) if crate::docker::client::is_missing(&error) => {
                Err(Stopped::Failed(Error::DockerStreamError { error: "the pull ended early".to_owned() }))
            }
            Err(error) => Err(Stopped::Failed(error)),
        }
    }
}

enum Stopped {
    NoRoom(SandboxError),
    Failed(Error),
}

/// Up to a quarter more, by process and name.
fn spread(name: &str, wait: Duration) -> Duration {
    let seed = harness_core::Digest::of(format!("{name} {}", std::process::id()).as_bytes());
    let part = u32::from_str_radix(&seed.as_str()[..4], 16).unwrap_or(0);
    wait.mul_f64(f64::from(part) / 65536.0 / 4.0)
}

/// A name without a tag would pull every tag that there is.
pub(crate) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if name.contains('@') || last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// How far a pull has come.
#[derive(Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    current: u64,
    total: u64,
    done: bool,
}

impl Layers {
    fn note(&mut self, info: CreateImageInfo) {
        let (Some(id), Some(status)) = (info.id, info.status) else { return };
        // The first line names the tag, not a layer.
        if status.starts_with("Pulling from") || (self.0.len() >= MOST_LAYERS && !self.0.contains_key(&id)) {
            return;
        }
        let layer = self.0.entry(id).or_default();
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        match status.as_str() {
            "Downloading" => {
                if let Some(detail) = info.progress_detail {
                    layer.current = number(detail.current).unwrap_or(layer.current);
                    layer.total = number(detail.total).unwrap_or(layer.total);
                }
            }
            "Download complete" => layer.current = layer.total,
            "Pull complete" | "Already exists" => {
                layer.current = layer.total;
                layer.done = true;
            }
            _ => {}
        }
    }

    /// Bytes that are announced and have not come.
    fn left(&self) -> u64 {
        self.0.values().map(|layer| layer.total.saturating_sub(layer.current)).sum()
    }
}

impl std::fmt::Display for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let done = self.0.values().filter(|layer| layer.done).count();
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let current: u64 = self.0.values().map(|layer| layer.current).sum();
        let total: u64 = self.0.values().map(|layer| layer.total).sum();
        write!(
            f,
            "{done} of {} layers, {:.1} of {:.1} MB",
            self.0.len(),
            megabytes(current),
            megabytes(total)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn pull_never_asks_for_every_tag() {
        for (name, expected) in [
            ("debian", "debian:latest"),
            ("debian:12", "debian:12"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("x@sha256:0123", "x@sha256:0123"),
        ] {
            assert_eq!(with_tag(name), expected);
        }
    }

    #[test]
    fn pull_progress_counts_layers_and_bytes() {
        let mut layers = Layers::default();
        let mut say = |id: &str, status: &str, current, total| {
            layers.note(CreateImageInfo {
                id: Some(id.to_owned()),
                status: Some(status.to_owned()),
                progress_detail: Some(ProgressDetail { current, total }),
                ..CreateImageInfo::default()
            });
        };
        say("12", "Pulling from library/x", None, None);
        say("a", "Already exists", None, None);
        say("b", "Downloading", Some(1_000_000), Some(4_000_000));
        say("c", "Downloading", Some(-5), Some(2_000_000));
        assert_eq!(layers.left(), 5_000_000);
        assert_eq!(layers.to_string(), "1 of 3 layers, 1.0 of 6.0 MB");
    }
}
