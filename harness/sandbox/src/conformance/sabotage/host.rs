//! Ways to tamper with what lies on the host: a copy that goes in, or what came out.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Everything at and below a path, the deepest last; links are not followed.
fn walk(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                found.push(entry?.path());
            }
        }
        next += 1;
    }
    Ok(found)
}

/// Leaves it as it is.
pub(super) fn nothing(_root: &Path) -> io::Result<()> {
    Ok(())
}

/// Files lose their mode.
pub(super) fn plain_modes(root: &Path) -> io::Result<()> {
    for path in walk(root)? {
        if fs::symlink_metadata(&path)?.is_file() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o604))?;
        }
    }
    Ok(())
}

/// A file loses its last byte.
pub(super) fn chop(root: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(root)?;
    file.set_len(file.metadata()?.len().saturating_sub(1))
}

/// Empty folders are gone.
pub(super) fn no_empty_folders(root: &Path) -> io::Result<()> {
    for path in walk(root)?.iter().rev() {
        if fs::symlink_metadata(path)?.is_dir() {
            // Fails for those that are not empty.
            let _ = fs::remove_dir(path);
        }
    }
    Ok(())
}

/// Links become what they lead to.
pub(super) fn follow_links(root: &Path) -> io::Result<()> {
    for path in walk(root)? {
        if fs::symlink_metadata(&path)?.is_symlink() {
            let content = fs::read(&path).unwrap_or_default();
            fs::remove_file(&path)?;
            fs::write(&path, content)?;
        }
    }
    Ok(())
}

/// Names become text.
pub(super) fn lossy_names(root: &Path) -> io::Result<()> {
    for path in walk(root)?.iter().rev() {
        let Some(name) = path.file_name() else { continue };
        let text = name.to_string_lossy();
        if text.as_bytes() != name.as_bytes() {
            fs::rename(path, path.with_file_name(&*text))?;
        }
    }
    Ok(())
}

/// Every name is a file of its own.
pub(super) fn no_hard_links(root: &Path) -> io::Result<()> {
    for path in walk(root)? {
        if fs::symlink_metadata(&path)?.is_file() {
            let content = fs::read(&path)?;
            fs::remove_file(&path)?;
            fs::write(&path, content)?;
        }
    }
    Ok(())
}

/// Holes are filled a little.
pub(super) fn fill(root: &Path) -> io::Result<()> {
    for path in walk(root)? {
        if fs::symlink_metadata(&path)?.is_file() {
            fs::OpenOptions::new().write(true).open(path)?.write_all(&vec![b'x'; 8 << 20])?;
        }
    }
    Ok(())
}

/// Pipes become files.
pub(super) fn pipe_as_file(root: &Path) -> io::Result<()> {
    fs::write(root.join("pipe"), "")
}

/// Whatever is there is gone.
pub(super) fn clear(root: &Path) -> io::Result<()> {
    match fs::symlink_metadata(root) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(root),
        Ok(_) => fs::remove_file(root),
    }
}
