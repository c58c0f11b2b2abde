//! A small root file system from this machine's own programs and the libraries that they need.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: &[&str] = &["sh", "true", "readlink", "ls", "wc", "grep", "head", "mkdir"];

/// Puts it together in a folder that is made.
///
/// # Errors
/// A program or a library is not there, or the folder cannot be written.
pub fn small(root: &Path) -> io::Result<PathBuf> {
    for folder in ["bin", "tmp", "var/tmp", "etc", "proc", "dev"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    for program in PROGRAMS {
        let found =
            ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(program)).find(|at| at.exists());
        let found = found.ok_or_else(|| io::Error::other(format!("{program} is not installed")))?;
        std::fs::copy(&found, root.join("bin").join(program))?;
        // Lines such as `libc.so.6 => /lib/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
        let needed = Command::new("ldd").arg(&found).output()?;
        for library in
            String::from_utf8_lossy(&needed.stdout).split_whitespace().filter(|word| word.starts_with('/'))
        {
            let at = root.join(library.trim_start_matches('/'));
            std::fs::create_dir_all(at.parent().expect("a library is in a folder"))?;
            std::fs::copy(library, at)?;
        }
    }
    Ok(root.to_owned())
}
