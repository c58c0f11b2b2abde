//! Cases: starting, ending, losing and finding sandboxes.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::context::{HEART, beating, is_lost, ok, put, refused, script, secs, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, GetOptions, ProcessSpec, ReapFilter, Sandbox, SandboxSpec, ViewSpec};

pub(super) const CASES: &[Case] = &[
    case!("destroy-twice", "destroying twice is destroying once", destroy_twice),
    case!("destroyed-is-lost", "whatever is asked of a destroyed sandbox is lost", destroyed_is_lost),
    case!("destroy-running", "a command whose sandbox is destroyed is never a success", destroy_running),
    case!("lost-is-no-status", "a command whose PID 1 died is lost, and so is what follows", lost),
    case!("drop-destroys", "dropping the last handle destroys", drop_destroys),
    case!("create-cancelled", "starting that was given up leaves nothing", create_cancelled),
    case!(alone "churn", "thirty sandboxes leave no mount, cgroup, descriptor or process", churn),
    case!("sandboxes-apart", "two sandboxes see neither files nor processes of each other", apart),
    case!("reap-spares-living", "reaping spares what has an owner", reap_spares),
    case!("reap-run", "reaping one run removes that run's, and asking only asks", reap_run),
    case!("reap-orphans", "what a dead owner left does not run, and is reaped", reap_orphans),
];

async fn destroy_twice(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "true").await?;
    for round in 1..=2 {
        if let Err(error) = sandbox.destroy().await {
            return Err(Failure(format!("round {round}: {error}")));
        }
    }
    Ok(())
}

async fn destroyed_is_lost(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    put(&*sandbox, "/tmp/file", b"x").await?;
    let view = sandbox.view(ViewSpec::default()).await;
    sandbox.destroy().await?;
    refused("exec", sandbox.exec(script("true")).await, is_lost)?;
    refused("put", sandbox.put("/tmp/x", crate::Source::Bytes(vec![]), Default::default()).await, is_lost)?;
    refused("get", sandbox.get("/tmp/file", &ctx.dir.join("to"), GetOptions::default()).await, is_lost)?;
    refused("read", sandbox.read("/tmp/file", 10).await, is_lost)?;
    refused("kill_all", sandbox.kill_all().await, is_lost)?;
    refused("freeze", sandbox.freeze(true).await, is_lost)?;
    refused("snapshot", sandbox.snapshot().await, is_lost)?;
    refused("changes", sandbox.changes(10).await, is_lost)?;
    refused("usage", sandbox.usage().await, is_lost)?;
    refused("view", sandbox.view(ViewSpec::default()).await, is_lost)?;
    if let Ok(view) = view {
        refused("exec in a view", view.exec(script("true")).await, is_lost)?;
    }
    Ok(())
}

async fn destroy_running(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let running = start_heart(&sandbox).await?;
    sandbox.destroy().await?;
    match timeout(secs(10), running).await {
        Ok(Ok(Err(error))) if is_lost(&error) => Ok(()),
        // Its death may have been seen before the sandbox's.
        Ok(Ok(Ok(result))) if result.exit == Exit::Signal(9) => Ok(()),
        other => Err(Failure(format!("the end of a running command: {other:?}"))),
    }
}

type Running = tokio::task::JoinHandle<Result<crate::ExecResult, crate::SandboxError>>;

async fn start_heart(sandbox: &std::sync::Arc<dyn Sandbox>) -> Result<Running, Failure> {
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.exec(script(HEART)).await }
    });
    beating(&**sandbox).await?;
    Ok(running)
}

async fn lost(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let marker = format!("conformance-{}", ctx.tag);
    ok(&*sandbox, &format!("sh -c 'exec 0</dev/null; sleep 40; : {marker}' > /dev/null 2>&1 &")).await?;
    let running = start_heart(&sandbox).await?;
    let pid = first_process(&marker).ok_or(Failure("PID 1 is not found from here".into()))?;
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Failure("no process id".into()))?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(std::io::Error::from)?;
    match timeout(secs(20), running).await {
        Ok(Ok(Err(error))) if is_lost(&error) => {}
        other => return Err(Failure(format!("the end of a running command: {other:?}"))),
    }
    match timeout(secs(20), sandbox.exec(script("true"))).await {
        Ok(result) => refused("the next command", result, is_lost)?,
        Err(_) => return Err(Failure("the next command hangs".into())),
    }
    sandbox.destroy().await?;
    Ok(())
}

/// PID 1, in the host's numbers, of the sandbox in which something runs whose command line holds the marker.
fn first_process(marker: &str) -> Option<i32> {
    let mut pid = processes(marker).into_iter().next()?;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let inner = field("NSpid:")?.split_whitespace().collect::<Vec<_>>();
        if inner.len() > 1 && inner.last() == Some(&"1") {
            return Some(pid);
        }
        pid = field("PPid:")?.parse().ok().filter(|parent| *parent > 1)?;
    }
}

/// Processes of this machine whose command line holds the marker; this one is not among them.
pub(super) fn processes(marker: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
        })
        .collect()
}

async fn drop_destroys(ctx: &Ctx) -> Result<(), Failure> {
    let marker = format!("conformance-{}", ctx.tag);
    // Not through `start`, which keeps a handle.
    let sandbox = ctx.backend.create(ctx.spec()).await?;
    ok(&*sandbox, &format!("setsid sh -c 'while sleep 0.1; do : {marker}; done' > /dev/null 2>&1 &")).await?;
    let until = Instant::now() + secs(8);
    while processes(&marker).is_empty() {
        ensure!(Instant::now() < until, "its process is not found from here");
        sleep(Duration::from_millis(50)).await;
    }
    drop(sandbox);
    gone(&marker).await?;
    Ok(())
}

async fn gone(marker: &str) -> Result<(), Failure> {
    let until = Instant::now() + secs(8);
    while !processes(marker).is_empty() {
        ensure!(Instant::now() < until, "its processes still run after eight seconds");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn create_cancelled(ctx: &Ctx) -> Result<(), Failure> {
    for micros in [0, 50, 200, 500, 1000, 2000, 4000, 8000, 16_000, 32_000] {
        let _ = timeout(Duration::from_micros(micros), ctx.backend.create(ctx.spec())).await;
    }
    let filter = || ReapFilter { run: Some(ctx.spec().labels.run), dry_run: true, ..ReapFilter::default() };
    let until = Instant::now() + secs(8);
    let mut empty = 0;
    // What was under way may take a moment to be undone, and where starting is slow a moment to be there at all.
    loop {
        let left = ctx.backend.reap(filter()).await?.sandboxes;
        empty = if left.is_empty() { empty + 1 } else { 0 };
        if empty > 8 {
            return Ok(());
        }
        ensure!(left.is_empty() || Instant::now() < until, "left behind: {left:?}");
        sleep(Duration::from_millis(250)).await;
    }
}

/// What a sandbox could leave on this machine.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    mounts: usize,
    cgroups: usize,
    descriptors: usize,
    children: usize,
}

impl Traces {
    fn within(&self, before: &Traces) -> bool {
        self.mounts <= before.mounts
            && self.cgroups <= before.cgroups
            && self.descriptors <= before.descriptors
            && self.children <= before.children
    }
}

fn traces() -> Result<Traces, Failure> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?.lines().count();
    let descriptors = fs::read_dir("/proc/self/fd")?.count();
    let mut cgroups = 0;
    let mut todo = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                cgroups += 1;
                todo.push(entry.path());
            }
        }
    }
    Ok(Traces { mounts, cgroups, descriptors, children: descendants(std::process::id()) })
}

fn descendants(root: u32) -> usize {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent =
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut family = BTreeSet::from([root]);
    while parents.iter().any(|(pid, parent)| family.contains(parent) && family.insert(*pid)) {}
    family.len()
}

async fn churn(ctx: &Ctx) -> Result<(), Failure> {
    let one = async || -> Result<(), Failure> {
        let sandbox = ctx.backend.create(ctx.spec()).await?;
        sh(&*sandbox, "echo > /tmp/x; sleep 20 > /dev/null 2>&1 &").await?;
        sandbox.destroy().await?;
        Ok(())
    };
    // The first ones may make things that stay: a helper, a pool of threads, a parent cgroup.
    for _ in 0..3 {
        one().await?;
    }
    let mut seen = Vec::new();
    // Others on this machine mount and start things too; what sandboxes leave would show in every round.
    for _ in 0..4 {
        let before = settled().await?;
        for _ in 0..30 {
            one().await?;
        }
        let after = settled().await?;
        if after.within(&before) {
            return Ok(());
        }
        seen.push((before, after));
    }
    Err(Failure(format!("thirty sandboxes leave something, each time: before and after {seen:?}")))
}

/// The traces, once two looks agree.
async fn settled() -> Result<Traces, Failure> {
    let mut last = traces()?;
    for _ in 0..20 {
        sleep(Duration::from_millis(200)).await;
        let next = traces()?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}

async fn apart(ctx: &Ctx) -> Result<(), Failure> {
    let (first, second) = (ctx.sandbox().await?, ctx.sandbox().await?);
    ok(&*first, "for f in /tmp /srv /dev/shm; do echo secret > $f/first-was-here; done").await?;
    let running = start_heart(&first).await?;
    let seen = ok(&*second, "ls /tmp /srv /dev/shm").await?;
    ensure!(!seen.contains("first-was-here"), "files are seen: {seen}");
    ok(&*second, "cat /proc/self/cmdline").await?;
    let seen = sh(&*second, "cat /proc/[0-9]*/cmdline | tr '\\000' ' '").await?;
    ensure!(!seen.stdout.text().contains("echo >> /tmp/beat"), "processes are seen: {}", seen.stdout.text());
    second.kill_all().await?;
    beating(&*first).await?;
    second.destroy().await?;
    beating(&*first).await?;
    running.abort();
    Ok(())
}

async fn reap_spares(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let running = start_heart(&sandbox).await?;
    let reaped = ctx.backend.reap(ReapFilter::default()).await?;
    ensure!(!reaped.sandboxes.iter().any(|id| id == sandbox.id()), "it was reaped: {reaped:?}");
    beating(&*sandbox).await?;
    running.abort();
    Ok(())
}

async fn reap_run(ctx: &Ctx) -> Result<(), Failure> {
    let named = |run: &str| {
        let mut spec = ctx.spec();
        spec.labels.run = format!("{run}-{}", ctx.tag);
        spec
    };
    let (mine, other) = (ctx.start(named("mine")).await?, ctx.start(named("other")).await?);
    let filter =
        |dry_run| ReapFilter { run: Some(named("mine").labels.run), dry_run, ..ReapFilter::default() };
    let asked = ctx.backend.reap(filter(true)).await?;
    ensure_eq!(asked.sandboxes, [mine.id().to_owned()], "what would be removed");
    ok(&*mine, "true").await?;
    let reaped = ctx.backend.reap(filter(false)).await?;
    ensure_eq!(reaped.sandboxes, [mine.id().to_owned()], "what was removed");
    refused("a command in what was reaped", mine.exec(script("true")).await, is_lost)?;
    ok(&*other, "true").await?;
    ensure_eq!(ctx.backend.reap(filter(true)).await?.sandboxes, [""; 0], "what is left");
    Ok(())
}

async fn reap_orphans(ctx: &Ctx) -> Result<(), Failure> {
    let Some(make) = &ctx.orphans else { return Err(Failure("no owner can be made to die here".into())) };
    let run = format!("orphan-{}", ctx.tag);
    let living: SandboxSpec = {
        let mut spec = ctx.spec();
        spec.labels.run = run.clone();
        spec
    };
    let living = ctx.start(living).await?;
    let id = make(run.clone()).await?;
    gone(&run).await?;
    let asked = ctx.backend.reap(ReapFilter { run: None, dry_run: true, ..ReapFilter::default() }).await?;
    let again = ctx.backend.reap(ReapFilter { run: None, dry_run: true, ..ReapFilter::default() }).await?;
    ensure_eq!(asked.sandboxes.contains(&id), again.sandboxes.contains(&id), "asking twice");
    ensure!(!asked.sandboxes.iter().any(|id| id == living.id()), "a living sandbox would be removed");
    let reaped = ctx.backend.reap(ReapFilter::default()).await?;
    ensure!(reaped.failed.is_empty(), "what resisted: {:?}", reaped.failed);
    ensure!(
        asked.sandboxes.contains(&id) || reaped.sandboxes.is_empty() || !reaped.sandboxes.contains(&id),
        "removed without having been named"
    );
    let left = ctx.backend.reap(ReapFilter { run: None, dry_run: true, ..ReapFilter::default() }).await?;
    ensure!(!left.sandboxes.contains(&id), "it is still there after reaping");
    // Its own label still finds the living one, and nothing else.
    let left =
        ctx.backend.reap(ReapFilter { run: Some(run), dry_run: true, ..ReapFilter::default() }).await?;
    ensure_eq!(left.sandboxes, [living.id().to_owned()], "what is left of the run");
    let spec = ExecSpec::new(ProcessSpec::new(["true"]));
    ensure_eq!(living.exec(spec).await?.exit, Exit::Code(0), "the living sandbox");
    Ok(())
}
