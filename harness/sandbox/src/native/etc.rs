//! The `/etc` of a sandbox on the host's root: a few files are made here, a few are copied from the host by an allow-list.
//! Nothing that a person or an administrator writes into (accounts, start-up files, package sources, tool settings) is copied.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::skeleton::{Entry, Skeleton};

/// Copied below `/etc` when they are there: files that describe the system and that programs cannot do without.
const COPIED: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates.conf",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "terminfo",
    "os-release",
    "lsb-release",
    "debian_version",
    "redhat-release",
    "alpine-release",
    "arch-release",
    "protocols",
    "services",
    "rpc",
    "ethertypes",
    "mime.types",
    "magic",
    "inputrc",
    "shells",
    "login.defs",
    "adduser.conf",
    "deluser.conf",
    "debconf.conf",
    "dpkg/dpkg.cfg",
    "dpkg/origins",
    "dpkg/shlibs.default",
    "dpkg/shlibs.override",
    "locale.alias",
    "gai.conf",
    "host.conf",
    "pam.conf",
    "pam.d",
    "perl",
    "fonts",
    "xml",
    "sgml",
    "vim",
    "emacs",
    "mke2fs.conf",
    "manpath.config",
    "netconfig",
];

/// Copied when a name in `/etc` begins like this (`python3.11`, `java-17-openjdk`).
const COPIED_PREFIXES: &[&str] = &["python3", "python2", "java", ".java", "php", "lua", "ruby", "maven"];

/// Limits of what is copied: a file's bytes, all bytes, things altogether, depth.
const FILE_BYTES: u64 = 2 << 20;
const ALL_BYTES: u64 = 48 << 20;
const ENTRIES: usize = 8_000;
const DEPTH: usize = 8;

/// Names that are left out wherever they appear in what is copied: they are where such programs keep secrets.
fn looks_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends =
        [".key", ".p12", ".pfx", ".jks", ".keytab", "password", ".htpasswd", "settings.xml", "-security.xml"];
    let holds = ["secret", "passwd", "credential", "token", "id_rsa", "private"];
    ends.iter().any(|end| name.ends_with(end)) || holds.iter().any(|part| name.contains(part))
}

/// Puts `/etc` into the tree: copies from `root` (`/`, but for tests), then what is made here, which wins.
pub(crate) fn fill(tree: &mut Skeleton, root: &Path) {
    let etc = root.join("etc");
    let mut budget = Budget { bytes: ALL_BYTES, entries: ENTRIES };
    for name in COPIED {
        copy(tree, &etc, Path::new(name), DEPTH, &mut budget);
    }
    let mut families: Vec<String> = fs::read_dir(&etc)
        .into_iter()
        .flatten()
        .take(4096)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| COPIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    families.sort();
    for name in families {
        copy(tree, &etc, Path::new(&name), DEPTH, &mut budget);
    }
    for (name, mode, content) in MADE {
        tree.add(Path::new("etc").join(name), Entry::File(*mode, content.as_bytes().to_vec()));
    }
    for (name, content) in accounts() {
        let mode = if name == "shadow" || name == "gshadow" { 0o640 } else { 0o644 };
        tree.add(Path::new("etc").join(name), Entry::File(mode, content.into_bytes()));
    }
    for folder in ["profile.d", "skel", "opt", "cron.d", "init.d", "default", "dpkg/dpkg.cfg.d"] {
        tree.mount_point(Path::new("etc").join(folder));
    }
    tree.add("etc/mtab", Entry::Link("/proc/self/mounts".into()));
    tree.add("etc/localtime", Entry::Link("/usr/share/zoneinfo/Etc/UTC".into()));
}

struct Budget {
    bytes: u64,
    entries: usize,
}

/// Copies one path below `etc` when everyone may read it; links as links. Beyond the budget nothing more is copied.
fn copy(tree: &mut Skeleton, etc: &Path, name: &Path, depth: usize, budget: &mut Budget) {
    let last = name.file_name().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default();
    // PAM's `passwd` and `common-password` are rules, no secrets.
    let rules = name.starts_with("pam.d");
    if (looks_private(&last) && !rules) || budget.entries == 0 || depth == 0 {
        return;
    }
    // A private folder above makes what is in it private. Above the first one stands `/etc` itself.
    let above_is_public =
        name.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).all(|above| {
            fs::symlink_metadata(etc.join(above))
                .is_ok_and(|found| found.is_dir() && found.mode() & 0o001 != 0)
        });
    let Ok(found) = fs::symlink_metadata(etc.join(name)) else { return };
    if !above_is_public {
        return;
    }
    budget.entries -= 1;
    let inside = Path::new("etc").join(name);
    let public = found.mode() & 0o004 != 0;
    if found.is_symlink() {
        if let Ok(target) = fs::read_link(etc.join(name)) {
            tree.add(inside, Entry::Link(target));
        }
    } else if found.is_file() && public && found.len() <= FILE_BYTES.min(budget.bytes) {
        if let Some(bytes) = read(&etc.join(name)) {
            budget.bytes = budget.bytes.saturating_sub(bytes.len() as u64);
            tree.add(inside, Entry::File(found.mode() & 0o755, bytes));
        }
    } else if found.is_dir() && public && found.mode() & 0o001 != 0 {
        tree.mount_point(inside);
        let mut children: Vec<PathBuf> = fs::read_dir(etc.join(name))
            .into_iter()
            .flatten()
            .take(ENTRIES)
            .filter_map(|entry| Some(name.join(entry.ok()?.file_name())))
            .collect();
        children.sort();
        for child in children {
            copy(tree, etc, &child, depth - 1, budget);
        }
    }
}

/// A regular file's content; `None` when it is no longer one, or grew.
fn read(path: &Path) -> Option<Vec<u8>> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let mut bytes = Vec::new();
    let regular = file.metadata().is_ok_and(|found| found.is_file());
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (regular && bytes.len() as u64 <= FILE_BYTES).then_some(bytes)
}

/// Files that are the same on every host.
const MADE: &[(&str, u32, &str)] = &[
    ("hosts", 0o644, "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
    ("hostname", 0o644, "sandbox\n"),
    ("resolv.conf", 0o644, "# There is no name service in here.\n"),
    ("timezone", 0o644, "Etc/UTC\n"),
    ("networks", 0o644, "default 0.0.0.0\nloopback 127.0.0.0\nlink-local 169.254.0.0\n"),
    (
        "nsswitch.conf",
        0o644,
        "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files dns\nnetworks: files\n\
         protocols: files\nservices: files\nethers: files\nrpc: files\n",
    ),
    ("environment", 0o644, ""),
    ("fstab", 0o644, ""),
    ("security/limits.conf", 0o644, ""),
    ("security/access.conf", 0o644, ""),
    ("security/pam_env.conf", 0o644, ""),
    // Neither sets PATH: what the environment says holds in login shells too, toolchains included.
    (
        "profile",
        0o644,
        "for file in /etc/profile.d/*.sh; do\n  [ -r \"$file\" ] && . \"$file\"\ndone\nunset file\n",
    ),
    ("bash.bashrc", 0o644, "[ -z \"$PS1\" ] && return\nshopt -s checkwinsize\nPS1='\\u@\\h:\\w\\$ '\n"),
];

/// `passwd`, `group`, `shadow` and `gshadow` with the ids that distributions have in common, and no account that can log in
/// with a password.
fn accounts() -> [(&'static str, String); 4] {
    let mut passwd = String::new();
    let mut shadow = String::new();
    for (name, uid, gid, home) in USERS {
        let shell = match *name {
            "root" => "/bin/sh",
            "sync" => "/bin/sync",
            _ => "/usr/sbin/nologin",
        };
        passwd.push_str(&format!("{name}:x:{uid}:{gid}:{name}:{home}:{shell}\n"));
        shadow.push_str(&format!("{name}:*:19000:0:99999:7:::\n"));
    }
    let mut group = String::new();
    let mut gshadow = String::new();
    for (name, gid) in GROUPS {
        group.push_str(&format!("{name}:x:{gid}:\n"));
        gshadow.push_str(&format!("{name}:*::\n"));
    }
    [("passwd", passwd), ("group", group), ("shadow", shadow), ("gshadow", gshadow)]
}

/// Name, user id, group id, home.
const USERS: &[(&str, u32, u32, &str)] = &[
    ("root", 0, 0, "/root"),
    ("daemon", 1, 1, "/usr/sbin"),
    ("bin", 2, 2, "/bin"),
    ("sys", 3, 3, "/dev"),
    ("sync", 4, 65534, "/bin"),
    ("games", 5, 60, "/usr/games"),
    ("man", 6, 12, "/var/cache/man"),
    ("lp", 7, 7, "/var/spool/lpd"),
    ("mail", 8, 8, "/var/mail"),
    ("news", 9, 9, "/var/spool/news"),
    ("uucp", 10, 10, "/var/spool/uucp"),
    ("proxy", 13, 13, "/bin"),
    ("www-data", 33, 33, "/var/www"),
    ("backup", 34, 34, "/var/backups"),
    ("list", 38, 38, "/var/list"),
    ("_apt", 42, 65534, "/nonexistent"),
    ("nobody", 65534, 65534, "/nonexistent"),
];

const GROUPS: &[(&str, u32)] = &[
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("man", 12),
    ("proxy", 13),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("dip", 30),
    ("www-data", 33),
    ("backup", 34),
    ("operator", 37),
    ("list", 38),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    ("nogroup", 65534),
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const CANARY: &str = "canary-7f3a";

    /// A host whose every file that must not be shown holds the canary.
    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        let write = |name: &str, mode: u32, content: &str| {
            let path = etc.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for name in [
            "passwd",
            "shadow",
            "group",
            "sudoers",
            "sudoers.d/x",
            "ssh/ssh_host_rsa_key",
            "machine-id",
            "hosts",
            "resolv.conf",
            "hostname",
            "environment",
            "profile",
            "profile.d/x.sh",
            "bash.bashrc",
            "pip.conf",
            "npmrc",
            "gitconfig",
            "apt/sources.list",
            "apt/auth.conf",
            "fstab",
            "security/limits.conf",
            "ssl/private/x.pem",
            "java-17/jmxremote.password",
            "ssl/certs/host.key",
            "maven/settings.xml",
            "unheard-of",
        ] {
            write(name, 0o644, CANARY);
        }
        write("pam.d/secretly", 0o600, CANARY);
        write("perl/private-settings", 0o644, CANARY);
        write("fonts/closed", 0o640, CANARY);
        write("xml/x", 0o644, CANARY);
        fs::set_permissions(etc.join("xml"), fs::Permissions::from_mode(0o700)).unwrap();
        write("services", 0o644, "ssh 22/tcp\n");
        write("python3.11/sitecustomize.py", 0o644, "# fine\n");
        write("ssl/certs/ca.pem", 0o644, "certificate");
        write("terminfo/x/huge", 0o644, &"x".repeat((FILE_BYTES + 1) as usize));
        fs::create_dir_all(etc.join("alternatives")).unwrap();
        symlink("/usr/bin/mawk", etc.join("alternatives/awk")).unwrap();
        root
    }

    #[test]
    fn etc_shows_the_allowed_and_no_canary() {
        let host = host();
        let mut tree = Skeleton::default();
        fill(&mut tree, host.path());
        assert_eq!(tree.get("etc/services"), Some(&Entry::File(0o644, b"ssh 22/tcp\n".to_vec())));
        assert!(tree.get("etc/python3.11/sitecustomize.py").is_some());
        assert!(tree.get("etc/ssl/certs/ca.pem").is_some());
        assert_eq!(tree.get("etc/alternatives/awk"), Some(&Entry::Link("/usr/bin/mawk".into())));
        assert_eq!(tree.get("etc/terminfo/x/huge"), None);
        assert_eq!(tree.get("etc/unheard-of"), None);
        let store = tempfile::tempdir().unwrap();
        let made = tree.make(store.path(), None).unwrap();
        let found = std::process::Command::new("grep").arg("-rl").arg(CANARY).arg(&made).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }

    #[test]
    fn etc_link_in_place_of_an_allowed_folder_is_not_followed() {
        let host = host();
        fs::remove_dir_all(host.path().join("etc/ssl")).unwrap();
        fs::create_dir_all(host.path().join("elsewhere/certs")).unwrap();
        fs::write(host.path().join("elsewhere/certs/x"), CANARY).unwrap();
        symlink("../elsewhere", host.path().join("etc/ssl")).unwrap();
        let mut tree = Skeleton::default();
        fill(&mut tree, host.path());
        assert_eq!(tree.get("etc/ssl/certs/x"), None);
    }

    #[test]
    fn etc_accounts_hold_root_and_nobody_and_no_one_of_the_host() {
        let mut tree = Skeleton::default();
        fill(&mut tree, Path::new("/nonexistent"));
        let Some(Entry::File(0o644, passwd)) = tree.get("etc/passwd") else { panic!("no passwd") };
        let passwd = String::from_utf8_lossy(passwd);
        assert!(passwd.starts_with("root:x:0:0:root:/root:/bin/sh\n"));
        assert!(passwd.contains("nobody:x:65534:65534:"));
        assert!(passwd.lines().all(|line| line.split(':').count() == 7));
    }
}
