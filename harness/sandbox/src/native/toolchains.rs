//! Finds compilers and interpreters that are on PATH but installed outside the system's folders, most often in someone's home:
//! shows the one folder that each is installed in, never the home around it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// The folders of PATH, in order.
    pub(crate) path: Vec<PathBuf>,
    /// Folders that are shown anyway.
    pub(crate) shown: Vec<PathBuf>,
    /// Folders that must not be shown, nor anything that holds or lies in one of them.
    pub(crate) hidden: Vec<PathBuf>,
    /// Home folders of people on this machine.
    pub(crate) homes: Vec<PathBuf>,
    /// Variables that choose a version (`RUSTUP_TOOLCHAIN`, `PYENV_VERSION`, …).
    pub(crate) env: BTreeMap<String, String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Toolchains {
    /// Install prefixes to show read-only at their own paths. None lies in another.
    pub(crate) prefixes: Vec<PathBuf>,
    /// PATH inside: the entries that can be seen there, in the host's order.
    pub(crate) path: Vec<PathBuf>,
    /// Entries of PATH that are not shown, and why.
    pub(crate) refused: Vec<(PathBuf, String)>,
}

/// Most entries of PATH, and most names in one folder, that are looked at.
const MOST_PATHS: usize = 128;
const MOST_NAMES: usize = 4096;

/// Follows every entry of PATH to what stands behind it. Reads single folders, never trees.
pub(crate) fn find(search: &Search) -> Toolchains {
    let mut found = Toolchains::default();
    for entry in search.path.iter().take(MOST_PATHS).filter(|entry| entry.is_absolute()) {
        if search.shown.iter().any(|shown| entry.starts_with(shown)) {
            push(&mut found.path, entry.clone());
            continue;
        }
        let Ok(real) = fs::canonicalize(entry) else { continue };
        if search.shown.iter().any(|shown| real.starts_with(shown)) {
            push(&mut found.path, real);
            continue;
        }
        let behind = behind(entry, &real, search);
        for bin in &behind {
            match admit(bin, search) {
                Ok(prefix) => {
                    push(&mut found.path, bin.clone());
                    push(&mut found.prefixes, prefix);
                }
                Err(reason) => found.refused.push((bin.clone(), reason)),
            }
        }
        if behind.is_empty() {
            found.refused.push((entry.clone(), "no install folder was found behind it".to_owned()));
        }
    }
    let all = found.prefixes.clone();
    found.prefixes.retain(|one| !all.iter().any(|other| one != other && one.starts_with(other)));
    found
}

fn push(list: &mut Vec<PathBuf>, path: PathBuf) {
    if !list.contains(&path) {
        list.push(path);
    }
}

/// The real program folders behind one entry of PATH: what its version manager would choose, or itself, or where its
/// well-known programs are linked to.
fn behind(entry: &Path, real: &Path, search: &Search) -> Vec<PathBuf> {
    let env = |name: &str| search.env.get(name).map(String::as_str);
    let parent = real.parent().unwrap_or(real);
    let mut bins = Vec::new();
    if real.join("rustup").exists() {
        bins.extend(rustup(parent, search));
    } else if real.file_name().is_some_and(|name| name == "shims") {
        bins.extend(shims(parent, &env));
        if bins.is_empty() {
            bins.extend(asdf(parent, real));
        }
    } else if real.join("volta").exists() || real.join("volta-shim").exists() {
        bins.extend(volta(parent));
    } else if real.file_name().is_some_and(|name| name == "bin") && admit(real, search).is_ok() {
        bins.push(real.to_path_buf());
    }
    if bins.is_empty() {
        bins.extend(linked(entry));
    }
    let canonical: Vec<PathBuf> = bins.iter().filter_map(|bin| fs::canonicalize(bin).ok()).collect();
    let mut unique = Vec::new();
    for bin in canonical {
        push(&mut unique, bin);
    }
    unique
}

/// `~/.cargo/bin` holds proxies; the compiler is in `~/.rustup/toolchains/NAME`. `~/.cargo` itself is never shown: it holds
/// registry tokens.
fn rustup(cargo_home: &Path, search: &Search) -> Option<PathBuf> {
    let home = match search.env.get("RUSTUP_HOME") {
        Some(home) => PathBuf::from(home),
        None => cargo_home.parent()?.join(".rustup"),
    };
    let settings = read_small(&home.join("settings.toml")).unwrap_or_default();
    let default = settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "default_toolchain").then(|| value.trim().trim_matches('"').to_owned())
    });
    let wanted = search.env.get("RUSTUP_TOOLCHAIN").cloned().or(default)?;
    // `1.90` stands for `1.90-x86_64-unknown-linux-gnu`.
    let folder = home.join("toolchains");
    let names = names(&folder);
    let name = names.iter().find(|name| **name == wanted).or_else(|| {
        names.iter().find(|name| name.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('-')))
    })?;
    Some(folder.join(name).join("bin"))
}

/// pyenv and its kin: `ROOT/shims` runs what `ROOT/version` or `…ENV_VERSION` names in `ROOT/versions`.
fn shims<'a>(root: &Path, env: &dyn Fn(&str) -> Option<&'a str>) -> Vec<PathBuf> {
    let manager = root.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
    let variable = format!("{}_VERSION", manager.trim_start_matches('.'));
    let chosen = match env(&variable) {
        Some(chosen) => chosen.replace(':', "\n"),
        None => read_small(&root.join("version")).unwrap_or_default(),
    };
    let folder = root.join("versions");
    let all = names(&folder);
    let mut bins = Vec::new();
    for wanted in chosen.lines().map(str::trim).filter(|wanted| is_name(wanted)) {
        // `3.11` stands for the youngest `3.11.*`.
        let exact = all.iter().find(|name| *name == wanted);
        let name = exact.or_else(|| {
            let begins = |name: &&String| name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
            all.iter().filter(begins).max_by_key(|name| numbers(name))
        });
        bins.extend(name.map(|name| folder.join(name).join("bin")));
    }
    bins
}

/// asdf's shims say in a comment what they run: `# asdf-plugin: nodejs 18.0.0`.
fn asdf(root: &Path, shims: &Path) -> Vec<PathBuf> {
    let mut bins = Vec::new();
    for name in names(shims) {
        let Some(text) = read_small(&shims.join(name)) else { continue };
        for plugin in text.lines().filter_map(|line| line.strip_prefix("# asdf-plugin: ")) {
            if let Some((tool, version)) = plugin.trim().split_once(' ')
                && is_name(tool)
                && is_name(version)
            {
                push(&mut bins, root.join("installs").join(tool).join(version).join("bin"));
            }
        }
    }
    bins.truncate(32);
    bins
}

/// Volta's platform file names the node that its shims run.
fn volta(root: &Path) -> Option<PathBuf> {
    let text = read_small(&root.join("tools/user/platform.json"))?;
    let platform: serde_json::Value = serde_json::from_str(&text).ok()?;
    let version = platform.get("node")?.get("runtime")?.as_str().filter(|version| is_name(version))?;
    Some(root.join("tools/image/node").join(version).join("bin"))
}

/// Programs worth following when a folder of PATH only holds links to them (as `~/.local/bin` does).
const WELL_KNOWN: &[&str] = &[
    "python3", "python", "node", "npm", "deno", "bun", "go", "java", "javac", "ruby", "perl", "php", "rustc",
    "cargo", "gcc", "clang", "cmake", "ninja", "zig", "ghc", "julia", "lua", "R",
];

fn linked(folder: &Path) -> Vec<PathBuf> {
    let mut bins = Vec::new();
    for name in names(folder) {
        let stem =
            name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-');
        let known = WELL_KNOWN.iter().any(|known| name == *known || stem == known.trim_end_matches('3'));
        let link = folder.join(&name);
        if !known || !fs::symlink_metadata(&link).is_ok_and(|found| found.is_symlink()) {
            continue;
        }
        if let Some(bin) = fs::canonicalize(&link).ok().and_then(|real| real.parent().map(Path::to_path_buf))
        {
            push(&mut bins, bin);
        }
    }
    bins
}

/// Names at the top of a folder that make it someone's own, or a checkout, and not an install.
const PRIVATE: &[&str] = &[
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".netrc",
    ".git-credentials",
    ".gitconfig",
    ".config",
    ".docker",
    ".kube",
    ".npmrc",
    ".pypirc",
    ".bash_history",
    ".bashrc",
    ".profile",
    ".zshrc",
    ".env",
    ".git",
    ".hg",
    ".svn",
    ".cargo",
    "credentials",
    "credentials.toml",
    "credentials.json",
    "pyvenv.cfg",
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "keyrings",
    ".harness",
    "harness.toml",
];

/// What an install has beside its programs.
const INSTALL: &[&str] = &["lib", "lib64", "libexec", "include", "share", "release", "VERSION", "jre", "pkg"];

/// The install prefix that a program folder belongs to, when it may be shown.
fn admit(bin: &Path, search: &Search) -> Result<PathBuf, String> {
    if bin.starts_with("/nix/store") {
        // World-readable by design, and a program there needs others beside its own folder.
        return Ok(PathBuf::from("/nix/store"));
    }
    let prefix = match bin.file_name().and_then(|name| name.to_str()) {
        Some("bin" | "sbin" | "condabin") => bin.parent().unwrap_or(bin),
        _ => return Err("its programs are not in a folder named bin".to_owned()),
    };
    if prefix.components().count() < 3 {
        return Err("the folder around it is too wide to show".to_owned());
    }
    if let Some(home) = search.homes.iter().find(|home| home.starts_with(prefix)) {
        return Err(format!("the folder around it is or holds the home folder {}", home.display()));
    }
    if prefix.parent() == Some(Path::new("/home")) || prefix.ends_with(".local") {
        return Err("the folder around it holds someone's own files".to_owned());
    }
    for system in ["/proc", "/sys", "/dev", "/run", "/etc", "/var", "/boot"] {
        if prefix.starts_with(system) {
            return Err(format!("{system} is not shown"));
        }
    }
    if let Some(hidden) =
        search.hidden.iter().find(|hidden| hidden.starts_with(prefix) || prefix.starts_with(hidden))
    {
        return Err(format!("{} is hidden", hidden.display()));
    }
    if let Some(private) = PRIVATE.iter().find(|name| fs::symlink_metadata(prefix.join(name)).is_ok()) {
        return Err(format!("{private} beside it says that it is not an install alone"));
    }
    if !INSTALL.iter().any(|name| prefix.join(name).exists()) {
        return Err("it does not look like an install: no lib, include or share beside it".to_owned());
    }
    let open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o005 == 0o005);
    if !open(prefix) || !open(bin) || fs::read_dir(bin).is_err() {
        return Err("not everyone may read it".to_owned());
    }
    Ok(prefix.to_path_buf())
}

/// Settings files in an install that may hold tokens, relative to its prefix: they are to be covered.
pub(crate) const PREFIX_SETTINGS: &[&str] = &[
    "etc/npmrc",
    ".npmrc",
    "pip.conf",
    "etc/pip.conf",
    "etc/gitconfig",
    "lib/node_modules/npm/npmrc",
    ".condarc",
    "condarc",
    "etc/conda",
    "conf/settings.xml",
];

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && !text.contains('/') && text.len() < 128
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MOST_NAMES);
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn read_small(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    fs::File::open(path).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
#[path = "toolchains_tests.rs"]
mod tests;
