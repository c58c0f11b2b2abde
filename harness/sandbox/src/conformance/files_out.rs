//! Cases: copying files out.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tokio::time::timeout;

use super::context::{is_inside, is_too_large, ok, put, refused, secs};
use super::files_in::odd_names;
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::GetOptions;

pub(super) const CASES: &[Case] = &[
    case!("get-file", "a file comes out with content and mode", file),
    case!("get-folder", "a folder's content comes out, empty folders too", folder),
    case!("get-links", "links come out as links, wherever they lead", links),
    case!("get-names", "odd names come out as they are", names),
    case!("get-hard-links", "two names of one file come out as that, and count once", hard_links),
    case!("get-sparse", "a hole of 2 GiB is not content", sparse),
    case!("get-limit", "more bytes or entries than allowed are refused", limits),
    case!("get-exclude", "what is excluded stays inside, at every depth", exclude),
    case!("get-special", "pipes, sockets and devices are left out and do not hang", special),
    case!("get-target-exists", "what is there on the host is never written over", target_exists),
    case!("get-missing", "nothing to copy is refused", missing),
];

async fn file(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let content: Vec<u8> = (0..=255).cycle().take(200_001).collect();
    put(&*sandbox, "/tmp/file", &content).await?;
    ok(&*sandbox, "chmod 750 /tmp/file").await?;
    let to = ctx.dir.join("file");
    sandbox.get("/tmp/file", &to, GetOptions::default()).await?;
    ensure!(fs::read(&to)? == content, "other content");
    ensure_eq!(fs::metadata(&to)?.permissions().mode() & 0o777, 0o750, "its mode");
    Ok(())
}

async fn folder(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir -p /tmp/from/a/b /tmp/from/empty; cd /tmp/from; echo 1 > a/b/c; echo 2 > .hidden; chmod 700 a/b/c; mkdir a/closed; chmod 500 a/closed").await?;
    let to = ctx.dir.join("to");
    sandbox.get("/tmp/from", &to, GetOptions::default()).await?;
    ensure_eq!(listed(&to)?, [".hidden", "a", "a/b", "a/b/c", "a/closed", "empty"], "the tree");
    ensure_eq!(
        (fs::read_to_string(to.join("a/b/c"))?, fs::read_to_string(to.join(".hidden"))?),
        ("1\n".into(), "2\n".into()),
        "content"
    );
    ensure_eq!(fs::metadata(to.join("a/b/c"))?.mode() & 0o777, 0o700, "a mode");
    Ok(())
}

/// All paths below a folder on the host, sorted; links are not followed.
fn listed(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            let path = entry.path();
            found.push(path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned());
            if entry.file_type()?.is_dir() {
                todo.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

async fn links(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let outside = ctx.dir.join("outside");
    fs::create_dir(&outside)?;
    fs::write(outside.join("canary"), "canary")?;
    let outside_text = outside.display();
    ok(&*sandbox, &format!(
        "mkdir -p /tmp/from/z; cd /tmp/from; ln -s {outside_text} absolute; ln -s ../outside relative; \
         ln -s /etc/passwd file; ln -s loop loop; ln -s ../../../../../.. z/up; echo x > real; ln -s real inner"
    )).await?;
    let to = ctx.dir.join("to");
    sandbox.get("/tmp/from", &to, GetOptions::default()).await?;
    for (name, target) in [
        ("absolute", &*outside_text.to_string()),
        ("relative", "../outside"),
        ("file", "/etc/passwd"),
        ("loop", "loop"),
        ("z/up", "../../../../../.."),
        ("inner", "real"),
    ] {
        let found = fs::read_link(to.join(name)).map_err(|error| Failure(format!("{name}: {error}")))?;
        ensure_eq!(found.to_string_lossy(), target, "where {name} leads");
    }
    ensure_eq!(listed(&outside)?, ["canary"], "the folder that links led to");
    // A whole path through a link inside stays inside, too.
    ok(&*sandbox, &format!("ln -s {outside_text} /tmp/out")).await?;
    let stolen = ctx.dir.join("stolen");
    let _ = sandbox.get("/tmp/out/canary", &stolen, GetOptions::default()).await;
    ensure!(!stolen.exists(), "a file of the host came out of the sandbox");
    Ok(())
}

async fn names(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let mut text = String::from("mkdir /tmp/from; cd /tmp/from; ");
    for name in odd_names() {
        let octal: String = name.iter().map(|byte| format!("\\{byte:03o}")).collect();
        text.push_str(&format!("n=$(printf '{octal}x'); n=${{n%x}}; printf %s \"$n\" > \"./$n\"; "));
    }
    ok(&*sandbox, &text).await?;
    let to = ctx.dir.join("to");
    sandbox.get("/tmp/from", &to, GetOptions::default()).await?;
    for name in odd_names() {
        let content = fs::read(to.join(OsStr::from_bytes(&name)));
        ensure_eq!(content.ok(), Some(name.clone()), "content of {:?}", String::from_utf8_lossy(&name));
    }
    ensure_eq!(fs::read_dir(&to)?.count(), odd_names().len(), "entries");
    Ok(())
}

async fn hard_links(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(
        &*sandbox,
        "mkdir -p /tmp/from/a; cd /tmp/from; head -c 600000 /dev/zero > one; ln one two; ln one a/three",
    )
    .await?;
    let to = ctx.dir.join("to");
    sandbox.get("/tmp/from", &to, GetOptions { limit: 1_000_000, ..GetOptions::default() }).await?;
    let inodes: Vec<u64> = ["one", "two", "a/three"]
        .iter()
        .map(|name| fs::metadata(to.join(name)).map(|found| found.ino()))
        .collect::<Result<_, _>>()?;
    ensure!(inodes.iter().all(|inode| *inode == inodes[0]), "three files instead of one: {inodes:?}");
    ensure_eq!(fs::metadata(to.join("two"))?.len(), 600_000, "its size");
    Ok(())
}

async fn sparse(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir /tmp/from; cd /tmp/from; truncate -s 2G sparse; printf end >> sparse").await?;
    let to = ctx.dir.join("to");
    let get = sandbox.get("/tmp/from", &to, GetOptions { limit: 1 << 20, ..GetOptions::default() });
    timeout(secs(20), get).await.map_err(|_| Failure("it took more than 20 s".into()))??;
    let found = fs::metadata(to.join("sparse"))?;
    ensure_eq!(found.len(), (2 << 30) + 3, "its size");
    ensure!(found.blocks() < 8192, "{} blocks on disk", found.blocks());
    let file = fs::File::open(to.join("sparse"))?;
    let mut end = [0; 3];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut end, 2 << 30)?;
    ensure_eq!(&end, b"end", "its end");
    Ok(())
}

async fn limits(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir /tmp/from; cd /tmp/from; for i in 1 2 3 4 5 6 7 8; do printf 1234567890 > $i; done")
        .await?;
    let get = |name: &str, options| {
        let (sandbox, to) = (sandbox.clone(), ctx.dir.join(name));
        async move { sandbox.get("/tmp/from", &to, options).await }
    };
    refused("80 bytes", get("a", GetOptions { limit: 79, ..GetOptions::default() }).await, is_too_large)?;
    refused("8 files", get("b", GetOptions { max_entries: 7, ..GetOptions::default() }).await, is_too_large)?;
    get("c", GetOptions { limit: 80, max_entries: 9, exclude: Vec::new() }).await?;
    ok(&*sandbox, "head -c 3000000 /dev/zero > /tmp/large").await?;
    let options = GetOptions { limit: 2_999_999, ..GetOptions::default() };
    refused("one file", sandbox.get("/tmp/large", &ctx.dir.join("d"), options).await, is_too_large)
}

async fn exclude(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir -p /tmp/from/a/node_modules/x /tmp/from/node_modules /tmp/from/a/b; cd /tmp/from; echo > a/x.pyc; echo > keep; echo > a/keep; echo > a/b/c; echo > x.pyc").await?;
    let to = ctx.dir.join("to");
    let exclude = vec!["*.pyc".into(), "node_modules".into(), "a/b".into()];
    sandbox.get("/tmp/from", &to, GetOptions { exclude, ..GetOptions::default() }).await?;
    ensure_eq!(listed(&to)?, ["a", "a/keep", "keep"], "what came out");
    Ok(())
}

async fn special(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir -p /tmp/from/a; cd /tmp/from; mkfifo pipe a/pipe; echo > file; mknod device c 1 3 2> /dev/null; exit 0").await?;
    let to = ctx.dir.join("to");
    let get = sandbox.get("/tmp/from", &to, GetOptions::default());
    timeout(secs(10), get).await.map_err(|_| Failure("it hangs".into()))??;
    ensure_eq!(listed(&to)?, ["a", "file"], "what came out");
    let get = sandbox.get("/tmp/from/pipe", &to, GetOptions::default());
    refused("a pipe itself", timeout(secs(10), get).await.map_err(|_| Failure("it hangs".into()))?, |_| true)
}

async fn target_exists(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, "mkdir /tmp/from; echo new > /tmp/from/x").await?;
    let path = |name: &str| ctx.dir.join(name);
    fs::write(path("file"), "old")?;
    fs::create_dir(path("folder"))?;
    fs::create_dir(path("empty"))?;
    fs::write(path("folder/x"), "old")?;
    symlink(path("elsewhere"), path("link"))?;
    symlink(path("empty"), path("folder-link"))?;
    for name in ["file", "folder", "link", "folder-link", "empty"] {
        for from in ["/tmp/from", "/tmp/from/x"] {
            let result = sandbox.get(from, &path(name), GetOptions::default()).await;
            refused(&format!("{from} onto an existing {name}"), result, |_| true)?;
        }
    }
    ensure_eq!(
        (fs::read(path("file"))?, fs::read(path("folder/x"))?),
        (b"old".to_vec(), b"old".to_vec()),
        "old content"
    );
    ensure!(
        !path("elsewhere").exists() && fs::read_dir(path("empty"))?.count() == 0,
        "something was written"
    );
    refused(
        "a target without a parent",
        sandbox.get("/tmp/from", &path("no/to"), GetOptions::default()).await,
        |_| true,
    )
}

async fn missing(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for from in ["/tmp/no", "/no/such/folder", "/etc/passwd/x"] {
        let to = ctx.dir.join("to");
        refused(from, sandbox.get(from, &to, GetOptions::default()).await, is_inside)?;
        ensure!(!to.exists(), "{from}: something was made");
    }
    Ok(())
}
