//! The proxy between a client and peers on this machine, which a policy of the tests allows.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use super::*;

type Records = Arc<Mutex<Vec<Connection>>>;

async fn proxy(policy: Option<Policy>) -> (Proxy, SocketAddr, Records) {
    let (service, records) = service(None);
    let (proxy, at) = serving(service, policy).await;
    (proxy, at, records)
}

fn service(key: Option<Key>) -> (Service, Records) {
    let records = Records::default();
    let kept = records.clone();
    let recorder: Recorder = Arc::new(move |record| kept.lock().unwrap().push(record));
    (Service { recorder, key, overheard: Arc::new(|| Ok(false)) }, records)
}

async fn serving(service: Service, policy: Option<Policy>) -> (Proxy, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let proxy = match policy {
        Some(policy) => Proxy::with_policy(listener, service, policy),
        None => Proxy::start(listener, service),
    };
    (proxy, at)
}

fn anything() -> Option<Policy> {
    Some(Arc::new(|_| true))
}

/// A peer that reads up to an empty line, answers with what it read, and echoes the rest.
async fn peer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(got @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..got]).await.unwrap();
                }
            });
        }
    });
    at
}

async fn ask(proxy: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

async fn recorded(records: &Records, count: usize) -> Vec<Connection> {
    for _ in 0..500 {
        if records.lock().unwrap().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    records.lock().unwrap().clone()
}

#[tokio::test]
async fn proxy_tunnels_and_forwards() {
    let peer = peer().await;
    let (_proxy, at, records) = proxy(anything()).await;
    let answer = ask(at, &format!("CONNECT localhost:{} HTTP/1.1\r\n\r\nhello", peer.port())).await;
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\nhello");
    let answer = ask(at, &format!("POST http://{peer}/x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")).await;
    assert_eq!(
        answer,
        format!("POST /x HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
    );
    let records = recorded(&records, 2).await;
    assert_eq!(
        (records[0].host.as_str(), records[0].port, records[0].result, &records[0].reason),
        ("localhost", peer.port(), ConnectionResult::Allowed, &None)
    );
    assert_eq!((records[0].sent_bytes, records[0].received_bytes), (Some(5), Some(5)));
    assert_eq!(records[1].sent_bytes, records[1].received_bytes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((now - 60_000..=now).contains(&records[0].at_ms), "{}", records[0].at_ms);
}

#[tokio::test]
async fn proxy_refuses_everything_that_is_not_public() {
    let peer = peer().await;
    let (_proxy, at, records) = proxy(None).await;
    // Each names this machine, or a private network, in its own way.
    let targets = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "224.0.0.1",
    ];
    for target in targets {
        let answer = ask(at, &format!("CONNECT {target}:{} HTTP/1.1\r\n\r\n", peer.port())).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 502 "),
            "{target}: {answer}"
        );
        let answer = ask(at, &format!("GET http://{target}:{}/ HTTP/1.1\r\n\r\n", peer.port())).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 502 "),
            "{target}: {answer}"
        );
    }
    let records = recorded(&records, 2 * targets.len()).await;
    assert_eq!(records.len(), 2 * targets.len());
    assert!(records.iter().all(|record| record.result != ConnectionResult::Allowed));
    assert!(records.iter().all(|record| record.reason.is_some() && record.received_bytes == Some(0)));
    assert_eq!((records[0].result, records[0].host.as_str()), (ConnectionResult::Refused, "127.0.0.1"));
}

#[tokio::test]
async fn proxy_judges_the_connected_peer_again() {
    let peer = peer().await;
    let asked = AtomicU64::new(0);
    // Allowed when resolved, no longer when connected.
    let once: Policy = Arc::new(move |_| asked.fetch_add(1, Ordering::SeqCst) == 0);
    let (_proxy, at, records) = proxy(Some(once)).await;
    let answer = ask(at, &format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\n", peer.port())).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let records = recorded(&records, 1).await;
    assert_eq!(records[0].result, ConnectionResult::Refused);
    assert_eq!(records[0].reason.as_deref(), Some("127.0.0.1 led to another address"));
}

#[tokio::test]
async fn proxy_outlives_hostile_clients() {
    let peer = peer().await;
    let (_proxy, at, records) = proxy(anything()).await;
    for text in ["", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}\r\n\r\n", "CONNECT x"] {
        let answer = ask(at, text).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    // An endless head is cut off. The answer, if any, may be lost with the rest of it.
    let mut endless = TcpStream::connect(at).await.unwrap();
    let flood = vec![b'x'; 8192];
    let mut sent = 0;
    while sent < 64 << 20 && endless.write_all(&flood).await.is_ok() {
        sent += flood.len();
    }
    assert!(sent < 64 << 20, "an endless head was read to the end");
    // Silent ones hold no place that others need.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(at).await.unwrap());
    }
    let answer = ask(at, &format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\nok", peer.port())).await;
    assert!(answer.ends_with("ok"));
    drop(silent);
    let records = recorded(&records, 107).await;
    assert_eq!(records.len(), 107, "every connection is recorded");
}

/// A tunnel through which something has gone.
async fn tunnel(proxy: SocketAddr, peer: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let text = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\nx", peer.port());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 40];
    stream.read_exact(&mut answer).await.unwrap();
    stream
}

#[tokio::test]
async fn proxy_dropped_cuts_and_records() {
    let peer = peer().await;
    let (proxy, at, records) = proxy(anything()).await;
    let mut stream = tunnel(at, peer).await;
    drop(proxy);
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap();
    let records = recorded(&records, 1).await;
    assert_eq!(records[0].result, ConnectionResult::Allowed);
    assert_eq!(records[0].reason.as_deref(), Some("cut off by the end of this network"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(TcpStream::connect(at).await.is_err(), "it still listens");
}

#[tokio::test]
async fn proxy_stopped_has_recorded_everything_and_listens_no_more() {
    let peer = peer().await;
    let (proxy, at, records) = proxy(anything()).await;
    let _streams = [tunnel(at, peer).await, tunnel(at, peer).await];
    timeout(Duration::from_secs(10), proxy.stop()).await.unwrap();
    assert_eq!(records.lock().unwrap().len(), 2);
    assert!(TcpStream::connect(at).await.is_err(), "it still listens");
}

#[tokio::test]
async fn proxy_with_a_key_serves_whoever_shows_it_while_nobody_overhears() {
    let peer = peer().await;
    let key = Key::new().unwrap();
    let address = variables(1, Some(&key)).into_iter().find(|(name, _)| name == "http_proxy").unwrap().1;
    assert_eq!(address, format!("http://{}127.0.0.1:1", key.in_address()));
    let (service, records) = service(Some(key.clone()));
    let overheard = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = overheard.clone();
    let service = Service { overheard: Arc::new(move || Ok(told.load(Ordering::Relaxed))), ..service };
    let (_proxy, at) = serving(service, anything()).await;
    let request = |shown: &str| format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n{shown}\r\nhello", peer.port());
    let shown = format!("Proxy-Authorization: {}\r\n", key.as_header());
    let other = format!("Proxy-Authorization: {}\r\n", Key::new().unwrap().as_header());
    assert!(ask(at, &request(&shown)).await.ends_with("hello"));
    for refused in ["", "Proxy-Authorization: Basic eDp5\r\n", &other] {
        let answer = ask(at, &request(refused)).await;
        assert!(
            answer.starts_with("HTTP/1.1 407 ") && answer.contains("Proxy-Authenticate: Basic"),
            "{answer}"
        );
    }
    overheard.store(true, Ordering::Relaxed);
    assert!(ask(at, &request(&shown)).await.starts_with("HTTP/1.1 407 "));
    let records = recorded(&records, 5).await;
    let results: Vec<_> = records.iter().map(|record| record.result).collect();
    assert_eq!(results[0], ConnectionResult::Allowed);
    assert_eq!(results[1..], [ConnectionResult::Refused; 4]);
}

#[test]
fn proxy_variables_name_the_port() {
    let all = variables(3128, None);
    assert!(all.contains(&("HTTPS_PROXY".into(), "http://127.0.0.1:3128".into())));
    assert!(all.contains(&("no_proxy".into(), "localhost,127.0.0.1,::1".into())));
}
