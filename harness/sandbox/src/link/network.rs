//! The networks of a sandbox as every backend has them: listeners inside, and the way out through a proxy of ours.

use harness_core::NetworkMode;
use harness_guest::message::Request;

use super::guest::Guest;
use super::way::{Way, Whom};
use crate::SandboxError;

/// See [`crate::Sandbox::listen`].
pub(crate) async fn listen(
    guest: &Guest,
    way: &Way,
    backend: &'static str,
    port: u16,
) -> Result<std::net::TcpListener, SandboxError> {
    let mode = way.mode().await;
    if !matches!(mode, NetworkMode::Gateway | NetworkMode::Open) {
        return Err(SandboxError::Unsupported {
            backend,
            what: format!("a listener in a sandbox whose network is {mode}"),
        });
    }
    listener(guest, port).await
}

/// Lets programs reach public addresses, through a proxy of ours on the sandbox's loopback.
pub(crate) async fn open(guest: &Guest, way: &Way, whom: Whom) -> Result<(), SandboxError> {
    way.open(listener(guest, 0).await?, whom).await
}

/// Goes on serving the open network that everybody inside knows by this port.
pub(crate) async fn go_on(guest: &Guest, way: &Way, port: u16) -> Result<(), SandboxError> {
    way.open(listener(guest, port).await?, Whom::Everybody).await
}

/// See [`crate::Sandbox::set_network`].
pub(crate) async fn set(
    guest: &Guest,
    way: &Way,
    backend: &'static str,
    mode: &NetworkMode,
) -> Result<(), SandboxError> {
    if let Some(cause) = guest.lost() {
        return Err(SandboxError::Lost { cause });
    }
    if way.mode().await == *mode {
        return Ok(());
    }
    match mode {
        NetworkMode::None | NetworkMode::Gateway => way.close(mode.clone()).await,
        NetworkMode::Open => open(guest, way, Whom::Later).await?,
        NetworkMode::Allowlist(_) => return Err(no_list(backend, mode)),
    }
    Ok(())
}

/// Names are judged by the proxy when they are resolved, and it knows no lists yet.
pub(crate) fn no_list(backend: &'static str, mode: &NetworkMode) -> SandboxError {
    SandboxError::Unsupported { backend, what: format!("the network {mode}; use none, gateway or open") }
}

async fn listener(guest: &Guest, port: u16) -> Result<std::net::TcpListener, SandboxError> {
    let mut fds = guest.ask(|call| Request::Listen { call, port }, &[])?.done().await?;
    fds.pop()
        .map(std::net::TcpListener::from)
        .ok_or_else(|| SandboxError::Lost { cause: "its PID 1 passed no listener".to_owned() })
}
