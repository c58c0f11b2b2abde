//! An interpreter that carries its own libraries: copies of those that `ldd` names, and the loader that is told to look there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ToolsError, disk, host};

/// The loader's name in the folder.
pub(super) const LOADER: &str = "loader";
/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Parts of the standard library that no agent needs: tests, and windows.
const LEFT_OUT: [&str; 9] = [
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "__pycache__",
];

/// Copies the interpreter, its standard library and its libraries into `folder/python`.
pub(super) fn interpreter(
    folder: &Path,
    executable: &Path,
    stdlib: &Path,
    name: &str,
) -> Result<(), ToolsError> {
    let home = folder.join("python");
    let (bin, lib, libraries) = (home.join("bin"), home.join("lib").join(name), home.join("so"));
    for new in [&bin, &lib, &libraries] {
        fs::create_dir_all(new).map_err(disk("make", new))?;
    }
    let program = bin.join(name);
    fs::copy(executable, &program).map_err(disk("copy", executable))?;
    copy_tree(stdlib, &lib)?;
    let mut wanted: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut objects = vec![executable.to_owned()];
    objects_below(&home.join("lib"), &mut objects)?;
    objects_below(&folder.join("site"), &mut objects)?;
    for some in objects.chunks(50) {
        // An object that is none makes ldd fail, and says nothing about the others.
        let script = "for object in \"$@\"; do ldd \"$object\" 2>/dev/null; done; exit 0";
        let mut arguments = vec!["-c".to_owned(), script.to_owned(), "sh".to_owned()];
        arguments.extend(some.iter().map(|path| path.to_string_lossy().into_owned()));
        let said = host::run(Path::new("/bin/sh"), &arguments, folder, LIMIT);
        let said = said.map_err(|message| disk("look into", folder)(std::io::Error::other(message)))?;
        wanted.extend(libraries_of(&said));
    }
    let ours = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mut has_loader = false;
    for (name, path) in wanted {
        // Packages find their own beside themselves.
        if path.starts_with(&ours) || path.starts_with(folder) {
            continue;
        }
        let is_loader =
            name.starts_with("ld-linux") || name.starts_with("ld64") || name.starts_with("ld-musl");
        has_loader |= is_loader;
        let to = libraries.join(if is_loader { LOADER } else { &name });
        fs::copy(&path, &to).map_err(disk("copy", &path))?;
    }
    if !has_loader {
        let error = std::io::Error::other("ldd names no loader for it");
        return Err(disk("carry", executable)(error));
    }
    Ok(())
}

/// Names and places of the libraries that `ldd` says are there.
fn libraries_of(said: &str) -> BTreeMap<String, PathBuf> {
    let place = |line: &str| {
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        let path = PathBuf::from(path);
        // By the name that is asked for, which need not be the file's own.
        let name = line.split_whitespace().next()?;
        let name = name.rsplit('/').next()?.to_owned();
        Some((name, path))
    };
    said.lines().filter(|line| line.starts_with(char::is_whitespace)).filter_map(place).collect()
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), ToolsError> {
    let left_out = BTreeSet::from(LEFT_OUT);
    let mut open = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = open.pop() {
        fs::create_dir_all(&to).map_err(disk("make", &to))?;
        for entry in fs::read_dir(&from).map_err(disk("read", &from))? {
            let entry = entry.map_err(disk("read", &from))?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if left_out.contains(&*text) || text.ends_with(".a") || text.starts_with("config-") {
                continue;
            }
            let (path, to) = (entry.path(), to.join(&name));
            // Through links: what they point at may not be in the image.
            let Ok(about) = fs::metadata(&path) else { continue };
            if about.is_dir() {
                open.push((path, to));
            } else if about.is_file() {
                fs::copy(&path, &to).map_err(disk("copy", &path))?;
            }
        }
    }
    Ok(())
}

/// All ELF files whose names say that they are libraries.
fn objects_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), ToolsError> {
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(disk("read", &next))?.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
                continue;
            }
            let is_library =
                path.to_string_lossy().rsplit('/').next().is_some_and(|name| name.contains(".so"));
            let mut magic = [0; 4];
            let read = fs::File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
            if is_library && read.is_ok() && magic == *b"\x7fELF" {
                found.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_reads_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\
                    \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n/a/file.so:\n\tstatically linked\n";
        let found = libraries_of(said);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["ld-linux-x86-64.so.2", "libm.so.6"]);
        assert_eq!(found["libm.so.6"], Path::new("/lib/x86_64-linux-gnu/libm.so.6"));
    }
}
