//! What a sandbox must be made of: where its files come from, how much it may use, whom it may talk to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the files of an environment come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentSource {
    /// A `Dockerfile` with its build context, both on the host.
    Dockerfile {
        /// The file itself.
        file: PathBuf,
        /// The folder that COPY and ADD read from.
        context: PathBuf,
    },
    /// A published image, by name. Files beside the task's definition are put into the working folder.
    Image {
        /// The image's reference, for example `debian:12`.
        reference: String,
        /// The task's `environment/` folder, whose files are put into the working folder; `None` when it has none.
        files: Option<PathBuf>,
    },
}

/// Everything that a task says about the place that it runs in.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentSpec {
    /// Where the files come from.
    pub source: EnvironmentSource,
    /// How long making it may take.
    pub build_timeout: Duration,
    /// Upper bounds; they are reservations for the scheduler too.
    pub limits: Limits,
    /// Environment variables for everything that runs inside, `${VAR}` already replaced.
    pub env: BTreeMap<String, String>,
    /// The working folder; `None` means the image's own.
    pub workdir: Option<String>,
    /// Whom the sandbox may talk to.
    pub network: NetworkMode,
    /// When the environment counts as ready; `None` means at once.
    pub healthcheck: Option<Healthcheck>,
    /// Whether the task may run on the host's own root file system (`[metadata.harness] host_root`).
    pub host_root: bool,
}

/// Upper bounds of one sandbox. `None` means that the task says nothing, and the backend's default holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a processor.
    pub milli_cpus: Option<u64>,
    /// Bytes of memory, swap included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes that may be written to the file system.
    pub disk_bytes: Option<u64>,
}

/// Whom a sandbox may talk to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Its own loopback, nothing else.
    None,
    /// Its own loopback, on which the harness owns one listener for model traffic.
    Gateway,
    /// Public addresses; never the host's loopback nor private ranges.
    Open,
    /// These hosts only: names, `*.name`, addresses, CIDR ranges.
    Allowlist(Vec<String>),
}

impl NetworkMode {
    /// Whether more can be reached than through the other. Of two lists of hosts each reaches further than the other.
    pub fn is_wider_than(&self, other: &NetworkMode) -> bool {
        let breadth = |mode: &NetworkMode| match mode {
            NetworkMode::None => 0,
            NetworkMode::Gateway => 1,
            NetworkMode::Allowlist(_) => 2,
            NetworkMode::Open => 3,
        };
        match (self, other) {
            (NetworkMode::Allowlist(ours), NetworkMode::Allowlist(theirs)) => ours != theirs,
            _ => breadth(self) > breadth(other),
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkMode::None => f.write_str("none"),
            NetworkMode::Gateway => f.write_str("gateway"),
            NetworkMode::Open => f.write_str("open"),
            NetworkMode::Allowlist(hosts) => write!(f, "allowlist({})", hosts.join(",")),
        }
    }
}

/// How to tell that an environment is ready (Docker's fields and meaning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// Run by `sh -c`; ready when it exits 0.
    pub command: String,
    /// Between two checks.
    pub interval: Duration,
    /// Of one check.
    pub timeout: Duration,
    /// Failures within this time after the start do not count.
    pub start_period: Duration,
    /// Between two checks within the start period.
    pub start_interval: Duration,
    /// This many failures in a row after the start period mean unhealthy.
    pub retries: u32,
}
