//! Tool folders: an agent's program with all that it needs, installed once per version below the harness's own state, and shown
//! read-only to every trial. A folder that is there is whole: it is made beside its place and moved there in one step.

mod bundle;
mod host;
mod npm;
mod pip;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness_core::Digest;
use harness_core::digest::DigestBuilder;
use harness_core::manifest::ToolsNote;
use serde::{Deserialize, Serialize};

pub(crate) use npm::Npm;
pub(crate) use pip::Pip;

/// What a finished folder says of itself; written last.
const NOTE: &str = "harness-tools.json";
/// Largest note that is read, in bytes.
const MAX_NOTE: u64 = 1 << 20;
/// Version of the way in which folders are made: another one is made anew, beside the old.
const LAYOUT: u32 = 1;
/// How long another process that installs the same is waited for.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Most files of a folder.
const MAX_FILES: usize = 200_000;

/// How a program is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The program's name, as agents have it.
    pub(crate) program: &'static str,
    /// Which version; never a range.
    pub(crate) version: String,
    /// Where it comes from.
    pub(crate) source: Source,
    /// The program and its arguments that make it say its version, below the folder.
    pub(crate) says_version: Vec<&'static str>,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A package of npm that carries a native program.
    Npm(Npm),
    /// A package of PyPI, with an interpreter of its own.
    Pip(Pip),
}

/// A folder that is ready, and stays while this value lives.
#[derive(Debug)]
pub(crate) struct ToolFolder {
    /// On the host.
    pub path: PathBuf,
    /// What is in it.
    pub note: ToolsNote,
    /// Held with others; whoever removes wants it alone.
    _used: File,
}

/// Why there is no folder. Nothing half is left.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// The machine lacks what installing takes.
    #[error("{program} {version} cannot be installed: {message}")]
    Install {
        /// Which program.
        program: String,
        /// Which version.
        version: String,
        /// Why, with the end of what the installer said.
        message: String,
    },
    /// It is another one than was asked for.
    #[error("{program} {asked} was asked for, and what was installed says that it is {said:?}")]
    Version {
        /// Which program.
        program: String,
        /// What was asked for.
        asked: String,
        /// What it says.
        said: String,
    },
    /// The harness's own state cannot be written.
    #[error("{what}")]
    Disk {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    layout: u32,
    #[serde(flatten)]
    note: ToolsNote,
}

impl Recipe {
    fn failed(&self, message: impl Into<String>) -> ToolsError {
        let (program, version) = (self.program.to_owned(), self.version.clone());
        ToolsError::Install { program, version, message: message.into() }
    }
}

fn disk(what: &str, path: &Path) -> impl FnOnce(io::Error) -> ToolsError {
    let what = format!("cannot {what} {}", path.display());
    move |source| ToolsError::Disk { what, source }
}

/// The folder of this recipe below `state`, installed when it is not there. Of several processes that want it at once one
/// installs, the others wait. `say` is told of what takes long.
///
/// # Errors
/// [`ToolsError`].
pub(crate) fn prepare(state: &Path, recipe: &Recipe, say: &dyn Fn(&str)) -> Result<ToolFolder, ToolsError> {
    let home = state.join("agents");
    let name = format!("{}-{}-{}-{LAYOUT}", recipe.program, recipe.version, std::env::consts::ARCH);
    let path = home.join(&name);
    fs::create_dir_all(&home).map_err(disk("make", &home))?;
    let used = use_file(&home, &name)?;
    used.lock_shared().map_err(disk("lock", &path))?;
    let ready = |note: ToolsNote, used: File| ToolFolder { path: path.clone(), note, _used: used };
    if let Some(note) = there(&path, recipe) {
        return Ok(ready(note, used));
    }
    let _lock = lock(&home.join(format!(".{name}.lock")), recipe, say)?;
    if let Some(note) = there(&path, recipe) {
        return Ok(ready(note, used));
    }
    sweep(&home, &name)?;
    say(&format!("installing {} {} once, for all trials", recipe.program, recipe.version));
    let began = Instant::now();
    let staging = Staging(home.join(format!(".{name}.part-{}", std::process::id())));
    fs::create_dir(&staging.0).map_err(disk("make", &staging.0))?;
    let packages = match &recipe.source {
        Source::Npm(npm) => npm.install(recipe, &staging.0)?,
        Source::Pip(pip) => pip.install(recipe, &staging.0)?,
    };
    says_its_version(recipe, &staging.0)?;
    let (digest, bytes) = settle(&staging.0)?;
    let (program, version) = (recipe.program.to_owned(), recipe.version.clone());
    let note = ToolsNote { program, version, digest, bytes, packages };
    let kept = Kept { layout: LAYOUT, note };
    let text = serde_json::to_vec_pretty(&kept).expect("a note is plain values");
    let file = staging.0.join(NOTE);
    fs::write(&file, text).map_err(disk("write", &file))?;
    // All of it is on the disk before the name says that it is.
    let opened = File::open(&staging.0).map_err(disk("open", &staging.0))?;
    rustix::fs::syncfs(&opened).map_err(|error| disk("sync", &staging.0)(error.into()))?;
    fs::rename(&staging.0, &path).map_err(disk("name", &path))?;
    say(&format!(
        "installed {} {} in {:.0} s",
        recipe.program,
        recipe.version,
        began.elapsed().as_secs_f64()
    ));
    Ok(ready(kept.note, used))
}

/// What is in the folder, when it is there and is what its name says.
fn there(path: &Path, recipe: &Recipe) -> Option<ToolsNote> {
    let kept = kept(path)?;
    let same = kept.note.program == recipe.program && kept.note.version == recipe.version;
    let whole = recipe.says_version.first().is_some_and(|program| path.join(program).is_file());
    (same && whole && kept.layout == LAYOUT).then_some(kept.note)
}

fn kept(path: &Path) -> Option<Kept> {
    let mut text = Vec::new();
    File::open(path.join(NOTE)).ok()?.take(MAX_NOTE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn use_file(home: &Path, name: &str) -> Result<File, ToolsError> {
    let file = home.join(format!(".{name}.use"));
    let opened = File::options().create(true).truncate(false).write(true).open(&file);
    opened.map_err(disk("open", &file))
}

/// What became of the tool folders of a machine.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Programs with their versions.
    pub programs: Vec<String>,
    /// Bytes that they took.
    pub bytes: u64,
    /// What stays, with the reason.
    pub kept: Vec<String>,
}

/// Removes the tool folders below `state` that no living process uses, or only says which.
///
/// # Errors
/// [`ToolsError::Disk`].
pub fn remove_all(state: &Path, dry_run: bool) -> Result<Removed, ToolsError> {
    let home = state.join("agents");
    let mut removed = Removed::default();
    let entries = match fs::read_dir(&home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => return Err(disk("read", &home)(error)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is half made is its maker's, and swept by whoever installs next.
        let is_folder = !name.starts_with('.') && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder {
            continue;
        }
        let note = kept(&entry.path()).map(|kept| kept.note);
        let said = note.as_ref().map_or(name.clone(), |note| format!("{} {}", note.program, note.version));
        let used = use_file(&home, &name)?;
        if used.try_lock().is_err() {
            removed.kept.push(format!("{said}: a run uses it"));
            continue;
        }
        if !dry_run {
            // The note goes first: what is left half is not taken for whole.
            let file = entry.path().join(NOTE);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(disk("remove", &file)(error));
                }
                _ => fs::remove_dir_all(entry.path()).map_err(disk("remove", &entry.path()))?,
            }
        }
        removed.bytes += note.map_or(0, |note| note.bytes);
        removed.programs.push(said);
    }
    removed.programs.sort();
    Ok(removed)
}

/// Held until dropped; freed by the system when its process dies.
fn lock(file: &Path, recipe: &Recipe, say: &dyn Fn(&str)) -> Result<File, ToolsError> {
    let opened = File::options().create(true).truncate(false).write(true).open(file);
    let opened = opened.map_err(disk("open", file))?;
    let began = Instant::now();
    let mut told = false;
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(opened),
            Err(fs::TryLockError::Error(error)) => return Err(disk("lock", file)(error)),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if !told {
            say(&format!("waiting for another process that installs {} {}", recipe.program, recipe.version));
            told = true;
        }
        if began.elapsed() > PATIENCE {
            let minutes = PATIENCE.as_secs() / 60;
            return Err(
                recipe.failed(format!("another process has been installing it for {minutes} minutes"))
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes what killed installs left, and a folder that does not say what it is. The lock is held: nobody else is at it.
fn sweep(home: &Path, name: &str) -> Result<(), ToolsError> {
    let half = format!(".{name}.part-");
    for entry in fs::read_dir(home).map_err(disk("read", home))?.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found.starts_with(&half) || found == name {
            fs::remove_dir_all(entry.path()).map_err(disk("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Where a folder is made; removed unless it was moved to its place.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // Moved away is the good end; what resists is swept by whoever installs next.
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// Another version than was asked for is another agent: registries have given one for the other.
fn says_its_version(recipe: &Recipe, folder: &Path) -> Result<(), ToolsError> {
    let (program, arguments) = recipe.says_version.split_first().expect("a recipe names its program");
    let said = host::run(&folder.join(program), arguments, folder, Duration::from_secs(120))
        .map_err(|message| recipe.failed(message))?;
    if says(&said, &recipe.version) {
        return Ok(());
    }
    let said = said.trim().chars().take(200).collect();
    Err(ToolsError::Version { program: recipe.program.to_owned(), asked: recipe.version.clone(), said })
}

/// Whether a version is one of the words of what a program says.
pub(crate) fn says(said: &str, version: &str) -> bool {
    said.split(|letter: char| letter.is_whitespace() || "()v,".contains(letter)).any(|word| word == version)
}

/// Makes everything readable for whoever works inside and writable for nobody, and takes its digest.
fn settle(folder: &Path) -> Result<(Digest, u64), ToolsError> {
    let mut paths = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(disk("read", &next))? {
            let entry = entry.map_err(disk("read", &next))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(disk("read", &entry.path()))?);
            if kind.is_dir() {
                let open_to_all = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&path, open_to_all).map_err(disk("open up", &path))?;
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                paths.insert(name, path);
            }
            if paths.len() > MAX_FILES {
                let error = io::Error::other(format!("it has more than {MAX_FILES} files"));
                return Err(disk("keep", folder)(error));
            }
        }
    }
    let open_to_all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, open_to_all).map_err(disk("open up", folder))?;
    let (mut digest, mut bytes) = (DigestBuilder::new(), 0);
    for (name, path) in paths {
        let about = fs::symlink_metadata(&path).map_err(disk("read", &path))?;
        if about.is_symlink() {
            let target = fs::read_link(&path).map_err(disk("read", &path))?;
            digest.part(&format!("link {name}"), target.to_string_lossy().as_bytes());
            continue;
        }
        let runs = about.permissions().mode() & 0o111 != 0;
        let mode = if runs { 0o555 } else { 0o444 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(disk("settle", &path))?;
        let file = File::open(&path).map_err(disk("read", &path))?;
        let (content, length) = Digest::of_reader(file).map_err(disk("read", &path))?;
        bytes += length;
        digest.part(&format!("{mode:o} {name}"), content.as_str().as_bytes());
    }
    Ok((digest.finish(), bytes))
}

#[cfg(test)]
mod tests;
