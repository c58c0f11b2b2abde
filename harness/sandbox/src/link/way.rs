//! A sandbox's way to the outside while it runs: which network it has, the proxy that serves an open one, the variables that send
//! programs there, and what was tried through it.
//!
//! The first network of a sandbox is everybody's in it. A later one is for those who are started later: they have a key to the
//! proxy in their variables, and the proxy serves nobody else, nor anybody while a program inside listens to raw packets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness_core::{Connections, NetworkMode};
use tokio::sync::Mutex;

use super::process::Surroundings;
use crate::SandboxError;
use crate::proxy::{ConnectionLog, Key, Proxy, Service, variables};

/// See the module.
pub(crate) struct Way {
    state: Mutex<State>,
    /// What programs get in a network without a proxy.
    closed: Arc<Surroundings>,
    /// PID 1's number on this machine, where it is known.
    pid: Option<u32>,
    log: Arc<ConnectionLog>,
    /// Whether there was anything to log yet.
    opened: AtomicBool,
}

struct State {
    mode: NetworkMode,
    proxy: Option<Proxy>,
    /// Where it listens inside, and for whom.
    served: Option<(u16, Whom)>,
    around: Arc<Surroundings>,
}

impl Way {
    /// A sandbox's first network, without its proxy yet.
    pub(crate) fn new(mode: NetworkMode, around: Surroundings, pid: Option<u32>) -> Way {
        let closed = Arc::new(around);
        let state = State { mode, proxy: None, served: None, around: Arc::clone(&closed) };
        Way { state: Mutex::new(state), closed, pid, log: Arc::default(), opened: AtomicBool::new(false) }
    }

    /// With which defaults a command is started now.
    pub(crate) async fn around(&self) -> Arc<Surroundings> {
        Arc::clone(&self.state.lock().await.around)
    }

    /// The network now.
    pub(crate) async fn mode(&self) -> NetworkMode {
        self.state.lock().await.mode.clone()
    }

    /// Serves an open network on a listener inside.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) async fn open(&self, listener: std::net::TcpListener, whom: Whom) -> Result<(), SandboxError> {
        let refused = |error| SandboxError::host("serve the open network", error);
        let key = match whom {
            Whom::Everybody => None,
            Whom::Later => Some(Key::new().map_err(refused)?),
        };
        let port = listener.local_addr().map_err(refused)?.port();
        listener.set_nonblocking(true).map_err(refused)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
        let mut around = (*self.closed).clone();
        for (name, value) in variables(port, key.as_ref()) {
            // The image's own setting is for another network.
            around.env.retain(|pair| pair.split(|byte| *byte == b'=').next() != Some(name.as_bytes()));
            around.env.push(format!("{name}={value}").into_bytes());
        }
        let (log, pid) = (Arc::clone(&self.log), self.pid);
        let service = Service {
            recorder: Arc::new(move |connection| log.add(connection)),
            key,
            overheard: Arc::new(move || overheard(pid)),
        };
        let mut state = self.state.lock().await;
        self.opened.store(true, Ordering::Release);
        state.mode = NetworkMode::Open;
        state.proxy = Some(Proxy::start(listener, service));
        state.served = Some((port, whom));
        state.around = Arc::new(around);
        Ok(())
    }

    /// Another network without a proxy. Returns when what went through the one before is cut and on record.
    pub(crate) async fn close(&self, mode: NetworkMode) {
        let mut state = self.state.lock().await;
        state.mode = mode;
        state.served = None;
        state.around = Arc::clone(&self.closed);
        if let Some(proxy) = state.proxy.take() {
            proxy.stop().await;
        }
    }

    /// Where an open network is served inside, and for whom.
    pub(crate) async fn served(&self) -> Option<(u16, Whom)> {
        self.state.lock().await.served
    }

    /// What was tried until now; `None` when there was no way to try.
    pub(crate) fn connections(&self) -> Option<Connections> {
        self.opened.load(Ordering::Acquire).then(|| self.log.so_far())
    }
}

/// Whom an open network is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever is in the sandbox.
    Everybody,
    /// Programs that are started from now on.
    Later,
}

/// Whether a program in the network of this process listens to packets that are not its own, and could read a key from them.
fn overheard(pid: Option<u32>) -> io::Result<bool> {
    // Who cannot look must take it that one does.
    let Some(pid) = pid else { return Ok(true) };
    for table in ["packet", "raw", "raw6"] {
        match std::fs::read_to_string(format!("/proc/{pid}/net/{table}")) {
            // The first line names the columns.
            Ok(text) if text.lines().count() > 1 => return Ok(true),
            Ok(_) => {}
            // A kernel without such sockets, or a sandbox that is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
