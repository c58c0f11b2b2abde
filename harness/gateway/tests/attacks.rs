//! Hostile clients: slow ones, floods, idle ones by the thousand, two framings at once, other hosts, paths that climb, and
//! bombs. Whatever they do, others are served, and nothing goes to an upstream that was not metered.

#![allow(clippy::unwrap_used)]

mod room;

use std::io::Write as _;
use std::time::Instant;

use room::*;

const ANSWER: &[u8] = br#"{"status":"completed","usage":{"input_tokens":1,"output_tokens":1}}"#;

async fn upstream() -> (String, Arc<Mutex<Vec<String>>>) {
    provider(vec![http_answer("200 OK", "content-type: application/json\r\n", ANSWER)]).await
}

async fn connected(address: &str) -> TcpStream {
    TcpStream::connect(address.trim_start_matches("http://")).await.unwrap()
}

/// Sends bytes as they are; returns what came until the other side closed, or for three seconds.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = connected(address).await;
    // Who refuses may close before all of it is sent.
    let _ = stream.write_all(bytes).await;
    let mut got = Vec::new();
    let read = async { while matches!(stream.read_buf(&mut got).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(Duration::from_secs(3), read).await;
    String::from_utf8_lossy(&got).into_owned()
}

async fn is_served(address: &str) {
    let (path, body) = request("openai", false);
    let asked = tokio::time::timeout(Duration::from_secs(10), post(address, path, &body)).await;
    assert_eq!(asked.unwrap().status, 200);
}

#[tokio::test]
async fn slow_clients_hold_nobody_up() {
    let (address, _) = upstream().await;
    let room = Room::new(http(&address), Budgets::default());
    let address = room.listen("t").await;
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = connected(&address).await;
        let begun: &[u8] = match number % 3 {
            0 => b"POST /v1/resp",
            1 => b"POST /v1/responses HTTP/1.1\r\nhost: x\r\nx-a: ",
            _ => b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
        };
        stream.write_all(begun).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..5 {
        is_served(&address).await;
        for stream in &mut slow {
            stream.write_all(b"a").await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_left_in_the_end() {
    // The clock goes on by itself while nothing happens.
    let room = Room::new(script(SCRIPT), Budgets::default());
    let address = room.listen("t").await;
    for begun in [
        &b"POST /v1/responses HTTP/1.1\r\nhost: x\r\nx-a: "[..],
        b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
    ] {
        let mut stream = connected(&address).await;
        stream.write_all(begun).await.unwrap();
        let mut got = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(200), stream.read_to_end(&mut got)).await;
        assert!(ended.is_ok(), "{}", String::from_utf8_lossy(begun));
        let got = String::from_utf8_lossy(&got);
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 4"), "{got}");
    }
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let (address, seen) = upstream().await;
    let room = Room::new(http(&address), Budgets::default());
    let address = room.listen("t").await;
    let many: String = (0..20_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(4 << 20));
    let path = format!("POST /v1/responses?{} HTTP/1.1\r\nhost: x\r\n", "y".repeat(4 << 20));
    for flood in [
        format!("POST /v1/responses HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("POST /v1/responses HTTP/1.1\r\nhost: x\r\n{long}\r\n"),
        path,
    ] {
        let got = raw(&address, flood.as_bytes()).await;
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 4"), "{got}");
    }
    assert!(seen.lock().unwrap().is_empty());
    is_served(&address).await;
}

#[tokio::test]
async fn idle_connections_by_the_thousand_hold_nobody_up() {
    // Both ends are in this process, and other tests need files too.
    let files = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = files.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files: usize = files.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    let count = (files.saturating_sub(1000) / 2).min(10_000);
    assert!(count > 10, "a limit of {files} files is too low for this test");
    let (address, _) = upstream().await;
    let room = Room::new(http(&address), Budgets::default());
    let address = room.listen("t").await;
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(connected(&address).await);
    }
    let begun = Instant::now();
    for _ in 0..5 {
        is_served(&address).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(idle);
    is_served(&address).await;
}

#[tokio::test]
async fn two_framings_at_once_are_one_request_or_none() {
    let (path, body) = request("openai", false);
    let body = body.to_string();
    let smuggled = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let both = format!("{chunked}{smuggled}");
    for (headers, sent) in [
        (format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", both.len()), &both),
        (format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", both.len()), &both),
        (format!("content-length: {}\r\ncontent-length: 5\r\n", body.len()), &body),
        (format!("content-length: {}, 5\r\n", body.len()), &body),
        (format!("content-length: +{}\r\n", body.len()), &body),
        ("transfer-encoding: chunked, identity\r\n".to_owned(), &both),
        ("transfer-encoding: xchunked\r\n".to_owned(), &both),
        ("transfer-encoding : chunked\r\n".to_owned(), &both),
        ("transfer-encoding:\x0bchunked\r\n".to_owned(), &both),
    ] {
        let (address, seen) = upstream().await;
        let room = Room::new(http(&address), Budgets::default());
        let address = room.listen("t").await;
        let got =
            raw(&address, format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{sent}").as_bytes()).await;
        let seen = seen.lock().unwrap().clone();
        // What an upstream got is a request that was metered, framed by us in one way.
        let forwarded = room.kept.records().iter().filter(|record| record.attempts > 0).count();
        assert_eq!(seen.len(), forwarded, "{headers}: {seen:?}\n{got}");
        assert!(seen.len() <= 1 && !seen.iter().any(|one| one.contains("/v1/files")), "{headers}: {seen:?}");
        for one in &seen {
            let (head, rest) = one.split_once("\r\n\r\n").unwrap();
            let head = head.to_lowercase();
            assert!(!head.contains("transfer-encoding") && rest == body, "{headers}: {one}");
            assert_eq!(head.matches("content-length").count(), 1, "{headers}: {one}");
        }
        is_served(&address).await;
    }
}

#[tokio::test]
async fn other_hosts_are_never_asked() {
    let (address, seen) = upstream().await;
    let (other, reached) = upstream().await;
    let other = other.trim_start_matches("http://").to_owned();
    let room = Room::new(http(&address), Budgets::default());
    let gateway = room.listen("t").await;
    let (path, body) = request("openai", false);
    let body = body.to_string();
    let rest = |host: &str| {
        format!("host: {host}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    // A whole address in the first line, or another host in the header, is our upstream's path all the same.
    for line in [format!("POST http://{other}{path} HTTP/1.1\r\n"), format!("POST {path} HTTP/1.1\r\n")] {
        let got = raw(&gateway, format!("{line}{}", rest(&other)).as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    }
    for line in [
        format!("CONNECT {other} HTTP/1.1\r\n"),
        format!("GET http://{other}/ HTTP/1.1\r\n"),
        "OPTIONS * HTTP/1.1\r\n".to_owned(),
        format!("POST //{other}/v1/files HTTP/1.1\r\n"),
        format!("POST @{other}{path} HTTP/1.1\r\n"),
    ] {
        let got = raw(&gateway, format!("{line}{}", rest(&other)).as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 4"), "{line}: {got}");
    }
    assert!(reached.lock().unwrap().is_empty());
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    let host = address.trim_start_matches("http://");
    assert!(seen.iter().all(|one| one.to_lowercase().contains(&format!("host: {host}"))), "{seen:?}");
}

#[tokio::test]
async fn paths_that_climb_or_hide_a_slash_are_no_paths_here() {
    let (address, seen) = upstream().await;
    let room = Room::new(http(&format!("{address}/v1")), Budgets::default());
    let address = room.listen("t").await;
    let (_, body) = request("openai", false);
    for path in [
        "/v1/../files/responses",
        "/../responses",
        "/v1/./responses",
        "/v1/%2e%2e/admin/responses",
        "/v1/.%2E/admin/responses",
        "/v1/files%2f..%2f/chat/completions",
        "/v1/files%5c..%5c/chat/completions",
        "/v1/files\\..\\x/chat/completions",
        "/v1beta/models/..%2f..%2ffiles:generateContent",
        "/v1beta/models/..:generateContent",
        "/v1/files%00/chat/completions",
        "/v1/files%0d%0ax:1/chat/completions",
        "/v1/files%25%32%66/chat/completions",
        "/v1/files;a=/../chat/completions",
    ] {
        let line = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.to_string().len()
        );
        let got = raw(&address, line.as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 4"), "{path}: {got}");
    }
    assert!(seen.lock().unwrap().is_empty(), "{seen:?}");
    is_served(&address).await;
}

#[tokio::test]
async fn bombs_are_refused_in_requests_and_not_unpacked_for_nothing_in_answers() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..1024 {
        gzip.write_all(&zeros).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 2 << 20);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bomb.len()
    );
    let (address, seen) = provider(vec![[head.as_bytes(), &bomb].concat()]).await;
    let room = Room::new(http(&address), Budgets::default());
    let address = room.listen("t").await;
    let begun = Instant::now();
    let (path, body) = request("openai", false);
    let got = send(&address, path, &[("content-encoding", "gzip")], bomb.clone()).await;
    assert_eq!(got.status, 413, "{}", got.text());
    assert!(seen.lock().unwrap().is_empty());
    let got = post(&address, path, &body).await;
    assert!(got.status == 200 && got.body == bomb, "it is passed on as it came");
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!(record.usage.unwrap().source, Some(UsageSource::Estimate));
    // Unpacking all of it in a build for tests takes longer.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn websockets_are_refused_at_once_on_every_wire() {
    let (address, seen) = upstream().await;
    let room = Room::new(http(&address), Budgets::default());
    let address = room.listen("t").await;
    for path in ["/v1/responses", "/v1/realtime?model=m", "/v1/messages", "/ws"] {
        let asked = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let begun = Instant::now();
        let mut stream = connected(&address).await;
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut got = [0; 12];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"HTTP/1.1 426", "{path}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    assert!(seen.lock().unwrap().is_empty());
}
