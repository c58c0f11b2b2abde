//! A host made up for the test, and this very machine.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn write(root: &Path, name: &str, mode: u32) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, name).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn host() -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    for name in
        ["usr/bin/sh", "usr/lib/libc.so", "usr/local/bin/tool", "usr/local/etc/npmrc", "var/lib/dpkg/status"]
    {
        write(root, name, 0o644);
    }
    write(root, "var/lib/dpkg/statoverride", 0o644);
    write(root, "usr/local/share/app/data/deep/key", 0o600);
    write(root, "usr/share/rules/x", 0o644);
    fs::set_permissions(root.join("usr/share/rules"), fs::Permissions::from_mode(0o700)).unwrap();
    write(root, "usr/local/state/runs/x", 0o644);
    write(root, "sbin/init", 0o755);
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    host
}

fn view(root: &Path) -> HostView {
    HostView {
        root: root.to_path_buf(),
        path: vec![root.join("usr/local/bin"), root.join("usr/bin")],
        hidden: vec![root.join("usr/local/state"), root.join("elsewhere")],
        env: BTreeMap::new(),
    }
}

fn masked(plan: &HostRoot, at: &str) -> Vec<String> {
    let shown = plan.overlays.iter().find(|shown| shown.at == Path::new(at)).unwrap();
    shown.masked.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn hostroot_masks_what_is_hidden_or_not_for_everyone() {
    let host = host();
    let plan = plan(&view(host.path())).unwrap();
    assert_eq!(
        masked(&plan, "/usr"),
        ["local/etc", "local/share/app/data/deep/key", "local/state", "share/rules"]
    );
    assert_eq!(masked(&plan, "/var/lib/dpkg"), ["statoverride"]);
    assert_eq!(plan.skeleton.get("bin"), Some(&Entry::Link("usr/bin".into())));
    assert_eq!(plan.skeleton.get("tmp"), Some(&Entry::Folder(0o1777)));
    assert!(plan.overlays.iter().any(|shown| shown.at == Path::new("/sbin")), "an unmerged folder");
    assert!(plan.path.starts_with("/usr/local/bin:/usr/bin:"), "{}", plan.path);
    for shown in plan.overlays.iter().chain(&plan.binds) {
        assert!(matches!(plan.skeleton.get(&shown.at), Some(Entry::Folder(_))), "{}", shown.at.display());
    }
}

#[test]
fn hostroot_refuses_when_the_system_itself_is_hidden() {
    let host = host();
    let mut view = view(host.path());
    view.hidden = vec![host.path().join("usr")];
    assert!(plan(&view).unwrap_err().to_string().contains("must be hidden"));
}

#[test]
fn hostroot_digest_follows_the_package_records() {
    let host = host();
    let before = plan(&view(host.path())).unwrap().digest;
    assert_eq!(plan(&view(host.path())).unwrap().digest, before);
    fs::write(host.path().join("var/lib/dpkg/status"), "another package").unwrap();
    let after = plan(&view(host.path())).unwrap().digest;
    assert_ne!(after, before);
    write(host.path(), "usr/bin/new", 0o755);
    assert_ne!(plan(&view(host.path())).unwrap().digest, after);
}

#[test]
fn hostroot_of_this_machine_shows_programs_and_nobodys_home() {
    let begun = std::time::Instant::now();
    let plan = plan(&HostView::here(vec![])).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "took {:?}", begun.elapsed());
    assert!(plan.overlays.iter().any(|shown| shown.at == Path::new("/usr")));
    let homes = homes(Path::new("/"), &HostView::here(vec![]).env);
    for shown in plan.overlays.iter().chain(&plan.binds) {
        assert!(!homes.iter().any(|home| home.starts_with(&shown.host)), "{shown:?}");
        assert!(!shown.host.join(".ssh").exists());
    }
    let Some(Entry::File(_, passwd)) = plan.skeleton.get("etc/passwd") else { panic!("no accounts") };
    assert!(passwd.starts_with(b"root:x:0:0"));
    let entries: Vec<&str> = plan.path.split(':').collect();
    assert!(entries.contains(&"/usr/bin") && entries.contains(&"/bin"), "{entries:?}");
}
