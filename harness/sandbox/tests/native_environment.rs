//! Environments: Dockerfiles over a root, folders and archives as roots.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support_native;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use harness_core::EnvironmentSource;
use harness_sandbox::{ChangeKind, ReadOnlyMount, RootFs, SandboxError};
use support_native::{needs_root, ok, open, plain, request, small_root, spec};

fn dockerfile(folder: &Path, text: &str) -> EnvironmentSource {
    std::fs::write(folder.join("Dockerfile"), text).unwrap();
    EnvironmentSource::Dockerfile { file: folder.join("Dockerfile"), context: folder.to_owned() }
}

const TEXT: &str = "FROM public/image:1\nENV GREETING=hello\nWORKDIR /work\nCOPY data.txt ./\n\
                    RUN echo $GREETING > made.txt && mkdir /run/place && echo shared > /usr/local/added\nRUN cat made.txt data.txt > both.txt\n\
                    ENV LATER=yes\n";

#[tokio::test]
async fn a_dockerfile_is_carried_out_once_and_stacked() {
    let Some(native) = open("a_dockerfile_is_carried_out_once_and_stacked", RootFs::Host).await else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data.txt"), "data\n").unwrap();
    let request = request(dockerfile(folder.path(), TEXT));
    let told = Arc::new(Mutex::new(Vec::<String>::new()));
    let progress = {
        let told = Arc::clone(&told);
        Arc::new(move |line: &str| told.lock().unwrap().push(line.to_owned()))
    };
    let image = native.backend.prepare(&request, progress.clone()).await.unwrap();
    let sandbox = native.backend.create(spec(&image)).await.unwrap();
    assert_eq!(
        ok(&*sandbox, "pwd; cat both.txt /usr/local/added; ls -d /run/place; echo $GREETING $LATER").await,
        "/work\nhello\ndata\nshared\n/run/place\nhello yes\n"
    );
    // What the image has is no change; what is done to it is one.
    ok(&*sandbox, "echo more >> both.txt; rm /usr/local/added").await;
    let changes: Vec<(String, ChangeKind)> = sandbox
        .changes(100)
        .await
        .unwrap()
        .into_iter()
        .map(|change| (String::from_utf8(change.path).unwrap(), change.kind))
        .collect();
    assert_eq!(
        changes,
        [
            ("/usr/local/added".to_owned(), ChangeKind::Deleted),
            ("/work/both.txt".to_owned(), ChangeKind::Modified)
        ]
    );
    told.lock().unwrap().clear();
    let again = native.backend.prepare(&request, progress).await.unwrap();
    assert_eq!(again.digest, image.digest);
    let told = told.lock().unwrap().clone();
    assert!(told.iter().all(|line| line.starts_with("have ")), "{told:?}");
}

#[tokio::test]
async fn a_step_that_fails_is_the_tasks_fault_and_named() {
    let Some(native) = open("a_step_that_fails_is_the_tasks_fault_and_named", RootFs::Host).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let request = request(dockerfile(folder.path(), "FROM x\nRUN echo why; exit 3\n"));
    match native.backend.prepare(&request, Arc::new(|_| {})).await.map(|image| image.name.clone()) {
        Err(SandboxError::Environment { message, log }) => {
            assert!(message.contains("line 2") && message.contains('3'), "{message}");
            assert!(log.contains("why"), "{log}");
        }
        other => panic!("{other:?}"),
    }
    let unknown = support_native::request(dockerfile(folder.path(), "FROM x\nVOLUME /x\nONBUILD RUN true\n"));
    assert!(matches!(native.backend.admit(&unknown), Err(SandboxError::Environment { .. })));
}

#[tokio::test]
async fn a_folder_and_an_archive_of_it_are_roots() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    small_root(&root);
    let archive = folder.path().join("root.tar");
    assert!(
        Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap()
            .success()
    );
    for rootfs in [RootFs::Dir(root.clone()), RootFs::Tar(archive)] {
        let Some(native) = open("a_folder_and_an_archive_of_it_are_roots", rootfs.clone()).await else {
            return;
        };
        let image = native.image(&plain()).await;
        let sandbox = native.backend.create(spec(&image)).await.unwrap();
        assert_eq!(
            ok(&*sandbox, "ls /; echo x > /etc/passwd; mkdir /new; rm /bin/true; id -u").await.lines().last(),
            Some("0"),
            "{rootfs:?}"
        );
        let next = native.backend.create(spec(&image)).await.unwrap();
        assert_eq!(
            ok(&*next, "ls -d /new 2> /dev/null; /bin/true; cat /etc/passwd").await.lines().next(),
            Some("root:x:0:0::/root:/bin/sh")
        );
    }
    assert!(root.join("bin/true").exists() && !root.join("new").exists());
}

#[tokio::test]
async fn a_device_node_in_a_root_opens_nothing() {
    let test = "a_device_node_in_a_root_opens_nothing";
    if !needs_root(test) {
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    small_root(&root);
    let node = root.join("kmsg");
    let made = Command::new("mknod").arg(&node).args(["c", "1", "11"]).status().unwrap();
    assert!(made.success() && std::fs::File::open(&node).is_ok(), "the node works on the host");
    let Some(native) = open(test, RootFs::Dir(root)).await else { return };
    let image = native.image(&plain()).await;
    let sandbox = native.backend.create(spec(&image)).await.unwrap();
    let text = "ls -l /kmsg; cat /kmsg 2> /dev/null || echo refused; echo > /dev/null && echo taken";
    let seen = ok(&*sandbox, text).await;
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines[0].starts_with('c') && lines[1..] == ["refused", "taken"], "{seen}");
}

#[tokio::test]
async fn owners_inside_are_real_for_root_and_files_on_the_host_are_untouched() {
    let test = "owners_inside_are_real_for_root_and_files_on_the_host_are_untouched";
    if !needs_root(test) {
        return;
    }
    let Some(native) = open(test, RootFs::Host).await else { return };
    let sandbox = native.sandbox().await;
    assert_eq!(
        ok(&*sandbox, "stat -c %u:%g /usr/bin/env; touch /srv/f; chown 12:34 /srv/f; stat -c %u:%g /srv/f; touch /usr/bin/new; cat /proc/self/uid_map").await
            .split_whitespace().collect::<Vec<_>>(),
        ["0:0", "12:34", "0", "1879048192", "65536"]
    );
    assert!(!Path::new("/usr/bin/new").exists());
}

#[tokio::test]
async fn a_mounted_folder_can_be_read_and_not_written() {
    let Some(native) = open("a_mounted_folder_can_be_read_and_not_written", RootFs::Host).await else {
        return;
    };
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("tool"), "tool\n").unwrap();
    let image = native.image(&plain()).await;
    let mounts = vec![ReadOnlyMount { host: folder.path().to_owned(), at: "/opt/agent/tools".into() }];
    let sandbox =
        native.backend.create(harness_sandbox::SandboxSpec { mounts, ..spec(&image) }).await.unwrap();
    let text = "cat /opt/agent/tools/tool; { echo x > /opt/agent/tools/tool; } 2> /dev/null || echo refused; \
                grep -c /var/tmp /proc/self/mountinfo";
    let seen = support_native::sh_as(&*sandbox, None, text).await.stdout.text();
    assert!(seen.starts_with("tool\nrefused\n"), "{seen}");
    assert_eq!(sandbox.changes(10).await.unwrap(), [], "mount points are no changes");
}
