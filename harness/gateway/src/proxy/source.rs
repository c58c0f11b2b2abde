//! Where an answer's body comes from: an upstream's connection, a script's frames, or a recording.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::faults::Spoiled;
use crate::recording::{self, Frame, Pace};
use crate::scripted::Ending;

/// A body that is read piece by piece.
#[derive(Debug)]
pub(super) enum Source {
    /// From a connection.
    Connection {
        /// The body.
        body: Incoming,
        /// The longest time between two pieces.
        idle: Duration,
    },
    /// From a script.
    Script {
        /// What is left to send.
        frames: VecDeque<Vec<u8>>,
        /// What then happens.
        ending: Ending,
    },
    /// From another one, with a fault put in.
    Spoiled {
        /// The other one.
        source: Box<Source>,
        /// The fault.
        spoiled: Spoiled,
    },
    /// From a recording.
    Recording {
        /// What is left of it.
        frames: VecDeque<Frame>,
        /// How fast it comes.
        pace: Pace,
        /// Whether it broke off there.
        cut: bool,
    },
}

impl Source {
    /// The body of a recorded answer.
    pub(super) fn played(frames: VecDeque<Frame>, pace: Pace, ending: &recording::Ending) -> Source {
        Source::Recording { frames, pace, cut: *ending == recording::Ending::Cut }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self {
            Source::Connection { body, idle } => loop {
                match tokio::time::timeout(*idle, body.frame()).await {
                    Err(_) => {
                        let told = format!("nothing came for {} s", idle.as_secs());
                        return Some(Err(io::Error::new(io::ErrorKind::TimedOut, told)));
                    }
                    Ok(None) => return None,
                    Ok(Some(Err(error))) => return Some(Err(io::Error::other(error))),
                    // Trailers mean nothing on any wire.
                    Ok(Some(Ok(frame))) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Some(Ok(bytes));
                        }
                    }
                }
            },
            Source::Spoiled { source, spoiled } => match Box::pin(source.next()).await {
                Some(Ok(piece)) => spoiled.spoil(piece),
                Some(Err(error)) => Some(Err(error)),
                None => spoiled.end(),
            },
            Source::Recording { frames, pace, cut } => match frames.front() {
                Some(frame) => {
                    // It is taken off when it is due, and not before: nobody may wait that long.
                    if *pace == Pace::Recorded {
                        tokio::time::sleep(frame.after).await;
                    }
                    frames.pop_front().map(|frame| Ok(frame.bytes))
                }
                None if std::mem::take(cut) => Some(Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the recorded answer breaks off here",
                ))),
                None => None,
            },
            Source::Script { frames, ending } => match (frames.pop_front(), *ending) {
                (Some(frame), _) => Some(Ok(Bytes::from(frame))),
                (None, Ending::Complete) => None,
                (None, Ending::Cut) => {
                    *ending = Ending::Complete;
                    Some(Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "the script cuts the answer here",
                    )))
                }
                (None, Ending::Hang) => std::future::pending().await,
            },
        }
    }

    /// All of it, at most this much; what was there when it broke off.
    pub(super) async fn collect(&mut self, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Ok(piece)) = self.next().await {
            let room = most - all.len();
            all.extend_from_slice(&piece[..piece.len().min(room)]);
            if all.len() == most {
                break;
            }
        }
        all
    }
}
