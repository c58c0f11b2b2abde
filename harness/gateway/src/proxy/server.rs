//! Listening: who is calling, and connections of HTTP/1.1 and 2.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Caller, Gateway, exchange};
use crate::wire::presented_key;

/// How long a connection may take to send its headers.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// A listener that fails to accept, because files have run out, tries again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who may call on a listener.
#[derive(Debug, Clone)]
pub enum Access {
    /// The listener is the trial's own: whoever reaches it is it, whatever key it shows.
    Own(Arc<Caller>),
    /// Several share it, and each shows its virtual key.
    Keys(Arc<RwLock<HashMap<String, Arc<Caller>>>>),
}

impl Access {
    pub(super) fn caller(&self, headers: &HeaderMap, path: &str) -> Option<Arc<Caller>> {
        match self {
            Access::Own(caller) => Some(Arc::clone(caller)),
            Access::Keys(keys) => {
                let key = presented_key(headers, path)?;
                keys.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
            }
        }
    }
}

impl Gateway {
    /// Serves a listener until the future is dropped; then its connections end too.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, access: Access) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Small events must not wait for each other.
                        let _ = stream.set_nodelay(true);
                        connections.spawn(Arc::clone(&self).serve_connection(stream, access.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Serves one connection to its end: for listeners that are no TCP, such as those inside a sandbox.
    pub async fn serve_connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        access: Access,
    ) {
        let service = service_fn(move |request: Request<Incoming>| {
            let (gateway, access) = (Arc::clone(&self), access.clone());
            async move { Ok::<_, Infallible>(exchange::answer(gateway, &access, request).await) }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).half_close(true);
        server.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
        // How a connection ends is the client's business; each exchange on it has its own record.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }
}
