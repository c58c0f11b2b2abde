//! The way out of a closed sandbox: how long connecting to the listener in it and a small request take, measured from inside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use harness_sandbox::{ExecSpec, ProcessSpec, Sandbox, SandboxError};

/// Where this program is shown inside.
pub(crate) const AT: &str = "/opt/ratios";
const PORT: u16 = 4000;
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// From inside: connects, asks and reads the answer so often, and prints the middle time in microseconds.
pub(crate) fn ask(times: usize) -> u128 {
    let mut all: Vec<Duration> = (0..times)
        .map(|_| {
            let began = Instant::now();
            let mut stream = TcpStream::connect(("127.0.0.1", PORT)).expect("the host listens");
            stream.write_all(REQUEST).expect("the host reads");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("the host answers");
            assert_eq!(answer, ANSWER);
            began.elapsed()
        })
        .collect();
    all.sort();
    all[all.len() / 2].as_micros()
}

/// From outside: answers on a listener of the sandbox while the program inside asks.
pub(crate) async fn measure(sandbox: &dyn Sandbox, times: usize) -> Result<Duration, SandboxError> {
    let listener = sandbox.listen(PORT).await?;
    listener.set_nonblocking(false).expect("a socket can be waited for");
    let server = std::thread::spawn(move || answer(&listener, times));
    let program = format!("{AT}/engine_ratios");
    let process = ProcessSpec {
        deadline: Some(Duration::from_secs(60)),
        ..ProcessSpec::new([&*program, "ask", &times.to_string()])
    };
    let result = sandbox.exec(ExecSpec::new(process)).await?;
    assert!(result.exit.success(), "{:?}: {}", result.exit, result.stderr.text());
    server.join().expect("the server does not panic");
    Ok(Duration::from_micros(result.stdout.text().trim().parse().expect("a number")))
}

fn answer(listener: &TcpListener, times: usize) {
    for _ in 0..times {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request).expect("somebody asks");
        stream.write_all(ANSWER).expect("somebody reads");
    }
}
