//! What an engine is asked to make of an image: a container that runs nothing but our guest program, with as few rights as
//! that needs. Plain data, so that every promise in it can be looked at.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};
use harness_core::Limits;

use super::facts::Facts;
use crate::ReadOnlyMount;
use crate::link::capabilities;

/// Where the guest program is shown. In memory in every container, so that no mount point is left in its file system.
pub(crate) const GUEST_AT: &str = "/dev/.harness-guest";
/// Where the folder is shown in which the guest meets its host.
pub(crate) const DOOR_AT: &str = "/dev/.harness-door";
/// Where the engine's layers are shown, to PID 1 only.
pub(crate) const LAYERS_AT: &str = "/dev/.harness-layers";
/// The socket in the folder.
pub(crate) const SOCKET: &str = "s";

/// Processes and threads where a task sets no limit.
const DEFAULT_PIDS: u64 = 2048;
/// `/dev/shm`. What is written there counts as the sandbox's memory.
const SHM_BYTES: i64 = 64 << 20;
/// The least that engines take.
const LEAST_MEMORY: u64 = 8 << 20;
const LEAST_MILLI_CPUS: u64 = 10;

/// Everything that differs between containers.
pub(crate) struct Wanted<'a> {
    /// Id of the image.
    pub(crate) image: &'a str,
    /// Folders for which the image wants volumes.
    pub(crate) volumes: &'a [String],
    /// Whether the image names a user. Where it does not, none is named: Podman adds accounts for whoever is.
    pub(crate) has_user: bool,
    /// Upper bounds.
    pub(crate) limits: &'a Limits,
    /// Host folders shown read-only.
    pub(crate) mounts: &'a [ReadOnlyMount],
    /// The guest program on the host.
    pub(crate) guest: &'a str,
    /// The folder on the host in which we meet.
    pub(crate) door: &'a str,
    /// Who it belongs to.
    pub(crate) labels: HashMap<String, String>,
}

/// See the module.
pub(crate) fn body(wanted: Wanted<'_>, facts: &Facts) -> ContainerCreateBody {
    let mut mounts = vec![bind(wanted.guest, GUEST_AT, true), bind(wanted.door, DOOR_AT, false)];
    mounts.extend(facts.layers.as_ref().map(|layers| bind(layers, LAYERS_AT, true)));
    // An anonymous volume would be disk that nobody watches and that no snapshot holds. What lies over its path is let go of by
    // the guest, and the folder is an ordinary one of the image's.
    mounts.extend(wanted.volumes.iter().map(|at| Mount {
        target: Some(at.clone()),
        typ: Some(MountType::TMPFS),
        ..Mount::default()
    }));
    mounts.extend(wanted.mounts.iter().map(|mount| bind(&mount.host.to_string_lossy(), &mount.at, true)));
    let memory = wanted.limits.memory_bytes.map(|bytes| signed(bytes.max(LEAST_MEMORY)));
    let host_config = HostConfig {
        memory,
        // Memory and swap together: there is no swap.
        memory_swap: memory,
        nano_cpus: wanted.limits.milli_cpus.map(|milli| signed(milli.max(LEAST_MILLI_CPUS)) * 1_000_000),
        pids_limit: Some(signed(wanted.limits.pids.unwrap_or(DEFAULT_PIDS))),
        network_mode: Some("none".to_owned()),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        privileged: Some(false),
        readonly_rootfs: Some(false),
        init: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities::names(capabilities::COMMANDS | capabilities::ENGINE_INIT)),
        security_opt: Some(security(facts)),
        shm_size: Some(SHM_BYTES),
        mounts: Some(mounts),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        hostname: Some("sandbox".to_owned()),
        image: Some(wanted.image.to_owned()),
        entrypoint: Some(vec![GUEST_AT.to_owned(), "listen".to_owned(), format!("{DOOR_AT}/{SOCKET}")]),
        cmd: Some(Vec::new()),
        // Of the image's own these are the guest's business, or nobody's.
        user: wanted.has_user.then(|| "0:0".to_owned()),
        // The image's own: whoever starts a container makes that folder, and Podman's builder leaves it to him.
        working_dir: None,
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        stop_signal: Some("SIGKILL".to_owned()),
        stop_timeout: Some(0),
        tty: Some(false),
        open_stdin: Some(false),
        labels: Some(wanted.labels),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

/// The guest makes mounts for views, which engines' own profiles forbid; what it starts is held by a filter of ours, at least
/// as strict.
fn security(facts: &Facts) -> Vec<String> {
    let mut options = vec!["no-new-privileges".to_owned(), "seccomp=unconfined".to_owned()];
    if facts.apparmor {
        options.push("apparmor=unconfined".to_owned());
    }
    if facts.selinux {
        options.push("label=disable".to_owned());
    }
    options
}

fn bind(from: &str, at: &str, read_only: bool) -> Mount {
    Mount {
        target: Some(at.to_owned()),
        source: Some(from.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        // What else is mounted below, other containers' roots for one, is nobody's business here.
        bind_options: Some(MountBindOptions { non_recursive: Some(true), ..MountBindOptions::default() }),
        ..Mount::default()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn of(limits: Limits, mounts: &[ReadOnlyMount]) -> ContainerCreateBody {
        let wanted = Wanted {
            image: "sha256:abc",
            volumes: &["/data".to_owned()],
            has_user: true,
            limits: &limits,
            mounts,
            guest: "/state/guest",
            door: "/state/door",
            labels: HashMap::new(),
        };
        let facts =
            Facts { apparmor: true, layers: Some("/var/lib/docker/overlay2".into()), ..Facts::default() };
        body(wanted, &facts)
    }

    #[test]
    fn nothing_of_the_host_is_writable_but_the_folder_that_the_guest_lets_go_of() {
        let mounts = [ReadOnlyMount { host: "/opt/agent".into(), at: "/opt/agent".into() }];
        let made = of(Limits::default(), &mounts).host_config.unwrap();
        let writable: Vec<_> = made
            .mounts
            .unwrap()
            .into_iter()
            .filter(|mount| mount.typ == Some(MountType::BIND) && mount.read_only != Some(true))
            .filter_map(|mount| mount.target)
            .collect();
        assert_eq!(writable, [DOOR_AT]);
        assert_eq!((made.binds, made.volumes_from, made.devices), (None, None, None));
        assert_eq!((made.privileged, made.auto_remove), (Some(false), Some(false)));
    }

    #[test]
    fn limits_are_what_was_asked_and_swap_is_off() {
        let limits =
            Limits { memory_bytes: Some(96 << 20), milli_cpus: Some(60), pids: Some(40), disk_bytes: None };
        let made = of(limits, &[]).host_config.unwrap();
        assert_eq!((made.memory, made.memory_swap), (Some(96 << 20), Some(96 << 20)));
        assert_eq!((made.nano_cpus, made.pids_limit), (Some(60_000_000), Some(40)));
        let made = of(Limits::default(), &[]).host_config.unwrap();
        assert_eq!((made.memory, made.memory_swap, made.nano_cpus), (None, None, None));
        assert_eq!(made.pids_limit, Some(2048));
    }

    #[test]
    fn nothing_of_the_images_own_is_started() {
        let made = of(Limits::default(), &[]);
        assert_eq!(made.entrypoint.unwrap()[0], GUEST_AT);
        assert_eq!(made.cmd, Some(Vec::new()));
        assert_eq!(made.user.unwrap(), "0:0");
        assert_eq!(made.healthcheck.unwrap().test.unwrap(), ["NONE"]);
    }

    #[test]
    fn there_is_no_network_and_no_log() {
        let made = of(Limits::default(), &[]).host_config.unwrap();
        assert_eq!(made.network_mode.unwrap(), "none");
        assert_eq!(made.log_config.unwrap().typ.unwrap(), "none");
        assert!(made.security_opt.unwrap().contains(&"no-new-privileges".to_owned()));
        assert_eq!(made.cap_drop.unwrap(), ["ALL"]);
    }
}
