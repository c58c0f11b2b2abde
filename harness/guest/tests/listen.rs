//! The guest program as PID 1 of a process namespace that somebody else made, over a socket in a folder.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness_guest::message::{Arrival, Ended, Exec, Reply, Request, SECRET_BYTES};
use harness_guest::recipe::Basis;
use harness_guest::{socket, sys};

const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

/// How long the guest waits for a successor.
const LINGER_MS: u64 = 3000;

struct Guest {
    child: Child,
    folder: PathBuf,
}

impl Guest {
    /// `None`, with the reason told, where process namespaces cannot be had.
    fn start(test: &str) -> Option<Guest> {
        let namespace = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let possible = Command::new("unshare").args(namespace).arg("true").stderr(Stdio::null()).status();
        if !possible.is_ok_and(|status| status.success()) {
            eprintln!("skipped by name: {test}: unshare makes no process namespace here");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("harness-{test}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let child = Command::new("unshare")
            .args(namespace)
            .arg(env!("CARGO_BIN_EXE_harness-guest"))
            .arg("listen")
            .arg(folder.join("guest.sock"))
            .spawn()
            .unwrap();
        Some(Guest { child, folder })
    }

    fn connect(&self) -> OwnedFd {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(stream) = UnixStream::connect(self.folder.join("guest.sock")) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                return stream.into();
            }
            assert!(Instant::now() < until, "nobody listens");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn tell(to: &OwnedFd, request: &Request, fds: &[i32]) {
    socket::send(to.as_fd(), &request.encode(), fds).unwrap();
}

fn hear(from: &OwnedFd) -> Option<Reply> {
    let frame = socket::receive(from.as_fd()).ok()??;
    Some(Reply::decode(&frame.body).unwrap())
}

fn start(host: &OwnedFd, call: u32, script: &str) -> std::fs::File {
    let (stdout, theirs) = sys::pipe().unwrap();
    let raw = theirs.as_raw_fd();
    run(host, call, script, None, &[raw, raw]);
    stdout.into()
}

fn keep(host: &OwnedFd, call: u32, name: u64, script: &str) {
    let (stdout, theirs) = sys::pipe().unwrap();
    let (raw, end) = (theirs.as_raw_fd(), stdout.as_raw_fd());
    run(host, call, script, Some(name), &[raw, raw, end, end]);
}

fn run(host: &OwnedFd, call: u32, script: &str, kept: Option<u64>, fds: &[i32]) {
    let exec = Exec {
        argv: ["/bin/sh", "-c", script].map(|arg| arg.as_bytes().to_vec()).to_vec(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        cwd: b"/".to_vec(),
        grace_ms: 1000,
        kept,
        ..Exec::default()
    };
    tell(host, &Request::Exec { call, exec: Box::new(exec) }, fds);
}

fn greeted(guest: &Guest) -> OwnedFd {
    let host = guest.connect();
    let basis = Basis { capabilities: !(1 << 35), view_capabilities: 1 << 35, ..Basis::default() };
    let arrival = Arrival { basis, bare: true, linger_ms: LINGER_MS, ..Arrival::default() };
    tell(&host, &Request::Arrive { secret: SECRET, arrival: Box::new(arrival) }, &[]);
    assert_eq!(hear(&host), Some(Reply::Ready { next: 1 }));
    host
}

#[test]
fn the_first_who_brings_a_secret_is_served() {
    let Some(guest) = Guest::start("first") else { return };
    let host = greeted(&guest);
    let mut stdout = start(&host, 1, "echo $$ $(wc -l < /proc/1/status > /dev/null; echo hello); exit 3");
    assert_eq!(hear(&host), Some(Reply::Started { call: 1 }));
    assert_eq!(hear(&host), Some(Reply::Exited { call: 1, how: Ended::Code(3) }));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("hello\n"), "{text}");
}

#[test]
fn nobody_else_gets_in_and_a_successor_takes_over() {
    let Some(guest) = Guest::start("successor") else { return };
    let host = greeted(&guest);
    let _stdout = start(&host, 1, "sleep 60");
    assert_eq!(hear(&host), Some(Reply::Started { call: 1 }));
    // One without a word, one with nonsense, one with another secret, and more than are let in at a time.
    let silent: Vec<OwnedFd> = (0..6).map(|_| guest.connect()).collect();
    let nonsense = guest.connect();
    let _ = socket::send_some(nonsense.as_fd(), b"\xff\xff\xff\xff nonsense", &[]);
    let stranger = guest.connect();
    tell(&stranger, &Request::Secret { secret: [8; SECRET_BYTES] }, &[]);
    // The host is served all the while.
    let _more = start(&host, 2, "true");
    assert_eq!(hear(&host), Some(Reply::Started { call: 2 }));
    assert_eq!(hear(&host), Some(Reply::Exited { call: 2, how: Ended::Code(0) }));
    assert_eq!(hear(&stranger), None);
    assert_eq!(hear(&nonsense), None);
    drop(silent);
    drop(host);
    let successor = guest.connect();
    tell(&successor, &Request::Secret { secret: SECRET }, &[]);
    assert_eq!(hear(&successor), Some(Reply::Ready { next: 3 }));
    // What was not asked to be kept is nobody's any more.
    assert_eq!(hear(&successor), Some(Reply::Exited { call: 1, how: Ended::Signal(libc::SIGKILL) }));
}

#[test]
fn what_is_kept_goes_on_and_how_it_ended_is_told_to_each_successor_until_it_is_forgotten() {
    let Some(guest) = Guest::start("kept") else { return };
    let host = greeted(&guest);
    tell(&host, &Request::Outlive { call: 1, linger_ms: LINGER_MS }, &[]);
    assert_eq!(hear(&host), Some(Reply::Done { call: 1 }));
    tell(&host, &Request::Listen { call: 2, port: 0 }, &[]);
    let listener = socket::receive(host.as_fd()).unwrap().unwrap();
    let port =
        std::net::TcpListener::from(listener.fds.into_iter().next().unwrap()).local_addr().unwrap().port();
    keep(&host, 3, 70, "echo begun; sleep 1; echo over; sleep 0.1; exit 4");
    assert_eq!(hear(&host), Some(Reply::Started { call: 3 }));
    drop(host);
    // Who connects meanwhile waits.
    let mut waiting = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut waiting, b"?").unwrap();
    for (turn, expected) in [(0, "begun\nover\n"), (1, "")] {
        let successor = guest.connect();
        tell(&successor, &Request::Secret { secret: SECRET }, &[]);
        let Some(Reply::Ready { next }) = hear(&successor) else { panic!("no greeting") };
        assert_eq!(next, if turn == 0 { 4 } else { 5 });
        keep(&successor, next, 70, "exit 9");
        let started = socket::receive(successor.as_fd()).unwrap().unwrap();
        assert_eq!(Reply::decode(&started.body).unwrap(), Reply::Started { call: next });
        assert_eq!(hear(&successor), Some(Reply::Exited { call: next, how: Ended::Code(4) }));
        let mut stdout: std::fs::File = started.fds.into_iter().next().unwrap().into();
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
    let successor = guest.connect();
    tell(&successor, &Request::Secret { secret: SECRET }, &[]);
    let Some(Reply::Ready { next }) = hear(&successor) else { panic!("no greeting") };
    tell(&successor, &Request::Listen { call: next, port }, &[]);
    let listener = socket::receive(successor.as_fd()).unwrap().unwrap();
    let listener = std::net::TcpListener::from(listener.fds.into_iter().next().unwrap());
    let mut asked = [0; 1];
    listener.accept().unwrap().0.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"?");
    tell(&successor, &Request::Forget { kept: 70 }, &[]);
    keep(&successor, next + 1, 70, "exit 9");
    assert_eq!(hear(&successor), Some(Reply::Started { call: next + 1 }));
    assert_eq!(hear(&successor), Some(Reply::Exited { call: next + 1, how: Ended::Code(9) }));
    drop(listener);
    tell(&successor, &Request::Outlive { call: next + 2, linger_ms: 0 }, &[]);
    assert_eq!(hear(&successor), Some(Reply::Done { call: next + 2 }));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it is still listened to");
}

#[test]
fn without_a_successor_it_ends() {
    let Some(mut guest) = Guest::start("lonely") else { return };
    let host = greeted(&guest);
    let _stdout = start(&host, 1, "sleep 60");
    assert_eq!(hear(&host), Some(Reply::Started { call: 1 }));
    let begun = Instant::now();
    drop(host);
    assert!(guest.child.wait().unwrap().success());
    assert!(begun.elapsed() >= Duration::from_millis(LINGER_MS), "it did not wait");
}

#[test]
fn told_to_end_it_ends() {
    let Some(mut guest) = Guest::start("end") else { return };
    let host = greeted(&guest);
    tell(&host, &Request::End, &[]);
    assert!(guest.child.wait().unwrap().success());
}

#[test]
fn it_refuses_to_be_anything_but_pid_1() {
    let path = std::env::temp_dir().join(format!("harness-never-{}", std::process::id()));
    let status = Command::new(env!("CARGO_BIN_EXE_harness-guest")).arg("listen").arg(&path).status().unwrap();
    assert!(!status.success());
    assert!(!Path::new(&path).exists());
}
