//! Cases: what became of the file system, fixing it, and what was used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::{HEART, beating, is_too_large, ok, refused, script, sh, silent};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ChangeKind, Exit, FileType, Sandbox, SandboxSpec, Snapshot};

pub(super) const CASES: &[Case] = &[
    case!("changes-none", "an untouched sandbox has no changes", changes_none),
    case!("changes-kinds", "what was added, modified, deleted or replaced is listed, sorted", changes_kinds),
    case!("changes-limit", "a list that is too long is refused", changes_limit),
    case!("snapshot-state", "a new sandbox begins with the state of the old one", snapshot_state),
    case!("snapshot-apart", "sandboxes that begin with one state do not change it", snapshot_apart),
    case!("snapshot-stable", "a snapshot is taken of something that stands still", snapshot_stable),
    case!("snapshot-outlives", "a snapshot outlives its sandbox", snapshot_outlives),
    case!("snapshot-again", "a snapshot can be taken of what began with one", snapshot_again),
    case!("snapshot-ends", "a sandbox accepts no commands after its snapshot", snapshot_ends),
    case!("usage", "processor time and peak memory are plausible", usage),
    case!("usage-disk", "written bytes are counted while they are there", usage_disk),
];

async fn changes_none(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ensure_eq!(sandbox.changes(100).await?, [], "changes before the first command");
    ok(&*sandbox, "cat /etc/passwd; ls /; true").await?;
    ensure_eq!(sandbox.changes(100).await?, [], "changes after reading");
    Ok(())
}

/// A state with every kind of change, below two folders that the first command makes.
const CHANGE: &str = "cd /etc; echo more >> passwd; rm group; mkdir -p /srv/new/deep; echo 12345 > /srv/new/deep/file; \
                      ln -s target /srv/new/link; chmod 600 /srv/new/deep/file";

async fn changes_kinds(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "test -f /etc/passwd && test -f /etc/group").await?;
    ok(&*sandbox, CHANGE).await?;
    let changes = sandbox.changes(10_000).await?;
    let paths: Vec<&[u8]> = changes.iter().map(|change| &change.path[..]).collect();
    ensure!(paths.is_sorted(), "the list is not sorted: {changes:?}");
    let found: BTreeMap<&[u8], _> = changes
        .iter()
        .map(|change| (&change.path[..], (change.kind, change.file_type, change.size)))
        .collect();
    for (path, kind, file_type) in [
        ("/etc/passwd", ChangeKind::Modified, Some(FileType::File)),
        ("/etc/group", ChangeKind::Deleted, None),
        ("/srv/new", ChangeKind::Added, Some(FileType::Folder)),
        ("/srv/new/deep/file", ChangeKind::Added, Some(FileType::File)),
        ("/srv/new/link", ChangeKind::Added, Some(FileType::Link)),
    ] {
        let change = found.get(path.as_bytes()).map(|(kind, file_type, _)| (*kind, *file_type));
        ensure_eq!(change, Some((kind, file_type)), "{path} in {changes:?}");
    }
    ensure_eq!(found.get(&b"/srv/new/deep/file"[..]).map(|change| change.2), Some(6), "a size");
    ok(&*sandbox, "rm /etc/passwd; mkdir /etc/passwd; rm -r /srv/new").await?;
    let changes = sandbox.changes(10_000).await?;
    let passwd = changes.iter().find(|change| change.path == b"/etc/passwd");
    let passwd = passwd.map(|change| (change.kind, change.file_type));
    ensure_eq!(passwd, Some((ChangeKind::Modified, Some(FileType::Folder))), "a file that became a folder");
    ensure!(
        !changes.iter().any(|change| change.path.starts_with(b"/srv/new")),
        "what came and went is listed"
    );
    Ok(())
}

async fn changes_limit(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir /srv/many; cd /srv/many; for i in $(seq 50); do : > $i; done").await?;
    refused("a list of 51", sandbox.changes(40).await, is_too_large)?;
    ensure!(sandbox.changes(1000).await?.len() >= 50, "too few changes");
    Ok(())
}

async fn from(ctx: &Ctx, snapshot: &Arc<Snapshot>) -> Result<Arc<dyn Sandbox>, Failure> {
    ctx.start(SandboxSpec { snapshot: Some(snapshot.clone()), ..ctx.spec() }).await
}

async fn snapshot_state(ctx: &Ctx) -> Result<(), Failure> {
    let first = ctx.sandbox().await?;
    ok(&*first, CHANGE).await?;
    let before = first.changes(1000).await?;
    let second = from(ctx, &first.snapshot().await?).await?;
    let text =
        "tail -n 1 /etc/passwd; test -e /etc/group; echo $?; cat /srv/new/deep/file; readlink /srv/new/link";
    ensure_eq!(ok(&*second, text).await?, "more\n1\n12345\ntarget\n", "the state");
    ensure_eq!(second.changes(1000).await?, before, "changes of the new sandbox against the image");
    Ok(())
}

async fn snapshot_apart(ctx: &Ctx) -> Result<(), Failure> {
    let first = ctx.sandbox().await?;
    ok(&*first, "mkdir /srv/d; echo kept > /srv/d/a; echo kept > /srv/d/b").await?;
    let snapshot = first.snapshot().await?;
    let second = from(ctx, &snapshot).await?;
    ok(&*second, "echo changed > /srv/d/a; rm /srv/d/b; echo new > /srv/d/c").await?;
    let third = from(ctx, &snapshot).await?;
    ensure_eq!(ok(&*third, "cd /srv/d; ls; cat a b").await?, "a\nb\nkept\nkept\n", "the third sandbox");
    let fresh = ctx.sandbox().await?;
    ensure_eq!(ok(&*fresh, "test -e /srv/d; echo $?").await?, "1\n", "the image");
    Ok(())
}

async fn snapshot_stable(ctx: &Ctx) -> Result<(), Failure> {
    let first = ctx.sandbox().await?;
    ok(
        &*first,
        &format!("(trap '' TERM; {HEART}) > /dev/null 2>&1 & setsid sh -c '{HEART}' > /dev/null 2>&1 &"),
    )
    .await?;
    beating(&*first).await?;
    let snapshot = first.snapshot().await?;
    let second = from(ctx, &snapshot).await?;
    silent(&*second).await?;
    let third = from(ctx, &snapshot).await?;
    let (second, third) =
        (ok(&*second, "cat /tmp/beat | wc -l").await?, ok(&*third, "cat /tmp/beat | wc -l").await?);
    ensure_eq!(second, third, "two looks at one snapshot, 0.7 s apart");
    Ok(())
}

async fn snapshot_outlives(ctx: &Ctx) -> Result<(), Failure> {
    let first = ctx.sandbox().await?;
    ok(&*first, "echo kept > /srv/file").await?;
    let snapshot = first.snapshot().await?;
    first.destroy().await?;
    drop(first);
    let second = from(ctx, &snapshot).await?;
    drop(snapshot);
    ensure_eq!(ok(&*second, "cat /srv/file").await?, "kept\n", "its content");
    Ok(())
}

async fn snapshot_again(ctx: &Ctx) -> Result<(), Failure> {
    let first = ctx.sandbox().await?;
    ok(&*first, "mkdir /srv/d; echo 1 > /srv/d/a; echo 1 > /srv/d/b; echo 1 > /srv/d/c").await?;
    let second = from(ctx, &first.snapshot().await?).await?;
    ok(&*second, "echo 2 > /srv/d/b; rm /srv/d/c; echo 2 > /srv/d/d").await?;
    let third = from(ctx, &second.snapshot().await?).await?;
    ensure_eq!(ok(&*third, "cd /srv/d; ls; cat *").await?, "a\nb\nd\n1\n2\n2\n", "the third state");
    ok(&*third, "rm -r /srv/d; mkdir /srv/d").await?;
    let fourth = from(ctx, &third.snapshot().await?).await?;
    ensure_eq!(ok(&*fourth, "ls /srv/d").await?, "", "a folder that was made anew");
    Ok(())
}

async fn snapshot_ends(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let _kept = sandbox.snapshot().await?;
    refused("a command after the snapshot", sandbox.exec(script("true")).await, |_| true)
}

async fn usage(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let before = sandbox.usage().await?;
    // `tail` keeps what it was asked for in memory; the loop burns time of which the shell tells how much.
    ok(&*sandbox, "head -c 60000000 /dev/zero | tail -c 60000000 > /dev/null").await?;
    let text = ok(&*sandbox, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; times").await?;
    let burnt = own_time(&text).ok_or_else(|| Failure(format!("what `times` says: {text:?}")))?;
    let after = sandbox.usage().await?;
    let (Some(cpu_before), Some(cpu)) = (before.cpu, after.cpu) else {
        return Err(Failure(format!("processor time is not known: {after:?}")));
    };
    let grown = cpu.saturating_sub(cpu_before);
    ensure!(
        grown + Duration::from_millis(30) >= burnt,
        "{grown:?} counted, {burnt:?} burnt by one process alone"
    );
    ensure!(grown < burnt * 4 + Duration::from_secs(3), "{grown:?} counted, {burnt:?} burnt");
    let peak = after.peak_memory_bytes.ok_or(Failure("peak memory is not known".into()))?;
    ensure!((55 << 20..2 << 30).contains(&peak), "a peak of {peak} bytes after 60 MB were held");
    let end = sandbox.destroy().await?;
    ensure!(
        end.cpu >= after.cpu && end.peak_memory_bytes >= Some(peak),
        "the last word is {end:?} after {after:?}"
    );
    Ok(())
}

/// User and system time of a shell itself, from the first line of `times`.
fn own_time(text: &str) -> Option<Duration> {
    let line = text.lines().next()?;
    line.split_whitespace()
        .map(|field| {
            let (minutes, seconds) = field.trim_end_matches('s').split_once('m')?;
            Duration::try_from_secs_f64(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
                .ok()
        })
        .sum()
}

async fn usage_disk(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "head -c 20000000 /dev/urandom > /srv/file").await?;
    let used = sandbox.usage().await?.disk_bytes.ok_or(Failure("not known".into()))?;
    ensure!((19_000_000..30_000_000).contains(&used), "{used} bytes after 20 MB were written");
    ensure_eq!(sh(&*sandbox, "rm /srv/file").await?.exit, Exit::Code(0), "rm");
    let used = sandbox.usage().await?.disk_bytes.ok_or(Failure("not known".into()))?;
    ensure!(used < 10_000_000, "{used} bytes after they were removed");
    Ok(())
}
