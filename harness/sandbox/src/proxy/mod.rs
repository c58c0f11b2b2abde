//! A sandbox's way to the open network: an HTTP proxy that goes to public addresses only, judged after names are resolved and
//! again when connected, and keeps a record of every connection. One for each sandbox, on a listener in its own network.

pub(crate) mod address;
mod key;
mod log;
mod request;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness_core::{Connection, ConnectionResult};
pub(crate) use key::Key;
pub(crate) use log::ConnectionLog;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// One connection, recorded when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ConnectionRecord {
    /// When it began.
    at: SystemTime,
    /// Name or address that was asked for; empty when the request was not understood.
    host: String,
    /// Port.
    port: u16,
    /// Whom we connected to.
    peer: Option<SocketAddr>,
    /// What became of it.
    end: ConnectionEnd,
    /// Bytes from inside to outside.
    sent: u64,
    /// Bytes from outside to inside.
    received: u64,
}

impl From<ConnectionRecord> for Connection {
    fn from(record: ConnectionRecord) -> Connection {
        let cut = || Some("cut off by the end of this network".to_owned());
        let (result, reason) = match record.end {
            ConnectionEnd::Closed => (ConnectionResult::Allowed, None),
            ConnectionEnd::Refused(reason) => (ConnectionResult::Refused, Some(reason)),
            ConnectionEnd::Failed(reason) => (ConnectionResult::Failed, Some(reason)),
            ConnectionEnd::Cut if record.peer.is_some() => (ConnectionResult::Allowed, cut()),
            ConnectionEnd::Cut => (ConnectionResult::Failed, cut()),
        };
        let at = record.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Connection {
            at_ms: i64::try_from(at.as_millis()).unwrap_or(i64::MAX),
            phase: None,
            host: record.host,
            port: record.port,
            result,
            reason,
            sent_bytes: Some(record.sent),
            received_bytes: Some(record.received),
        }
    }
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ConnectionEnd {
    /// Both sides ended it, or one broke it off.
    Closed,
    /// Not let through, and why.
    Refused(String),
    /// It could not be made.
    Failed(String),
    /// The sandbox, or its network, ended first.
    Cut,
}

/// Told of every connection, from the proxy's tasks; must not block.
pub(crate) type Recorder = Arc<dyn Fn(Connection) + Send + Sync>;

/// Whom a proxy serves, and who learns of it.
#[derive(Clone)]
pub(crate) struct Service {
    /// Told of every connection.
    pub(crate) recorder: Recorder,
    /// What a client must show; `None` serves everybody.
    pub(crate) key: Option<Key>,
    /// Whether somebody else may be reading the key off the wire. Asked only where there is one; must not block.
    pub(crate) overheard: Arc<dyn Fn() -> io::Result<bool> + Send + Sync>,
}

/// Which addresses may be connected to.
type Policy = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// A running proxy. Dropping it ends every connection at once; each is still recorded.
#[derive(Debug)]
pub(crate) struct Proxy {
    task: tokio::task::JoinHandle<()>,
    stop: Arc<Notify>,
}

/// Connections at once; more wait to be accepted.
const MOST: usize = 256;
/// Bytes of a request's head.
const HEAD: usize = 64 << 10;
const HEAD_TIME: Duration = Duration::from_secs(30);
const RESOLVE_TIME: Duration = Duration::from_secs(15);
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// A connection on which nothing moves for this long is ended.
const IDLE: Duration = Duration::from_secs(600);
/// Addresses of one name that are tried.
const TRIES: usize = 4;

impl Proxy {
    /// Serves a listener until dropped.
    pub(crate) fn start(listener: TcpListener, service: Service) -> Proxy {
        let public = |address: SocketAddr| address::is_public(address.ip()) && !address::is_own(address);
        Proxy::with_policy(listener, service, Arc::new(public))
    }

    fn with_policy(listener: TcpListener, service: Service, policy: Policy) -> Proxy {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            tokio::select! {
                () = stopped.notified() => {}
                () = serve(&listener, &service, &policy, &mut connections) => {}
            }
            drop(listener);
            connections.shutdown().await;
        });
        Proxy { task, stop }
    }

    /// Ends it and every connection; returns when all of them are recorded and nobody is listened to any more.
    pub(crate) async fn stop(mut self) {
        self.stop.notify_one();
        // It cannot fail but by a panic, and then there is nothing left to end.
        let _ended = (&mut self.task).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Variables that send programs inside to a proxy on this loopback port, with what it asks them for.
pub(crate) fn variables(port: u16, key: Option<&Key>) -> Vec<(String, String)> {
    let url = format!("http://{}127.0.0.1:{port}", key.map(Key::in_address).unwrap_or_default());
    let mut all = Vec::new();
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        all.extend([(name.to_owned(), url.clone()), (name.to_uppercase(), url.clone())]);
    }
    let here = "localhost,127.0.0.1,::1".to_owned();
    all.extend([("no_proxy".to_owned(), here.clone()), ("NO_PROXY".to_owned(), here)]);
    all
}

async fn serve(listener: &TcpListener, service: &Service, policy: &Policy, connections: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                let mut open = Open::new(service.clone());
                let policy = policy.clone();
                connections.spawn(async move {
                    let end = open.carry(client, &policy).await;
                    open.end(end);
                    drop(place);
                });
            }
            // Out of descriptors, or the client was gone already: neither ends the proxy, and neither may spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A connection on its way; dropped at any moment, it is recorded as cut.
struct Open {
    record: Option<ConnectionRecord>,
    service: Service,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Open {
    fn new(service: Service) -> Open {
        let record = ConnectionRecord {
            at: SystemTime::now(),
            host: String::new(),
            port: 0,
            peer: None,
            end: ConnectionEnd::Cut,
            sent: 0,
            received: 0,
        };
        Open { record: Some(record), service, sent: Arc::default(), received: Arc::default() }
    }

    fn end(&mut self, end: ConnectionEnd) {
        if let Some(mut record) = self.record.take() {
            record.end = end;
            record.sent = self.sent.load(Ordering::Relaxed);
            record.received = self.received.load(Ordering::Relaxed);
            (self.service.recorder)(record.into());
        }
    }

    /// Why this client is not served, if it is not.
    fn stranger(&self, shown: Option<&str>) -> Option<String> {
        let key = self.service.key.as_ref()?;
        if !key.is_shown(shown) {
            return Some("this network is for programs that were started in it".to_owned());
        }
        match (self.service.overheard)() {
            Ok(false) => None,
            Ok(true) => {
                Some("a program in the sandbox listens to raw packets, so that anybody may ask".to_owned())
            }
            Err(error) => Some(format!("nobody knows who asks: {error}")),
        }
    }

    async fn carry(&mut self, mut client: TcpStream, policy: &Policy) -> ConnectionEnd {
        let (head, rest) = match timeout(HEAD_TIME, read_head(&mut client)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return ConnectionEnd::Failed(format!("no request came: {error}")),
            Err(_) => return ConnectionEnd::Failed("no request came in time".to_owned()),
        };
        let request = match request::parse(&head) {
            Ok(request) => request,
            Err(reason) => {
                answer(&mut client, "400 Bad Request", reason).await;
                return ConnectionEnd::Refused(reason.to_owned());
            }
        };
        if let Some(record) = &mut self.record {
            record.host.clone_from(&request.host);
            record.port = request.port;
        }
        if let Some(refusal) = self.stranger(request.key.as_deref()) {
            answer(&mut client, "407 Proxy Authentication Required", &refusal).await;
            return ConnectionEnd::Refused(refusal);
        }
        let mut server = match connect(&request.host, request.port, policy).await {
            Ok(server) => server,
            Err(end) => {
                let (status, reason) = match &end {
                    ConnectionEnd::Refused(reason) => ("403 Forbidden", reason.as_str()),
                    ConnectionEnd::Failed(reason) => ("502 Bad Gateway", reason.as_str()),
                    _ => ("502 Bad Gateway", "ended"),
                };
                answer(&mut client, status, reason).await;
                return end;
            }
        };
        if let Some(record) = &mut self.record {
            record.peer = server.peer_addr().ok();
        }
        let first = match &request.head {
            Some(head) => server.write_all(head).await,
            None => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
        };
        let forwarded = match first {
            Ok(()) => server.write_all(&rest).await,
            failed => failed,
        };
        if let Err(error) = forwarded {
            return ConnectionEnd::Failed(error.to_string());
        }
        let begun = request.head.map_or(0, |head| head.len()) + rest.len();
        self.sent.fetch_add(begun as u64, Ordering::Relaxed);
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        // A side that breaks off ends both; one that ends in order lets the other finish.
        let _ = tokio::try_join!(
            pump(&mut from_client, &mut to_server, &self.sent),
            pump(&mut from_server, &mut to_client, &self.received),
        );
        ConnectionEnd::Closed
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end(ConnectionEnd::Cut);
    }
}

/// Reads up to the empty line; gives what came with it beyond.
async fn read_head(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let before = head.len().saturating_sub(3);
        if client.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = head[before..].windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = head.split_off(before + at + 4);
            return Ok((head, rest));
        }
        if head.len() > HEAD {
            return Err(io::Error::other("the request's head is too large"));
        }
    }
}

async fn answer(client: &mut TcpStream, status: &str, reason: &str) {
    let body = format!("{reason}\n");
    let asks = if status.starts_with("407") { "Proxy-Authenticate: Basic realm=\"harness\"\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {status}\r\n{asks}Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that does not read its answer has itself to blame.
    let _ = timeout(Duration::from_secs(5), client.write_all(text.as_bytes())).await;
    let _ = client.shutdown().await;
}

async fn connect(host: &str, port: u16, policy: &Policy) -> Result<TcpStream, ConnectionEnd> {
    let failed = |reason: String| ConnectionEnd::Failed(reason);
    let resolved = timeout(RESOLVE_TIME, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<SocketAddr> = resolved
        .map_err(|_| failed(format!("{host} was not resolved in time")))?
        .map_err(|error| failed(format!("{host} cannot be resolved: {error}")))?
        .collect();
    // Judged after resolving: a name, or an odd spelling of a number, may stand for any address.
    let allowed: Vec<SocketAddr> =
        addresses.into_iter().filter(|address| policy(*address)).take(TRIES).collect();
    if allowed.is_empty() {
        return Err(ConnectionEnd::Refused(format!("{host} is not a public address")));
    }
    let mut last = "no address".to_owned();
    for address in allowed {
        match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Whatever the machine's own rules did on the way.
                if !stream.peer_addr().is_ok_and(|peer| peer == address && policy(peer)) {
                    return Err(ConnectionEnd::Refused(format!("{host} led to another address")));
                }
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "no answer in time".to_owned(),
        }
    }
    Err(failed(format!("{host} cannot be reached: {last}")))
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let got = timeout(IDLE, from.read(&mut buffer)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if got == 0 {
            return to.shutdown().await;
        }
        timeout(IDLE, to.write_all(&buffer[..got])).await.map_err(|_| io::ErrorKind::TimedOut)??;
        count.fetch_add(got as u64, Ordering::Relaxed);
    }
}
