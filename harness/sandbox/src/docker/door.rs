//! Where the host and a container's PID 1 meet: a folder of ours that is shown to the container until its PID 1 has put a socket
//! there, and the guest program that it runs.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::body::SOCKET;
use crate::link::program;

/// The folder of all doors.
pub(crate) const DOORS: &str = "doors";

/// Beside a door: who owns its container now.
const HEIR: &str = "heir";
/// Beside a door: its container waits for a successor, should its owner die.
const WAITS: &str = "waits";

/// Makes doors.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    folder: PathBuf,
    guest: PathBuf,
}

/// A folder on the host; removed when dropped.
#[derive(Debug)]
pub(crate) struct Door {
    path: PathBuf,
    /// Names of sockets must be short, and paths need not be.
    opened: OwnedFd,
}

impl Doors {
    /// Below the backend's folder, which nobody else may enter: what is in a door is open to whatever id the container's root
    /// has outside.
    pub(crate) fn open(state: &Path) -> io::Result<Doors> {
        let folder = state.join("docker");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        let guest = folder.join(format!("guest-{}", &program::digest()[..16]));
        if !guest.exists() {
            // Several backends may be opened at once, in this process and in others.
            let made = folder.join(format!("{}.new", super::start::new_name()?));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o555).open(&made)?;
            io::Write::write_all(&mut file, program::PROGRAM)?;
            file.set_permissions(fs::Permissions::from_mode(0o555))?;
            drop(file);
            fs::rename(&made, &guest)?;
        }
        let doors = folder.join(DOORS);
        fs::create_dir_all(&doors)?;
        Ok(Doors { folder: doors, guest })
    }

    /// The guest program, as containers are shown it.
    pub(crate) fn guest(&self) -> &Path {
        &self.guest
    }

    /// A new one.
    pub(crate) fn make(&self, name: &str) -> io::Result<Door> {
        let path = self.folder.join(name);
        fs::create_dir(&path)?;
        // Root in the container may be any id here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Door::at(path)
    }

    /// One that a dead owner left.
    pub(crate) fn found(&self, name: &str) -> io::Result<Door> {
        if name.contains('/') || name.starts_with('.') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Door::at(self.folder.join(name))
    }

    /// Removes what a dead owner left of one.
    pub(crate) fn remove(&self, name: &str) {
        if !name.contains('/') && !name.starts_with('.') {
            let path = self.folder.join(name);
            for beside in [HEIR, WAITS] {
                let _ = fs::remove_file(path.with_extension(beside));
            }
            let _ = fs::remove_dir_all(path);
        }
    }

    /// Whether this container's door is one of ours, hence ours to come back to.
    pub(crate) fn is_ours(&self, name: &str) -> bool {
        !name.contains('/') && self.folder.join(name).is_dir()
    }

    /// Whether a container of ours waits for a successor of its owner.
    pub(crate) fn waits(&self, name: &str) -> bool {
        self.folder.join(name).with_extension(WAITS).exists()
    }

    /// Whose a container is now that was taken over: its labels name a dead owner for ever.
    pub(crate) fn heir(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name).with_extension(HEIR)).ok()
    }
}

impl Door {
    fn at(path: PathBuf) -> io::Result<Door> {
        let opened =
            rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Door { path, opened })
    }

    /// Says whether the container is to be left alone when its owner dies.
    pub(crate) fn wait(&self, waits: bool) -> io::Result<()> {
        let file = self.path.with_extension(WAITS);
        if waits { fs::write(file, "") } else { fs::remove_file(file).or(Ok(())) }
    }

    /// Says who owns the container from now on.
    pub(crate) fn inherit(&self, owner: &str) -> io::Result<()> {
        fs::write(self.path.with_extension(HEIR), owner)
    }

    /// On the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Connects, when PID 1 is there already.
    pub(crate) fn knock(&self) -> io::Result<UnixStream> {
        UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", self.opened.as_raw_fd()))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        for beside in [HEIR, WAITS] {
            let _ = fs::remove_file(self.path.with_extension(beside));
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The process that listens at the other end, in our numbers; `None` when it is not to be seen from here.
pub(crate) fn peer(stream: &UnixStream) -> Option<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the structure is as long as the length says, and both live across the call.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    (got == 0 && credentials.pid > 0).then_some(credentials.pid.unsigned_abs())
}
