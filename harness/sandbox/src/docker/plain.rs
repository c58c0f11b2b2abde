//! A question to an engine by hand, for answers that the library is too strict to read: Podman knows states of containers that
//! Docker does not, and one of them would make a whole list unreadable.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::client::{Address, Client};

/// Largest answer.
const MOST_BYTES: u64 = 64 << 20;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A container in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    /// With a `/` before each.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) state: String,
}

/// All containers with a label.
pub(crate) async fn labelled(client: &Client, label: &str) -> io::Result<Vec<Listed>> {
    let (major, minor) = client.engine().api;
    // `{"label":["…"]}`; labels of ours are letters, dots and dashes.
    let path =
        format!("/v{major}.{minor}/containers/json?all=true&filters=%7B%22label%22%3A%5B%22{label}%22%5D%7D");
    let body = match tokio::time::timeout(PATIENCE, ask(&client.engine().address, &path)).await {
        Ok(body) => body?,
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the engine did not answer in time")),
    };
    serde_json::from_slice(&body).map_err(io::Error::from)
}

async fn ask(address: &Address, path: &str) -> io::Result<Vec<u8>> {
    match address {
        Address::Socket(socket) => exchange(tokio::net::UnixStream::connect(socket).await?, path).await,
        Address::Tcp(address) => exchange(tokio::net::TcpStream::connect(address).await?, path).await,
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> io::Result<Vec<u8>> {
    // The old version of the protocol: the answer comes in one piece and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the engine's answer is malformed");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(malformed)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).ok_or_else(malformed)?;
    let body = answer.split_off(end + 4);
    if status != "200" {
        let message = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
        return Err(io::Error::other(format!("the engine refused ({status}): {message}")));
    }
    // Where the end could be that of a connection that broke, the length tells.
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    match length {
        Some(length) if length != body.len() => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    async fn answered(answer: &'static str) -> io::Result<Vec<u8>> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let asked = tokio::spawn(async move { exchange(ours, "/x").await });
        let mut question = [0; 1024];
        let _ = theirs.read(&mut question).await.unwrap();
        theirs.write_all(answer.as_bytes()).await.unwrap();
        drop(theirs);
        asked.await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_its_body_and_a_refusal_is_an_error() {
        assert_eq!(answered("HTTP/1.0 200 OK\r\nA: b\r\n\r\n[]").await.unwrap(), b"[]");
        let refused = answered("HTTP/1.0 500 Oops\r\n\r\n{\"message\":\"no\"}").await.unwrap_err();
        assert!(refused.to_string().contains("500"), "{refused}");
    }

    #[tokio::test]
    async fn an_answer_that_was_cut_off_is_no_answer() {
        for cut in ["", "HTTP/1.0 200", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n[]"] {
            assert!(answered(cut).await.is_err(), "{cut:?}");
        }
    }

    #[test]
    fn states_that_nobody_knows_are_read() {
        let text = r#"[{"Names":["/a"],"Labels":null,"State":"stopped"},{"Names":["/b"],"Labels":{"x":"y"},"State":"running","Other":[1]}]"#;
        let listed: Vec<Listed> = serde_json::from_str(text).unwrap();
        assert_eq!((listed[0].state.as_str(), listed[1].names[0].as_str()), ("stopped", "/b"));
    }
}
