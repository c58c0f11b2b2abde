//! Cases: a place with mounts of its own inside a sandbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::context::{HEART, beating, ok, put, script, secs, sh, silent};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, Place, ProcessSpec, PutOptions, Sandbox, Source, ViewSpec};

pub(super) const CASES: &[Case] = &[
    case!("view-private", "private folders begin empty and are the view's alone", private),
    case!(
        "view-unreachable",
        "nothing in the sandbox gets at private folders through the view's processes",
        unreachable
    ),
    case!("view-shared", "all other files are the sandbox's, both ways", shared),
    case!("view-processes", "the sandbox's processes and network are the view's too", processes),
    case!("view-restore", "restored programs are the image's again, whatever became of them", restore),
    case!("view-hide", "hidden additions are not there", hide),
    case!("view-files", "copying works through the view's mounts", files),
    case!("view-kill-all", "killing everything ends what runs in views", kill_all),
    case!("view-deadline", "a view keeps deadlines and statuses like a sandbox", deadline),
];

async fn with_private(sandbox: &dyn Sandbox) -> Result<Arc<dyn Place>, Failure> {
    let private = vec!["/logs/verifier".into(), "/tests".into()];
    Ok(sandbox.view(ViewSpec { private, ..ViewSpec::default() }).await?)
}

async fn private(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // What the agent prepared there: a reward, a loop that writes it, a link in a folder's place.
    ok(
        &*sandbox,
        "mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; ln -s /srv /tests; \
                   (while :; do echo 1 > /logs/verifier/reward.txt; sleep 0.05; done) > /dev/null 2>&1 &",
    )
    .await?;
    let view = with_private(&*sandbox).await?;
    ensure_eq!(
        ok(&*view, "ls -A /logs/verifier /tests").await?,
        "/logs/verifier:\n\n/tests:\n",
        "private folders"
    );
    put(
        &*view,
        "/tests/test.sh",
        b"echo 0 > /logs/verifier/reward.txt; sleep 0.5; cat /logs/verifier/reward.txt",
    )
    .await?;
    ensure_eq!(ok(&*view, "sh /tests/test.sh").await?, "0\n", "the reward in the view");
    ensure_eq!(view.read("/logs/verifier/reward.txt", 9).await?.as_deref(), Some(&b"0\n"[..]), "the reward");
    // Whoever writes a file again has it empty for a moment.
    let until = Instant::now() + secs(10);
    let mut agents = Some(Vec::new());
    while agents.as_ref().is_some_and(Vec::is_empty) && Instant::now() < until {
        agents = sandbox.read("/logs/verifier/reward.txt", 9).await?;
    }
    ensure_eq!(agents.as_deref(), Some(&b"1\n"[..]), "the agent's file");
    let seen = sh(&*sandbox, "ls /tests/test.sh /srv/test.sh").await?;
    ensure_eq!((seen.exit != Exit::Code(0), seen.stdout.total), (true, 0), "tests seen by the agent");
    Ok(())
}

async fn unreachable(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let view = with_private(&*sandbox).await?;
    put(&*view, "/tests/secret", b"canary").await?;
    let running = tokio::spawn({
        let view = view.clone();
        let process = ProcessSpec {
            cwd: Some("/tests".into()),
            ..ProcessSpec::shell("exec 5< /tests/secret; sleep 6; cat /tests/secret; ls /tests")
        };
        async move { view.exec(ExecSpec::new(process)).await }
    });
    sleep(Duration::from_secs(1)).await;
    // The same user, every process, every way in.
    let text = "for p in /proc/[0-9]*; do \
                  cat $p/root/tests/secret $p/cwd/secret $p/fd/5; \
                  echo forged > $p/root/tests/secret; echo forged > $p/cwd/secret; echo forged > $p/cwd/new; \
                done 2> /dev/null; command -v nsenter > /dev/null && \
                for p in /proc/[0-9]*; do nsenter -t ${p#/proc/} -m cat /tests/secret 2> /dev/null; done; exit 0";
    let stolen = ok(&*sandbox, text).await?;
    ensure!(!stolen.contains("canary"), "the view's files were read: {stolen}");
    let result = running.await.map_err(|error| Failure(error.to_string()))??;
    ensure_eq!((result.exit, &*result.stdout.text()), (Exit::Code(0), "canarysecret\n"), "what the view saw");
    Ok(())
}

async fn shared(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "echo agent > /srv/made; echo more >> /etc/passwd").await?;
    let view = with_private(&*sandbox).await?;
    ensure_eq!(
        ok(&*view, "cat /srv/made; tail -n 1 /etc/passwd").await?,
        "agent\nmore\n",
        "the sandbox's files"
    );
    ok(&*view, "echo verifier > /srv/back").await?;
    ok(&*sandbox, "echo later > /srv/made").await?;
    ensure_eq!(ok(&*sandbox, "cat /srv/back").await?, "verifier\n", "the view's file, outside");
    ensure_eq!(ok(&*view, "cat /srv/made").await?, "later\n", "the sandbox's file, later");
    Ok(())
}

async fn processes(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(
        &*sandbox,
        "setsid sleep 41 > /dev/null 2>&1 & echo $! > /srv/pid; readlink /proc/self/ns/net > /srv/net",
    )
    .await?;
    let view = with_private(&*sandbox).await?;
    let text = "kill -0 $(cat /srv/pid) && tr '\\000' ' ' < /proc/$(cat /srv/pid)/cmdline";
    let line = ok(&*view, text).await?;
    ensure!(line.trim_end().ends_with("sleep 41"), "the service as the view sees it: {line:?}");
    ensure_eq!(
        ok(&*view, "readlink /proc/self/ns/net").await?,
        ok(&*sandbox, "cat /srv/net").await?,
        "the network"
    );
    Ok(())
}

async fn restore(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let real = |name: &'static str| {
        let sandbox = sandbox.clone();
        async move {
            ok(&*sandbox, &format!("readlink -f $(command -v {name})"))
                .await
                .map(|path| path.trim_end().to_owned())
        }
    };
    let programs = [real("head").await?, real("tail").await?, real("wc").await?];
    // Where one program is a link to another (busybox) they are one file, and breaking one breaks all.
    ensure!(programs[0] != programs[1], "this image's programs are one file");
    let text = format!(
        "printf '#!/bin/sh\\necho forged\\n' > /srv/forged; chmod 755 /srv/forged; \
         cat /srv/forged > {}; rm {}; ln -sf /srv/forged {}",
        programs[0], programs[1], programs[2]
    );
    ok(&*sandbox, &text).await?;
    let view = sandbox.view(ViewSpec { restore: programs.to_vec(), ..ViewSpec::default() }).await?;
    let text =
        "printf 'a\\nb\\n' > /srv/lines; head -n 1 /srv/lines; tail -n 1 /srv/lines; wc -l < /srv/lines";
    ensure_eq!(ok(&*view, text).await?.replace(' ', ""), "a\nb\n2\n", "the programs in the view");
    let outside = sh(&*sandbox, "head -n 1 /srv/lines").await?;
    ensure_eq!(outside.stdout.text(), "forged\n", "the program in the sandbox");
    Ok(())
}

async fn hide(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir -p /usr/local/bin /srv/shadow; printf '#!/bin/sh\\necho forged\\n' > /usr/local/bin/conformance; \
                   chmod 755 /usr/local/bin/conformance; echo x > /srv/shadow/file; echo y > /srv/kept").await?;
    let hide = vec!["/usr/local/bin/conformance".into(), "/srv/shadow/file".into()];
    let view = sandbox.view(ViewSpec { hide, ..ViewSpec::default() }).await?;
    let text = "conformance; test -e /usr/local/bin/conformance || echo gone; test -s /srv/shadow/file || echo gone; cat /srv/kept";
    ensure_eq!(ok(&*view, text).await?, "gone\ngone\ny\n", "what the view sees");
    ensure_eq!(
        ok(&*sandbox, "conformance; cat /srv/shadow/file").await?,
        "forged\nx\n",
        "what the sandbox sees"
    );
    Ok(())
}

async fn files(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let view = with_private(&*sandbox).await?;
    let host = ctx.dir.join("source");
    std::fs::create_dir_all(host.join("deep"))?;
    std::fs::write(host.join("deep/test"), "content")?;
    view.put("/tests", Source::Folder(host), PutOptions::default()).await?;
    ensure_eq!(
        ok(&*view, "cat /tests/deep/test; echo out > /logs/verifier/report").await?,
        "content",
        "what was put"
    );
    let to = ctx.dir.join("to");
    view.get("/logs/verifier", &to, Default::default()).await?;
    ensure_eq!(std::fs::read_to_string(to.join("report"))?, "out\n", "what was fetched");
    ensure_eq!(view.read("/tests/deep/test", 100).await?.as_deref(), Some(&b"content"[..]), "what was read");
    ensure_eq!(sandbox.read("/tests/deep/test", 100).await?, None, "the same path in the sandbox");
    Ok(())
}

async fn kill_all(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let view = with_private(&*sandbox).await?;
    ok(&*view, &format!("setsid sh -c '{HEART}' > /dev/null 2>&1 &")).await?;
    beating(&*sandbox).await?;
    let running = tokio::spawn({
        let view = view.clone();
        async move { view.exec(script("trap '' TERM; sleep 20; sleep 20")).await }
    });
    sleep(Duration::from_millis(300)).await;
    sandbox.kill_all().await?;
    silent(&*sandbox).await?;
    match timeout(secs(8), running).await {
        Ok(Ok(Ok(result))) => ensure_eq!(result.exit, Exit::Signal(9), "the view's command"),
        other => return Err(Failure(format!("the view's command: {other:?}"))),
    }
    ensure_eq!(ok(&*view, "echo on").await?, "on\n", "the view's next command");
    Ok(())
}

async fn deadline(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let view = with_private(&*sandbox).await?;
    ensure_eq!(sh(&*view, "exit 42").await?.exit, Exit::Code(42), "a status");
    let process = ProcessSpec {
        deadline: Some(Duration::from_secs(1)),
        grace: Duration::from_secs(1),
        ..ProcessSpec::shell(&format!(
            "setsid sh -c '{HEART}' > /dev/null 2>&1 & trap '' TERM; sleep 15; sleep 15"
        ))
    };
    let result = view.exec(ExecSpec::new(process)).await?;
    ensure_eq!(result.exit, Exit::TimedOut, "a deadline");
    silent(&*sandbox).await
}
