//! Copies between the host and a memory sandbox's tree.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::glob::excluded;
use super::tree::{Kind, Node, Space, join};
use crate::{GetOptions, PutOptions, SandboxError, Source};

/// Largest file that is copied in: everything lies in this process's memory.
const LARGEST: u64 = 256 << 20;

fn content(path: &Path, size: u64) -> Result<Vec<u8>, SandboxError> {
    if size > LARGEST {
        return Err(SandboxError::TooLarge { what: path.display().to_string(), limit: LARGEST });
    }
    std::fs::read(path).map_err(|error| refused("read", path, error))
}

/// Copies in; links on the host are never followed below the source.
pub(super) fn put(space: &Space, at: &str, source: Source, options: &PutOptions) -> Result<(), SandboxError> {
    let inside = |why: &str| SandboxError::Inside { message: format!("{at}: {why}") };
    match source {
        Source::Bytes(bytes) => {
            let node = Node { owner: options.owner, ..Node::file(bytes, options.mode.unwrap_or(0o644)) };
            put_file(space, at, node).map_err(inside)
        }
        Source::File(path) => {
            let found = std::fs::symlink_metadata(&path).map_err(|error| refused("read", &path, error))?;
            if !found.is_file() {
                return Err(refused("read", &path, std::io::Error::other("not a regular file")));
            }
            let content = content(&path, found.len())?;
            let mode = options.mode.unwrap_or(found.permissions().mode() & 0o7777);
            put_file(space, at, Node { owner: options.owner, ..Node::file(content, mode) }).map_err(inside)
        }
        Source::Folder(path) => {
            let folder = space.make_folders(b"", at.as_bytes()).map_err(inside)?;
            put_folder(space, &folder, &path, b"", options)
        }
    }
}

fn put_file(space: &Space, at: &str, node: Node) -> Result<(), &'static str> {
    let (folder, _) = at.rsplit_once('/').unwrap_or_default();
    space.make_folders(b"", folder.as_bytes())?;
    let path = space.write(b"", at.as_bytes(), b"", false)?;
    space.set(&path, Some(node));
    Ok(())
}

fn put_folder(
    space: &Space,
    to: &[u8],
    from: &Path,
    below: &[u8],
    options: &PutOptions,
) -> Result<(), SandboxError> {
    for entry in std::fs::read_dir(from).map_err(|error| refused("read", from, error))? {
        let entry = entry.map_err(|error| refused("read", from, error))?;
        let (path, name) = (entry.path(), entry.file_name().into_vec());
        let relative = if below.is_empty() { name.clone() } else { join(below, &name) };
        if excluded(&options.exclude, &relative) {
            continue;
        }
        let found = entry.metadata().map_err(|error| refused("read", &path, error))?;
        let mode = found.permissions().mode() & 0o7777;
        let target = join(to, &name);
        let node = if found.is_dir() {
            Node { mode, owner: options.owner, ..Node::folder() }
        } else if found.is_symlink() {
            let target = std::fs::read_link(&path).map_err(|error| refused("read", &path, error))?;
            Node { owner: options.owner, ..Node::link(target.into_os_string().into_vec()) }
        } else if found.is_file() {
            let content = content(&path, found.len())?;
            Node { owner: options.owner, ..Node::file(content, mode) }
        } else {
            continue;
        };
        let folder = node.kind == Kind::Folder;
        space.set(&target, Some(node));
        if folder {
            put_folder(space, &target, &path, &relative, options)?;
        }
    }
    Ok(())
}

/// What may still be copied out.
struct Left {
    bytes: u64,
    entries: u64,
}

/// Copies out to a path that does not exist yet.
pub(super) fn get(space: &Space, from: &str, to: &Path, options: &GetOptions) -> Result<(), SandboxError> {
    let path = space
        .resolve(b"", from.as_bytes(), false)
        .map_err(|why| SandboxError::Inside { message: format!("{from}: {why}") })?;
    let node = space
        .node(&path)
        .ok_or_else(|| SandboxError::Inside { message: format!("{from}: No such file or directory") })?;
    if to.symlink_metadata().is_ok() {
        return Err(refused("create", to, std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut left = Left { bytes: options.limit, entries: options.max_entries };
    copy_out(space, &path, node, to, b"", options, &mut left)
}

fn copy_out(
    space: &Space,
    path: &[u8],
    node: Node,
    to: &Path,
    below: &[u8],
    options: &GetOptions,
    left: &mut Left,
) -> Result<(), SandboxError> {
    let too_large =
        || SandboxError::TooLarge { what: String::from_utf8_lossy(path).into_owned(), limit: options.limit };
    left.entries = left.entries.checked_sub(1).ok_or_else(too_large)?;
    left.bytes = left.bytes.checked_sub(node.size()).ok_or_else(too_large)?;
    let failed = |error| refused("create", to, error);
    match node.kind {
        Kind::Link(target) => {
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), to).map_err(failed)
        }
        Kind::File(content) => {
            std::fs::File::create_new(to)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &content))
                .map_err(failed)?;
            std::fs::set_permissions(to, PermissionsExt::from_mode(node.mode & 0o777)).map_err(failed)
        }
        Kind::Folder => {
            std::fs::create_dir(to).map_err(failed)?;
            for name in space.list(path) {
                let relative = if below.is_empty() { name.clone() } else { join(below, &name) };
                let child = join(path, &name);
                let Some(node) = space.node(&child).filter(|_| !excluded(&options.exclude, &relative)) else {
                    continue;
                };
                let to = to.join(std::ffi::OsStr::from_bytes(&name));
                copy_out(space, &child, node, &to, &relative, options, left)?;
            }
            Ok(())
        }
    }
}

fn refused(verb: &str, path: &Path, error: std::io::Error) -> SandboxError {
    SandboxError::host(format!("{verb} {}", path.display()), error)
}
