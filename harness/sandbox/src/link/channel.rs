//! Frames over a unix socket for tokio: receiving waits without a thread; sending is at once, so that it can be done where
//! nothing may wait (when a handle is dropped).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use harness_guest::socket::{self, Frame};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a send waits for the other side to make room. It reads all the time, unless it is stopped or gone.
const SEND_TIMEOUT_MS: libc::c_int = 5000;

/// Our end of a socket.
#[derive(Clone)]
pub(crate) struct Channel {
    fd: Arc<AsyncFd<OwnedFd>>,
    /// One frame at a time.
    sending: Arc<Mutex<()>>,
}

impl Channel {
    /// Takes over our end. Must be called within a tokio runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Channel> {
        Ok(Channel { fd: Arc::new(watch(fd, Interest::READABLE)?), sending: Arc::new(Mutex::new(())) })
    }

    /// Sends a frame.
    pub(crate) fn send(&self, body: &[u8], fds: &[RawFd]) -> io::Result<()> {
        let _one_at_a_time = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = socket::framed(body);
        let mut sent = 0;
        while sent < bytes.len() {
            let passed = if sent == 0 { fds } else { &[] };
            match socket::send_some_now(self.fd.get_ref().as_fd(), &bytes[sent..], passed) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let mut polled =
            libc::pollfd { fd: self.fd.get_ref().as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one structure, and the count says so.
        match unsafe { libc::poll(&raw mut polled, 1, SEND_TIMEOUT_MS) } {
            0 => Err(io::ErrorKind::TimedOut.into()),
            count if count < 0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The next frame; `None` when the other side is gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<Frame>> {
        let mut fds = Vec::new();
        let mut header = [0; 4];
        if !self.fill(&mut header, &mut fds).await? {
            return Ok(None);
        }
        let mut body = vec![0; socket::checked_length(header)?];
        if !self.fill(&mut body, &mut fds).await? && !body.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Frame { body, fds }))
    }

    async fn fill(&self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            let received = self
                .fd
                .async_io(Interest::READABLE, |fd| {
                    socket::receive_some(fd.as_fd(), &mut buffer[filled..], fds)
                })
                .await?;
            match received {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(true)
    }
}

/// Lets tokio watch a descriptor, which stops blocking.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    set_nonblocking(&fd)?;
    // SAFETY: an owned descriptor stays what it is until it is dropped, after its registration.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Marks our end of something as not blocking.
pub(crate) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain fcntl on our own descriptor.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
