//! A repository as it was at one commit: its history up to there, and nothing that came later.
//!
//! The commit alone is fetched into a fresh repository, so later commits, other branches, tags, remotes, hooks and
//! reflogs never were in it. The host's `git` runs with an empty environment and without anybody's settings.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A repository on this host, and the commit that it is wanted at.
#[derive(Debug, Clone)]
pub struct RepoAt {
    /// The repository: a working folder, or a bare one.
    pub path: PathBuf,
    /// A commit, by hash or by any name that the repository knows it by.
    pub commit: String,
    /// How many commits of the history that leads to it are kept, from 1.
    pub depth: u32,
}

/// Why a repository could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// There is no `git` to run, or a file could not be written.
    #[error("git cannot be run to export the repository: {0}")]
    Start(#[source] io::Error),
    /// The repository does not have the commit.
    #[error("{path} has no commit {commit:?}: {said}")]
    NoCommit {
        /// The repository.
        path: String,
        /// As asked for.
        commit: String,
        /// What git said.
        said: String,
    },
    /// Git failed.
    #[error("`git {step}` failed while exporting the repository: {said}")]
    Failed {
        /// The command.
        step: String,
        /// The end of what it said.
        said: String,
    },
}

/// What a local fetch may take at most: the biggest public repositories need about three minutes.
const TIME_LIMIT: Duration = Duration::from_secs(900);
/// What is read of git's own words.
const SAID_BYTES: u64 = 64 * 1024;

/// Run by git's own shell on the other end of the fetch: serve any commit, whoever owns the folder.
const UPLOAD_PACK: &str =
    "git -c 'safe.directory=*' -c uploadpack.allowAnySHA1InWant=true -c core.hooksPath=/dev/null upload-pack";

/// Writes the repository at the commit into a new folder.
pub(super) fn export(at: &RepoAt, into: &Path) -> Result<(), RepoError> {
    let source = fs::canonicalize(&at.path).map_err(|error| RepoError::NoCommit {
        path: at.path.display().to_string(),
        commit: at.commit.clone(),
        said: error.to_string(),
    })?;
    let wanted = format!("{}^{{commit}}", at.commit);
    let commit = git(&source, ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])
        .ok()
        .map(|said| said.trim().to_owned())
        .filter(|said| said.len() >= 40 && said.chars().all(|c| c.is_ascii_hexdigit()))
        .ok_or_else(|| RepoError::NoCommit {
            path: at.path.display().to_string(),
            commit: at.commit.clone(),
            said: "name a repository and a commit in it".into(),
        })?;
    fs::create_dir_all(into).map_err(RepoError::Start)?;
    git(into, ["init", "--quiet", "--template="])?;
    git(into, ["symbolic-ref", "HEAD", "refs/heads/main"])?;
    let depth = format!("--depth={}", at.depth.max(1));
    let upload_pack = format!("--upload-pack={UPLOAD_PACK}");
    let fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", &depth, &upload_pack, "--"];
    let source = source.into_os_string();
    git(into, fetch.iter().map(OsStr::new).chain([source.as_os_str(), OsStr::new(&commit)]))?;
    git(into, ["update-ref", "refs/heads/main", &commit])?;
    git(into, ["reset", "--quiet", "--hard", "main"])?;
    for trace in ["FETCH_HEAD", "ORIG_HEAD"] {
        match fs::remove_file(into.join(".git").join(trace)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(RepoError::Start(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Runs git in a folder and gives its output.
fn git<S: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Result<String, RepoError> {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let step = args.first().map(|step| step.to_string_lossy().into_owned()).unwrap_or_default();
    let (mut out, mut err) =
        (tempfile::tempfile().map_err(RepoError::Start)?, tempfile::tempfile().map_err(RepoError::Start)?);
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
        .envs([
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_ALLOW_PROTOCOL", "file"),
            ("GIT_TERMINAL_PROMPT", "0"),
            // A partial clone must not fetch what it lacks from elsewhere.
            ("GIT_NO_LAZY_FETCH", "1"),
        ])
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "safe.directory=*"])
        .args(["-c", "core.logAllRefUpdates=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(["-c", "fetch.fsckObjects=true"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(RepoError::Start)?)
        .stderr(err.try_clone().map_err(RepoError::Start)?);
    let mut child = command.spawn().map_err(RepoError::Start)?;
    let deadline = Instant::now() + TIME_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(RepoError::Start)? {
            break status;
        }
        if Instant::now() > deadline {
            // Both may fail only when it has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return Err(RepoError::Failed { step, said: format!("it took longer than {TIME_LIMIT:?}") });
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &mut fs::File| -> io::Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(SAID_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let said = read(&mut err).map_err(RepoError::Start)?;
    if status.success() {
        return read(&mut out).map_err(RepoError::Start);
    }
    let said = said.trim().replace('\n', ", ");
    Err(RepoError::Failed { step, said: if said.is_empty() { status.to_string() } else { said } })
}
