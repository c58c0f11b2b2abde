//! A file as a block device that detaches itself when nobody uses it any more, whatever kills us.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

const CONTROL: &str = "/dev/loop-control";
const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const AUTOCLEAR: u32 = 4;

/// `struct loop_config`, which is the kernel's interface.
#[repr(C)]
struct Config {
    file: u32,
    block_bytes: u32,
    info: Info,
    reserved: [u64; 8],
}

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_bytes: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// A loop device; it stays attached while this, or a mount of it, is open.
#[derive(Debug)]
pub(crate) struct Loop {
    // Held, never read.
    _device: OwnedFd,
    path: PathBuf,
}

impl Loop {
    /// Attaches a file to a free device.
    ///
    /// # Errors
    /// When there are no loop devices, or we may not use them.
    pub(crate) fn attach(file: BorrowedFd<'_>) -> io::Result<Loop> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let control = rustix::fs::open(CONTROL, flags, Mode::empty())?;
        // Between asking for a free device and taking it another may take it.
        for _ in 0..64 {
            // SAFETY: takes no argument, gives a number.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = match rustix::fs::open(&path, flags, Mode::empty()) {
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NXIO) => make_node(&path, number as u32)?,
                opened => opened?,
            };
            let config = Config {
                file: file.as_raw_fd() as u32,
                block_bytes: 4096,
                // SAFETY: all fields are integers, for which zero is a value.
                info: Info { flags: AUTOCLEAR, ..unsafe { std::mem::zeroed() } },
                reserved: [0; 8],
            };
            // SAFETY: the kernel reads one `loop_config` at the pointer.
            let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
            if done == 0 {
                return Ok(Loop { _device: device, path });
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error);
            }
        }
        Err(io::Error::other("others take every free loop device first"))
    }

    /// The device's node.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

/// In a container `/dev` may not follow the kernel.
fn make_node(path: &std::path::Path, number: u32) -> io::Result<OwnedFd> {
    let device = rustix::fs::makedev(7, number);
    match rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::BlockDevice,
        Mode::RUSR | Mode::WUSR,
        device,
    ) {
        Err(rustix::io::Errno::EXIST) => {}
        made => made?,
    }
    Ok(rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Which files are attached now, by the kernel's own list.
#[cfg(test)]
pub(crate) fn attached() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("loop/backing_file")).ok())
        .map(|file| PathBuf::from(file.trim_end()))
        .collect()
}
