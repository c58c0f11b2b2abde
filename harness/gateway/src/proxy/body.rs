//! The body that an agent gets: either all there, or fed by the task that reads the upstream. The feeder meters whether or not
//! the agent still listens.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that wait for a slow agent. Together with a connection's own buffers this bounds what a stream holds.
const WAITING: usize = 4;

/// An answer's body.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes. An error ends the connection, so that the agent sees a broken stream for what it is.
    Fed {
        /// From the feeder.
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        /// The length, where it is known.
        length: Option<u64>,
    },
}

/// The feeder's end.
pub(super) type Feed = mpsc::Sender<io::Result<Bytes>>;

impl AnswerBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
        AnswerBody::Whole(Some(bytes.into()))
    }

    pub(super) fn fed(length: Option<u64>) -> (Feed, AnswerBody) {
        let (feed, pieces) = mpsc::channel(WAITING);
        (feed, AnswerBody::Fed { pieces, length })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            AnswerBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::Fed { pieces, length } => pieces.poll_recv(cx).map(|piece| {
                let piece = piece?;
                if let (Some(left), Ok(bytes)) = (length, &piece) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(piece.map(Frame::data))
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            AnswerBody::Fed { length: Some(length), .. } => SizeHint::with_exact(*length),
            AnswerBody::Fed { .. } => SizeHint::default(),
        }
    }
}
