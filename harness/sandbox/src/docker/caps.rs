//! What this engine's containers cannot do, settled when it is opened, and what they do not isolate.

use super::client::EngineKind;
use super::engine::Engine;
use crate::{Caps, Unsupported};

/// See the module.
pub(crate) fn caps(engine: &Engine) -> Caps {
    let facts = &engine.facts;
    let mut caps = Caps { open_network: true, network_per_phase: true, outlives: true, ..Caps::default() };
    let mut declare = |cases: &[&'static str], reason: &str| {
        for case in cases {
            caps.declared.push(Unsupported { case, reason: reason.to_owned() });
        }
    };
    if !rustix::process::geteuid().is_root() && !facts.rootless {
        declare(
            &["lost-is-no-status"],
            "an ordinary user cannot end, from outside, processes that the engine runs as root, so that it cannot be tried",
        );
    }
    if facts.layers.is_none() {
        let reason = format!("the storage driver {} does not show the image's own files", facts.storage);
        declare(&["view-restore", "view-hide", "changes-none", "changes-kinds", "changes-limit"], &reason);
        declare(&["snapshot-state"], &reason);
    }
    let mut weaknesses = vec![
        "containers share the kernel of this machine: a flaw in it is a way out".to_owned(),
        "a container that writes too much is ended instead of refused".to_owned(),
        "an open network is an HTTP proxy to public addresses: programs that know none reach nothing"
            .to_owned(),
    ];
    if !facts.user_namespaces {
        weaknesses.push(
            "root in a container is root's id outside: the engine does not use user namespaces".to_owned(),
        );
    }
    if facts.apparmor {
        weaknesses.push(
            "containers run without AppArmor's profile; a system call filter of ours holds them".to_owned(),
        );
    }
    if facts.selinux {
        weaknesses.push("containers run without SELinux's label".to_owned());
    }
    if engine.client.engine().kind == EngineKind::Podman && facts.rootless && facts.cgroups == Some(1) {
        weaknesses
            .push("without root's rights this engine limits neither memory nor processors here".to_owned());
    }
    caps.weaknesses = weaknesses;
    caps
}
