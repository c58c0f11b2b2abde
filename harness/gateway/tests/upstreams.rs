//! What an upstream may have besides: rates, faults on purpose, a proxy before it, roots of its own, addresses of its own; and
//! whether a model answers at all.

#![allow(clippy::unwrap_used)]

mod room;

use std::sync::atomic::{AtomicUsize, Ordering};

use harness_gateway::proxy::{FaultRates, HttpProxy, PreflightError, Rates, Roots, UpstreamOptions};
use room::*;

const CA: &[u8] = include_bytes!("data/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("data/tls/server.pem");
const CERTIFICATE_KEY: &[u8] = include_bytes!("data/tls/server.key");
const DONE: &[u8] = br#"{"status":"completed","usage":{"input_tokens":1,"output_tokens":1}}"#;

fn room_with(spec: UpstreamSpec, options: UpstreamOptions) -> Room {
    let upstream = Upstream::with_options(spec, options).unwrap();
    Room { upstream: Arc::new(upstream), ..Room::new(nothing(), Budgets::default()) }
}

fn nothing() -> UpstreamSpec {
    http("http://127.0.0.1:1")
}

/// TLS with a certificate that only the tests' own authority vouches for.
fn acceptor(protocols: &[&[u8]]) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE_KEY).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// A provider over TLS.
async fn tls_provider() -> (String, Arc<AtomicUsize>) {
    let acceptor = acceptor(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut buffer = vec![0; 64 << 10];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                assert!(String::from_utf8_lossy(&buffer[..read]).contains(REAL_KEY));
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream
                    .write_all(&http_answer("200 OK", "content-type: application/json\r\n", DONE))
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (format!("https://localhost:{port}"), answered)
}

/// An HTTP proxy that opens tunnels; what it is asked is kept.
async fn tunnels() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await.unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                kept.lock().unwrap().push(head);
                let mut to = TcpStream::connect(target.replace("localhost", "127.0.0.1")).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn roots_of_its_own_vouch_for_an_upstream_and_no_others_do() {
    let (address, answered) = tls_provider().await;
    let (path, body) = request("openai", false);
    let with = |roots| UpstreamOptions { roots, ..UpstreamOptions::default() };
    for roots in [Roots::Only(CA.to_vec()), Roots::Also(CA.to_vec())] {
        let room = room_with(http(&address), with(roots));
        assert_eq!(post(&room.listen("t").await, path, &body).await.status, 200);
    }
    assert_eq!(answered.load(Ordering::SeqCst), 2);
    // A certificate that is none of an authority vouches for nobody.
    let room = room_with(http(&address), with(Roots::Only(CERTIFICATE.to_vec())));
    let other = http(&address.replace("localhost", "127.0.0.2"));
    let wrong_name = room_with(other, with(Roots::Only(CA.to_vec())));
    drop(room);
    assert_eq!(post(&wrong_name.listen("t").await, path, &body).await.status, 502);
    if let Ok(upstream) = Upstream::new(http(&address)) {
        let room = Room { upstream: Arc::new(upstream), ..Room::new(nothing(), Budgets::default()) };
        assert_eq!(post(&room.listen("t").await, path, &body).await.status, 502);
        assert!(room.kept.wait(1).await[0].error.as_ref().unwrap().contains("certificate"));
    }
    assert_eq!(answered.load(Ordering::SeqCst), 2, "no key went to somebody whom nobody vouches for");
    for bad in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = Upstream::with_options(http(&address), with(Roots::Only(bad.to_vec()))).unwrap_err();
        assert!(error.to_string().contains("TLS roots"), "{error}");
    }
}

#[tokio::test]
async fn upstream_that_speaks_http_2_alone_is_spoken_to_in_it() {
    let acceptor = acceptor(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    // Another gateway behind TLS: it speaks what the connection agreed on.
    let up = Room::new(script(SCRIPT), Budgets::default());
    let (gateway, access) = (Arc::clone(&up.gateway), Access::Own(up.caller("up")));
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(Arc::clone(&gateway).serve_connection(stream, access.clone()));
        }
    });
    let options = UpstreamOptions { roots: Roots::Only(CA.to_vec()), ..UpstreamOptions::default() };
    let room = room_with(http(&address), options);
    let address = room.listen("t").await;
    let mut asked = Vec::new();
    for wire in WIRES {
        for stream in [false, true] {
            let address = address.clone();
            let (path, body) = request(wire.name(), stream);
            asked.push(tokio::spawn(async move { post(&address, path, &body).await.status }));
        }
    }
    for status in asked {
        assert_eq!(status.await.unwrap(), 200);
    }
    let records = room.kept.wait(8).await;
    assert!(records.iter().all(|record| record.usage.unwrap().output_tokens == Some(211)));
    assert!(accepted.load(Ordering::SeqCst) <= 8);
}

#[tokio::test]
async fn proxy_before_an_upstream_sees_no_key() {
    let (proxy, asked) = tunnels().await;
    let (address, answered) = tls_provider().await;
    let options = UpstreamOptions {
        proxy: Some(HttpProxy { address: proxy.clone(), authorization: Some("Basic c2VjcmV0".to_owned()) }),
        roots: Roots::Only(CA.to_vec()),
        ..UpstreamOptions::default()
    };
    let room = room_with(http(&address), options.clone());
    let (path, body) = request("openai", false);
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 200);
    assert_eq!(answered.load(Ordering::SeqCst), 1);
    let heads = asked.lock().unwrap().clone();
    assert!(heads[0].starts_with("CONNECT localhost:"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic c2vjcmv0"), "{heads:?}");
    assert!(!heads[0].contains(REAL_KEY));
    assert!(!format!("{options:?}").contains("c2VjcmV0"), "an authorization is a secret");
    // Without TLS it is a tunnel too.
    let (plain, _) = provider(vec![http_answer("200 OK", "content-type: application/json\r\n", DONE)]).await;
    let room =
        room_with(http(&plain), UpstreamOptions { proxy: options.proxy, ..UpstreamOptions::default() });
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 200);
    assert_eq!(asked.lock().unwrap().len(), 2);
    for bad in ["", "localhost", "https://localhost:1", "socks5://localhost:1"] {
        let proxy = Some(HttpProxy { address: bad.to_owned(), authorization: None });
        assert!(
            Upstream::with_options(nothing(), UpstreamOptions { proxy, ..UpstreamOptions::default() })
                .is_err(),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn services_addresses_and_key_headers_are_used_as_they_are_set_up() {
    let (address, seen) =
        provider(vec![http_answer("200 OK", "content-type: application/json\r\n", DONE)]).await;
    let mut spec = http(&format!("{address}/openai/deployments/{{model}}?api-version=2024-10-21"));
    if let Target::Http { key_header, .. } = &mut spec.target {
        *key_header = Some(harness_gateway::wire::KeyHeader { name: "api-key", prefix: "" });
    }
    let room = Room::new(spec, Budgets::default());
    let (path, body) = request("openai-chat", false);
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 200);
    let sent = seen.lock().unwrap()[0].clone();
    assert!(
        sent.starts_with("POST /openai/deployments/asked/chat/completions?api-version=2024-10-21 HTTP/1.1"),
        "{sent}"
    );
    assert!(sent.contains(&format!("api-key: {REAL_KEY}")) && !sent.contains("authorization"), "{sent}");
}

#[tokio::test]
async fn faults_on_purpose_are_absorbed_or_shown_like_real_ones_and_everything_is_settled() {
    let rates = FaultRates {
        seed: 3,
        rate_limited: 150,
        failed: 100,
        overloaded: 100,
        slow: 100,
        cut: 200,
        malformed: 100,
        delay_ms: 10,
    };
    let options = UpstreamOptions { faults: Some(rates), ..UpstreamOptions::default() };
    let mut first = Vec::new();
    for round in 0..2 {
        let room = room_with(script(SCRIPT), options.clone());
        let mut ended = Vec::new();
        for turn in 0..30 {
            let address = room.listen(&format!("t{turn}")).await;
            let (path, body) = request(WIRES[turn % 4].name(), true);
            let got = post(&address, path, &body).await;
            assert_eq!(got.status, 200);
            let record = room.kept.wait(turn + 1).await.pop().unwrap();
            assert_eq!(
                record.ended == Ended::Cut,
                got.broken || record.error.is_some() || record.finish.is_empty(),
                "{record:?}"
            );
            ended.push((record.ended, record.attempts));
        }
        assert!(ended.iter().any(|(ended, _)| *ended == Ended::Cut));
        assert!(ended.iter().any(|(_, attempts)| *attempts > 1));
        assert!(ended.iter().filter(|(ended, _)| *ended == Ended::Answered).count() > 10);
        assert_eq!(room.gateway.ledger().reserved(&Scope::Run), Amounts::default());
        if round == 0 { first = ended } else { assert_eq!(ended, first, "the same seed, the same faults") }
    }
}

#[tokio::test]
async fn rates_of_an_upstream_hold_for_all_trials_together() {
    let rates = Rates { requests_per_minute: Some(600), tokens_per_minute: None };
    let room = room_with(script(SCRIPT), UpstreamOptions { rates, ..UpstreamOptions::default() });
    let begun = std::time::Instant::now();
    let mut tasks = Vec::new();
    for trial in 0..110 {
        let address = room.listen(&format!("t{}", trial % 5)).await;
        let (path, body) = request("openai", false);
        tasks.push(tokio::spawn(async move { post(&address, path, &body).await.status }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    // A hundred are saved up, ten more take a second.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn preflight_tells_a_model_that_answers_from_one_that_does_not() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    for wire in WIRES {
        room.gateway.preflight(&room.caller("preflight"), wire.name(), "asked").await.unwrap();
    }
    let records = room.kept.wait(4).await;
    assert!(records.iter().all(|record| record.ended == Ended::Answered && record.usage.is_some()));

    let said = format!("{{\"error\":{{\"message\":\"no key {REAL_KEY}\",\"code\":\"invalid_api_key\"}}}}");
    let (address, _) = provider(vec![http_answer("401 Unauthorized", "", said.as_bytes())]).await;
    let room = Room::new(http(&address), Budgets::default());
    let caller = room.caller("preflight");
    let error = room.gateway.preflight(&caller, "openai-chat", "gpt").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model gpt cannot be used: invalid_api_key: no key [redacted] (status 401)"
    );
    assert!(matches!(room.upstream.health(), Health::Refusing(said) if said.contains("TEST_API_KEY")));
    let error = room.gateway.preflight(&caller, "smoke-signals", "gpt").await.unwrap_err();
    assert_eq!(error, PreflightError::NoUpstream("smoke-signals".to_owned()));

    // Another's server may know only the old name of the cap.
    let (address, seen) =
        provider(vec![http_answer("200 OK", "content-type: application/json\r\n", DONE)]).await;
    let room = Room::new(UpstreamSpec { old_cap_name: true, ..http(&address) }, Budgets::default());
    room.gateway.preflight(&room.caller("preflight"), "openai-chat", "local").await.unwrap();
    let sent = seen.lock().unwrap()[0].clone();
    assert!(sent.contains("\"max_tokens\":16") && !sent.contains("max_completion_tokens"), "{sent}");
}
