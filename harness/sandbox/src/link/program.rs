//! The guest program's bytes, and starting it as the spawner: from memory, with an empty environment and one socket.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The program.
pub(crate) static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/harness-guest"));

/// The program as an executable file in memory, made once.
fn executable() -> io::Result<&'static File> {
    static FILE: OnceLock<File> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file);
    }
    let file = in_memory(c"harness-guest")?;
    Ok(FILE.get_or_init(|| file))
}

fn in_memory(name: &CStr) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag; later ones may demand it.
    let fd = [flags | libc::MFD_EXEC, flags]
        .into_iter()
        .map(|flags| {
            // SAFETY: the name lives across the call.
            unsafe { libc::memfd_create(name.as_ptr(), flags) }
        })
        .find(|fd| *fd >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call just made returned a new descriptor that nobody else owns.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(PROGRAM)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: plain fcntl on our own descriptor.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Starts the spawner with `socket` as its only tie to us.
pub(crate) fn start_spawner(socket: OwnedFd) -> io::Result<Child> {
    Command::new(format!("/proc/self/fd/{}", executable()?.as_raw_fd()))
        .arg("spawner")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Tells one build of the program from another.
pub(crate) fn digest() -> String {
    blake3::hash(PROGRAM).to_hex().to_string()
}
