//! A socket that passes everything on to an engine, but for what a script says.

#![allow(dead_code, clippy::unwrap_used, reason = "for tests")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness_sandbox::docker::client::Address;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Pass,
    /// Passed on later.
    Wait(Duration),
    /// Answered with this status, and not passed on.
    Refuse(u16),
    /// The connection ends before the engine hears of it.
    CutBefore,
    /// It ends after so many bytes of the answer.
    CutAfter(usize),
    /// The name that is asked for becomes this one.
    Rename(&'static str),
}

/// A request as scripts see it.
pub(crate) struct Request {
    /// How many came before.
    pub(crate) number: usize,
    pub(crate) method: String,
    /// Without what follows a question mark.
    pub(crate) path: String,
    /// How many of this method and kind of path came before.
    pub(crate) seen: usize,
}

type Script = Box<dyn FnMut(&Request) -> Action + Send>;

struct State {
    script: Script,
    count: usize,
    seen: HashMap<String, usize>,
}

/// See the module. Its thread ends with the test program.
pub(crate) struct Proxy {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub(crate) fn start(engine: &Address, script: impl FnMut(&Request) -> Action + Send + 'static) -> Proxy {
        let Address::Socket(engine) = engine.clone() else { panic!("tests use sockets") };
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let state = Arc::new(Mutex::new(State { script: Box::new(script), count: 0, seen: HashMap::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (engine, shared) = (engine.clone(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let _ = serve(stream, &engine, &shared);
                });
            }
        });
        Proxy { folder, state }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(crate) fn set(&self, script: impl FnMut(&Request) -> Action + Send + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().count
    }

    /// How many of them had this in their path.
    pub(crate) fn seen(&self, path: &str) -> usize {
        self.state
            .lock()
            .unwrap()
            .seen
            .iter()
            .filter(|(known, _)| known.contains(path))
            .map(|(_, count)| count)
            .sum()
    }
}

fn serve(mut ours: UnixStream, engine: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    // The library asks one thing a connection.
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match ours.read(&mut piece)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let action = {
        let mut state = state.lock().unwrap();
        // Names of containers are as good as each other.
        let last = path.rsplit('/').next().unwrap_or_default();
        let kind = format!("{method} {}", if path.contains("create") { &path } else { last });
        let seen = *state.seen.entry(kind.clone()).and_modify(|count| *count += 1).or_insert(1) - 1;
        let request = Request { number: state.count, method: method.to_owned(), path: path.clone(), seen };
        state.count += 1;
        (state.script)(&request)
    };
    let mut limit = None;
    match action {
        Action::Pass => {}
        Action::Wait(time) => std::thread::sleep(time),
        Action::CutBefore => return Ok(()),
        Action::CutAfter(bytes) => limit = Some(bytes),
        Action::Refuse(status) => {
            let body = r#"{"message":"the script says no"}"#;
            let answer = format!(
                "HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // The rest of the question is read, or the answer would be lost with it.
            ours.set_read_timeout(Some(Duration::from_millis(100)))?;
            while ours.read(&mut piece).is_ok_and(|count| count > 0) {}
            return ours.write_all(answer.as_bytes());
        }
        Action::Rename(name) => {
            let text = String::from_utf8_lossy(&head).into_owned();
            let asked =
                target.split("name=").nth(1).unwrap_or_default().split('&').next().unwrap_or_default();
            head = text.replacen(asked, name, 1).into_bytes();
        }
    }
    let mut theirs = UnixStream::connect(engine)?;
    theirs.write_all(&head)?;
    let (mut from, mut to) = (ours.try_clone()?, theirs.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let copied = match limit {
        Some(limit) => std::io::copy(&mut theirs.take(limit as u64), &mut ours),
        None => std::io::copy(&mut theirs, &mut ours),
    };
    let _ = ours.shutdown(Shutdown::Both);
    copied.map(drop)
}
