//! Images of memory sandboxes: a base tree, and what a task's Dockerfile does to it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use harness_core::EnvironmentSource;
use tokio::sync::watch;

use super::process::{Descriptor, Tree};
use super::programs::{MARK, NAMES, Programs};
use super::shell::Shell;
use super::transfer;
use super::tree::{Base, Node, Shared, Space, lock};
use crate::{EnvironmentRequest, Exit, Image, PutOptions, SandboxError, Source};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The backend's handle of an image.
#[derive(Debug)]
pub(super) struct ImageTree(pub(super) Arc<Base>);

/// What every image begins with.
pub(super) fn base(programs: &Programs) -> Base {
    let mut base = Base::new();
    for folder in [
        "/etc",
        "/home",
        "/root",
        "/run",
        "/tmp",
        "/usr",
        "/usr/bin",
        "/usr/local",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/usr/sbin",
        "/var",
        "/var/tmp",
        "/dev",
        "/dev/shm",
        "/opt",
        "/srv",
    ] {
        base.insert(folder.into(), Node::folder());
    }
    base.insert(b"/bin".to_vec(), Node::link("usr/bin"));
    base.insert(b"/sbin".to_vec(), Node::link("usr/sbin"));
    base.insert(
        b"/etc/passwd".to_vec(),
        Node::file("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644),
    );
    base.insert(b"/etc/group".to_vec(), Node::file("root:x:0:\nnogroup:x:65534:\n", 0o644));
    for name in NAMES.iter().copied().chain(programs.keys().map(String::as_str)) {
        let content = [MARK, name.as_bytes(), b"\n"].concat();
        base.insert([b"/usr/bin/", name.as_bytes()].concat(), Node::file(content, 0o755));
    }
    base
}

/// Carries out the description.
pub(super) async fn build(
    request: &EnvironmentRequest,
    base: &Arc<Base>,
    programs: &Arc<Programs>,
) -> Result<Image, SandboxError> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    let mut workdir = "/".to_owned();
    let mut user = None;
    let shared = Arc::new(Shared { base: base.clone(), upper: Default::default() });
    let space = Space { shared: shared.clone(), mounts: None };
    match &request.spec.source {
        EnvironmentSource::Image { files, .. } => {
            if let Some(folder) = files {
                make(&space, request.spec.workdir.as_deref().unwrap_or("/"))?;
                let at = request.spec.workdir.as_deref().unwrap_or("/");
                transfer::put(&space, at, Source::Folder(folder.clone()), &PutOptions::default())?;
            }
        }
        EnvironmentSource::Dockerfile { file, context } => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| SandboxError::host(format!("read {}", file.display()), error))?;
            for line in text.replace("\\\n", " ").lines().map(str::trim) {
                let Some((word, rest)) = line.split_once(char::is_whitespace) else { continue };
                let rest = rest.trim();
                match word.to_ascii_uppercase().as_str() {
                    "ENV" => match rest.split_once(['=', ' ']) {
                        Some((name, value)) => {
                            env.insert(name.into(), value.trim_matches('"').into());
                        }
                        None => return Err(wrong(line, "NAME=VALUE expected")),
                    },
                    "WORKDIR" => {
                        workdir =
                            if rest.starts_with('/') { rest.into() } else { format!("{workdir}/{rest}") };
                        make(&space, &workdir)?;
                    }
                    "USER" => user = Some(rest.to_owned()),
                    "COPY" | "ADD" => {
                        let [from, to] = rest.split_whitespace().collect::<Vec<_>>()[..] else {
                            return Err(wrong(line, "one source and one target expected"));
                        };
                        copy(&space, context, from, &absolute(&workdir, to))?;
                    }
                    "RUN" => run(&space, programs, request, &env, &workdir, rest).await?,
                    "FROM" | "ARG" | "LABEL" | "CMD" | "ENTRYPOINT" | "EXPOSE" | "SHELL" | "#" => {}
                    _ if word.starts_with('#') => {}
                    _ => return Err(wrong(line, "not known in a memory sandbox")),
                }
            }
        }
    }
    if let Some(folder) = &request.spec.workdir {
        workdir.clone_from(folder);
        make(&space, folder)?;
    }
    env.extend(request.spec.env.clone());
    let upper = std::mem::take(&mut *lock(&shared.upper));
    let base = if upper.is_empty() { base.clone() } else { Arc::new(merged(base, upper)) };
    Ok(Image {
        digest: request.digest.clone(),
        name: super::NAME.into(),
        env,
        workdir,
        user,
        entrypoint: Vec::new(),
        weaknesses: vec!["runs nothing real".into()],
        handle: Box::new(ImageTree(base)),
    })
}

fn merged(base: &Base, upper: super::tree::Upper) -> Base {
    let mut merged = base.clone();
    for (path, change) in upper {
        match change {
            Some(node) => merged.insert(path, node),
            None => merged.remove(&path),
        };
    }
    merged
}

fn absolute(workdir: &str, path: &str) -> String {
    if path.starts_with('/') { path.into() } else { format!("{workdir}/{path}") }
}

fn make(space: &Space, folder: &str) -> Result<(), SandboxError> {
    space.make_folders(b"", folder.as_bytes()).map(drop).map_err(|why| wrong(folder, why))
}

fn copy(space: &Space, context: &std::path::Path, from: &str, to: &str) -> Result<(), SandboxError> {
    let escapes = std::path::Path::new(from)
        .components()
        .any(|part| matches!(part, std::path::Component::ParentDir | std::path::Component::Prefix(_)));
    if escapes {
        return Err(SandboxError::Escape { path: from.into() });
    }
    let host = context.join(from.trim_start_matches('/'));
    let folder = std::fs::symlink_metadata(&host).is_ok_and(|found| found.is_dir());
    let (at, source) = match (folder, to.ends_with('/'), host.file_name()) {
        (true, ..) => (to.to_owned(), Source::Folder(host)),
        (false, true, Some(name)) => (format!("{to}{}", name.to_string_lossy()), Source::File(host)),
        _ => (to.to_owned(), Source::File(host)),
    };
    transfer::put(space, &at, source, &PutOptions::default()).map_err(|error| wrong(from, &error.to_string()))
}

async fn run(
    space: &Space,
    programs: &Arc<Programs>,
    request: &EnvironmentRequest,
    env: &BTreeMap<String, String>,
    workdir: &str,
    script: &str,
) -> Result<(), SandboxError> {
    let (_frozen, seen) = watch::channel(0);
    let log = Descriptor::Capture(Arc::default());
    let shell = Shell {
        space: space.clone(),
        programs: programs.clone(),
        tree: Arc::new(Tree::new(1, seen, super::MOST_PROCESSES)),
        fds: [Descriptor::Null, log.clone(), log.clone()],
        env: env.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect(),
        args: Vec::new(),
        cwd: super::tree::normal(workdir.as_bytes()),
        user: (0, 0),
        status: 0,
        stop_on_error: false,
        ignores_term: Arc::new(AtomicBool::new(false)),
        depth: 0,
    };
    let tree = shell.tree.clone();
    let argv = vec![b"/bin/sh".to_vec(), b"-c".to_vec(), script.into()];
    let ended = tokio::time::timeout(request.spec.build_timeout, shell.run(argv)).await;
    tree.end(super::process::Verdict::Killed);
    let log = super::programs::captured(&log);
    if let Some(path) = &request.log {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        opened
            .and_then(|mut file| file.write_all(&log))
            .map_err(|error| SandboxError::host(format!("write {}", path.display()), error))?;
    }
    match ended {
        Ok(Exit::Code(0)) => Ok(()),
        ended => Err(SandboxError::Environment {
            message: format!(
                "RUN {script}: {}",
                ended.map_or("took too long".into(), |exit| format!("{exit:?}"))
            ),
            log: String::from_utf8_lossy(&log).into_owned(),
        }),
    }
}

fn wrong(line: &str, why: &str) -> SandboxError {
    SandboxError::Environment { message: format!("{line}: {why}"), log: String::new() }
}
