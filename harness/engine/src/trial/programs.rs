//! Which of the agent's changes would carry the verdict, and are put back in the verifier's view.
//!
//! Tests are judged by programs: a shell, an interpreter, the loader, core utilities, and the files that these read when they
//! start. Where an agent changed, removed or shadowed one of them, the verifier sees the environment's own again. Two
//! exceptions keep honest work honest: paths that the task names as its `product`, and programs that the package manager's
//! records account for (an agent that installed a package). Shells, core utilities and the loader's preload file are put
//! back whatever the records say, since records can be forged and nothing honest needs another `cat` there.
//!
//! This is a pure function from a list of changes to lists of paths: every backend serves it by its `view`.

use harness_core::{Finding, Severity};
use harness_sandbox::{Change, ChangeKind, FileType, ViewSpec};

/// Folders that programs are found in: what PATH can name in any image that we know.
const PROGRAM_DIRS: &[&str] =
    &["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"];

/// Folders that the loader and interpreters read code from.
const LIBRARY_DIRS: &[&str] = &[
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/libx32/",
    "/usr/lib/",
    "/usr/lib32/",
    "/usr/lib64/",
    "/usr/libx32/",
    "/usr/libexec/",
    "/usr/local/lib/",
];

/// Files that a shell, the loader or an interpreter reads when it starts.
const START_UP: &[&str] = &[
    "/etc/ld.so.preload",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "/etc/environment",
    "/etc/zsh/zshenv",
    "/etc/zshenv",
    "/etc/inputrc",
    "/etc/nsswitch.conf",
    "/etc/gitconfig",
    "/usr/local/etc/npmrc",
    "/etc/npmrc",
    "/etc/pip.conf",
];

/// Folders of such files.
const START_UP_DIRS: &[&str] = &["/etc/profile.d/", "/etc/ld.so.conf.d/", "/etc/alternatives/"];

/// Files in a home folder that a shell or an interpreter reads when it starts.
const HOME_START_UP: &[&str] = &[
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshenv",
    ".zshrc",
    ".kshrc",
    ".inputrc",
    ".pythonrc",
    ".pythonrc.py",
    ".pydistutils.cfg",
    ".npmrc",
    ".noderc",
    ".perltidyrc",
    ".gitconfig",
];

/// Programs that carry a verdict wherever they stand, by their file name without a version.
const VERDICT: &[&str] = &[
    "sh",
    "bash",
    "dash",
    "busybox",
    "ash",
    "zsh",
    "ksh",
    "env",
    "cat",
    "cp",
    "mv",
    "rm",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "touch",
    "chmod",
    "chown",
    "echo",
    "printf",
    "test",
    "[",
    "true",
    "false",
    "head",
    "tail",
    "cut",
    "tr",
    "sort",
    "uniq",
    "wc",
    "tee",
    "grep",
    "egrep",
    "fgrep",
    "sed",
    "awk",
    "gawk",
    "mawk",
    "nawk",
    "find",
    "xargs",
    "diff",
    "cmp",
    "expr",
    "seq",
    "sleep",
    "timeout",
    "date",
    "id",
    "whoami",
    "basename",
    "dirname",
    "readlink",
    "realpath",
    "stat",
    "od",
    "xxd",
    "md5sum",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "tar",
    "gzip",
    "gunzip",
    "zcat",
    "setsid",
    "nohup",
    "su",
    "sudo",
    "runuser",
    "setpriv",
    "kill",
    "pkill",
    "pgrep",
    "ps",
    "nice",
    "stdbuf",
];

/// Interpreters and tools that tests are often written in: put back unless the package manager accounts for them.
const INTERPRETERS: &[&str] = &[
    "python", "pytest", "py.test", "pip", "uv", "uvx", "node", "nodejs", "npm", "npx", "ruby", "perl", "php",
    "java", "javac", "go", "cargo", "rustc", "gcc", "cc", "g++", "c++", "clang", "ld", "as", "make", "cmake",
    "git", "curl", "wget", "jq", "sqlite3", "nc", "ss", "ip", "strace",
];

/// What the policy is told beside the changes.
pub(crate) struct Told<'a> {
    /// Paths that the task asks to be replaced.
    pub(crate) product: &'a [String],
    /// The working folder: what the agent was asked to work on is never put back.
    pub(crate) workdir: &'a str,
    /// Whether the package manager's records account for this path as it stands now.
    pub(crate) accounted: &'a dyn Fn(&str) -> bool,
    /// Folders in the PATH that tests run with, in order.
    pub(crate) path: &'a [String],
}

/// What the verifier's view puts back and hides, and what is on record for it.
pub(crate) fn defend(changes: &[Change], told: &Told<'_>, mut view: ViewSpec) -> (ViewSpec, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut unreadable = 0u32;
    for change in changes {
        let Ok(path) = std::str::from_utf8(&change.path) else {
            // No program that tests name has such a path, and a view cannot name it either.
            unreadable += 1;
            continue;
        };
        let Some(role) = role(path, change, told) else { continue };
        let what = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Modified => "changed",
            ChangeKind::Deleted => "removed",
        };
        if change.kind == ChangeKind::Added {
            view.hide.push(path.to_owned());
        } else {
            view.restore.push(path.to_owned());
        }
        if findings.len() < 50 {
            findings.push(Finding {
                check: "program_restored".into(),
                severity: Severity::Tampered,
                detail: format!(
                    "{path} ({role}) was {what} by the agent; the tests saw the environment's own"
                ),
            });
        }
    }
    let shown = findings.len();
    let all = view.hide.len() + view.restore.len();
    if all > shown {
        findings.push(Finding {
            check: "program_restored".into(),
            severity: Severity::Tampered,
            detail: format!("and {} more paths were put back or hidden", all - shown),
        });
    }
    if unreadable > 0 {
        findings.push(Finding {
            check: "odd_names".into(),
            severity: Severity::Info,
            detail: format!("{unreadable} changed paths have names that are not text"),
        });
    }
    (view, findings)
}

/// What part a changed path plays in a verdict; `None` when it plays none, or was meant to change.
fn role(path: &str, change: &Change, told: &Told<'_>) -> Option<&'static str> {
    let under = |folder: &str| {
        let folder = folder.trim_end_matches('/');
        path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    if told.product.iter().any(|product| under(product)) || (told.workdir != "/" && under(told.workdir)) {
        return None;
    }
    // A folder in which something changed is no change of its own; its entries are listed too.
    if change.file_type == Some(FileType::Folder)
        && change.kind != ChangeKind::Deleted
        && !replaced_root(path, change)
    {
        return None;
    }
    if START_UP.contains(&path)
        || START_UP_DIRS.iter().any(|dir| path.starts_with(dir))
        || home_start_up(path)
    {
        let always = path == "/etc/ld.so.preload";
        return (always || !(told.accounted)(path)).then_some("start-up file");
    }
    if replaced_root(path, change) {
        return Some("system folder");
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let in_programs =
        PROGRAM_DIRS.iter().any(|dir| path.strip_prefix(dir).is_some_and(|rest| !rest.contains('/')));
    let in_path = told.path.iter().any(|dir| {
        path.strip_prefix(dir.as_str())
            .and_then(|r| r.strip_prefix('/'))
            .is_some_and(|rest| !rest.contains('/'))
    });
    if in_programs || in_path {
        if is_any_of(name, VERDICT) {
            return Some("shell or core utility");
        }
        if is_any_of(name, INTERPRETERS) || change.kind != ChangeKind::Added {
            return (!(told.accounted)(path)).then_some("program");
        }
        return None;
    }
    if LIBRARY_DIRS.iter().any(|dir| path.starts_with(dir)) {
        if change.kind == ChangeKind::Added && !starts_by_itself(name, path) {
            return None;
        }
        return (!(told.accounted)(path)).then_some("library or start-up code");
    }
    None
}

/// `/bin`, `/lib` and their like themselves: links or folders that were swapped for others.
fn replaced_root(path: &str, change: &Change) -> bool {
    let roots = [
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/usr",
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/local/bin",
        "/etc",
    ];
    roots.contains(&path)
        && (change.kind == ChangeKind::Deleted || change.file_type.is_some_and(|t| t != FileType::Folder))
}

fn home_start_up(path: &str) -> bool {
    let rest = path.strip_prefix("/root/").or_else(|| {
        let below = path.strip_prefix("/home/")?;
        below.split_once('/').map(|(_, rest)| rest)
    });
    rest.is_some_and(|rest| {
        HOME_START_UP.contains(&rest)
            || rest.starts_with(".config/fish/")
            || rest.starts_with(".local/bin/")
            || (rest.starts_with(".local/lib/python")
                && starts_by_itself(rest.rsplit('/').next().unwrap_or(rest), rest))
    })
}

/// Code that runs without anyone asking for it: Python's start-up hooks, libraries that shadow the loader's own choice.
fn starts_by_itself(name: &str, path: &str) -> bool {
    name.ends_with(".pth")
        || name.starts_with("sitecustomize")
        || name.starts_with("usercustomize")
        || path.contains("/glibc-hwcaps/")
        || ["libc.so", "libc-", "ld-linux", "libdl.so", "libpthread.so", "libm.so"]
            .iter()
            .any(|start| name.starts_with(start))
}

/// Whether a file name is one of these, with or without a version: `python3.11` is `python`.
fn is_any_of(name: &str, list: &[&str]) -> bool {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    list.contains(&name) || (!plain.is_empty() && list.contains(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, kind: ChangeKind) -> Change {
        let file_type = (kind != ChangeKind::Deleted).then_some(FileType::File);
        Change { path: path.into(), kind, file_type, size: 1 }
    }

    fn run(changes: &[Change], product: &[&str], accounted: &[&str]) -> ViewSpec {
        let product: Vec<String> = product.iter().map(|s| (*s).to_owned()).collect();
        let accounted = |path: &str| accounted.contains(&path);
        let path = ["/opt/venv/bin".to_owned()];
        let told = Told { product: &product, workdir: "/app", accounted: &accounted, path: &path };
        defend(changes, &told, ViewSpec::default()).0
    }

    #[test]
    fn programs_that_were_replaced_or_shadowed_are_put_back_or_hidden() {
        use ChangeKind::{Added, Deleted, Modified};
        let changes = [
            change("/usr/bin/bash", Modified),
            change("/usr/bin/cat", Deleted),
            change("/usr/local/bin/cat", Added),
            change("/usr/local/bin/python3.11", Added),
            change("/etc/ld.so.preload", Added),
            change("/root/.bashrc", Modified),
            change("/usr/lib/python3/dist-packages/sitecustomize.py", Added),
            change("/opt/venv/bin/pytest", Added),
            change("/usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libc.so.6", Added),
        ];
        let view = run(&changes, &[], &[]);
        assert_eq!(view.restore, ["/usr/bin/bash", "/usr/bin/cat", "/root/.bashrc"]);
        assert_eq!(view.hide.len(), 6);
    }

    #[test]
    fn programs_that_honest_agents_change_are_left_alone() {
        use ChangeKind::{Added, Modified};
        let changes = [
            change("/etc/nginx/nginx.conf", Modified),
            change("/etc/hosts", Modified),
            change("/usr/local/bin/mytool", Added),
            change("/usr/bin/python3", Modified),
            change("/usr/bin/gcc", Added),
            change("/usr/lib/python3/dist-packages/requests/__init__.py", Added),
            change("/app/bin/cat", Added),
            change("/usr/bin/awk", Modified),
            change("/var/lib/dpkg/status", Modified),
        ];
        let view = run(&changes, &["/usr/bin/awk"], &["/usr/bin/python3", "/usr/bin/gcc"]);
        assert_eq!(view, ViewSpec::default());
    }

    #[test]
    fn programs_forged_into_the_package_records_are_put_back_all_the_same() {
        let changes = [change("/usr/bin/bash", ChangeKind::Modified)];
        assert_eq!(run(&changes, &[], &["/usr/bin/bash"]).restore, ["/usr/bin/bash"]);
    }

    #[test]
    fn programs_folders_that_became_links_are_put_back() {
        let link = Change {
            path: b"/bin".into(),
            kind: ChangeKind::Modified,
            file_type: Some(FileType::Link),
            size: 0,
        };
        assert_eq!(run(&[link], &[], &[]).restore, ["/bin"]);
    }

    #[test]
    fn programs_with_a_version_are_known_by_their_plain_name() {
        assert!(
            is_any_of("python3.11", INTERPRETERS)
                && is_any_of("gcc-12", INTERPRETERS)
                && is_any_of("[", VERDICT)
        );
        assert!(!is_any_of("catalog", VERDICT) && !is_any_of("7", VERDICT));
    }
}
