//! Cases: whom a sandbox may talk to.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness_core::{Connection, ConnectionResult, Connections, NetworkMode};
use tokio::time::{Instant, sleep};

use super::context::{ok, put, refused, secs, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{Place, Sandbox, SandboxError, SandboxSpec, ViewSpec};

pub(super) const CASES: &[Case] = &[
    case!("network-none", "without a network nothing of the host can be reached", none),
    case!("network-loopback", "the sandbox's own loopback works", loopback),
    case!("network-gateway", "the harness's listener is reached from inside, and only there", gateway),
    case!("network-gateway-closed", "beside the listener a gateway sandbox reaches nothing", gateway_closed),
    case!("network-listen-refused", "without a gateway there is no listener", listen_refused),
    case!("network-apart", "sandboxes do not reach each other's ports", apart),
    case!("network-open", "an open network is had, or refused by name", open),
    case!("network-record", "connections tried through an open network are on record", record),
    case!("network-switch", "a wider network is for what is started in it", switch),
];

/// All addresses of this host, those of engines' bridges among them.
fn own_addresses() -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let trie = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut last = None;
    for line in trie.lines() {
        if let Some(leaf) = line.trim_start().strip_prefix("|-- ") {
            last = leaf.trim().parse::<Ipv4Addr>().ok();
        } else if let (true, Some(address)) = (line.contains("host LOCAL"), last)
            && !addresses.contains(&IpAddr::V4(address))
        {
            addresses.push(IpAddr::V4(address));
        }
    }
    addresses.truncate(MOST_ADDRESSES);
    addresses
}

/// So many are tried; a machine with more has them all on the same footing.
const MOST_ADDRESSES: usize = 8;

/// Where this host asks for names.
fn name_servers() -> Vec<SocketAddr> {
    let settings = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = settings.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|server| Some(SocketAddr::new(server.trim().parse().ok()?, 53))).take(3).collect()
}

/// A script that sends `word` as a datagram, where there is something to send it with.
fn toss(address: SocketAddr, word: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "bash -c 'echo {word} > /dev/udp/{ip}/{port}' || python3 -c 'import socket; \
         socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b\"{word}\", (\"{ip}\", {port}))' || \
         echo {word} | timeout 2 nc -u -w 1 {ip} {port}; exit 0"
    )
}

/// A script that tries to say `word` to an address, with whatever is there to try it with. Always ends well.
fn knock(address: SocketAddr, word: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "say() {{ for t in 'bash -c' 'nc' 'busybox nc' 'perl -e' 'python3 -c'; do \
           command -v ${{t%% *}} > /dev/null 2>&1 || continue; \
           case $t in \
             bash*) timeout 3 bash -c 'echo {word} > /dev/tcp/{ip}/{port}' ;; \
             nc|busybox*) echo {word} | timeout 3 $t -w 2 {ip} {port} ;; \
             perl*) timeout 3 perl -e 'use IO::Socket::INET; my $s = IO::Socket::INET->new(\"{ip}:{port}\") or exit 1; print $s \"{word}\\n\"' ;; \
             python3*) timeout 3 python3 -c 'import socket; socket.create_connection((\"{ip}\", {port}), 2).sendall(b\"{word}\\n\")' ;; \
           esac; echo \"tried $t: $?\"; break; done; }}; say 2>&1; exit 0"
    )
}

/// Whether somebody connected, within a second.
async fn accepted(listener: &TcpListener) -> Result<Option<TcpStream>, Failure> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The host is reached at none of its addresses, neither by streams nor by datagrams nor by sockets without an address.
async fn closed(ctx: &Ctx, sandbox: &dyn Sandbox) -> Result<(), Failure> {
    let mut doors = Vec::new();
    for address in own_addresses() {
        let listener = TcpListener::bind((address, 0))?;
        let target = listener.local_addr()?;
        ensure!(TcpStream::connect(target).is_ok(), "the test's own listener at {target} does not work");
        ensure!(accepted(&listener).await?.is_some(), "the test's own listener at {target} does not work");
        let datagrams = UdpSocket::bind((address, 0))?;
        datagrams.set_nonblocking(true)?;
        let tried = ok(sandbox, &knock(target, &ctx.tag)).await?;
        ensure!(
            tried.contains("tried"),
            "nothing inside to try connections with: needs bash, nc, busybox, perl or python3"
        );
        sh(sandbox, &toss(datagrams.local_addr()?, &ctx.tag)).await?;
        doors.push((target, listener, datagrams, tried));
    }
    // Whatever was on its way has come by now.
    sleep(Duration::from_millis(700)).await;
    for (target, listener, datagrams, tried) in doors {
        listener.set_nonblocking(true)?;
        ensure!(listener.accept().is_err(), "{target} was reached from inside: {tried}");
        ensure!(datagrams.recv(&mut [0; 64]).is_err(), "a datagram from inside came to {target}");
    }
    for server in name_servers() {
        let tried = ok(sandbox, &knock(server, &ctx.tag)).await?;
        ensure!(!tried.trim_end().ends_with(": 0"), "the name server {server} was reached: {tried}");
    }
    sockets(ctx, sandbox).await?;
    // Every interface but the loopback is without a route.
    let routes = sh(sandbox, "cat /proc/net/route | tail -n +2").await?;
    ensure_eq!(routes.stdout.text(), "", "routes");
    Ok(())
}

/// Sockets of the host that have a name instead of an address, an engine's for one, are not there.
async fn sockets(ctx: &Ctx, sandbox: &dyn Sandbox) -> Result<(), Failure> {
    let name = format!("conformance-{}", ctx.tag);
    let address = <std::os::unix::net::SocketAddr as SocketAddrExt>::from_abstract_name(&name)?;
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    let here = std::fs::read_to_string("/proc/net/unix")?;
    ensure!(here.contains(&name), "the test's own socket is not listed");
    let inside = ok(sandbox, "cat /proc/net/unix").await?;
    ensure!(!inside.contains(&name), "a socket of the host's is in the sandbox's network: {inside}");
    let found = ok(
        sandbox,
        "for s in /var/run/docker.sock /run/docker.sock /run/podman/podman.sock /run/containerd/containerd.sock; do \
           test -S $s && echo $s; done; exit 0",
    )
    .await?;
    ensure_eq!(found, "", "an engine's sockets inside");
    Ok(())
}

async fn none(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    closed(ctx, &*sandbox).await
}

async fn loopback(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // The kernel lists an address there only while its interface is up.
    let table = ok(&*sandbox, "cat /proc/net/fib_trie").await?;
    ensure!(table.contains("127.0.0.1"), "127.0.0.1 is not up: {table}");
    Ok(())
}

async fn with_gateway(ctx: &Ctx) -> Result<Arc<dyn Sandbox>, Failure> {
    ctx.start(SandboxSpec { network: NetworkMode::Gateway, ..ctx.spec() }).await
}

async fn gateway(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = with_gateway(ctx).await?;
    let other = with_gateway(ctx).await?;
    let listener = sandbox.listen(4017).await?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 4017));
    ensure!(
        TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_err(),
        "the host reaches it on its own loopback"
    );
    ok(&*other, &knock(target, "stranger")).await?;
    ensure!(accepted(&listener).await?.is_none(), "another sandbox reached it");
    let tried = ok(&*sandbox, &knock(target, &ctx.tag)).await?;
    let Some(mut stream) = accepted(&listener).await? else {
        return Err(Failure(format!("it was not reached from inside: {tried}")));
    };
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    ensure_eq!(said.trim_end(), ctx.tag, "what was said");
    // Both ways.
    let asked = tokio::spawn({
        let sandbox = sandbox.clone();
        let text =
            "bash -c 'exec 3<>/dev/tcp/127.0.0.1/4017; cat <&3' 2>/dev/null || nc 127.0.0.1 4017 < /dev/null";
        async move { sh(&*sandbox, text).await }
    });
    let until = Instant::now() + secs(8);
    let mut stream = loop {
        match accepted(&listener).await? {
            Some(stream) => break stream,
            None if Instant::now() > until => return Err(Failure("it was not reached a second time".into())),
            None => {}
        }
    };
    stream.write_all(b"answer")?;
    drop(stream);
    let answer = asked.await.map_err(|error| Failure(error.to_string()))??;
    ensure_eq!(answer.stdout.text(), "answer", "the answer inside");
    Ok(())
}

async fn gateway_closed(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = with_gateway(ctx).await?;
    let _listener = sandbox.listen(4018).await?;
    closed(ctx, &*sandbox).await
}

async fn listen_refused(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    refused("a listener", sandbox.listen(4019).await, |error| {
        matches!(error, SandboxError::Unsupported { .. })
    })
}

async fn apart(ctx: &Ctx) -> Result<(), Failure> {
    let (first, second) = (with_gateway(ctx).await?, with_gateway(ctx).await?);
    // The same port in both: two networks, two listeners.
    let (of_first, of_second) = (first.listen(4020).await?, second.listen(4020).await?);
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 4020));
    ok(&*first, &knock(target, "one")).await?;
    ensure!(accepted(&of_second).await?.is_none(), "the first sandbox reached the second one's listener");
    ensure!(accepted(&of_first).await?.is_some(), "the first sandbox did not reach its own listener");
    Ok(())
}

async fn open(ctx: &Ctx) -> Result<(), Failure> {
    let spec = SandboxSpec { network: NetworkMode::Open, ..ctx.spec() };
    if !ctx.backend.caps().open_network {
        let result = ctx.backend.create(spec).await;
        return refused("an open network", result, |error| matches!(error, SandboxError::Unsupported { .. }));
    }
    let sandbox = ctx.start(spec).await?;
    // Open means the world, not the host's own loopback.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let tried = ok(&*sandbox, &knock(listener.local_addr()?, &ctx.tag)).await?;
    ensure!(accepted(&listener).await?.is_none(), "the host's loopback was reached: {tried}");
    Ok(())
}

/// Asks the proxy of `$http_proxy` (or of `$1`, without a key) for a way to a host and port, and prints the answer's first line.
const ASK: &str = r#"ask() {
    address=${http_proxy#http://}; key=; port=${address##*:}
    case $address in *@*) key=$(printf %s "${address%@*}" | base64 | tr -d '\n');; esac
    if [ -n "$2" ]; then port=$2 key=; fi
    [ -n "$port" ] || { echo "no proxy"; return; }
    HOST=$1 PORT=$port KEY=$key timeout 30 bash -c 'exec 3<>/dev/tcp/127.0.0.1/$PORT || exit 1
        printf "CONNECT %s HTTP/1.1\r\n" "$HOST" >&3
        [ -z "$KEY" ] || printf "Proxy-Authorization: Basic %s\r\n" "$KEY" >&3
        printf "\r\n" >&3; head -n 1 <&3' 2> /dev/null | tr -d '\r' || echo "not heard"
}
"#;

async fn ask(place: &dyn Place, target: &str) -> Result<String, Failure> {
    Ok(ok(place, &format!("{ASK}ask {target}")).await?.trim().to_owned())
}

async fn record(ctx: &Ctx) -> Result<(), Failure> {
    let before = now_ms();
    let sandbox = ctx.start(SandboxSpec { network: NetworkMode::Open, ..ctx.spec() }).await?;
    ensure_eq!(sandbox.connections(), Some(Connections::default()), "connections of one that tried none");
    ensure_eq!(
        ask(&*sandbox, "127.0.0.1:9").await?,
        "HTTP/1.1 403 Forbidden",
        "the answer for an address of the host"
    );
    ensure_eq!(
        ask(&*sandbox, "nobody.invalid:443").await?,
        "HTTP/1.1 502 Bad Gateway",
        "the answer for no host"
    );
    sandbox.destroy().await?;
    let all = sandbox.connections().ok_or_else(|| Failure("forgotten with the sandbox".into()))?;
    let of =
        |one: &Connection| (one.host.clone(), one.port, one.result, one.reason.is_some(), one.sent_bytes);
    let expected = [
        ("127.0.0.1".to_owned(), 9, ConnectionResult::Refused, true, Some(0)),
        ("nobody.invalid".to_owned(), 443, ConnectionResult::Failed, true, Some(0)),
    ];
    ensure_eq!(all.connections.iter().map(of).collect::<Vec<_>>(), expected, "connections on record");
    ensure_eq!(all.left_out, 0, "connections left out");
    let times = all.connections.iter().map(|one| one.at_ms);
    ensure!(
        times.clone().all(|at| (before..=now_ms()).contains(&at)),
        "at other times: {:?}",
        all.connections
    );
    Ok(())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// What is started before a switch waits for a port to be named, and asks there.
fn stranger() -> String {
    format!(
        "{ASK}(while [ ! -s /tmp/port ]; do sleep 0.05; done; env > /tmp/env; ask 127.0.0.1:9 $(cat /tmp/port) > /tmp/said; mv /tmp/said /tmp/answer) \
         > /dev/null 2>&1 &"
    )
}

async fn switch(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    ok(&*sandbox, &stranger()).await?;
    ensure_eq!(ask(&*sandbox, "127.0.0.1:9").await?, "no proxy", "an answer without a network");

    sandbox.set_network(&NetworkMode::Open).await?;
    let address = ok(&*sandbox, "echo \"$http_proxy\"").await?;
    let port = address.trim().rsplit(':').next().unwrap_or_default().to_owned();
    ensure!(port.parse::<u16>().is_ok(), "no proxy's address: {address}");
    ensure_eq!(ask(&*sandbox, "127.0.0.1:9").await?, "HTTP/1.1 403 Forbidden", "the answer to a new program");
    let view = sandbox.view(ViewSpec::default()).await?;
    ensure_eq!(ask(&*view, "127.0.0.1:9").await?, "HTTP/1.1 403 Forbidden", "the answer in a new view");
    put(&*sandbox, "/tmp/port", port.as_bytes()).await?;
    let answer = ok(
        &*sandbox,
        "for i in $(seq 300); do [ ! -e /tmp/answer ] || break; sleep 0.1; done; cat /tmp/answer",
    )
    .await?;
    ensure!(
        !answer.contains(" 200 ") && !answer.contains(" 403 ") && !answer.contains(" 502 "),
        "what was started before got into the new network: {answer}"
    );
    let env = ok(&*sandbox, "cat /tmp/env").await?;
    ensure!(!env.contains("_proxy="), "the way of the new network is told to what was started before: {env}");
    let tried = sandbox.connections().unwrap_or_default().connections.len();
    ensure!(tried >= 2, "only {tried} connections are on record");

    // Who listens to the wire could have read the key.
    let listens = "import socket, time\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\nopen('/tmp/hears', 'w').close()\ntime.sleep(60)";
    put(&*sandbox, "/tmp/listen.py", listens.as_bytes()).await?;
    let started = ok(
        &*sandbox,
        "command -v python3 > /dev/null || exit 0; python3 /tmp/listen.py > /tmp/why 2>&1 & \
         for i in $(seq 100); do [ ! -e /tmp/hears ] || break; kill -0 $! 2> /dev/null || break; sleep 0.1; done; ls /tmp/hears 2> /dev/null || true",
    )
    .await?;
    if !started.is_empty() {
        let answer = ask(&*sandbox, "127.0.0.1:9").await?;
        ensure!(
            answer.contains(" 407 "),
            "somebody listens to the wire, and the network is served: {answer}"
        );
    }

    sandbox.set_network(&NetworkMode::None).await?;
    ensure_eq!(ask(&*sandbox, "127.0.0.1:9").await?, "no proxy", "an answer after the network was closed");
    ensure_eq!(ask(&*sandbox, &format!("127.0.0.1:9 {port}")).await?, "", "an answer of the closed proxy");
    sandbox.set_network(&NetworkMode::Open).await?;
    let again = ok(&*sandbox, "echo \"$http_proxy\"").await?;
    let key = |address: &str| address.split('@').next().map(str::to_owned);
    ensure!(key(&again) != key(&address), "a key serves twice: {again}");
    Ok(())
}
