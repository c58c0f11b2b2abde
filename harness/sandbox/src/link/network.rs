//! Listeners inside a sandbox's own network, and the way out of an open one through a proxy of ours.

use std::sync::Arc;

use harness_core::NetworkMode;
use harness_guest::message::Request;

use super::guest::Guest;
use super::process::Surroundings;
use crate::SandboxError;
use crate::proxy::{Proxy, variables};

/// See [`crate::Sandbox::listen`].
pub(crate) async fn listen(
    guest: &Guest,
    network: &NetworkMode,
    backend: &'static str,
    port: u16,
) -> Result<std::net::TcpListener, SandboxError> {
    if !matches!(network, NetworkMode::Gateway | NetworkMode::Open) {
        return Err(SandboxError::Unsupported {
            backend,
            what: format!("a listener in a sandbox whose network is {network}"),
        });
    }
    let mut fds = guest.ask(|call| Request::Listen { call, port }, &[])?.done().await?;
    fds.pop()
        .map(std::net::TcpListener::from)
        .ok_or_else(|| SandboxError::Lost { cause: "its PID 1 passed no listener".to_owned() })
}

/// Lets its programs reach public addresses, through a proxy of ours on this listener of its loopback.
pub(crate) fn open(
    listener: std::net::TcpListener,
    around: &mut Surroundings,
) -> Result<Proxy, SandboxError> {
    let refused = |error| SandboxError::host("serve the open network", error);
    let port = listener.local_addr().map_err(refused)?.port();
    listener.set_nonblocking(true).map_err(refused)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
    let proxy = Proxy::start(listener, Arc::new(|_| {}));
    for (name, value) in variables(port) {
        // The image's own setting is for another network.
        around.env.retain(|pair| pair.split(|byte| *byte == b'=').next() != Some(name.as_bytes()));
        around.env.push(format!("{name}={value}").into_bytes());
    }
    Ok(proxy)
}
