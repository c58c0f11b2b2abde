//! Views of sandboxes whose files were changed in ways that a view must see through, and what may look into a view.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support_native;

use std::sync::Arc;
use std::time::Duration;

use harness_sandbox::{ExecSpec, Exit, Place, ProcessSpec, PutOptions, RootFs, Sandbox, Source, ViewSpec};
use support_native::{needs_root, ok, open, sh_as};

async fn restored(sandbox: &dyn Sandbox, paths: &[&str]) -> Arc<dyn Place> {
    let restore = paths.iter().map(|path| (*path).to_owned()).collect();
    sandbox.view(ViewSpec { restore, ..ViewSpec::default() }).await.unwrap()
}

#[tokio::test]
async fn a_top_level_link_that_became_a_folder_is_a_link_again() {
    let test = "a_top_level_link_that_became_a_folder_is_a_link_again";
    if !needs_root(test) || !std::fs::symlink_metadata("/bin").unwrap().is_symlink() {
        return;
    }
    let Some(native) = open(test, RootFs::Host).await else { return };
    let sandbox = native.sandbox().await;
    ok(
        &*sandbox,
        "/usr/bin/rm /bin; /usr/bin/mkdir /bin; printf '#!/usr/bin/dash\\necho forged\\n' > /bin/sh; \
         /usr/bin/cp /bin/sh /bin/echo; /usr/bin/chmod 755 /bin/sh /bin/echo; echo kept > /srv/kept",
    )
    .await;
    let forged = sandbox.exec(ExecSpec::new(ProcessSpec::new(["/bin/echo", "x"]))).await.unwrap();
    assert_eq!(forged.stdout.text(), "forged\n");
    let view = restored(&*sandbox, &["/bin/sh", "/bin/echo"]).await;
    assert_eq!(
        ok(&*view, "/usr/bin/readlink /bin; /bin/echo real; cat /srv/kept").await,
        "usr/bin\nreal\nkept\n"
    );
}

#[tokio::test]
async fn a_deleted_or_replaced_folder_is_the_images_again() {
    let test = "a_deleted_or_replaced_folder_is_the_images_again";
    if !needs_root(test) {
        return;
    }
    let Some(native) = open(test, RootFs::Host).await else { return };
    let sandbox = native.sandbox().await;
    let before = ok(&*sandbox, "cat /etc/passwd; ls /usr/local").await;
    ok(
        &*sandbox,
        "mkdir /srv/evil; echo eve:x:0:0::/:/bin/sh > /srv/evil/passwd; rm -rf /etc; ln -s /srv/evil /etc; \
         rm -rf /usr/local; echo gone > /usr/local",
    )
    .await;
    let view = restored(&*sandbox, &["/etc/passwd", "/usr/local/bin"]).await;
    assert_eq!(ok(&*view, "cat /etc/passwd; ls /usr/local").await, before);
    assert_eq!(ok(&*sandbox, "cat /etc/passwd /usr/local").await, "eve:x:0:0::/:/bin/sh\ngone\n");
}

#[tokio::test]
async fn what_is_made_in_a_view_stays_apart_only_where_the_view_differs() {
    let test = "what_is_made_in_a_view_stays_apart_only_where_the_view_differs";
    let Some(native) = open(test, RootFs::Host).await else { return };
    let sandbox = native.sandbox().await;
    ok(&*sandbox, "mkdir -p /srv/app/deep; echo x > /srv/shadow; echo y > /srv/app/file").await;
    let view = sandbox
        .view(ViewSpec {
            private: vec!["/tests".into(), "/srv/app/deep/private".into()],
            hide: vec!["/srv/shadow".into()],
            ..ViewSpec::default()
        })
        .await
        .unwrap();
    ok(
        &*view,
        "echo z > /srv/app/made; echo t > /tests/t; echo p > /srv/app/deep/private/p; ! test -e /srv/shadow",
    )
    .await;
    assert_eq!(
        ok(&*sandbox, "cat /srv/app/made /srv/shadow; ls -A /srv/app/deep; ls -d /tests 2>&1 || true")
            .await
            .lines()
            .take(2)
            .collect::<Vec<_>>(),
        ["z", "x"]
    );
    let seen = sh_as(&*sandbox, None, "ls /tests /srv/app/deep/private").await;
    assert_ne!(seen.exit, Exit::Code(0));
}

#[tokio::test]
async fn processes_of_a_view_are_closed_to_the_sandbox_whoever_they_run_as() {
    let test = "processes_of_a_view_are_closed_to_the_sandbox_whoever_they_run_as";
    if !needs_root(test) {
        return;
    }
    let Some(native) = open(test, RootFs::Host).await else { return };
    let sandbox = native.sandbox().await;
    for user in ["0:0", "1000:1000"] {
        let view =
            sandbox.view(ViewSpec { private: vec!["/tests".into()], ..ViewSpec::default() }).await.unwrap();
        view.put("/tests/secret", Source::Bytes(b"canary".to_vec()), PutOptions::default()).await.unwrap();
        let running = {
            let (view, user) = (Arc::clone(&view), user.to_owned());
            tokio::spawn(async move {
                sh_as(
                    &*view,
                    Some(&user),
                    "exec 5< /tests/secret; cd /tests; echo $$ > /tmp/pid; sleep 4; echo done",
                )
                .await
            })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        // `mem` is asked for with the rights of a debugger, the others with those of a reader.
        let looks = "p=$(cat /tmp/pid); test -d /proc/$p || exit 9; \
                     for f in root/tests/secret cwd/secret fd/5 mem environ maps; do \
                     head -c 100 /proc/$p/$f > /dev/null 2>&1 && test -n \"$(head -c 9 /proc/$p/$f 2> /dev/null | tr -d '\\000')\" && echo $f; done; \
                     ls /proc/$p/root/ > /dev/null 2>&1 && echo ls; exit 0";
        for looker in ["0:0", "1000:1000"] {
            let result = sh_as(&*sandbox, Some(looker), looks).await;
            assert_eq!(
                (result.exit, result.stdout.text().as_str()),
                (Exit::Code(0), ""),
                "{looker} at {user}"
            );
        }
        let result = running.await.unwrap();
        assert_eq!(result.stdout.text(), "done\n");
        // The same looks at a process of the sandbox's own show what there is to be seen.
        let control = "cp /etc/passwd /tmp/secret; (exec 5< /tmp/secret; cd /tmp; sh -c 'echo $$ > /tmp/pid; exec sleep 3') > /dev/null 2>&1 & sleep 0.5; ";
        let result = sh_as(&*sandbox, Some(user), &format!("rm -f /tmp/pid; {control}{looks}")).await;
        let seen = result.stdout.text();
        for what in ["cwd/secret", "fd/5", "environ", "maps", "ls"] {
            assert!(seen.lines().any(|line| line == what), "{user}: {what} of {seen:?}");
        }
        ok(&*sandbox, "rm -f /tmp/pid /tmp/secret").await;
    }
}
