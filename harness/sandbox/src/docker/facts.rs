//! What an engine says of itself that sandboxes depend on, asked once when it is opened.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};

use super::client::{self, Client, EngineKind};
use crate::SandboxError;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// How it stores images and containers.
    pub(crate) storage: String,
    /// The folder on its machine that holds the layers of overlays; `None` with another way of storing.
    pub(crate) layers: Option<String>,
    /// Version of control groups, where it says so.
    pub(crate) cgroups: Option<u8>,
    /// Whether AppArmor confines containers.
    pub(crate) apparmor: bool,
    /// Whether SELinux does.
    pub(crate) selinux: bool,
    /// Whether it runs without root's rights.
    pub(crate) rootless: bool,
    /// Whether root in containers is an ordinary id outside.
    pub(crate) user_namespaces: bool,
    /// Its machine's architecture, in the kernel's words.
    pub(crate) architecture: String,
}

impl Facts {
    /// Asks.
    pub(crate) async fn ask(client: &Client) -> Result<Facts, SandboxError> {
        let info = client.ask(client.short().info()).await;
        let info = info.map_err(|error| client::failed("ask the engine about itself", error))?;
        Ok(Facts::of(&info, client.engine().kind))
    }

    fn of(info: &SystemInfo, kind: EngineKind) -> Facts {
        let storage = info.driver.clone().unwrap_or_default();
        let root = info.docker_root_dir.clone().unwrap_or_default();
        let folder = match (kind, storage.as_str()) {
            (EngineKind::Docker, "overlay2") => Some("overlay2"),
            (EngineKind::Podman, "overlay") => Some("overlay"),
            _ => None,
        };
        let security: Vec<&str> = info.security_options.iter().flatten().map(String::as_str).collect();
        let has = |name: &str| {
            security
                .iter()
                .any(|option| option.split(',').any(|part| part == format!("name={name}") || part == name))
        };
        Facts {
            layers: folder.filter(|_| root.starts_with('/')).map(|folder| format!("{root}/{folder}")),
            storage,
            cgroups: match info.cgroup_version {
                Some(SystemInfoCgroupVersionEnum::_1) => Some(1),
                Some(SystemInfoCgroupVersionEnum::_2) => Some(2),
                _ => None,
            },
            apparmor: has("apparmor"),
            selinux: has("selinux"),
            rootless: has("rootless"),
            user_namespaces: has("userns") || has("rootless"),
            architecture: info.architecture.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_of_themselves_is_understood() {
        let info = SystemInfo {
            driver: Some("overlay2".into()),
            docker_root_dir: Some("/var/lib/docker/100000.100000".into()),
            security_options: Some(vec![
                "name=apparmor".into(),
                "name=seccomp,profile=default".into(),
                "name=userns".into(),
            ]),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            ..SystemInfo::default()
        };
        let facts = Facts::of(&info, EngineKind::Docker);
        assert_eq!(facts.layers.as_deref(), Some("/var/lib/docker/100000.100000/overlay2"));
        assert!(facts.apparmor && facts.user_namespaces && !facts.rootless && !facts.selinux);
        assert_eq!(facts.cgroups, Some(2));
        let info = SystemInfo { driver: Some("btrfs".into()), ..info };
        assert_eq!(Facts::of(&info, EngineKind::Docker).layers, None);
    }
}
