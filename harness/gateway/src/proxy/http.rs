//! Bodies of requests as they are read, and answers as they are put together.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming as Body};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::AnswerBody;
use crate::stream::decode::{Decoder, Encoding, Sink};
use crate::wire::{ErrorAnswer, ErrorKind};

/// Longest request body.
const BODY_BYTES: usize = 64 << 20;
/// How long the next piece of a request's body may take.
const PIECE_TIME: Duration = Duration::from_secs(60);
/// A body that is long, but not unusually so.
const USUAL_BYTES: usize = 2 << 20;

pub(super) fn counted(status: u16, body: Vec<u8>) -> Response<AnswerBody> {
    let mut response = respond(status, AnswerBody::whole(body));
    set(&mut response, "content-type", "application/json");
    response
}

/// The first value of a header, when it is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
}

/// Headers as a recording keeps them.
pub(super) fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The same as headers again; what is none is left out.
pub(super) fn unlisted(list: &[(String, String)]) -> HeaderMap {
    let header = |(name, value): &(String, String)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    list.iter().filter_map(header).collect()
}

/// The next piece of a request's body; who takes too long for it is left.
async fn next(body: &mut Body) -> Result<Option<hyper::Result<Frame<Bytes>>>, ErrorKind> {
    tokio::time::timeout(PIECE_TIME, body.frame()).await.map_err(|_| ErrorKind::BadRequest)
}

/// The body of a request, unpacked: some agents send theirs compressed.
pub(super) async fn read_body(mut body: Body, headers: &HeaderMap) -> Result<Bytes, ErrorKind> {
    struct Unpacked {
        bytes: Vec<u8>,
        too_large: bool,
    }
    impl Sink for Unpacked {
        fn read(&mut self, piece: &[u8]) {
            self.too_large |= self.bytes.len() + piece.len() > BODY_BYTES;
            if !self.too_large {
                self.bytes.extend_from_slice(piece);
            }
        }
    }
    let encoding = Encoding::parse(header(headers, "content-encoding").unwrap_or_default());
    let encoding = encoding.ok_or(ErrorKind::BadRequest)?;
    let mut first = None;
    if encoding == Encoding::Identity {
        // Most bodies come in one piece, and are read where they lie.
        let frame = next(&mut body).await?.transpose().map_err(|_| ErrorKind::BadRequest)?;
        first = frame.and_then(|frame| frame.into_data().ok());
        if body.is_end_stream() {
            return Ok(first.unwrap_or_default());
        }
    }
    // What is told is believed as far as a usual body goes.
    let told: usize = header(headers, "content-length").and_then(|told| told.parse().ok()).unwrap_or(0);
    let sink = Unpacked { bytes: Vec::with_capacity(told.min(USUAL_BYTES)), too_large: false };
    let mut decoder = Decoder::new(encoding, sink);
    decoder.push(&first.unwrap_or_default());
    while let Some(frame) = next(&mut body).await? {
        let frame = frame.map_err(|_| ErrorKind::BadRequest)?;
        if let Some(data) = frame.data_ref() {
            decoder.push(data);
        }
        if decoder.sink().too_large {
            return Err(ErrorKind::TooLarge);
        }
        if decoder.has_failed() {
            return Err(ErrorKind::BadRequest);
        }
    }
    Ok(Bytes::from(std::mem::take(&mut decoder.sink().bytes)))
}

pub(super) fn respond(status: u16, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response
}

/// Sets a header; what is none is left out.
pub(super) fn set(response: &mut Response<AnswerBody>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        response.headers_mut().append(name, value);
    }
}

pub(super) fn plain(answer: ErrorAnswer) -> Response<AnswerBody> {
    let mut response = respond(answer.status, AnswerBody::whole(answer.body));
    for (name, value) in answer.headers {
        set(&mut response, name, value);
    }
    response
}

pub(super) fn upgrade_required() -> Response<AnswerBody> {
    let mut response = respond(426, AnswerBody::whole("this gateway speaks HTTP alone"));
    set(&mut response, "upgrade", "HTTP/1.1");
    set(&mut response, "connection", "upgrade");
    response
}
