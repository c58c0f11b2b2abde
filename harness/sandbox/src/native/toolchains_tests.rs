//! Homes as version managers lay them out.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let folder = tempfile::Builder::new().prefix("home-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Home(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// An install with a program in `bin` and a library.
    fn install(&self, name: &str, program: &str) -> PathBuf {
        self.file(&format!("{name}/bin/{program}"), "program");
        self.file(&format!("{name}/lib/library"), "library");
        self.at(name)
    }

    fn search(&self, path: &[&str]) -> Search {
        Search {
            path: path.iter().map(|entry| self.at(entry)).collect(),
            shown: vec!["/usr".into()],
            homes: vec![self.at("")],
            ..Search::default()
        }
    }
}

#[test]
fn toolchains_rustup_shows_the_toolchain_and_never_cargo_home() {
    let home = Home::new();
    home.file(".cargo/bin/rustup", "");
    home.file(".cargo/bin/cargo", "");
    home.file(".cargo/credentials.toml", "token");
    home.file(
        ".rustup/settings.toml",
        "version = \"12\"\ndefault_toolchain = \"stable-x86_64-unknown-linux-gnu\"\n",
    );
    let stable = home.install(".rustup/toolchains/stable-x86_64-unknown-linux-gnu", "cargo");
    let old = home.install(".rustup/toolchains/1.80-x86_64-unknown-linux-gnu", "cargo");
    let mut search = home.search(&[".cargo/bin"]);
    let found = find(&search);
    assert_eq!(found.prefixes, std::slice::from_ref(&stable));
    assert_eq!(found.path, [stable.join("bin")]);
    search.env.insert("RUSTUP_TOOLCHAIN".into(), "1.80".into());
    assert_eq!(find(&search).prefixes, [old]);
    search.env.insert("RUSTUP_TOOLCHAIN".into(), "../../../..".into());
    assert_eq!(find(&search).prefixes, Vec::<PathBuf>::new());
}

#[test]
fn toolchains_pyenv_shows_the_chosen_version() {
    let home = Home::new();
    home.file(".pyenv/shims/python3", "#!/bin/sh\n");
    home.file(".pyenv/version", "3.11\n../..\n3.9.1\n");
    home.install(".pyenv/versions/3.11.2", "python3");
    let young = home.install(".pyenv/versions/3.11.10", "python3");
    let old = home.install(".pyenv/versions/3.9.1", "python3");
    let mut search = home.search(&[".pyenv/shims"]);
    assert_eq!(find(&search).prefixes, [young.clone(), old.clone()]);
    assert_eq!(find(&search).path, [young.join("bin"), old.join("bin")]);
    search.env.insert("PYENV_VERSION".into(), "3.9.1".into());
    assert_eq!(find(&search).prefixes, [old]);
}

#[test]
fn toolchains_node_managers_are_followed() {
    let home = Home::new();
    let nvm = home.install(".nvm/versions/node/v18.0.0", "node");
    home.file(".volta/bin/volta", "");
    home.file(".volta/tools/user/platform.json", r#"{"node":{"runtime":"20.1.0","npm":null}}"#);
    let volta = home.install(".volta/tools/image/node/20.1.0", "node");
    home.file(".asdf/shims/node", "#!/bin/sh\n# asdf-plugin: nodejs 21.0.0\nexec asdf\n");
    let asdf = home.install(".asdf/installs/nodejs/21.0.0", "node");
    let found = find(&home.search(&[".nvm/versions/node/v18.0.0/bin", ".volta/bin", ".asdf/shims"]));
    assert_eq!(found.prefixes, [nvm, volta, asdf]);
}

#[test]
fn toolchains_links_lead_to_the_real_prefix() {
    let home = Home::new();
    let java = home.install(".sdkman/candidates/java/17.0.1", "java");
    symlink("17.0.1", home.at(".sdkman/candidates/java/current")).unwrap();
    let python = home.install(".local/share/uv/python/cpython-3.12", "python3.12");
    let project = home.install("projects/mine", "mytool");
    fs::create_dir_all(home.at(".local/bin")).unwrap();
    symlink(python.join("bin/python3.12"), home.at(".local/bin/python3.12")).unwrap();
    symlink(project.join("bin/mytool"), home.at(".local/bin/mytool")).unwrap();
    let found = find(&home.search(&[".sdkman/candidates/java/current/bin", ".local/bin"]));
    assert_eq!(found.prefixes, [java.clone(), python.clone()]);
    assert_eq!(found.path, [java.join("bin"), python.join("bin")]);
}

#[test]
fn toolchains_what_is_not_an_install_is_refused() {
    let home = Home::new();
    home.install(".", "own-script");
    home.install("checkout", "tool");
    home.file("checkout/.git/HEAD", "");
    home.install("with-keys", "tool");
    home.file("with-keys/.ssh/id_rsa", "");
    home.install("venv", "python3");
    home.file("venv/pyvenv.cfg", "");
    home.file("bare/bin/tool", "");
    let closed = home.install("closed", "tool");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    home.install("hidden/run", "tool");
    home.install("holds", "tool");
    let mut search = home.search(&[
        "bin",
        "checkout/bin",
        "with-keys/bin",
        "venv/bin",
        "bare/bin",
        "closed/bin",
        "hidden/run/bin",
        "holds/bin",
        "missing/bin",
    ]);
    search.hidden = vec![home.at("hidden"), home.at("holds/lib/state")];
    search.path.push("relative/bin".into());
    search.path.push("/usr/bin".into());
    let found = find(&search);
    assert_eq!(found.prefixes, Vec::<PathBuf>::new());
    assert_eq!(found.path, [PathBuf::from("/usr/bin")]);
    assert_eq!(found.refused.len(), 8, "{:?}", found.refused);
}

#[test]
fn toolchains_admit_no_wide_or_system_folder() {
    let search = Search { homes: vec!["/root".into(), "/home/ada".into()], ..Search::default() };
    for bin in [
        "/bin",
        "/opt/bin",
        "/home/bin",
        "/home/ada/bin",
        "/root/bin",
        "/proc/self/bin",
        "/etc/x/bin",
        "/srv/x",
    ] {
        assert!(admit(Path::new(bin), &search).is_err(), "{bin}");
    }
}

#[test]
fn toolchains_nested_prefixes_are_shown_once() {
    let home = Home::new();
    let outer = home.install("sdk", "cmake");
    home.install("sdk/emulator", "tool");
    let found = find(&home.search(&["sdk/emulator/bin", "sdk/bin"]));
    assert_eq!(found.prefixes, [outer]);
    assert_eq!(found.path.len(), 2);
}
