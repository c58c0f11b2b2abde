//! The proxy on loopback: an agent's client, the gateway, and as its upstream a second gateway that plays a script, or a few
//! bytes of a provider that misbehaves.

#![allow(clippy::unwrap_used)]

mod room;

use std::io::Write as _;

use room::*;

#[tokio::test]
async fn every_wire_is_metered_and_priced_through_two_hops_and_passes_byte_for_byte() {
    // The upstream takes the real key alone, on whichever header its wire has.
    let up = Room::new(script(SCRIPT), Budgets::default());
    let keys = HashMap::from([(REAL_KEY.to_owned(), up.caller("up"))]);
    let upstream = up.listen_with(Access::Keys(Arc::new(RwLock::new(keys)))).await;
    let direct = up.listen("direct").await;
    let room = Room::new(http(&upstream), Budgets::default());
    let address = room.listen("trial").await;
    let mut count = 0;
    for wire in WIRES {
        for stream in [false, true] {
            let (path, mut body) = request(wire.name(), stream);
            let got = post(&address, path, &body).await;
            assert_eq!(got.status, 200, "{}", got.text());
            count += 1;
            let record = room.kept.wait(count).await.pop().unwrap();
            let what = format!("{} stream {stream}: {record:?}", wire.name());
            let usage = record.usage.unwrap();
            assert_eq!((usage.source, usage.requests), (Some(UsageSource::Gateway), Some(1)), "{what}");
            assert_eq!(
                (usage.uncached_input_tokens, usage.cache_read_tokens),
                (Some(594), Some(509)),
                "{what}"
            );
            assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(211), Some(97)), "{what}");
            assert_eq!(record.cost, Some(NanoUsd(594_000 + 50_900 + 1_055_000)), "{what}");
            assert_eq!((record.ended, record.attempts, record.status), (Ended::Answered, 1, 200), "{what}");
            assert_eq!(record.answer_bytes > 0, record.first_byte_ms.is_some(), "{what}");
            // What the agent got is what the upstream gives to one that asks it directly: without usage, where it did not ask.
            assert_eq!(got.body, post(&direct, path, &body).await.body, "{what}");
            assert_eq!(got.text().contains("usage"), wire.name() != "openai-chat" || !stream, "{what}");
            if wire.name() == "openai-chat" {
                body["stream_options"] = json!({"include_usage": true});
                assert!(post(&address, path, &body).await.text().contains("\"prompt_tokens\":1103"));
                count += 1;
            }
        }
    }
    // No key is anywhere in what is kept.
    let all = format!("{:?}{:?}", room.kept.records(), room.kept.lines.lock().unwrap());
    assert!(!Redactor::new([REAL_KEY.as_bytes()]).finds(all.as_bytes()));
    let spent = room.gateway.ledger().spent(&Scope::Trial("trial".to_owned()));
    assert_eq!((spent.requests, spent.tokens), (count as u64, 1314 * count as u64));
    assert_eq!(Recovered::read(room.kept.lines.lock().unwrap().clone()).spent[&Scope::Run], spent);
}

#[tokio::test]
async fn over_budget_each_wire_refuses_once_in_its_own_form_and_nothing_is_forwarded() {
    for wire in WIRES {
        let room = Room::new(script(SCRIPT), Budgets { trial: tokens(2600), ..Budgets::default() });
        let address = room.listen("t").await;
        let (path, body) = request(wire.name(), true);
        assert_eq!(post(&address, path, &body).await.status, 200);
        let record = room.kept.wait(1).await.pop().unwrap();
        assert!(record.lowered_cap.is_some() && record.budget.as_deref() == Some("trial"), "{record:?}");
        // 1286 are left, and the next is cut by nothing: it says that it used 1314.
        let second = post(&address, path, &body).await;
        assert_eq!(second.status, 200);
        room.kept.wait(2).await;
        let refused = post(&address, path, &body).await;
        let expected = match wire.name() {
            "openai" => 429,
            "openai-chat" => 401,
            "anthropic" => 402,
            _ => 403,
        };
        assert_eq!(refused.status, expected, "{}", refused.text());
        assert_eq!(refused.headers["x-should-retry"], "false");
        assert!(!refused.headers.contains_key("retry-after"));
        assert!(refused.text().contains("2600 tokens"), "{}", refused.text());
        let record = room.kept.wait(3).await.pop().unwrap();
        assert_eq!((record.ended, record.usage, record.attempts), (Ended::Refused, None, 0));
        assert_eq!(room.gateway.ledger().stopped_by("t").unwrap().scope, Scope::Trial("t".to_owned()));
    }
}

#[tokio::test]
async fn answer_that_a_lowered_cap_cuts_short_is_the_budgets() {
    let long = "[[turn]]\nsay = \"word\"\nusage = { input = 10, output = 5000 }";
    let room = Room::new(script(long), Budgets { run: tokens(1000), ..Budgets::default() });
    let (path, body) = request("anthropic", false);
    post(&room.listen("t").await, path, &body).await;
    let record = room.kept.wait(1).await.pop().unwrap();
    assert!(record.cut_by_budget && record.finish == ["length"], "{record:?}");
    assert_eq!(record.budget.as_deref(), Some("run"));
    assert!(room.gateway.ledger().spent(&Scope::Run).tokens <= 1000);
}

#[tokio::test]
async fn trials_together_never_overspend_and_none_is_stopped_for_what_others_only_reserved() {
    // Each request takes 600 and reserves up to 4000 more: ten of forty fit.
    let turns = "[[turn]]\nsay = \"x\"\nusage = { input = 100, output = 500 }";
    let room = Room::new(script(turns), Budgets { run: tokens(6000), ..Budgets::default() });
    let mut tasks = Vec::new();
    for trial in 0..40 {
        let address = room.listen(&format!("t{trial}")).await;
        let (path, body) = request("anthropic", true);
        tasks.push(tokio::spawn(async move { post(&address, path, &body).await.status }));
    }
    let mut answered = 0;
    for task in tasks {
        let status = task.await.unwrap();
        assert!(status == 200 || status == 402);
        answered += u64::from(status == 200);
    }
    room.kept.wait(40).await;
    let spent = room.gateway.ledger().spent(&Scope::Run).tokens;
    assert!(spent <= 6000 && answered >= 9, "{answered} answered for {spent} tokens");
    assert_eq!(room.gateway.ledger().reserved(&Scope::Run), Amounts::default());
}

#[tokio::test]
async fn failures_of_the_upstream_are_tried_again_and_the_agent_asked_once() {
    let faulty = format!("{SCRIPT}fault = {{ status = 529, times = 3 }}");
    let room = Room::new(script(&faulty), Budgets::default());
    let (path, body) = request("openai", true);
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 200);
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!((record.attempts, record.usage.unwrap().requests), (4, Some(1)));
    assert_eq!(room.upstream.health(), Health::Up);
}

#[tokio::test]
async fn outage_is_waited_for_as_long_as_our_patience_and_costs_nothing() {
    let room = Room::new(http("http://127.0.0.1:1/v1"), Budgets::default());
    let address = room.listen("t").await;
    let (path, body) = request("anthropic", false);
    let got = post(&address, path, &body).await;
    assert_eq!(got.status, 502);
    let record = room.kept.wait(1).await.pop().unwrap();
    assert!(record.attempts > 2 && record.total_ms >= 300, "{record:?}");
    assert_eq!((record.ended, record.usage), (Ended::UpstreamDown, None));
    assert!(matches!(room.upstream.health(), Health::Down(_)));
    // The outage is over for everybody: the next is not waited for again.
    tokio::time::sleep(Duration::from_millis(400)).await;
    post(&address, path, &body).await;
    assert_eq!(room.kept.wait(2).await[1].attempts, 1);
    assert_eq!(room.gateway.ledger().spent(&Scope::Run), Amounts { requests: 2, ..Amounts::default() });
}

#[tokio::test]
async fn wrong_real_key_stops_at_once_names_the_variable_and_shows_no_key() {
    let said = format!(
        "{{\"error\":{{\"message\":\"Incorrect API key provided: {REAL_KEY}\",\"code\":\"invalid_api_key\"}}}}"
    );
    let (address, seen) = provider(vec![http_answer(
        "401 Unauthorized",
        "content-type: application/json\r\n",
        said.as_bytes(),
    )])
    .await;
    let room = Room::new(http(&address), Budgets::default());
    let (path, body) = request("openai", false);
    let got = post(&room.listen("t").await, path, &body).await;
    assert_eq!(got.status, 401);
    assert!(got.text().contains("[redacted]") && !got.text().contains("1234567890"), "{}", got.text());
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!((record.ended, record.attempts), (Ended::UpstreamError, 1));
    assert!(record.error.unwrap().contains("[redacted]"));
    let Health::Refusing(told) = room.upstream.health() else { panic!() };
    assert!(told.contains("TEST_API_KEY"), "{told}");
    let request = seen.lock().unwrap()[0].clone();
    assert!(request.contains(&format!("Bearer {REAL_KEY}")) && request.contains("x-extra: 1"), "{request}");
    assert!(!request.contains("virtual"), "{request}");
}

#[tokio::test]
async fn exhausted_quota_is_not_waited_for_but_a_rate_limit_is() {
    let quota = http_answer("429 Too Many Requests", "", b"{\"error\":{\"code\":\"insufficient_quota\"}}");
    let (address, _) = provider(vec![quota]).await;
    let room = Room::new(http(&address), Budgets::default());
    let (path, body) = request("openai", false);
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 429);
    assert_eq!(room.kept.wait(1).await[0].attempts, 1);

    let limit = http_answer(
        "429 Too Many Requests",
        "retry-after: 0.2\r\n",
        b"{\"error\":{\"code\":\"rate_limit_exceeded\"}}",
    );
    let fine = http_answer(
        "200 OK",
        "content-type: application/json\r\n",
        br#"{"status":"completed","usage":{"input_tokens":1,"output_tokens":1}}"#,
    );
    let (address, seen) = provider(vec![limit, fine]).await;
    let room = Room::new(http(&address), Budgets::default());
    let begun = std::time::Instant::now();
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn stream_that_the_upstream_cuts_breaks_for_the_agent_too_and_is_charged_as_an_estimate() {
    let cut = format!("{SCRIPT}fault = {{ cut_after = 4 }}");
    let room = Room::new(script(&cut), Budgets::default());
    let (path, body) = request("anthropic", true);
    let got = post(&room.listen("t").await, path, &body).await;
    assert!(got.status == 200 && got.broken, "the agent must see that it is no whole answer");
    let record = room.kept.wait(1).await.pop().unwrap();
    let usage = record.usage.unwrap();
    assert_eq!((record.ended, usage.source), (Ended::Cut, Some(UsageSource::Estimate)));
    // The input was told exactly before the cut.
    assert_eq!(usage.uncached_input_tokens, Some(594));
    assert_eq!(room.gateway.ledger().estimated(&Scope::Run).requests, 1);

    // The same from a provider that closes its connection in the middle of a chunk.
    let begun =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1c\r\ndata: {\"choices\":[{\"delta\":{";
    let (address, _) = provider(vec![begun.to_vec()]).await;
    let room = Room::new(http(&address), Budgets::default());
    let (path, body) = request("openai-chat", true);
    assert!(post(&room.listen("t").await, path, &body).await.broken);
    assert_eq!(room.kept.wait(1).await[0].ended, Ended::Cut);
}

#[tokio::test]
async fn agent_that_leaves_in_the_middle_is_charged_for_the_whole_answer() {
    // Long enough that it does not fit into the buffers of a connection.
    let long =
        format!("[[turn]]\nsay = \"{}\"\nusage = {{ input = 10, output = 77 }}", "word ".repeat(60_000));
    let room = Room::new(script(&long), Budgets::default());
    let address = room.listen("t").await;
    let (path, body) = request("anthropic", true);
    let body = body.to_string();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 200];
    stream.read_exact(&mut first).await.unwrap();
    drop(stream);
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!((record.ended, record.usage.unwrap().output_tokens), (Ended::AgentLeft, Some(77)));
    assert_eq!(record.usage.unwrap().source, Some(UsageSource::Gateway));
    assert_eq!(room.gateway.ledger().reserved(&Scope::Run), Amounts::default());
}

#[tokio::test]
async fn upstream_that_never_answers_is_given_up_by_the_gateway() {
    let hang = format!("{SCRIPT}fault = {{ hang = true, times = 9 }}");
    let room = Room::new(script(&hang), Budgets::default());
    let (path, body) = request("openai", true);
    let got = post(&room.listen("t").await, path, &body).await;
    assert_eq!(got.status, 504);
    let record = room.kept.wait(1).await.pop().unwrap();
    // It may have been carried out: not tried twice, and charged by our estimate.
    assert_eq!((record.attempts, record.usage.unwrap().source), (1, Some(UsageSource::Estimate)));
}

#[tokio::test]
async fn virtual_keys_tell_trials_apart_and_a_wrong_one_gets_nothing() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    let keys = ["a", "b"].map(|trial| (format!("key-of-{trial}"), room.caller(trial)));
    let address = room.listen_with(Access::Keys(Arc::new(RwLock::new(HashMap::from(keys))))).await;
    for wire in WIRES {
        let (path, body) = request(wire.name(), false);
        let body = body.to_string().into_bytes();
        for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("x-api-key", "key-of-c")]] {
            assert_eq!(send(&address, path, headers, body.clone()).await.status, 401);
        }
        assert_eq!(send(&address, path, &[("x-goog-api-key", "key-of-b")], body.clone()).await.status, 200);
    }
    let records = room.kept.wait(4).await;
    assert!(records.iter().all(|record| record.trial == "b") && records.len() == 4);
}

#[tokio::test]
async fn websocket_upgrades_other_paths_and_bad_bodies_are_answered_at_once() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    let address = room.listen("t").await;
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let upgrade = "GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 426");
    assert_eq!(post(&address, "/v1/embeddings", &json!({})).await.status, 404);
    assert_eq!(send(&address, "/v1/messages", &[], b"no json".to_vec()).await.status, 400);
    let background = json!({"model": "m", "background": true});
    assert_eq!(post(&address, "/v1/responses", &background).await.status, 400);
    assert_eq!(
        post(&address, "/v1/messages/count_tokens", &json!({"model": "m", "messages": []})).await.status,
        200
    );
    assert_eq!(room.gateway.ledger().spent(&Scope::Run), Amounts::default());
}

#[tokio::test]
async fn packed_bodies_are_read_both_ways() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    let address = room.listen("t").await;
    let (path, body) = request("openai", true);
    let packed = zstd::encode_all(body.to_string().as_bytes(), 3).unwrap();
    assert_eq!(send(&address, path, &[("content-encoding", "zstd")], packed).await.status, 200);
    assert_eq!(send(&address, path, &[("content-encoding", "zstd")], b"junk".to_vec()).await.status, 400);
    assert_eq!(send(&address, path, &[("content-encoding", "compress")], b"junk".to_vec()).await.status, 400);

    let answer = br#"{"status":"completed","model":"m","usage":{"input_tokens":7,"output_tokens":3}}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(answer).unwrap();
    let gzip = gzip.finish().unwrap();
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let (upstream, seen) = provider(vec![http_answer("200 OK", headers, &gzip)]).await;
    let room = Room::new(http(&upstream), Budgets::default());
    let (path, body) = request("openai", false);
    let got = post(&room.listen("t").await, path, &body).await;
    assert_eq!((got.body, got.headers["content-encoding"].as_str()), (gzip, "gzip"), "passed on as it came");
    assert_eq!(room.kept.wait(1).await[0].usage.unwrap().output_tokens, Some(3));
    assert!(!seen.lock().unwrap()[0].contains("accept-encoding"));
}

#[tokio::test]
async fn body_that_is_too_large_is_refused_and_fifty_megabytes_are_not() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    let address = room.listen("t").await;
    let sized = |bytes: usize| {
        format!(
            "{{\"model\":\"asked\",\"max_tokens\":10,\"messages\":[],\"x\":\"{}\"}}",
            "a ".repeat(bytes / 2)
        )
    };
    assert_eq!(send(&address, "/v1/messages", &[], sized(50 << 20).into_bytes()).await.status, 200);
    assert_eq!(send(&address, "/v1/messages", &[], sized(65 << 20).into_bytes()).await.status, 413);
}

#[tokio::test]
async fn http_2_kept_connections_and_chunked_bodies_are_served() {
    let room = Room::new(script(SCRIPT), Budgets::default());
    let address = room.listen("t").await;
    let (path, body) = request("openai-chat", true);
    let make =
        || Request::post(format!("{address}{path}")).body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let mut bodies = Vec::new();
    for http2 in [true, false] {
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        for _ in 0..3 {
            bodies
                .push(client.request(make()).await.unwrap().into_body().collect().await.unwrap().to_bytes());
        }
    }
    assert!(bodies.iter().all(|other| *other == bodies[0]) && bodies[0].ends_with(b"data: [DONE]\n\n"));

    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let text = body.to_string();
    let (first, rest) = text.split_at(10);
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        first.len(),
        rest.len()
    );
    // Twice on one connection.
    for _ in 0..2 {
        stream.write_all(chunked.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(room.kept.wait(8).await.len(), 8);
}

#[tokio::test]
async fn endless_stream_passes_with_little_memory_and_ends_when_the_agent_does() {
    // A provider that never stops: one event of one line that never ends.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let ended = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 64 << 10];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: \"",
            )
            .await
            .unwrap();
        while stream.write_all(&[b'x'; 16 << 10]).await.is_ok() {}
    });
    let mut settings = http(&upstream);
    settings.drain = Duration::from_millis(300);
    let room = Room::new(settings, Budgets::default());
    let address = room.listen("t").await;
    let (path, body) = request("openai", true);
    let text = body.to_string();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut read = 0;
    while read < 32 << 20 {
        read += stream.read(&mut buffer).await.unwrap();
    }
    drop(stream);
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!((record.ended, record.usage.unwrap().source), (Ended::AgentLeft, Some(UsageSource::Estimate)));
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .expect("the provider's connection is closed")
        .unwrap();
}

#[tokio::test]
async fn upstream_over_tls_is_set_up_and_a_server_without_it_is_told_so() {
    // Whoever answers in plain text on a TLS port is no server that we may send a key to.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let mut said = vec![0; 4096];
            let read = stream.read(&mut said).await.unwrap_or(0);
            kept.lock().unwrap().push(String::from_utf8_lossy(&said[..read]).into_owned());
        }
    });
    // A machine without any roots cannot have upstreams over TLS, and says so when one is set up.
    let Ok(upstream) = Upstream::new(http(&address.replace("http://", "https://"))) else { return };
    let room = Room { upstream: Arc::new(upstream), ..Room::new(http(&address), Budgets::default()) };
    let (path, body) = request("openai", false);
    assert_eq!(post(&room.listen("t").await, path, &body).await.status, 502);
    let record = room.kept.wait(1).await.pop().unwrap();
    assert_eq!(record.ended, Ended::UpstreamDown);
    assert!(!seen.lock().unwrap().iter().any(|request| request.contains(REAL_KEY)));
}
