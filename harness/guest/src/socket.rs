//! Frames with descriptors over a unix stream socket: four bytes of length, the body, descriptors beside the first byte.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::wire::{MAX_FDS, MAX_FRAME};

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// The body, length stripped.
    pub body: Vec<u8>,
    /// The descriptors that came with it; close-on-exec.
    pub fds: Vec<OwnedFd>,
}

const CONTROL_BYTES: usize = 1024;

/// Puts the length in front of a body.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 4);
    bytes.extend_from_slice(&u32::try_from(body.len()).expect("bodies are below MAX_FRAME").to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Sends bytes, with descriptors beside the first of them; returns how many bytes went. One `sendmsg`; a closed peer is an
/// error and no signal.
///
/// # Errors
/// What `sendmsg` says, `WouldBlock` included.
pub fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    send_with(socket, bytes, fds, 0)
}

/// As [`send_some`], but never waits, whatever the socket's own mode.
///
/// # Errors
/// As for [`send_some`]; `WouldBlock` when there is no room.
pub fn send_some_now(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    send_with(socket, bytes, fds, libc::MSG_DONTWAIT)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd], flags: libc::c_int) -> io::Result<usize> {
    assert!(fds.len() <= MAX_FDS, "a frame carries at most {MAX_FDS} descriptors");
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = MaybeUninit::<[u64; CONTROL_BYTES / 8]>::zeroed();
    // SAFETY: a zeroed msghdr is a valid empty one; every pointer put into it outlives the call.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let size = std::mem::size_of_val(fds);
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size as u32) as _;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), size);
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | flags)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives up to `buffer.len()` bytes; descriptors that came are appended to `fds`. 0 means that the peer is gone.
///
/// # Errors
/// What `recvmsg` says, `WouldBlock` included; `InvalidData` when there were more descriptors than fit.
pub fn receive_some(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = MaybeUninit::<[u64; CONTROL_BYTES / 8]>::zeroed();
    // SAFETY: a zeroed msghdr is a valid empty one; every pointer put into it outlives the call. The kernel fills `control`
    // with whole headers, walked by the macros made for it; each descriptor in it is new and owned by nobody else.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        if message.msg_flags & libc::MSG_CTRUNC != 0 || fds.len() > MAX_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors in one frame"));
        }
        Ok(received as usize)
    }
}

/// Checks a frame's length.
///
/// # Errors
/// `InvalidData` when it is above [`MAX_FRAME`].
pub fn checked_length(header: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame above the size limit"));
    }
    Ok(length)
}

/// Sends a whole frame on a blocking socket.
///
/// # Errors
/// When the peer is gone.
pub fn send(socket: BorrowedFd<'_>, body: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let bytes = framed(body);
    let mut sent = 0;
    while sent < bytes.len() {
        let passed = if sent == 0 { fds } else { &[] };
        match send_some(socket, &bytes[sent..], passed) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives a whole frame on a blocking socket; `None` when the peer closed it between frames.
///
/// # Errors
/// When the peer closes it within one, or breaks a limit.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Frame>> {
    let mut fds = Vec::new();
    let mut header = [0; 4];
    if !fill(socket, &mut header, &mut fds)? {
        return Ok(None);
    }
    let mut body = vec![0; checked_length(header)?];
    if !fill(socket, &mut body, &mut fds)? && !body.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Frame { body, fds }))
}

/// Fills the buffer; false when the stream ended before its first byte.
fn fill(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match receive_some(socket, &mut buffer[filled..], fds) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
