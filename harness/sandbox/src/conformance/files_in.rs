//! Cases: copying files in, and reading one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use tokio::time::timeout;

use super::context::{is_too_large, ok, put, refused, secs, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{Exit, Place, PutOptions, Source};

pub(super) const CASES: &[Case] = &[
    case!("put-file", "a file arrives with content and mode; its folders are made", file),
    case!("put-owner", "what is copied in belongs to whom it should", owner),
    case!("put-replaces", "a file that is there is replaced whole", replaces),
    case!("put-folder", "a folder's content arrives with modes, beside what is there", folder),
    case!("put-links", "links on the host are copied as links, never followed", links),
    case!("put-names", "odd names arrive as they are", names),
    case!("put-exclude", "what is excluded stays out", exclude),
    case!("put-hard-links", "two names of one file stay two names of one file", hard_links),
    case!("put-sparse", "a file with a hole of 2 GiB is copied without filling it", sparse),
    case!("put-inside-links", "links inside lead nowhere but inside", inside_links),
    case!("put-not-a-file", "what is not a regular file is refused as a file", not_a_file),
    case!("read", "one file is read whole", read),
    case!("read-none", "what is no regular file is none, a pipe too", read_none),
    case!("read-limit", "a file above the limit is refused, never cut", read_limit),
    case!("read-limit-huge", "a file of 20 GB is refused at once", read_limit_huge),
];

async fn file(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let content: Vec<u8> = (0..=255).cycle().take(300_001).collect();
    let options = PutOptions { mode: Some(0o750), ..PutOptions::default() };
    sandbox.put("/tmp/new/deep/file", Source::Bytes(content.clone()), options).await?;
    ensure!(sandbox.read("/tmp/new/deep/file", 1 << 20).await?.as_ref() == Some(&content), "other content");
    ensure_eq!(ok(&*sandbox, "wc -c < /tmp/new/deep/file").await?.trim(), "300001", "its size");
    let stat = ok(&*sandbox, "stat -c %a /tmp/new/deep/file").await?;
    ensure_eq!(stat, "750\n", "its mode");
    put(&*sandbox, "/tmp/plain", b"").await?;
    ensure_eq!(ok(&*sandbox, "stat -c '%a %u %g %s' /tmp/plain").await?, "644 0 0 0\n", "the defaults");
    let host = ctx.dir.join("script");
    fs::write(&host, "#!/bin/sh\necho runs\n")?;
    fs::set_permissions(&host, PermissionsExt::from_mode(0o711))?;
    sandbox.put("/tmp/script", Source::File(host), PutOptions::default()).await?;
    ensure_eq!(
        ok(&*sandbox, "/tmp/script; stat -c %a /tmp/script").await?,
        "runs\n711\n",
        "a file of the host"
    );
    Ok(())
}

async fn owner(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let options = PutOptions { owner: (1234, 1235), ..PutOptions::default() };
    sandbox.put("/tmp/file", Source::Bytes(vec![1]), options.clone()).await?;
    let source = ctx.dir.join("source");
    fs::create_dir_all(source.join("deep"))?;
    fs::write(source.join("deep/file"), "")?;
    sandbox.put("/tmp/to", Source::Folder(source), options).await?;
    for path in ["/tmp/file", "/tmp/to/deep", "/tmp/to/deep/file"] {
        ensure_eq!(
            ok(&*sandbox, &format!("stat -c '%u %g' {path}")).await?,
            "1234 1235\n",
            "owner of {path}"
        );
    }
    Ok(())
}

async fn replaces(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    put(&*sandbox, "/tmp/file", b"a long first content").await?;
    put(&*sandbox, "/tmp/file", b"short").await?;
    ensure_eq!(sandbox.read("/tmp/file", 100).await?.as_deref(), Some(&b"short"[..]), "the second content");
    Ok(())
}

async fn folder(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let source = ctx.dir.join("source");
    for (name, mode) in [("a/b/file", 0o640), ("a/tool", 0o755), ("top", 0o444)] {
        let path = source.join(name);
        fs::create_dir_all(path.parent().ok_or(Failure("no parent".into()))?)?;
        fs::write(&path, name)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
    }
    fs::create_dir(source.join("empty"))?;
    fs::set_permissions(source.join("a"), PermissionsExt::from_mode(0o750))?;
    ok(&*sandbox, "mkdir -p /tmp/to/a; echo old > /tmp/to/a/old; echo old > /tmp/to/top").await?;
    sandbox.put("/tmp/to", Source::Folder(source), PutOptions::default()).await?;
    let listed = ok(&*sandbox, "cd /tmp/to; for f in a/b/file a/old a/tool top; do echo $f $(stat -c %a $f) $(cat $f); done; test -d empty; stat -c %a a").await?;
    ensure_eq!(
        listed,
        "a/b/file 640 a/b/file\na/old 644 old\na/tool 755 a/tool\ntop 444 top\n750\n",
        "the tree"
    );
    Ok(())
}

async fn links(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let (source, secret) = (ctx.dir.join("source"), ctx.dir.join("secret"));
    fs::create_dir_all(&source)?;
    fs::create_dir(&secret)?;
    fs::write(secret.join("file"), "canary")?;
    symlink(secret.join("file"), source.join("to-file"))?;
    symlink(&secret, source.join("to-folder"))?;
    symlink("../secret/file", source.join("relative"))?;
    symlink("nowhere", source.join("dangling"))?;
    sandbox.put("/tmp/to", Source::Folder(source), PutOptions::default()).await?;
    let targets =
        ok(&*sandbox, "cd /tmp/to; for l in to-file to-folder relative dangling; do readlink $l; done")
            .await?;
    let secret = secret.display();
    ensure_eq!(targets, format!("{secret}/file\n{secret}\n../secret/file\nnowhere\n"), "the links");
    let result = sh(&*sandbox, "cat /tmp/to/*; cat /tmp/to/to-folder/file").await?;
    ensure!(!result.stdout.text().contains("canary"), "a link was followed on the host");
    Ok(())
}

/// Names that break careless code; the last two are a byte that is not UTF-8 and the longest there can be.
pub(super) fn odd_names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 8] =
        [b"new\nline", b"-dash", b" space ", b"quo'te\"", b"$dollar`", b"..dots", b"\xff\xfe", &[b'n'; 255]];
    names.iter().map(|name| name.to_vec()).collect()
}

async fn names(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let source = ctx.dir.join("source");
    for name in odd_names() {
        let folder = source.join(OsStr::from_bytes(&name));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(OsStr::from_bytes(&name)), &name)?;
    }
    sandbox.put("/tmp/to", Source::Folder(source), PutOptions::default()).await?;
    // Each name as the shell sees it, then the content of the file of that name in the folder of that name.
    let text = "cd /tmp/to; for d in * .[!.]* ..?*; do \
                test -d \"./$d\" && printf '%s=' \"$d\" && cat \"./$d/$d\" && printf '\\000'; done; exit 0";
    let result = sh(&*sandbox, text).await?;
    let mut found: Vec<&[u8]> =
        result.stdout.head.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    found.sort_unstable();
    let mut expected: Vec<Vec<u8>> =
        odd_names().iter().map(|name| [name, &b"="[..], name].concat()).collect();
    expected.sort_unstable();
    ensure_eq!(found, expected, "names");
    put(&*sandbox, "/tmp/-x\ny/new\nline", b"here").await?;
    ensure_eq!(sandbox.read("/tmp/-x\ny/new\nline", 9).await?.as_deref(), Some(&b"here"[..]), "one file");
    Ok(())
}

async fn exclude(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let source = ctx.dir.join("source");
    for name in ["keep", "x.pyc", "a/deep/x.pyc", "a/keep", "node_modules/x/keep", "a/b/c"] {
        let path = source.join(name);
        fs::create_dir_all(path.parent().ok_or(Failure("no parent".into()))?)?;
        fs::write(path, "")?;
    }
    let exclude = vec!["*.pyc".into(), "node_modules".into(), "a/b".into()];
    sandbox.put("/tmp/to", Source::Folder(source), PutOptions { exclude, ..PutOptions::default() }).await?;
    let found = ok(&*sandbox, "cd /tmp/to && find . | sort").await?;
    ensure_eq!(found, ".\n./a\n./a/deep\n./a/keep\n./keep\n", "what came in");
    Ok(())
}

async fn hard_links(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let source = ctx.dir.join("source");
    fs::create_dir_all(source.join("folder"))?;
    fs::write(source.join("one"), "same")?;
    fs::hard_link(source.join("one"), source.join("folder/two"))?;
    sandbox.put("/tmp/to", Source::Folder(source), PutOptions::default()).await?;
    let found = ok(&*sandbox, "cd /tmp/to; stat -c %h one; echo changed > one; cat folder/two").await?;
    ensure_eq!(found, "2\nchanged\n", "the names' file");
    Ok(())
}

async fn sparse(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let (source, size) = (ctx.dir.join("sparse"), 2_u64 << 30);
    let host = fs::File::create(&source)?;
    host.set_len(size)?;
    std::os::unix::fs::FileExt::write_all_at(&host, b"middle", size / 2)?;
    let put = sandbox.put("/tmp/sparse", Source::File(source), PutOptions::default());
    timeout(secs(20), put).await.map_err(|_| Failure("it took more than 20 s".into()))??;
    let found =
        ok(&*sandbox, "stat -c '%s %b' /tmp/sparse; tail -c +1073741825 /tmp/sparse | head -c 6").await?;
    let fields: Vec<&str> = found.split_whitespace().collect();
    ensure!(
        fields.len() == 3 && fields[0] == size.to_string() && fields[2] == "middle",
        "the file: {found:?}"
    );
    let blocks: u64 = fields[1].parse().map_err(|_| Failure(format!("blocks: {found:?}")))?;
    ensure!(blocks < 8192, "{blocks} blocks on disk");
    Ok(())
}

async fn inside_links(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // The same path exists on the host, and must not be meant by it.
    let host = ctx.dir.join("target");
    fs::write(&host, "canary")?;
    let text = format!(
        "ln -s {} /tmp/link; ln -s / /tmp/root; ln -s ../../../../../../../tmp /tmp/up; ln -s loop /tmp/loop",
        host.display()
    );
    ok(&*sandbox, &text).await?;
    // Whether the link is replaced, followed inside, or refused for its missing folder: the host is not touched.
    let _ = sandbox.put("/tmp/link", Source::Bytes(b"from outside".to_vec()), PutOptions::default()).await;
    let _ = sandbox.put("/tmp/loop/x", Source::Bytes(b"x".to_vec()), PutOptions::default()).await;
    put(&*sandbox, "/tmp/root/tmp/one", b"1").await?;
    put(&*sandbox, "/tmp/up/two", b"2").await?;
    ensure_eq!(fs::read_to_string(&host)?, "canary", "the host's file");
    ensure_eq!(ok(&*sandbox, "cat /tmp/one /tmp/two").await?, "12", "what went through links");
    let leaked = sandbox.read("/tmp/link", 100).await?.unwrap_or_default();
    ensure!(leaked != b"canary", "the host's file was read");
    for path in ["/tmp/one", "/tmp/two"] {
        let on_host = fs::read(path).unwrap_or_default();
        ensure!(on_host != b"1" && on_host != b"2", "{path} was written on the host");
    }
    Ok(())
}

async fn not_a_file(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let link = ctx.dir.join("link");
    fs::write(ctx.dir.join("secret"), "canary")?;
    symlink(ctx.dir.join("secret"), &link)?;
    for (name, path) in
        [("a folder", ctx.dir.clone()), ("nothing", ctx.dir.join("no")), ("a device", "/dev/zero".into())]
    {
        refused(name, timeout_put(&*sandbox, Source::File(path)).await?, |_| true)?;
    }
    let _ = timeout_put(&*sandbox, Source::File(link)).await?;
    ensure!(sandbox.read("/tmp/not", 100).await?.as_deref() != Some(&b"canary"[..]), "a link was followed");
    ok(&*sandbox, "rm -rf /tmp/not; mkdir /tmp/not").await?;
    refused("a file over a folder", timeout_put(&*sandbox, Source::Bytes(vec![1])).await?, |_| true)?;
    Ok(())
}

async fn timeout_put(place: &dyn Place, source: Source) -> Result<Result<(), crate::SandboxError>, Failure> {
    let put = place.put("/tmp/not", source, PutOptions::default());
    timeout(secs(10), put).await.map_err(|_| Failure("it hangs".into()))
}

async fn read(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, r"printf '\000\001\377x' > /tmp/file; printf '' > /tmp/empty").await?;
    ensure_eq!(sandbox.read("/tmp/file", 4).await?.as_deref(), Some(&b"\0\x01\xffx"[..]), "a file");
    ensure_eq!(sandbox.read("/tmp/empty", 0).await?.as_deref(), Some(&b""[..]), "an empty file");
    Ok(())
}

async fn read_none(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkfifo /tmp/pipe; mkdir /tmp/folder; ln -s nowhere /tmp/dangling; ln -s loop /tmp/loop")
        .await?;
    for path in [
        "/tmp/no",
        "/no/such/folder/x",
        "/tmp/folder",
        "/tmp/pipe",
        "/tmp/dangling",
        "/tmp/loop",
        "/dev/zero",
    ] {
        match timeout(secs(10), sandbox.read(path, 100)).await {
            Ok(found) => ensure_eq!(found?, None, "{path}"),
            Err(_) => return Err(Failure(format!("reading {path} hangs"))),
        }
    }
    ensure_eq!(sh(&*sandbox, "true").await?.exit, Exit::Code(0), "the sandbox afterwards");
    Ok(())
}

async fn read_limit(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    put(&*sandbox, "/tmp/file", &[7; 1001]).await?;
    refused("a file of 1001 bytes", sandbox.read("/tmp/file", 1000).await, is_too_large)?;
    ensure_eq!(sandbox.read("/tmp/file", 1001).await?.map(|bytes| bytes.len()), Some(1001), "at the limit");
    Ok(())
}

async fn read_limit_huge(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "truncate -s 20G /tmp/huge").await?;
    refused("a file of 20 GB", sandbox.read("/tmp/huge", 1000).await, is_too_large)
}
