//! The body that an agent gets: either all there, or read from the upstream and metered as the agent takes it. What an agent
//! leaves behind is read on without it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::feeder::Feeder;

/// The next piece, and the feeder to ask for the one after it; `None` when the answer is over.
pub(super) type Fed = (Option<io::Result<Bytes>>, Option<Feeder>);
type Feeding = Pin<Box<dyn Future<Output = Fed> + Send>>;

/// An answer's body.
pub(super) enum AnswerBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes. An error ends the connection, so that the agent sees a broken stream for what it is.
    Fed {
        /// The piece that is under way; `None` at the end.
        next: Option<Feeding>,
        /// What is left of a length that is known.
        length: Option<u64>,
        /// Told when the agent goes away.
        left: Arc<Notify>,
        /// Where what is left is read on, should the agent go away.
        runtime: Handle,
    },
}

impl AnswerBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
        AnswerBody::Whole(Some(bytes.into()))
    }

    /// Fed by this feeder, in the runtime in which it is called.
    pub(super) fn fed(feeder: Feeder, length: Option<u64>, left: Arc<Notify>) -> AnswerBody {
        AnswerBody::Fed { next: Some(Box::pin(feeder.next())), length, left, runtime: Handle::current() }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let AnswerBody::Fed { next, left, runtime, .. } = self
            && let Some(next) = next.take()
        {
            left.notify_one();
            runtime.spawn(Feeder::read_on(next));
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            AnswerBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::Fed { next, length, .. } => {
                let Some(feeding) = next else { return Poll::Ready(None) };
                let (piece, feeder) = match feeding.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(fed) => fed,
                };
                *next = feeder.map(|feeder| Box::pin(feeder.next()) as Feeding);
                if let (Some(left), Some(Ok(bytes))) = (length, &piece) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
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
