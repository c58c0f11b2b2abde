//! `[environment]` and `[verifier.environment]`: what a sandbox is made of, and whom it may talk to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use harness_core::{EnvironmentSource, EnvironmentSpec, Healthcheck, Limits, NetworkMode};

use crate::strict::{At, Table};

/// An environment table as written, checked value by value.
pub(super) struct WireEnvironment {
    pub(super) build_timeout: Duration,
    pub(super) docker_image: Option<String>,
    /// Where the image holds skills for the agent.
    pub(super) skills_dir: Option<String>,
    limits: Limits,
    pub(super) env: BTreeMap<String, At<String>>,
    workdir: Option<String>,
    network: NetworkMode,
    healthcheck: Option<Healthcheck>,
}

impl Default for WireEnvironment {
    fn default() -> WireEnvironment {
        WireEnvironment {
            build_timeout: Duration::from_secs(600),
            docker_image: None,
            skills_dir: None,
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: None,
            // What an absent network_mode means in this format.
            network: NetworkMode::Open,
            healthcheck: None,
        }
    }
}

impl WireEnvironment {
    /// Reads the table to its end.
    pub(super) fn read(table: Table<'_, '_>) -> WireEnvironment {
        refuse_unsupported(&table);
        let default = WireEnvironment::default();
        let legacy = legacy_network(&table);
        let environment = WireEnvironment {
            build_timeout: seconds(&table, "build_timeout_sec", Least::Positive)
                .unwrap_or(default.build_timeout),
            docker_image: docker_image(&table),
            skills_dir: skills_dir(&table),
            limits: limits(&table),
            env: table.string_map("env"),
            workdir: workdir(&table),
            network: network(&table).or(legacy).unwrap_or(default.network),
            healthcheck: table.table("healthcheck").and_then(healthcheck),
        };
        table.finish();
        environment
    }

    /// The environment made from this source, with its variables already replaced.
    pub(super) fn spec(
        &self,
        source: EnvironmentSource,
        env: BTreeMap<String, String>,
        host_root: bool,
    ) -> EnvironmentSpec {
        EnvironmentSpec {
            source,
            build_timeout: self.build_timeout,
            limits: self.limits,
            env,
            workdir: self.workdir.clone(),
            network: self.network.clone(),
            healthcheck: self.healthcheck.clone(),
            host_root,
        }
    }
}

/// Names what the format has and this program cannot give, so that no task runs without what it needs.
fn refuse_unsupported(table: &Table<'_, '_>) {
    let doc = table.doc();
    let refuse =
        |at: usize, what: &str| doc.error(at, format!("{what}, which this program cannot give a task"));
    if let Some(os) = table.string("os") {
        match os.value.to_lowercase().as_str() {
            "linux" => {}
            "windows" => refuse(os.offset, "the task wants Windows"),
            _ => doc.error(os.offset, format!("os must be \"linux\" or \"windows\", not {:?}", os.value)),
        }
    }
    if let Some(gpus) = table.integer("gpus")
        && gpus.value != 0
    {
        refuse(gpus.offset, "the task wants a GPU");
    }
    // Kinds of a thing of which there is none; with gpus = 0 they mean nothing.
    table.strings("gpu_types");
    if let Some(tpu) = table.table("tpu") {
        refuse(tpu.offset(), "the task wants a TPU");
    }
    if let Some(server) = table.tables("mcp_servers").first() {
        refuse(server.offset(), "the task brings MCP servers");
    }
}

fn docker_image(table: &Table<'_, '_>) -> Option<String> {
    let image = table.string("docker_image")?;
    if image.value.is_empty()
        || image.value.starts_with('-')
        || image.value.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        table
            .doc()
            .error(image.offset, format!("docker_image must be the name of an image, not {:?}", image.value));
        return None;
    }
    Some(image.value)
}

fn skills_dir(table: &Table<'_, '_>) -> Option<String> {
    let folder = table.string("skills_dir")?;
    if folder.value.is_empty() || folder.value.contains('\0') {
        table.doc().error(folder.offset, "skills_dir must be a folder of the environment");
        return None;
    }
    Some(folder.value)
}

fn workdir(table: &Table<'_, '_>) -> Option<String> {
    let workdir = table.string("workdir")?;
    inside_path(table, "workdir", &workdir, true).then_some(workdir.value)
}

/// Checks a path inside the sandbox: no `..`, no control characters, absolute where it must be.
pub(super) fn inside_path(table: &Table<'_, '_>, key: &str, path: &At<String>, absolute: bool) -> bool {
    let text = &path.value;
    let wrong = if text.is_empty() {
        "may not be empty"
    } else if text.chars().any(char::is_control) {
        "may not hold control characters"
    } else if text.split('/').any(|part| part == "..") {
        "may not hold \"..\""
    } else if absolute && !text.starts_with('/') {
        "must be an absolute path inside the sandbox"
    } else {
        return true;
    };
    table.doc().error(path.offset, format!("{} {wrong}: {text:?}", table.name(key)));
    false
}

fn limits(table: &Table<'_, '_>) -> Limits {
    let doc = table.doc();
    let milli_cpus = table.number("cpus").and_then(|cpus| {
        let milli = (cpus.value * 1000.0).round();
        if (1.0..=1e9).contains(&milli) {
            return Some(milli as u64);
        }
        doc.error(cpus.offset, format!("cpus must be more than 0 and at most 1000000, not {}", cpus.value));
        None
    });
    Limits {
        milli_cpus,
        memory_bytes: megabytes(table, "memory_mb", "memory"),
        pids: None,
        disk_bytes: megabytes(table, "storage_mb", "storage"),
    }
}

/// A size in MiB, or its legacy spelling such as `"2G"`; both only when they agree. In bytes.
fn megabytes(table: &Table<'_, '_>, key: &'static str, legacy: &'static str) -> Option<u64> {
    let doc = table.doc();
    let new = table.integer(key).and_then(|size| match u64::try_from(size.value) {
        Ok(mb) if (1..=1 << 40).contains(&mb) => Some(mb),
        _ => {
            doc.error(size.offset, format!("{key} must be a size in megabytes above 0, not {}", size.value));
            None
        }
    });
    let old = table.string(legacy).and_then(|size| match legacy_size(&size.value) {
        Some(mb) => Some(At { value: mb, offset: size.offset }),
        None => {
            let message = format!("{legacy} must be a size such as \"2G\" or \"512M\", not {:?}", size.value);
            doc.push_error(doc.problem(size.offset, message).hint(format!("or write {key} = 2048")));
            None
        }
    });
    match (new, old) {
        (Some(new), Some(old)) if new != old.value => {
            doc.error(old.offset, format!("{legacy} and {key} disagree: {} and {new} megabytes", old.value));
            None
        }
        (new, old) => new.or(old.map(|old| old.value)).map(|mb| mb << 20),
    }
}

/// `2G`, `512M`, `524288K` in whole MiB.
fn legacy_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let number = text.strip_suffix(['G', 'M', 'K'])?.trim();
    let factor = match text.chars().last() {
        Some('G') => 1024.0,
        Some('M') => 1.0,
        _ => 1.0 / 1024.0,
    };
    if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let mb = number.parse::<f64>().ok()? * factor;
    (1.0..=1e12).contains(&mb).then_some(mb as u64)
}

/// `network_mode` and `allowed_hosts` of one table; `None` when it says nothing.
pub(super) fn network(table: &Table<'_, '_>) -> Option<NetworkMode> {
    let doc = table.doc();
    let mode = table.string("network_mode");
    let hosts = table.strings("allowed_hosts");
    let Some(mode) = mode else {
        if let Some(hosts) = hosts {
            doc.error(hosts.offset, "allowed_hosts means something only with network_mode = \"allowlist\"");
        }
        return None;
    };
    match (mode.value.as_str(), hosts) {
        ("allowlist", Some(hosts)) if !hosts.value.is_empty() => Some(NetworkMode::Allowlist(
            hosts.value.iter().filter_map(|host| allowed_host(table, host)).collect(),
        )),
        ("allowlist", _) => {
            doc.error(mode.offset, "network_mode = \"allowlist\" needs allowed_hosts with at least one name");
            None
        }
        ("public" | "no-network", Some(hosts)) if !hosts.value.is_empty() => {
            doc.error(
                hosts.offset,
                format!("allowed_hosts means nothing with network_mode = {:?}", mode.value),
            );
            None
        }
        ("public", _) => Some(NetworkMode::Open),
        ("no-network", _) => Some(NetworkMode::None),
        (other, _) => {
            let problem = doc.problem(mode.offset, format!("there is no network_mode {other:?}"));
            doc.push_error(problem.hint("it can be \"public\", \"no-network\" or \"allowlist\""));
            None
        }
    }
}

/// `allow_internet`, which newer spellings override.
fn legacy_network(table: &Table<'_, '_>) -> Option<NetworkMode> {
    let allowed = table.boolean("allow_internet")?.value;
    Some(if allowed { NetworkMode::Open } else { NetworkMode::None })
}

/// A name, `*.name`, an address or a range of addresses; in lower case.
fn allowed_host(table: &Table<'_, '_>, host: &At<String>) -> Option<String> {
    let name = host.value.trim().trim_end_matches('.').to_ascii_lowercase();
    let address = name.split_once('/').map_or_else(
        || name.parse::<IpAddr>().is_ok(),
        |(address, bits)| {
            let most = address.parse::<IpAddr>().map(|address| if address.is_ipv4() { 32 } else { 128 });
            matches!((most, bits.parse::<u8>()), (Ok(most), Ok(bits)) if bits <= most)
        },
    );
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if address || (name.len() <= 253 && name.strip_prefix("*.").unwrap_or(&name).split('.').all(label)) {
        return Some(name);
    }
    let message = format!("{:?} is no host that can be allowed", host.value);
    let hint = "a name, \"*.name\", an address or a range such as \"10.0.0.0/8\"; no URL and no port";
    table.doc().push_error(table.doc().problem(host.offset, message).hint(hint));
    None
}

/// A health check; a missing command is an error.
pub(super) fn healthcheck(table: Table<'_, '_>) -> Option<Healthcheck> {
    let command = required_command(&table);
    let or = |value: Option<Duration>, default: u64| value.unwrap_or(Duration::from_secs(default));
    let retries = table.integer("retries").map_or(Some(3), |retries| {
        let checked = u32::try_from(retries.value).ok().filter(|retries| *retries >= 1);
        if checked.is_none() {
            table.doc().error(retries.offset, format!("retries must be 1 or more, not {}", retries.value));
        }
        checked
    });
    let check = Healthcheck {
        command: command.unwrap_or_default(),
        interval: or(seconds(&table, "interval_sec", Least::Zero), 5),
        timeout: or(seconds(&table, "timeout_sec", Least::Positive), 30),
        start_period: or(seconds(&table, "start_period_sec", Least::Zero), 0),
        start_interval: or(seconds(&table, "start_interval_sec", Least::Zero), 5),
        retries: retries.unwrap_or(3),
    };
    table.finish();
    Some(check)
}

/// The `command` of a table, which must be there.
pub(super) fn required_command(table: &Table<'_, '_>) -> Option<String> {
    let command = table.string("command");
    match command {
        Some(command) if command.value.trim().is_empty() || command.value.contains('\0') => {
            table.doc().error(command.offset, format!("{} may not be empty", table.name("command")));
            None
        }
        Some(command) => Some(command.value),
        None => {
            // A wrong type was told already; this is one problem too many only then.
            if !table.has("command") {
                table.doc().error(table.offset(), format!("{} is missing", table.name("command")));
            }
            None
        }
    }
}

/// The least that a number of seconds may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// More than nothing.
    Positive,
    /// Nothing is allowed.
    Zero,
}

/// Longer than any task, short enough to add to any clock.
const TEN_YEARS_SEC: f64 = 10.0 * 365.0 * 86_400.0;

/// A number of seconds.
pub(super) fn seconds(table: &Table<'_, '_>, key: &'static str, least: Least) -> Option<Duration> {
    let number = table.number(key)?;
    let value = number.value;
    let enough = if least == Least::Positive { value > 0.0 } else { value >= 0.0 };
    if enough && value <= TEN_YEARS_SEC {
        return Some(Duration::from_secs_f64(value).max(if least == Least::Positive {
            Duration::from_millis(1)
        } else {
            Duration::ZERO
        }));
    }
    let bound = if least == Least::Positive { "more than 0" } else { "0 or more" };
    let message = format!("{} must be {bound} seconds and at most ten years, not {value}", table.name(key));
    table.doc().error(number.offset, message);
    None
}
