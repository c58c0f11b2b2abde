//! A provider that says what it is told to by the model's name, as fast as it can: a whole answer, events at a pace with the
//! moment at which each was sent, events without end, or megabytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A whole answer of Chat Completions.
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4.1","choices":[{"index":0,"message":{"role":"assistant","content":"CONTENT"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1103,"completion_tokens":211,"total_tokens":1314,"prompt_tokens_details":{"cached_tokens":509}}}"#;
const END: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":20,\"total_tokens\":30}}\n\ndata: [DONE]\n\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Serves until the end of the program.
pub(crate) async fn serve(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            // A client that goes away ends its connection; nothing else can go wrong here.
            let _ = connection(stream).await;
        });
    }
}

async fn connection(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let whole = ANSWER.replace("CONTENT", &"Some words of an answer. ".repeat(20));
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{whole}",
        whole.len()
    );
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let Some(length) = read_request(&mut stream, &mut buffer).await? else { return Ok(()) };
        let begin = &buffer[..length.min(2000)];
        let has = |word: &str| memchr::memmem::find(begin, word.as_bytes()).is_some();
        if has("\"model\":\"events\"") {
            events(&mut stream, 60, Duration::from_millis(20)).await?;
        } else if has("\"model\":\"open\"") {
            events(&mut stream, 3, Duration::from_millis(1)).await?;
        } else if has("\"model\":\"bulk\"") {
            bulk(&mut stream).await?;
        } else {
            stream.write_all(whole.as_bytes()).await?;
        }
        buffer.drain(..length);
    }
}

/// The length of the next request, all of which is then in the buffer.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
    let mut wanted = None;
    loop {
        if wanted.is_none()
            && let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            wanted = Some(head + 4 + length.unwrap_or(0));
        }
        if let Some(wanted) = wanted.filter(|wanted| buffer.len() >= *wanted) {
            return Ok(Some(wanted));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Now, on the clock that load and upstream share.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

async fn events(stream: &mut TcpStream, count: usize, pause: Duration) -> std::io::Result<()> {
    stream.write_all(EVENTS.as_bytes()).await?;
    for _ in 0..count {
        let event = format!(
            "data: {{\"id\":\"1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a few words\"}}}}],\"sent\":{}}}\n\n",
            now_ns()
        );
        chunk(stream, event.as_bytes()).await?;
        tokio::time::sleep(pause).await;
    }
    if count == 3 {
        // Open until the client leaves.
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
    }
    chunk(stream, END.as_bytes()).await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn bulk(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(EVENTS.as_bytes()).await?;
    let event = format!(
        "data: {{\"id\":\"1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "a few words and ".repeat(60)
    );
    let piece = event.repeat(60);
    for _ in 0..(50 << 20) / piece.len() {
        chunk(stream, piece.as_bytes()).await?;
    }
    chunk(stream, END.as_bytes()).await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    stream.write_all(&framed).await
}
