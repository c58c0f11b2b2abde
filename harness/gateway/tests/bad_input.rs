//! Whatever comes, from either side, passes as it came and is metered as far as it can be understood; and nobody is charged
//! for another.

#![allow(clippy::unwrap_used)]

mod room;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use room::*;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";

/// A provider that writes its answer in pieces of this size, each a packet of its own.
async fn dribbling(answer: Vec<u8>, piece: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 64 << 10];
            let _ = stream.read(&mut buffer).await;
            for piece in answer.chunks(piece) {
                if stream.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn stream_that_comes_byte_by_byte_is_the_same_on_every_wire() {
    for wire in WIRES {
        let room = Room::new(script(SCRIPT), Budgets::default());
        let (path, mut body) = request(wire.name(), true);
        if wire.name() == "openai-chat" {
            body["stream_options"] = json!({"include_usage": true});
        }
        let whole = post(&room.listen("t").await, path, &body).await.body;
        for chunked in [false, true] {
            let head = if chunked { &b"transfer-encoding: chunked\r\n\r\n"[..] } else { b"\r\n" };
            let sent = if chunked {
                let chunks = whole
                    .chunks(7)
                    .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                chunks.chain([b"0\r\n\r\n".to_vec()]).collect::<Vec<_>>().concat()
            } else {
                whole.clone()
            };
            let upstream = dribbling([HEAD, head, &sent].concat(), 1).await;
            let room = Room::new(http(&upstream), Budgets::default());
            let got = post(&room.listen("t").await, path, &body).await;
            assert_eq!(got.body, whole, "{}", wire.name());
            let record = room.kept.wait(1).await.pop().unwrap();
            let usage = record.usage.unwrap();
            assert_eq!(
                (record.ended, usage.source),
                (Ended::Answered, Some(UsageSource::Gateway)),
                "{record:?}"
            );
            assert_eq!(
                (usage.uncached_input_tokens, usage.output_tokens),
                (Some(594), Some(211)),
                "{}",
                wire.name()
            );
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_as_they_are_both_ways() {
    let junk: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for wire in WIRES {
        for stream in [false, true] {
            let upstream = dribbling([HEAD, b"\r\n", &junk].concat(), 700).await;
            let room = Room::new(http(&upstream), Budgets::default());
            let (path, body) = request(wire.name(), stream);
            let got = post(&room.listen("t").await, path, &body).await;
            assert_eq!((got.status, got.body == junk), (200, true), "{} stream {stream}", wire.name());
            let record = room.kept.wait(1).await.pop().unwrap();
            assert_eq!(
                (record.ended, record.usage.unwrap().source),
                (Ended::Cut, Some(UsageSource::Estimate))
            );
        }
        // In a request: what is a JSON object but for its text is the provider's to judge.
        let answer = http_answer("200 OK", "content-type: application/json\r\n", b"{}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let (path, body) = request(wire.name(), false);
        let mut sent = body.to_string().into_bytes();
        let at = memchr::memmem::find(&sent, b"hello").unwrap();
        sent.splice(at..at + 5, *b"\xff\xfe\xc3(\x80");
        let expected = sent.clone();
        let provider = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while memchr::memmem::find(&seen, &expected).is_none() {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
            }
            stream.write_all(&answer).await.unwrap();
        });
        let room = Room::new(http(&upstream), Budgets::default());
        assert_eq!(send(&room.listen("t").await, path, &[], sent).await.status, 200);
        provider.await.unwrap();
    }
}

#[tokio::test]
async fn packed_streams_are_metered_however_they_are_packed() {
    const TEXT: &[u8] = b"data: {\"usage\":{\"input_tokens\":3}}\n\ndata: [DONE]\n\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(TEXT).unwrap();
    for (encoding, packed) in [
        ("gzip", gzip.finish().unwrap()),
        ("br", include_bytes!("data/stream.br").to_vec()),
        ("zstd", zstd::encode_all(TEXT, 3).unwrap()),
        ("identity", TEXT.to_vec()),
    ] {
        let head = format!("content-encoding: {encoding}\r\n\r\n");
        let upstream = dribbling([HEAD, head.as_bytes(), &packed].concat(), 3).await;
        let room = Room::new(http(&upstream), Budgets::default());
        let (path, body) = request("anthropic", true);
        let got = post(&room.listen("t").await, path, &body).await;
        assert_eq!((got.body, got.headers["content-encoding"].as_str()), (packed, encoding));
        let usage = room.kept.wait(1).await[0].usage.unwrap();
        assert_eq!(usage.uncached_input_tokens, Some(3), "{encoding}");
    }
}

#[tokio::test]
async fn connection_to_the_upstream_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let body = br#"{"status":"completed","usage":{"input_tokens":1,"output_tokens":1}}"#;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
                }
            });
        }
    });
    let room = Room::new(http(&upstream), Budgets::default());
    let (path, body) = request("openai", false);
    // From several trials, each with connections of its own.
    for trial in 0..10 {
        let address = room.listen(&format!("t{trial}")).await;
        assert_eq!(post(&address, path, &body).await.status, 200);
        room.kept.wait(trial + 1).await;
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn trial_that_shows_anothers_key_on_its_own_listener_pays_itself() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    let keys = HashMap::from(["a", "b"].map(|trial| (format!("key-of-{trial}"), room.caller(trial))));
    let shared = room.listen_with(Access::Keys(Arc::new(RwLock::new(keys)))).await;
    let own = room.listen("a").await;
    let (path, body) = request("anthropic", false);
    let body = body.to_string().into_bytes();
    // Its listener says who it is, whatever key it found.
    assert_eq!(send(&own, path, &[("x-api-key", "key-of-b")], body.clone()).await.status, 200);
    let records = room.kept.wait(1).await;
    assert_eq!(records[0].trial, "a");
    assert_eq!(room.gateway.ledger().spent(&Scope::Trial("b".to_owned())), Amounts::default());
    // On a shared one the key is all there is: that is why trials get listeners of their own where they can.
    assert_eq!(send(&shared, path, &[("x-api-key", "key-of-b")], body.clone()).await.status, 200);
    assert_eq!(room.kept.wait(2).await[1].trial, "b");
    for wrong in ["key-of-", "key-of-bb", "KEY-OF-B", ""] {
        assert_eq!(send(&shared, path, &[("x-api-key", wrong)], body.clone()).await.status, 401, "{wrong}");
    }
}

#[tokio::test]
async fn agent_that_leaves_while_its_answer_has_not_begun_is_charged_and_holds_nothing_up() {
    // Headers come late; the agent is gone by then.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 64 << 10];
            let _ = stream.read(&mut buffer).await;
            tokio::time::sleep(Duration::from_millis(400)).await;
            let body = br#"{"status":"completed","usage":{"input_tokens":5,"output_tokens":7}}"#;
            let _ =
                stream.write_all(&http_answer("200 OK", "content-type: application/json\r\n", body)).await;
        }
    });
    let room = Room::new(http(&upstream), Budgets::default());
    let address = room.listen("t").await;
    let (path, body) = request("openai", false);
    let body = body.to_string();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // At once, without a farewell: a client that only stops sending may still be listening.
    stream.set_zero_linger().unwrap();
    drop(stream);
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!(record.usage.unwrap().output_tokens, Some(7), "{record:?}");
    assert_eq!(room.gateway.ledger().reserved(&Scope::Run), Amounts::default());
}
