//! Containers of every engine that answers: images of all kinds, names that are taken, starting ahead of need, many at once,
//! and two harnesses on one engine.

mod support;
mod support_engine;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::{Limits, NetworkMode};
use harness_sandbox::{
    Backend, ChangeKind, ExecSpec, Exit, Labels, Place, ProbeStatus, ProcessSpec, ReapFilter, SandboxError,
    SandboxSpec, ViewSpec,
};
use libtest_mimic::{Failed, Trial};
use support_engine::{Engine, engines};

type Check = fn(Engine) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;

/// The checks, by name.
macro_rules! checks {
    ($($name:ident)*) => { &[$((stringify!($name), |engine| Box::pin($name(engine)))),*] };
}

const CHECKS: &[(&str, Check)] = checks!(
    doctor_really_runs_a_container
    an_image_with_a_broken_entrypoint_a_user_volumes_and_a_healthcheck_works
    an_image_of_one_program_without_a_shell_or_accounts_works
    an_image_whose_folders_are_read_only_works
    an_image_for_another_architecture_is_refused_by_name
    a_container_started_ahead_is_given_once_and_to_its_own_run_only
    what_nobody_asked_for_goes_with_its_run
    two_harnesses_on_one_engine_leave_each_other_alone
    sixty_four_sandboxes_at_once
    nothing_of_ours_is_seen_inside
    the_images_working_folder_is_there_though_nothing_was_put_into_it
    an_image_of_many_layers_has_its_programs_put_back_in_a_view
);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let (found, exit) = runtime.block_on(engines("engine_containers"));
    let mut tests = Vec::new();
    for engine in found {
        for (name, check) in CHECKS {
            let (engine, runtime) = (engine.clone(), runtime.handle().clone());
            tests.push(Trial::test(format!("{}::{name}", engine.name), move || {
                runtime.block_on(async move {
                    let bounded = tokio::time::timeout(Duration::from_secs(300), check(engine)).await;
                    bounded.unwrap_or_else(|_| Err("not done after five minutes".into()))
                })
            }));
        }
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(3);
    let ran = libtest_mimic::run(&arguments, tests).exit_code();
    if exit == ExitCode::SUCCESS { ran } else { exit }
}

fn spec(image: &Arc<harness_sandbox::Image>, run: &str) -> SandboxSpec {
    SandboxSpec {
        labels: Labels { run: run.into(), trial: "trial".into(), role: "agent".into() },
        image: Arc::clone(image),
        snapshot: None,
        limits: Limits::default(),
        network: NetworkMode::None,
        mounts: Vec::new(),
    }
}

async fn sh(place: &dyn Place, text: &str) -> Result<(Exit, String), SandboxError> {
    exec(place, ProcessSpec::shell(text)).await
}

async fn exec(place: &dyn Place, process: ProcessSpec) -> Result<(Exit, String), SandboxError> {
    let process = ProcessSpec { deadline: Some(Duration::from_secs(60)), ..process };
    let result = place.exec(ExecSpec::new(process)).await?;
    Ok((result.exit, result.stdout.text() + &result.stderr.text()))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), Failed> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} instead of {wanted:?}").into()) }
}

async fn doctor_really_runs_a_container(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let probes = backend.doctor().await;
    let broken: Vec<_> = probes.iter().filter(|probe| probe.status == ProbeStatus::Broken).collect();
    same("what is broken", broken.len(), 0).map_err(|error| format!("{error:?}: {broken:?}"))?;
    let first = probes.first().ok_or("no probes")?;
    same("the first probe", (first.status, first.detail.contains("status 0")), (ProbeStatus::Good, true))
}

async fn an_image_with_a_broken_entrypoint_a_user_volumes_and_a_healthcheck_works(
    engine: Engine,
) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let text = format!(
        "FROM {}\nRUN mkdir -p /data/sub && echo kept > /data/sub/file && chown -R 4321 /data\n\
         USER 4321:4321\nWORKDIR /data/sub\nVOLUME /data\nVOLUME [\"/data/sub\", \"/new/volume\"]\nENV COLOUR=green\n\
         STOPSIGNAL SIGUSR1\nHEALTHCHECK CMD exit 1\nENTRYPOINT [\"/nonexistent\"]\nCMD [\"nor\", \"this\"]\n",
        engine.image
    );
    let image = engine.build(&*backend, &text).await?;
    let sandbox = backend.create(spec(&image, "odd")).await?;
    let (exit, said) = sh(&*sandbox, "id -u; pwd; cat file; echo $COLOUR; echo more > new").await?;
    same("a command of the image's user", (exit, &*said), (Exit::Code(0), "4321\n/data/sub\nkept\ngreen\n"))?;
    // What is in a volume of the image's is in the sandbox like anything else: listed, and part of a snapshot.
    let changes = sandbox.changes(1000).await?;
    let new = changes.iter().find(|change| change.path == b"/data/sub/new").map(|change| change.kind);
    same("a file in a volume, in the list of changes", new, Some(ChangeKind::Added))?;
    let root = ProcessSpec { user: Some("root".into()), ..ProcessSpec::shell("id -u; test -d /new/volume") };
    same("a command of root's", exec(&*sandbox, root).await?, (Exit::Code(0), "0\n".to_owned()))?;
    let later = SandboxSpec { snapshot: Some(sandbox.snapshot().await?), ..spec(&image, "odd") };
    let later = backend.create(later).await?;
    same("the file after a snapshot", sh(&*later, "cat new").await?, (Exit::Code(0), "more\n".to_owned()))?;
    let view = later.view(ViewSpec { private: vec!["/data".into()], ..ViewSpec::default() }).await?;
    let root = ProcessSpec { cwd: Some("/".into()), ..ProcessSpec::shell("ls -A /data") };
    same("a volume's folder made private", exec(&*view, root).await?, (Exit::Code(0), String::new()))?;
    sandbox.destroy().await?;
    later.destroy().await?;
    Ok(())
}

/// Ends with status 42; 132 bytes for x86_64, else nothing.
fn tiny_program() -> Option<Vec<u8>> {
    let code: &[u8] = if cfg!(target_arch = "x86_64") {
        // mov eax, 60; mov edi, 42; syscall
        &[0xb8, 60, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05]
    } else {
        return None;
    };
    let base: u64 = 0x40_0000;
    let size = 120 + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for (value, width) in [
        (2, 2),
        (62, 2),
        (1, 4),
        (base + 120, 8),
        (64, 8),
        (0, 8),
        (0, 4),
        (64, 2),
        (56, 2),
        (1, 2),
        (64, 2),
        (0, 2),
        (0, 2),
        // The one segment.
        (1, 4),
        (5, 4),
        (0, 8),
        (base, 8),
        (base, 8),
        (size, 8),
        (size, 8),
        (4096, 8_usize),
    ] {
        file.extend_from_slice(&u64::to_le_bytes(value)[..width]);
    }
    file.extend_from_slice(code);
    Some(file)
}

async fn an_image_of_one_program_without_a_shell_or_accounts_works(engine: Engine) -> Result<(), Failed> {
    let Some(program) = tiny_program() else { return Ok(()) };
    let backend = engine.open().await?;
    let files = [("tiny", &program[..])];
    let image = engine.build_with(&*backend, "FROM scratch\nCOPY --chmod=755 tiny /tiny\n", &files).await;
    let image = match image {
        Ok(image) => image,
        // Builders without `--chmod` keep the host's bits.
        Err(_) => engine.build_with(&*backend, "FROM scratch\nCOPY tiny /tiny\n", &files).await?,
    };
    let sandbox = backend.create(spec(&image, "tiny")).await?;
    same("its only program", exec(&*sandbox, ProcessSpec::new(["/tiny"])).await?.0, Exit::Code(42))?;
    let user = ProcessSpec { user: Some("77:78".into()), ..ProcessSpec::new(["/tiny"]) };
    same("the same as somebody", exec(&*sandbox, user).await?.0, Exit::Code(42))?;
    same("what differs before anything was written", sandbox.changes(100).await?, vec![])?;
    let missing = exec(&*sandbox, ProcessSpec::shell("true")).await;
    same("a shell that is not there", matches!(missing, Err(SandboxError::Inside { .. })), true)?;
    sandbox.put("/deep/file", harness_sandbox::Source::Bytes(b"x".to_vec()), Default::default()).await?;
    same("a file", sandbox.read("/deep/file", 10).await?, Some(b"x".to_vec()))?;
    let view = sandbox.view(ViewSpec { private: vec!["/tests".into()], ..ViewSpec::default() }).await?;
    same("the program in a view", exec(&*view, ProcessSpec::new(["/tiny"])).await?.0, Exit::Code(42))?;
    sandbox.destroy().await?;
    Ok(())
}

async fn an_image_whose_folders_are_read_only_works(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let text = format!(
        "FROM {}\nRUN chmod 0555 / /tmp /etc /dev /root && chmod 0444 /etc/hosts || true\n",
        engine.image
    );
    let image = engine.build(&*backend, &text).await?;
    let sandbox = backend.create(spec(&image, "read-only")).await?;
    same("a command", sh(&*sandbox, "echo on; touch /tmp/x /x").await?, (Exit::Code(0), "on\n".to_owned()))?;
    let somebody =
        ProcessSpec { user: Some("77".into()), cwd: Some("/".into()), ..ProcessSpec::shell("touch /tmp/y") };
    same("somebody's writing", exec(&*sandbox, somebody).await?.0 == Exit::Code(0), false)?;
    sandbox.destroy().await?;
    Ok(())
}

async fn an_image_for_another_architecture_is_refused_by_name(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    let name = engine.foreign_image(other).await?;
    let refused = engine.prepare(&*backend, &name).await;
    engine.forget_image(&name).await;
    match refused {
        Err(SandboxError::Unsupported { what, .. }) if what.contains(other) && what.contains(&name) => Ok(()),
        Err(error) => Err(format!("refused in the wrong way: {error:?}").into()),
        Ok(_) => Err("it was not refused".into()),
    }
}

async fn a_container_started_ahead_is_given_once_and_to_its_own_run_only(
    engine: Engine,
) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let image = engine.prepare(&*backend, &engine.image).await?;
    let ours = spec(&image, &engine.unique("ahead"));
    let theirs = spec(&image, &engine.unique("others"));
    backend.expect(&ours);
    let waiting = until_listed(&*backend, &ours.labels.run, 1).await?;
    // Ready, and not only made.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let other = backend.create(theirs.clone()).await?;
    same("another run's", waiting.contains(other.id()), false)?;
    let smaller = SandboxSpec { limits: Limits { pids: Some(99), ..Limits::default() }, ..ours.clone() };
    let smaller = backend.create(smaller).await?;
    same("one with other limits", waiting.contains(smaller.id()), false)?;
    let begun = Instant::now();
    let first = backend.create(SandboxSpec { network: NetworkMode::Gateway, ..ours.clone() }).await?;
    let took = begun.elapsed();
    same("the one that waited", waiting.contains(first.id()), true)?;
    same(&format!("less than a start: {took:?}"), took < Duration::from_millis(150), true)?;
    let second = backend.create(ours.clone()).await?;
    same("given twice", first.id() == second.id(), false)?;
    sh(&*first, "echo > /tmp/first").await?;
    same("files of the first", sh(&*second, "test -e /tmp/first").await?.0, Exit::Code(1))?;
    first.listen(4000).await?;
    for sandbox in [other, smaller, first, second] {
        sandbox.destroy().await?;
    }
    Ok(())
}

async fn until_listed(backend: &dyn Backend, run: &str, count: usize) -> Result<BTreeSet<String>, Failed> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let filter = ReapFilter { run: Some(run.to_owned()), dry_run: true, ..ReapFilter::default() };
        let found: BTreeSet<String> = backend.reap(filter).await?.sandboxes.into_iter().collect();
        if found.len() == count {
            return Ok(found);
        }
        if Instant::now() > until {
            return Err(format!("{count} containers of {run} expected, found {found:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn what_nobody_asked_for_goes_with_its_run(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let image = engine.prepare(&*backend, &engine.image).await?;
    let spec = spec(&image, &engine.unique("unwanted"));
    let run = spec.labels.run.clone();
    backend.expect(&spec);
    backend.expect(&spec);
    until_listed(&*backend, &run, 2).await?;
    let reaped =
        backend.reap(ReapFilter { run: Some(run.clone()), dry_run: false, ..ReapFilter::default() }).await?;
    same("what was removed", (reaped.sandboxes.len(), reaped.failed.len()), (2, 0))?;
    // One that was still being started fails, and is not asked for again.
    until_listed(&*backend, &run, 0).await?;
    let sandbox = backend.create(spec.clone()).await?;
    same("one that is asked for afterwards", sh(&*sandbox, "true").await?.0, Exit::Code(0))?;
    backend.expect(&spec);
    until_listed(&*backend, &run, 2).await?;
    // One that stands and one that is just being started.
    backend.expect(&spec);
    backend.forget("another").await;
    until_listed(&*backend, &run, 3).await?;
    backend.forget(&run).await;
    until_listed(&*backend, &run, 1).await?;
    backend.expect(&spec);
    until_listed(&*backend, &run, 2).await?;
    sandbox.destroy().await?;
    drop((sandbox, backend));
    // A harness that ends leaves none.
    until_listed(&*engine.open().await?, &run, 0).await?;
    Ok(())
}

async fn two_harnesses_on_one_engine_leave_each_other_alone(engine: Engine) -> Result<(), Failed> {
    let (one, two) = (engine.open().await?, engine.open().await?);
    let image = engine.prepare(&*one, &engine.image).await?;
    let run = engine.unique("shared");
    let first = one.create(spec(&image, &run)).await?;
    let image = engine.prepare(&*two, &engine.image).await?;
    let second = two.create(spec(&image, &engine.unique("other"))).await?;
    let reaped = two.reap(ReapFilter::default()).await?;
    same("what the other removed", reaped.sandboxes.iter().any(|id| id == first.id()), false)?;
    same("the first", sh(&*first, "true").await?.0, Exit::Code(0))?;
    // Whoever holds the run's lock may: whose it is does not matter then.
    let reaped = two.reap(ReapFilter { run: Some(run), dry_run: false, ..ReapFilter::default() }).await?;
    same("what was removed by run", reaped.sandboxes, vec![first.id().to_owned()])?;
    let lost = tokio::time::timeout(Duration::from_secs(20), sh(&*first, "true")).await?;
    same("a command in it", matches!(lost, Err(SandboxError::Lost { .. })), true)?;
    same("the second", sh(&*second, "true").await?.0, Exit::Code(0))?;
    first.destroy().await?;
    second.destroy().await?;
    Ok(())
}

async fn sixty_four_sandboxes_at_once(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let image = engine.prepare(&*backend, &engine.image).await?;
    let run = engine.unique("many");
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let (backend, spec) = (Arc::clone(&backend), spec(&image, &run));
            tokio::spawn(async move {
                let sandbox = backend.create(spec).await?;
                let said = sh(&*sandbox, &format!("echo {number} > /tmp/n; cat /tmp/n")).await?;
                Ok::<_, SandboxError>((number, said, sandbox))
            })
        })
        .collect();
    let mut sandboxes = Vec::new();
    for task in tasks {
        let (number, said, sandbox) = task.await??;
        same("what one of them said", said, (Exit::Code(0), format!("{number}\n")))?;
        sandboxes.push(sandbox);
    }
    let ids: BTreeSet<_> = sandboxes.iter().map(|sandbox| sandbox.id().to_owned()).collect();
    same("different ones", ids.len(), 64)?;
    let ends = sandboxes.into_iter().map(|sandbox| tokio::spawn(async move { sandbox.destroy().await }));
    for end in ends.collect::<Vec<_>>() {
        end.await??;
    }
    until_listed(&*backend, &run, 0).await?;
    Ok(())
}

async fn the_images_working_folder_is_there_though_nothing_was_put_into_it(
    engine: Engine,
) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let image = engine.build(&*backend, &format!("FROM {}\nWORKDIR /deep/er\n", engine.image)).await?;
    let sandbox = backend.create(spec(&image, "workdir")).await?;
    let (exit, said) = sh(&*sandbox, "pwd").await?;
    same("where commands run", (exit, said.lines().next()), (Exit::Code(0), Some("/deep/er")))?;
    sandbox.destroy().await?;
    Ok(())
}

async fn nothing_of_ours_is_seen_inside(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    let image = engine.prepare(&*backend, &engine.image).await?;
    let sandbox = backend.create(spec(&image, "unseen")).await?;
    let (_, found) = sh(&*sandbox, "ls -a /dev / | grep -i harness; grep -F .harness /proc/self/mountinfo; ls /proc/1/fd 2>&1 | grep -v ls:").await?;
    same("names of ours inside", &*found, "")?;
    // No mount shows a writable folder of the engine's host: what is written lands in the container's own layer or in memory.
    let (_, mounts) = sh(&*sandbox, "cat /proc/self/mountinfo").await?;
    let writable: Vec<&str> = mounts
        .lines()
        .filter(|line| {
            let mut halves = line.splitn(2, " - ");
            let (before, after) = (halves.next().unwrap_or(""), halves.next().unwrap_or(""));
            let kind = after.split(' ').next().unwrap_or("");
            let options = before.split(' ').nth(5).unwrap_or("");
            let virtual_kinds =
                ["overlay", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs"];
            options.split(',').any(|option| option == "rw") && !virtual_kinds.contains(&kind)
        })
        .collect();
    same("writable mounts of the host", writable, vec![])?;
    sandbox.destroy().await?;
    Ok(())
}

async fn an_image_of_many_layers_has_its_programs_put_back_in_a_view(engine: Engine) -> Result<(), Failed> {
    let backend = engine.open().await?;
    // A new content for each, or the builder would make them one.
    let files: Vec<(String, Vec<u8>)> =
        (0..90).map(|n| (format!("f{n}"), format!("{n}\n").into_bytes())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (&name[..], &content[..])).collect();
    let copies: String = (0..90).map(|n| format!("COPY f{n} /srv/f{n}\n")).collect();
    let image = engine.build_with(&*backend, &format!("FROM {}\n{copies}", engine.image), &files).await?;
    let sandbox = backend.create(spec(&image, "layers")).await?;
    sh(&*sandbox, "echo forged > /srv/f0; rm /srv/f45; echo forged > /srv/f89").await?;
    let restore = ["/srv/f0", "/srv/f45", "/srv/f89"].map(str::to_owned).to_vec();
    let view = sandbox.view(ViewSpec { restore, ..ViewSpec::default() }).await?;
    let said = sh(&*view, "cat /srv/f0 /srv/f45 /srv/f89").await?;
    same("what was put back", said, (Exit::Code(0), "0\n45\n89\n".to_owned()))?;
    let changes = sandbox.changes(100).await?;
    same("what changed", changes.iter().filter(|change| change.path.starts_with(b"/srv/f")).count(), 3)?;
    sandbox.destroy().await?;
    Ok(())
}
