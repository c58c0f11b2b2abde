//! A folder as one compressed archive; used by the build script for the bundled suites, and by the tests.
//!
//! The same files give the same bytes: names are sorted, and times, owners and all mode bits but one are left out.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The folder as a compressed archive of paths that start with its name; an empty one where there is no folder.
pub(crate) fn pack(folder: &Path) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut paths = Vec::new();
    if folder.is_dir() {
        collect(folder, &mut paths)?;
    }
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(folder.parent().unwrap_or(folder)).map_err(io::Error::other)?;
        let meta = fs::symlink_metadata(&path)?;
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        if meta.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, name, fs::read_link(&path)?)?;
        } else {
            let content = fs::read(&path)?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if meta.mode() & 0o100 != 0 { 0o755 } else { 0o644 });
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_slice())?;
        }
    }
    let mut encoder = archive.into_inner()?;
    encoder.flush()?;
    encoder.finish()
}

/// Every file and link below a folder. What interpreters leave behind when somebody tries a task by hand stays out.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if entry.file_name() == "__pycache__" {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), paths)?;
        } else if kind.is_file() || kind.is_symlink() {
            paths.push(entry.path());
        } else {
            return Err(io::Error::other(format!("{} is no file", entry.path().display())));
        }
    }
    Ok(())
}
