//! Runs an installer on the host: its own process group, a time limit, and only the end of what it says.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Most bytes of what a program says that are kept, from the end.
const MAX_SAID: u64 = 64 << 10;
/// Most characters of it in a message.
const MAX_TOLD: usize = 1500;

/// A program that is ended with all that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // Nobody may be left in the group, which is what is wanted.
            let _gone = kill_process_group(group, Signal::KILL);
        }
        let _reaped = self.0.wait();
    }
}

/// Runs it to its end and gives what it wrote on stdout.
///
/// # Errors
/// A sentence: it is not there, it failed (with the end of what it said), or it took too long.
pub(super) fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    folder: &Path,
    limit: Duration,
) -> Result<String, String> {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let temporary = || tempfile::tempfile().map_err(|error| format!("no temporary file: {error}"));
    let copy = |file: &File| file.try_clone().map_err(|error| format!("no temporary file: {error}"));
    let (mut out, mut complaints) = (temporary()?, temporary()?);
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("npm_config_update_notifier", "false")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME")
        .stdin(Stdio::null())
        .stdout(copy(&out)?)
        .stderr(copy(&complaints)?)
        .process_group(0)
        .spawn();
    let child = child.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no {name} on this machine"),
        _ => format!("{name} cannot be started: {error}"),
    })?;
    let mut child = Running(child);
    let began = Instant::now();
    let status = loop {
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() > limit => {
                return Err(format!("{name} took longer than {} s", limit.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(format!("{name} cannot be waited for: {error}")),
        }
    };
    if !status.success() {
        let said = format!("{}\n{}", end_of(&mut out), end_of(&mut complaints));
        let skip = said.trim().chars().count().saturating_sub(MAX_TOLD);
        let said: String = said.trim().chars().skip(skip).collect();
        return Err(format!("{name} failed ({status}): {said}"));
    }
    Ok(end_of(&mut out))
}

fn end_of(file: &mut File) -> String {
    let length = file.metadata().map(|about| about.len()).unwrap_or(0);
    let mut bytes = Vec::new();
    // A message that cannot be read is a nicety less.
    let _position = file.seek(SeekFrom::Start(length.saturating_sub(MAX_SAID)));
    let _read = file.take(MAX_SAID).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
