//! Cases: what is out of reach from inside.

use std::fs;

use super::context::{ok, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{Exit, ReadOnlyMount, SandboxSpec};

pub(super) const CASES: &[Case] = &[
    case!("pid1-unkillable", "PID 1 cannot be killed from inside", unkillable),
    case!(
        "pid1-unreadable",
        "PID 1's program, memory, variables and root cannot be read from inside",
        unreadable
    ),
    case!("host-unwritable", "nothing that is written inside appears on the host", unwritable),
    case!("host-unreadable", "folders of the host are not seen inside", host_unreadable),
    case!("mount-read-only", "a folder that was given is read, and cannot be changed", mount),
];

async fn unkillable(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "test -d /proc/1").await?;
    for signal in ["TERM", "KILL", "STOP", "INT", "SEGV", "HUP", "USR1"] {
        sh(&*sandbox, &format!("kill -{signal} 1")).await?;
        ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "a command after kill -{signal} 1");
    }
    sh(&*sandbox, "trap '' TERM KILL; kill -TERM -1; exit 0").await?;
    ensure_eq!(ok(&*sandbox, "echo on").await?, "on\n", "a command after kill -TERM -1");
    Ok(())
}

async fn unreadable(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // The same looks at itself work, so that what fails below is refused and not missing.
    ok(
        &*sandbox,
        "cat /proc/self/exe > /dev/null; test -n \"$(cat /proc/self/maps)\" && ls /proc/self/root/ /proc/1/",
    )
    .await?;
    for text in [
        "cat /proc/1/exe",
        "cat /proc/1/environ",
        "head -c 1 /proc/1/mem",
        "ls /proc/1/root/",
        "ls /proc/1/cwd/",
        "ls /proc/1/fd/",
        "cat /proc/1/maps",
        "head -c 1 /proc/1/map_files/*",
        "echo 1 > /proc/1/oom_score_adj",
    ] {
        let result = sh(&*sandbox, text).await?;
        // `environ` and `maps` of a stranger may be empty files instead of refused ones.
        let empty = result.stdout.total == 0 && text.starts_with("cat");
        ensure!(result.exit != Exit::Code(0) || empty, "{text}: {:?}", result.stdout.text());
    }
    Ok(())
}

async fn unwritable(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let name = format!("conformance-{}", ctx.tag);
    // Every folder where something is mounted, and every one at the top.
    let text = format!(
        "for d in / /*/ $(cut -d ' ' -f 2 /proc/mounts) $(cut -d ' ' -f 5 /proc/self/mountinfo); do \
           touch \"$d/{name}\" && echo \"$d\"; done 2> /dev/null; exit 0"
    );
    let written = ok(&*sandbox, &text).await?;
    ensure!(
        written.lines().any(|folder| folder == "/tmp" || folder == "/tmp/"),
        "not even /tmp is writable: {written}"
    );
    for folder in written.lines() {
        ensure!(
            fs::symlink_metadata(format!("{folder}/{name}")).is_err(),
            "{folder} of the host was written to"
        );
    }
    Ok(())
}

async fn host_unreadable(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    fs::write(ctx.dir.join("canary"), "canary")?;
    let here = std::env::current_exe()?;
    let here = here.parent().unwrap_or(&here).display();
    let result = sh(&*sandbox, &format!("cat {}/canary; ls {here}/", ctx.dir.display())).await?;
    ensure_eq!(
        result.stdout.text(),
        "",
        "a temporary folder of the host, and the one that this program lies in"
    );
    Ok(())
}

async fn mount(ctx: &Ctx) -> Result<(), Failure> {
    let host = ctx.dir.join("tools");
    fs::create_dir(&host)?;
    fs::write(host.join("tool"), "#!/bin/sh\necho from the host\n")?;
    fs::set_permissions(host.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mounts = vec![ReadOnlyMount { host: host.clone(), at: "/opt/tools".into() }];
    let sandbox = ctx.start(SandboxSpec { mounts, ..ctx.spec() }).await?;
    ensure_eq!(ok(&*sandbox, "/opt/tools/tool").await?, "from the host\n", "the tool");
    sh(&*sandbox, "echo changed > /opt/tools/tool; echo new > /opt/tools/new; chmod 777 /opt/tools/tool; mount -o remount,rw /opt/tools; echo changed > /opt/tools/tool; umount /opt/tools").await?;
    ensure_eq!(fs::read_to_string(host.join("tool"))?, "#!/bin/sh\necho from the host\n", "the host's file");
    ensure_eq!(fs::read_dir(&host)?.count(), 1, "files on the host");
    ensure_eq!(ok(&*sandbox, "/opt/tools/tool").await?, "from the host\n", "the tool afterwards");
    Ok(())
}
