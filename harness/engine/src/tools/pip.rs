//! Programs of PyPI, with a copy of this machine's own Python that runs in any image: the interpreter, its standard library, and
//! every shared library that they and the packages want, the loader first.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Recipe, ToolsError, bundle, disk, host};

/// How long pip may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// The same for small things.
const SHORT: Duration = Duration::from_secs(180);

/// A package and everything that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pip {
    /// Its name.
    pub(crate) package: &'static str,
    /// `NAME==VERSION` lines of everything that is installed, for the version that they were made for.
    pub(crate) lock: &'static str,
    /// That version; any other is resolved by pip, within the lock's versions of what it needs.
    pub(crate) locked_version: &'static str,
    /// Oldest Python that it runs on, as (major, minor).
    pub(crate) python: (u32, u32),
    /// The program that is run, in Python.
    pub(crate) launcher: &'static str,
    /// The name that it gets in `bin`.
    pub(crate) name: &'static str,
}

/// What an interpreter says of itself.
#[derive(Deserialize)]
struct About {
    version: (u32, u32),
    executable: PathBuf,
    stdlib: PathBuf,
    pip: bool,
}

const ABOUT: &str = "import sys, sysconfig, json, os, importlib.util as u; print(json.dumps({'version': sys.version_info[:2], \
'executable': os.path.realpath(sys.executable), 'stdlib': sysconfig.get_path('stdlib'), \
'pip': u.find_spec('venv') is not None and u.find_spec('ensurepip') is not None}))";
const LIST: &str = "import sys, json, importlib.metadata as m; \
print(json.dumps({d.metadata['Name']: d.version for d in m.distributions(path=[sys.argv[1]])}))";

impl Pip {
    /// Installs into `folder`; gives what was installed.
    pub(super) fn install(
        &self,
        recipe: &Recipe,
        folder: &Path,
    ) -> Result<BTreeMap<String, String>, ToolsError> {
        let failed = |message| recipe.failed(message);
        let about = self.interpreter(folder).map_err(failed)?;
        let venv = folder.join("venv");
        let python = venv.join("bin/python");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let make = ["-I".to_owned(), "-m".to_owned(), "venv".to_owned(), text(&venv)];
        host::run(&about.executable, &make, folder, SHORT).map_err(failed)?;
        let site = folder.join("site");
        let locked = recipe.version == self.locked_version;
        let list = folder.join("lock.txt");
        let own = format!("{}=={}", self.package, self.locked_version);
        let lines = self.lock.lines().filter(|line| locked || *line != own);
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        fs::write(&list, lines).map_err(disk("write", &list))?;
        let mut install: Vec<String> = [
            "-I",
            "-m",
            "pip",
            "install",
            "-q",
            "--no-compile",
            "--no-input",
            "--only-binary=:all:",
            "--target",
        ]
        .map(str::to_owned)
        .to_vec();
        install.push(text(&site));
        if locked {
            install.extend(["--no-deps".to_owned(), "-r".to_owned(), text(&list)]);
        } else {
            let wanted = format!("{}=={}", self.package, recipe.version);
            install.extend(["-c".to_owned(), text(&list), wanted]);
        }
        host::run(&python, &install, folder, LIMIT).map_err(failed)?;
        let listed = ["-I".to_owned(), "-c".to_owned(), LIST.to_owned(), text(&site)];
        let listed = host::run(&python, &listed, folder, SHORT).map_err(failed)?;
        let packages: BTreeMap<String, String> = serde_json::from_str(&listed)
            .map_err(|error| recipe.failed(format!("the installed packages cannot be listed: {error}")))?;
        // Programs of packages name the folder that they were installed in, which is another one inside.
        for gone in [&venv, &site.join("bin")] {
            if gone.exists() {
                fs::remove_dir_all(gone).map_err(disk("remove", gone))?;
            }
        }
        let (major, minor) = about.version;
        bundle::interpreter(folder, &about.executable, &about.stdlib, &format!("python{major}.{minor}"))?;
        self.programs(folder, &format!("python{major}.{minor}"))?;
        // Compiled beforehand, and never looked at for their age: nothing can be written there later.
        let compile: Vec<String> =
            ["-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
                .map(str::to_owned)
                .into_iter()
                .chain([text(&site), text(&folder.join("python/lib"))])
                .collect();
        // What does not compile was never meant to: packages carry samples of broken files.
        let _partly = host::run(&folder.join("bin/python"), &compile, folder, LIMIT);
        let mut packages = packages;
        packages.insert("python".to_owned(), format!("{major}.{minor}"));
        Ok(packages)
    }

    /// The first Python on this machine that is young enough and can install.
    fn interpreter(&self, folder: &Path) -> Result<About, String> {
        let mut refused = Vec::new();
        for name in ["python3", "/usr/bin/python3"] {
            let said = match host::run(Path::new(name), &["-I", "-c", ABOUT], folder, SHORT) {
                Ok(said) => said,
                Err(message) => {
                    refused.push(message);
                    continue;
                }
            };
            let about: About =
                serde_json::from_str(said.trim()).map_err(|error| format!("{name}: {error}"))?;
            let ((major, minor), (needed, least)) = (about.version, self.python);
            if (major, minor) < (needed, least) {
                refused.push(format!("{name} is Python {major}.{minor}, older than {needed}.{least}"));
            } else if !about.pip {
                refused.push(format!("{name} has no venv and ensurepip (Debian: python3-venv)"));
            } else {
                return Ok(about);
            }
        }
        Err(refused.join("; "))
    }

    /// `bin/NAME` and `bin/python`: the loader, told where its libraries are, so that nothing of the image is used.
    fn programs(&self, folder: &Path, python: &str) -> Result<(), ToolsError> {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).map_err(disk("make", &bin))?;
        let launcher = folder.join("launch.py");
        fs::write(&launcher, self.launcher).map_err(disk("write", &launcher))?;
        let here = "here=${0%/*}/..\n";
        let start = format!(
            "exec \"$here/python/so/{}\" --library-path \"$here/python/so\" \
             \"$here/python/bin/{python}\" -I -S -B",
            bundle::LOADER
        );
        for (name, rest) in [("python", "\"$@\""), (self.name, "\"$here/launch.py\" \"$@\"")] {
            let file = bin.join(name);
            fs::write(&file, format!("#!/bin/sh\n{here}{start} {rest}\n")).map_err(disk("write", &file))?;
            let runs = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&file, runs).map_err(disk("settle", &file))?;
        }
        Ok(())
    }
}
