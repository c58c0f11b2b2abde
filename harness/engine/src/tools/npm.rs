//! Programs that npm packages carry as native binaries, one package a platform: no interpreter is needed to run them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Recipe, ToolsError, disk, host};

/// How long npm may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Largest lock file of npm that is read, in bytes.
const MAX_LOCK: u64 = 4 << 20;

/// A package with a native program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Npm {
    /// Its name.
    pub(crate) package: String,
    /// Its version there, which may name a platform.
    pub(crate) version: String,
    /// The program below the package's folder.
    pub(crate) program: String,
    /// The name that it gets in `bin`.
    pub(crate) name: &'static str,
    /// Whether it wants the C library of the image.
    pub(crate) needs_glibc: bool,
}

#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, Package>,
}

#[derive(Deserialize)]
struct Package {
    version: Option<String>,
    integrity: Option<String>,
}

impl Npm {
    /// Installs into `folder`; gives what was installed.
    pub(super) fn install(
        &self,
        recipe: &Recipe,
        folder: &Path,
    ) -> Result<BTreeMap<String, String>, ToolsError> {
        let asked = format!("{}@{}", self.package, self.version);
        // No scripts: what a package would run at install is not needed, and would run with the user's rights.
        let arguments = [
            "install",
            "--prefix",
            ".",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--no-package-lock",
            "--loglevel=error",
            &asked,
        ];
        host::run(Path::new("npm"), &arguments, folder, LIMIT).map_err(|message| recipe.failed(message))?;
        let packages = self.packages(recipe, folder)?;
        // What npm chose instead of what was asked for is another program.
        let given = packages.get(&self.package).map(|about| about.split(' ').next().unwrap_or_default());
        if given != Some(self.version.as_str()) {
            let said = given.unwrap_or("nothing").to_owned();
            let (program, asked) = (recipe.program.to_owned(), self.version.clone());
            return Err(ToolsError::Version { program, asked, said });
        }
        let bin = folder.join("bin");
        fs::create_dir(&bin).map_err(disk("make", &bin))?;
        let program = format!("node_modules/{}/{}", self.package, self.program);
        if !folder.join(&program).is_file() {
            return Err(recipe.failed(format!("the package {asked} has no {}", self.program)));
        }
        let link = bin.join(self.name);
        std::os::unix::fs::symlink(format!("../{program}"), &link).map_err(disk("make", &link))?;
        Ok(packages)
    }

    fn packages(&self, recipe: &Recipe, folder: &Path) -> Result<BTreeMap<String, String>, ToolsError> {
        let file = folder.join("node_modules/.package-lock.json");
        let mut text = Vec::new();
        let opened = File::open(&file).map_err(disk("read", &file))?;
        opened.take(MAX_LOCK).read_to_end(&mut text).map_err(disk("read", &file))?;
        let lock: Lock = serde_json::from_slice(&text)
            .map_err(|error| recipe.failed(format!("npm's own record cannot be read: {error}")))?;
        let named = lock.packages.into_iter().filter_map(|(path, about)| {
            let name = path.rsplit_once("node_modules/")?.1.to_owned();
            let integrity = about.integrity.map(|integrity| format!(" {integrity}")).unwrap_or_default();
            Some((name, format!("{}{integrity}", about.version?)))
        });
        Ok(named.collect())
    }
}
