//! This machine, and the shapes in which others refuse.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io;

use super::*;

fn failed(stage: Stage, errno: i32) -> Attempt {
    Attempt { failed: Some((stage, io::Error::from_raw_os_error(errno))) }
}

fn ordinary() -> Settings {
    Settings { release: "6.8.0-31-generic".into(), program: "/usr/bin/harness".into(), ..Settings::default() }
}

#[test]
fn doctor_knows_ubuntus_restriction_by_both_shapes() {
    let ubuntu = Settings { apparmor: true, ..ordinary() };
    for stage in [Stage::Map, Stage::Mount, Stage::Network] {
        let probe = user_namespaces(&failed(stage, libc::EPERM), &ubuntu).remove(0);
        assert_eq!(probe.status, ProbeStatus::Broken);
        let remedy = probe.remedy.unwrap();
        assert!(
            remedy.contains("Ubuntu") && remedy.contains("userns,") && remedy.contains("/usr/bin/harness"),
            "{remedy}"
        );
        assert!(!remedy.contains("sysctl"), "never advise to lift it for all");
    }
    // By its shape alone, where the setting cannot be read.
    let remedy = user_namespaces(&failed(Stage::Mount, libc::EACCES), &ordinary()).remove(0).remedy.unwrap();
    assert!(remedy.contains("security module"), "{remedy}");
}

#[test]
fn doctor_names_the_settings_that_forbid() {
    let none = Settings { most_namespaces: Some(0), ..ordinary() };
    let probe = user_namespaces(&failed(Stage::User, libc::ENOSPC), &none).remove(0);
    assert!(probe.remedy.unwrap().contains("max_user_namespaces"));
    let debian = Settings { clone_forbidden: true, ..ordinary() };
    let probe = user_namespaces(&failed(Stage::User, libc::EPERM), &debian).remove(0);
    assert!(probe.remedy.unwrap().contains("unprivileged_userns_clone"));
    let container = Settings { root: true, ..ordinary() };
    let probe = user_namespaces(&failed(Stage::User, libc::EPERM), &container).remove(0);
    assert!(probe.remedy.unwrap().contains("inside a container"));
    assert_eq!(overlay(&failed(Stage::Overlay, libc::EINVAL)).status, ProbeStatus::Broken);
    assert_eq!(
        user_namespaces(&failed(Stage::Overlay, libc::EINVAL), &ordinary())[0].status,
        ProbeStatus::Good
    );
}

#[test]
fn doctor_reads_kernel_releases() {
    for (release, status) in [
        ("6.18.44-fc", ProbeStatus::Good),
        ("5.15.0-generic", ProbeStatus::Good),
        ("5.12", ProbeStatus::Good),
        ("5.10.0-8-amd64", ProbeStatus::Weak),
        ("5.4.0", ProbeStatus::Broken),
        ("4.19.0", ProbeStatus::Broken),
        ("4.18.0-553.el8", ProbeStatus::Broken),
        ("", ProbeStatus::Broken),
    ] {
        assert_eq!(kernel(release).status, status, "{release}");
    }
}

#[test]
fn doctor_owners_and_limits_say_what_is_lost() {
    let ranged = Settings { newuidmap: true, range: true, ..ordinary() };
    // What is there and not used is no help, and is not said to be.
    let found = owners(&ranged, Err(String::new()));
    assert_eq!((found.status, found.detail.contains("not used yet")), (ProbeStatus::Weak, true));
    let found = owners(&ordinary(), Err(String::new()));
    assert_eq!((found.status, found.detail.contains("range")), (ProbeStatus::Weak, false));
    let none = Support { missing: vec!["no limit on memory can be set here".into()], ..Support::default() };
    assert_eq!(limits(&none).detail, "no limit on memory can be set here");
    assert_eq!(disk_limit(Some("only root can")).status, ProbeStatus::Weak);
}

#[tokio::test]
async fn doctor_looks_at_this_machine_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let cgroups = crate::native::cgroup::find::Cgroups::detect(None);
    let support = cgroups.support();
    let look = || Look { state: state.path(), limits: support, no_disks: None };
    let ran = probes(look(), || async { Ok(Duration::from_millis(3)) }).await;
    assert_eq!(ran[0].detail, "ran and ended with status 0 within 3.0 ms");
    for probe in &ran {
        assert!(!probe.detail.is_empty());
        assert!(
            probe.status == ProbeStatus::Good || probe.remedy.is_some() || probe.name == "overlay",
            "{probe:?}"
        );
    }
    let lost = probes(look(), || async { Err(SandboxError::Lost { cause: "x".into() }) }).await;
    assert_eq!(
        (lost[0].status, lost[0].detail.as_str()),
        (ProbeStatus::Broken, "did not run: the sandbox was lost: x")
    );
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}
