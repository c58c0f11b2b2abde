//! What was recorded is played again without key, network or cost; what was not is told apart; and whatever happens to the
//! files, what is left of them is a beginning.

#![allow(clippy::unwrap_used)]

mod room;

use std::path::{Path, PathBuf};

use harness_gateway::recording::{Asked, Mode, Pace, Recorder, Recording};
use harness_gateway::wire::Operation;
use room::*;

/// An upstream that cannot be reached, and has no key.
fn nowhere() -> UpstreamSpec {
    spec(Target::Http {
        base_url: "http://127.0.0.1:1".to_owned(),
        key: None,
        key_from: "TEST_API_KEY".to_owned(),
        key_header: None,
        headers: Vec::new(),
    })
}

fn recorder(folder: &Path) -> Recorder {
    Recorder::open(folder, Redactor::new([REAL_KEY.as_bytes()])).unwrap()
}

async fn recording_room(spec: UpstreamSpec, recorder: &Recorder) -> (Room, String) {
    let room = Room::new(spec, Budgets::default());
    let caller = room.plain_caller("task/v/1").with_recorder(recorder.clone());
    let address = room.listen_with(Access::Own(Arc::new(caller))).await;
    (room, address)
}

async fn playing_room(spec: UpstreamSpec, folder: &Path, mode: Mode, pace: Pace) -> (Room, String) {
    let room = Room::new(spec, Budgets::default());
    let player = Recording::open(folder).unwrap().player("task/v/1", mode, pace).unwrap();
    let address =
        room.listen_with(Access::Own(Arc::new(room.plain_caller("task/v/1").with_player(player)))).await;
    (room, address)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

#[tokio::test]
async fn recording_plays_every_wire_with_the_upstream_gone_to_the_same_bytes_usage_and_cost() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let (live, address) = recording_room(script(SCRIPT), &recorder).await;
    let mut said = Vec::new();
    for wire in WIRES {
        for stream in [false, true] {
            let (path, body) = request(wire.name(), stream);
            said.push(post(&address, path, &body).await);
        }
    }
    let counted = post(&address, "/v1/messages/count_tokens", &json!({"model": "m", "messages": []})).await;
    let before = live.kept.wait(8).await;
    drop(live);
    recorder.flush().unwrap();

    let (replay, address) = playing_room(nowhere(), folder.path(), Mode::Strict, Pace::AtOnce).await;
    for (at, got) in said.iter().enumerate() {
        let (path, body) = request(WIRES[at / 2].name(), at % 2 == 1);
        let again = post(&address, path, &body).await;
        assert_eq!((again.status, &again.body), (got.status, &got.body), "{path}");
        assert_eq!(again.headers.get("content-type"), got.headers.get("content-type"));
    }
    let again = post(&address, "/v1/messages/count_tokens", &json!({"model": "m", "messages": []})).await;
    assert_eq!((again.status, again.body), (200, counted.body));
    let after = replay.kept.wait(8).await;
    for (before, after) in before.iter().zip(&after) {
        assert!(before.cost.is_some() && before.replayed.is_none());
        assert_eq!((after.usage, after.cost, after.list_cost), (before.usage, before.cost, before.list_cost));
        assert_eq!(
            (&after.finish, after.ended, after.attempts),
            (&before.finish, before.ended, before.attempts)
        );
        assert_eq!((&after.raw_usage, &after.prices), (&before.raw_usage, &before.prices));
        let replayed = after.replayed.clone().unwrap();
        assert_eq!((replayed.request, replayed.drift), (before.request, None));
    }
    // Every exchange is played once.
    let (path, body) = request("openai", true);
    let refused = post(&address, path, &body).await;
    assert_eq!(refused.status, 429, "the form that stops an agent at once");
    assert!(refused.text().contains("played already"), "{}", refused.text());
}

#[tokio::test]
async fn miss_says_what_differed_and_each_mode_does_its_own_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let (live, address) = recording_room(script(SCRIPT), &recorder).await;
    let (path, body) = request("anthropic", true);
    let mut second = body.clone();
    second["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": "one"}),
        json!({"role": "user", "content": "the date is 2026-11-21, the tests take 0.3 s"}),
    ]);
    let first = post(&address, path, &body).await;
    post(&address, path, &second).await;
    live.kept.wait(2).await;
    recorder.flush().unwrap();

    // Ids, dates, times and the order of keys are not what is asked.
    let mut same = second.clone();
    same["messages"][2]["content"] = json!("the date is 2027-02-01, the tests take 1.9 s");
    same["metadata"] = json!({"user_id": "somebody else"});
    let mut other = second.clone();
    other["messages"][2]["content"] = json!("the date is 2026-11-21, and the tests fail");

    let (room, address) = playing_room(nowhere(), folder.path(), Mode::Strict, Pace::AtOnce).await;
    assert_eq!(post(&address, path, &same).await.status, 200);
    let missed = post(&address, path, &other).await;
    assert_eq!(missed.status, 402);
    let record = room.kept.wait(2).await.pop().unwrap();
    assert_eq!((record.ended, record.usage, record.cost), (Ended::Missed, None, None));
    let said = record.error.unwrap();
    // Only the first request is left, and it is shorter.
    assert!(said.contains("request 0, and differs:\n  body.messages: recorded 1 items, now 3"), "{said}");
    assert_eq!(room.gateway.ledger().reserved(&Scope::Run), Amounts::default());

    let (room, address) = playing_room(nowhere(), folder.path(), Mode::Lenient, Pace::AtOnce).await;
    assert_eq!(post(&address, path, &body).await.body, first.body);
    assert_eq!(post(&address, path, &other).await.status, 200);
    let drift = room.kept.wait(2).await[1].replayed.clone().unwrap().drift.unwrap();
    assert!(
        drift.contains(
            "body.messages[2].content: recorded \"the date is <date>, the tests take <took>\", now"
        ),
        "{drift}"
    );
    // An answer that streams is no answer to who asked for one that does not.
    let (path, whole) = request("anthropic", false);
    assert_eq!(post(&address, path, &whole).await.status, 402);

    let (path, _) = request("anthropic", true);
    let (room, address) = playing_room(script(SCRIPT), folder.path(), Mode::Passthrough, Pace::AtOnce).await;
    assert_eq!(post(&address, path, &other).await.status, 200);
    assert_eq!(post(&address, path, &body).await.status, 200);
    let records = room.kept.wait(2).await;
    assert_eq!((records[0].replayed.is_some(), records[1].replayed.is_some()), (false, true));

    let room = Room::new(nowhere(), Budgets::default());
    let player =
        Recording::open(folder.path()).unwrap().player("other", Mode::Lenient, Pace::AtOnce).unwrap();
    let address =
        room.listen_with(Access::Own(Arc::new(room.plain_caller("other").with_player(player)))).await;
    assert!(post(&address, path, &body).await.text().contains("the recording has no trial other"));
    assert_eq!(Recording::open(folder.path()).unwrap().trials().unwrap(), ["task/v/1"]);
}

#[tokio::test]
async fn strict_plays_on_when_only_what_commands_printed_differs_and_says_so_and_exact_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let (live, address) = recording_room(script(SCRIPT), &recorder).await;
    let (path, body) = request("openai", false);
    let asked = |output: &str, call: &str| {
        let mut body = body.clone();
        body["input"] = json!([{"role": "user", "content": "hello"},
            {"type": "function_call", "call_id": "c1", "name": "bash", "arguments": call},
            {"type": "function_call_output", "call_id": "c1", "output": output}]);
        body
    };
    let first = post(&address, path, &asked("make: error in b.o, then in a.o", "{}")).await;
    live.kept.wait(1).await;
    recorder.flush().unwrap();
    for (mode, output, call, status) in [
        (Mode::Strict, "make: error in a.o, then in b.o", "{}", 200),
        (Mode::Exact, "make: error in a.o, then in b.o", "{}", 429),
        (Mode::Exact, "make: error in b.o, then in a.o", "{}", 200),
        // What the agent did is its own.
        (Mode::Strict, "make: error in b.o, then in a.o", "{\"command\":\"ls\"}", 429),
    ] {
        let (room, address) = playing_room(nowhere(), folder.path(), mode, Pace::AtOnce).await;
        let got = post(&address, path, &asked(output, call)).await;
        assert_eq!(got.status, status, "{mode:?} {output} {call}");
        let record = room.kept.wait(1).await.pop().unwrap();
        if status == 200 {
            assert_eq!(got.body, first.body);
            let drift = record.replayed.unwrap().drift;
            assert_eq!(drift.is_some(), mode == Mode::Strict);
            assert!(drift.is_none_or(|drift| drift.contains("body.input[2].output: recorded \"make: error in b.o")));
        } else {
            assert_eq!(record.ended, Ended::Missed);
        }
    }
}

#[tokio::test]
async fn errors_cut_streams_and_outages_are_played_as_they_were() {
    for (spec, stream, status) in [
        (script(&format!("{SCRIPT}fault = {{ cut_after = 4 }}")), true, 200),
        (script(&format!("{SCRIPT}fault = {{ status = 404 }}")), false, 404),
        (nowhere(), false, 502),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path());
        let (live, address) = recording_room(spec, &recorder).await;
        let (path, body) = request("openai", stream);
        let got = post(&address, path, &body).await;
        let before = live.kept.wait(1).await.pop().unwrap();
        recorder.flush().unwrap();
        let (replay, address) = playing_room(nowhere(), folder.path(), Mode::Strict, Pace::AtOnce).await;
        let again = post(&address, path, &body).await;
        assert_eq!((got.status, again.status, again.broken), (status, status, got.broken));
        assert_eq!(again.text(), got.text());
        let after = replay.kept.wait(1).await.pop().unwrap();
        assert_eq!((after.ended, after.usage, after.cost), (before.ended, before.usage, before.cost));
        assert_eq!(replay.upstream.health(), Health::Up);
    }
}

#[tokio::test]
async fn recorded_pace_streams_as_it_was_streamed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 64 << 10];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(120)).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..3 {
            stream.write_all(b"data: {\"type\":\"x\"}\n\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let (live, address) = recording_room(http(&upstream), &recorder).await;
    let (path, body) = request("anthropic", true);
    post(&address, path, &body).await;
    live.kept.wait(1).await;
    recorder.flush().unwrap();
    let player =
        Recording::open(folder.path()).unwrap().player("task/v/1", Mode::Strict, Pace::Recorded).unwrap();
    let text = body.to_string();
    let asked = Asked {
        wire: "anthropic",
        operation: Operation::Generate,
        model: "asked",
        stream: true,
        body: text.as_bytes(),
    };
    let played = player.play(&asked).unwrap();
    assert_eq!(played.frames.len(), 3, "{played:?}");
    assert!(
        played.headers_after >= Duration::from_millis(100)
            && played.frames[2].after >= Duration::from_millis(60),
        "{played:?}"
    );
    for (pace, slow) in [(Pace::Recorded, true), (Pace::AtOnce, false)] {
        let (_replay, address) = playing_room(nowhere(), folder.path(), Mode::Strict, pace).await;
        let begun = std::time::Instant::now();
        assert_eq!(post(&address, path, &body).await.status, 200);
        assert_eq!(begun.elapsed() >= Duration::from_millis(300), slow, "{pace:?}");
    }
}

#[tokio::test]
async fn recording_holds_no_key_and_plays_what_stood_around_it() {
    let said = format!(
        "{{\"status\":\"completed\",\"output\":\"your key is {REAL_KEY}, I think\",\"usage\":{{\"input_tokens\":1,\"output_tokens\":1}}}}"
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, said.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let head = format!("x-echo: {REAL_KEY}\r\ncontent-type: application/json\r\n");
    let (upstream, _) = provider(vec![
        http_answer("200 OK", &head, said.as_bytes()),
        http_answer("200 OK", "content-encoding: gzip\r\n", &gzip),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let (live, address) = recording_room(http(&upstream), &recorder).await;
    let (path, mut body) = request("openai", false);
    body["input"] = json!(format!("is {REAL_KEY} right?"));
    post(&address, path, &body).await;
    post(&address, path, &body).await;
    live.kept.wait(2).await;
    recorder.flush().unwrap();
    let (_replay, address) = playing_room(nowhere(), folder.path(), Mode::Strict, Pace::AtOnce).await;
    for _ in 0..2 {
        let got = post(&address, path, &body).await;
        assert!(got.text().contains("your key is [redacted], I think"), "{}", got.text());
    }
    // Searched as it is, and unpacked: whatever stands in a piece.
    let redactor = Redactor::new([REAL_KEY.as_bytes()]);
    for file in files(folder.path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!redactor.finds(&bytes), "{}", file.display());
        let mut at = 8;
        while file.ends_with("pack") && at < bytes.len() {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let (plain, length) = (length >> 31 == 1, (length & 0x7fff_ffff) as usize);
            let piece = &bytes[at + 24..at + 24 + length];
            let piece = if plain { piece.to_vec() } else { zstd::decode_all(piece).unwrap() };
            assert!(!redactor.finds(&piece));
            at += 24 + length;
        }
    }
}

#[tokio::test]
async fn key_that_a_trial_was_given_is_neither_recorded_nor_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let (live, address) = recording_room(script(SCRIPT), &recorder).await;
    let (path, mut body) = request("openai-chat", false);
    let mut ask = async |address: &str, key: &str| {
        body["messages"][0]["content"] =
            json!(format!("I printed my variables: OPENAI_API_KEY={key}, and so on"));
        send(address, path, &[("authorization", &format!("Bearer {key}"))], body.to_string().into_bytes())
            .await
    };
    assert_eq!(ask(&address, "virtual-key-of-the-first-run").await.status, 200);
    live.kept.wait(1).await;
    recorder.flush().unwrap();
    let (_replay, address) = playing_room(nowhere(), folder.path(), Mode::Strict, Pace::AtOnce).await;
    assert_eq!(ask(&address, "another-virtual-key-of-the-second").await.status, 200);
}

fn history(turns: usize) -> String {
    let messages: Vec<Value> = (0..turns)
        .map(|turn| {
            let words: String =
                (0..80_u64).map(|at| format!("word{} ", (turn as u64 * 7919 + at * at) % 10_007)).collect();
            json!({"role": "user", "content": words})
        })
        .collect();
    json!({"model": "m", "messages": messages}).to_string()
}

fn asked(body: &str) -> Asked<'_> {
    Asked {
        wire: "openai-chat",
        operation: Operation::Generate,
        model: "m",
        stream: false,
        body: body.as_bytes(),
    }
}

/// Records exchanges of a conversation that grows, without a gateway.
async fn record(recorder: &Recorder, trial: &str, turns: std::ops::Range<usize>) {
    for turn in turns {
        let head = harness_gateway::recording::Head {
            trial: trial.to_owned(),
            request: turn as u64,
            at_ms: 1,
            wire: "openai-chat".to_owned(),
            operation: Operation::Generate,
            model: "m".to_owned(),
            stream: false,
        };
        let mut tape = recorder.begin(head, Bytes::from(history(turn + 1))).await;
        tape.answered(200, &[], 1);
        tape.piece(&Bytes::from(format!("answer {turn}"))).await;
        tape.end(harness_gateway::recording::Ending::Complete, harness_gateway::recording::Cost::default());
    }
}

/// How many of the first exchanges can be played; every one of them must be right.
fn playable(folder: &Path, trial: &str, turns: usize) -> usize {
    let Ok(recording) = Recording::open(folder) else { return 0 };
    let player = recording.player(trial, Mode::Strict, Pace::AtOnce).unwrap();
    for turn in 0..turns {
        let Ok(mut played) = player.play(&asked(&history(turn + 1))) else { return turn };
        assert_eq!(played.frames.pop_front().unwrap().bytes, format!("answer {turn}"));
    }
    turns
}

#[tokio::test]
async fn recording_keeps_what_is_sent_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    record(&recorder, "a", 0..60).await;
    record(&recorder, "b", 0..60).await;
    recorder.flush().unwrap();
    let sent: usize = (0..60).map(|turn| history(turn + 1).len()).sum::<usize>() * 2;
    let kept = std::fs::metadata(folder.path().join("pack")).unwrap().len();
    assert!(kept * 12 < sent as u64, "{kept} bytes for {sent}");
    assert_eq!((playable(folder.path(), "a", 60), playable(folder.path(), "b", 60)), (60, 60));
}

#[tokio::test]
async fn recording_cut_at_every_byte_plays_its_beginning_and_can_be_written_on() {
    const TURNS: usize = 3;
    let whole = tempfile::tempdir().unwrap();
    let recorder_of_whole = recorder(whole.path());
    record(&recorder_of_whole, "t", 0..TURNS).await;
    recorder_of_whole.flush().unwrap();
    let list = files(&whole.path().join("trials")).pop().unwrap();
    for cut_file in [whole.path().join("pack"), list.clone(), whole.path().join("format")] {
        let bytes = std::fs::read(&cut_file).unwrap();
        let mut before = 0;
        for cut in 0..=bytes.len() {
            std::fs::write(&cut_file, &bytes[..cut]).unwrap();
            let now = playable(whole.path(), "t", TURNS);
            assert!(now >= before, "cut at {cut}");
            before = now;
        }
        assert_eq!(before, TURNS);
        // A recorder that goes on after a crash: what was torn is left behind, and what follows is right.
        for cut in [0, 5, bytes.len() / 3, bytes.len() * 2 / 3, bytes.len() - 1] {
            let folder = tempfile::tempdir().unwrap();
            for file in files(whole.path()) {
                let to = folder.path().join(file.strip_prefix(whole.path()).unwrap());
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(&file, to).unwrap();
            }
            let torn = folder.path().join(cut_file.strip_prefix(whole.path()).unwrap());
            std::fs::write(&torn, &bytes[..cut]).unwrap();
            let left = playable(folder.path(), "t", TURNS);
            let recorder = recorder(folder.path());
            record(&recorder, "t", left..TURNS + 1).await;
            recorder.flush().unwrap();
            assert_eq!(playable(folder.path(), "t", TURNS + 1), TURNS + 1, "{} cut at {cut}", torn.display());
        }
    }
}

/// Runs one ignored test of this file in a process of its own, through a shell that sets it up.
fn child(test: &str, folder: &Path, shell: &str) -> std::process::Child {
    std::process::Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" --exact {test} --ignored --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env("RECORDING", folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_records_until_it_is_killed() {
    let recorder = recorder(Path::new(&std::env::var("RECORDING").unwrap()));
    record(&recorder, "t", 0..100_000).await;
}

#[test]
fn recorder_that_is_killed_leaves_a_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = child("child_records_until_it_is_killed", folder.path(), "");
    for _ in 0..500 {
        std::thread::sleep(Duration::from_millis(20));
        if std::fs::metadata(folder.path().join("pack")).is_ok_and(|about| about.len() > 20_000) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let played = playable(folder.path(), "t", 100_000);
    assert!(played > 5, "{played}");
}

#[tokio::test]
#[ignore = "runs in a process of its own, which may not write much"]
async fn child_records_onto_a_full_disk() {
    let folder = PathBuf::from(std::env::var("RECORDING").unwrap());
    let recorder = recorder(&folder);
    let (room, address) = recording_room(script(SCRIPT), &recorder).await;
    record(&recorder, "t", 0..200).await;
    let fault = recorder.flush().unwrap_err();
    assert!(fault.contains("the recording in") && fault.contains("ends here"), "{fault}");
    // The agent does not notice.
    let (path, body) = request("openai", true);
    assert_eq!(post(&address, path, &body).await.status, 200);
    assert_eq!(room.kept.wait(1).await[0].ended, Ended::Answered);
    std::process::exit(77);
}

#[test]
fn disk_that_fills_ends_the_recording_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 or 1024 bytes, depending on the shell.
    let mut child = child("child_records_onto_a_full_disk", folder.path(), "trap '' XFSZ; ulimit -f 60;");
    assert_eq!(child.wait().unwrap().code(), Some(77));
    let played = playable(folder.path(), "t", 200);
    assert!((5..200).contains(&played), "{played}");
}
