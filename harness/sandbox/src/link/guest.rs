//! The host's side of PID 1: requests over its control socket, answers handed to whoever asked. When the socket closes,
//! everyone who waits learns that the sandbox is lost; nobody is given a status that was not received.

use std::collections::HashMap;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use harness_guest::message::{Ended, Failure, Reply, Request};
use harness_guest::recipe::Recipe;
use tokio::sync::mpsc;

use super::channel::Channel;
use crate::SandboxError;

type Answers = mpsc::UnboundedSender<(Reply, Vec<OwnedFd>)>;

#[derive(Default)]
struct Waiting {
    calls: HashMap<u32, Answers>,
    /// Why nothing more will come.
    lost: Option<String>,
}

/// A connection to PID 1 of one sandbox.
pub(crate) struct Guest {
    channel: Channel,
    waiting: Arc<Mutex<Waiting>>,
    next_call: AtomicU32,
    reader: tokio::task::JoinHandle<()>,
}

impl Guest {
    /// Takes over the socket of a process that waits for its recipe, and waits until the sandbox stands.
    pub(crate) async fn start(
        socket: OwnedFd,
        recipe: &Recipe,
        fds: &[RawFd],
    ) -> Result<Guest, SandboxError> {
        let channel = Channel::new(socket).map_err(|error| SandboxError::host("watch a socket", error))?;
        // When it is gone already, that is what is received.
        let _ = channel.send(&recipe.encode(), fds);
        Guest::greeted(channel).await
    }

    /// Takes over the socket and waits until the sandbox stands.
    pub(crate) async fn connect(socket: OwnedFd) -> Result<Guest, SandboxError> {
        let channel = Channel::new(socket).map_err(|error| SandboxError::host("watch a socket", error))?;
        Guest::greeted(channel).await
    }

    async fn greeted(channel: Channel) -> Result<Guest, SandboxError> {
        let frame = channel.receive().await.ok().flatten();
        let first;
        match frame.map(|frame| Reply::decode(&frame.body)) {
            Some(Ok(Reply::Ready { next })) => first = next,
            Some(Ok(Reply::Failed { message, .. })) => {
                return Err(SandboxError::Host {
                    what: format!("set up the sandbox: {message}"),
                    source: std::io::Error::other("the sandbox could not be set up"),
                });
            }
            _ => return Err(SandboxError::Lost { cause: "it ended while it was set up".to_owned() }),
        }
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let reader = tokio::spawn(read(channel.clone(), Arc::clone(&waiting)));
        Ok(Guest { channel, waiting, next_call: AtomicU32::new(first), reader })
    }

    /// Sends a request; its answers come through the returned handle.
    pub(crate) fn ask(
        &self,
        request: impl FnOnce(u32) -> Request,
        fds: &[RawFd],
    ) -> Result<Call, SandboxError> {
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        {
            let mut waiting = lock(&self.waiting);
            if let Some(cause) = &waiting.lost {
                return Err(SandboxError::Lost { cause: cause.clone() });
            }
            waiting.calls.insert(call, sender);
        }
        let asked = Call { number: call, answers, waiting: Arc::clone(&self.waiting) };
        match self.channel.send(&request(call).encode(), fds) {
            Ok(()) => Ok(asked),
            Err(error) => Err(SandboxError::Lost { cause: format!("it takes no more requests ({error})") }),
        }
    }

    /// Sends something that is not answered; a sandbox that is gone needs no telling.
    pub(crate) fn tell(&self, request: &Request) {
        let _ = self.channel.send(&request.encode(), &[]);
    }

    /// Makes everyone who waits, now or later, learn that the sandbox is lost.
    pub(crate) fn give_up(&self, cause: &str) {
        self.reader.abort();
        lose(&self.waiting, cause);
    }

    /// Whether it is known to be gone.
    pub(crate) fn lost(&self) -> Option<String> {
        lock(&self.waiting).lost.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.give_up("it was destroyed");
    }
}

/// A request that is being answered.
pub(crate) struct Call {
    /// Its number.
    pub(crate) number: u32,
    answers: mpsc::UnboundedReceiver<(Reply, Vec<OwnedFd>)>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Call {
    async fn next(&mut self) -> Result<(Reply, Vec<OwnedFd>), SandboxError> {
        match self.answers.recv().await {
            Some((Reply::Failed { kind: Failure::Inside, message, .. }, _)) => {
                Err(SandboxError::Inside { message })
            }
            Some((Reply::Failed { kind: Failure::Host, message, .. }, _)) => Err(SandboxError::Host {
                what: message,
                source: std::io::Error::other("refused inside the sandbox"),
            }),
            Some(answer) => Ok(answer),
            None => Err(SandboxError::Lost {
                cause: lock(&self.waiting).lost.clone().unwrap_or_else(|| "its PID 1 is gone".to_owned()),
            }),
        }
    }

    /// Waits for "done", and what came with it.
    pub(crate) async fn done(&mut self) -> Result<Vec<OwnedFd>, SandboxError> {
        match self.next().await? {
            (Reply::Done { .. }, fds) => Ok(fds),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Waits until the command runs; its terminal when it has one, or what a kept one that ran already is read from.
    pub(crate) async fn started(&mut self) -> Result<Vec<OwnedFd>, SandboxError> {
        match self.next().await? {
            (Reply::Started { .. }, fds) => Ok(fds),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Waits until the command ended.
    pub(crate) async fn exited(&mut self) -> Result<Ended, SandboxError> {
        match self.next().await? {
            (Reply::Exited { how, .. }, _) => Ok(how),
            (other, _) => Err(unexpected(&other)),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        lock(&self.waiting).calls.remove(&self.number);
    }
}

fn unexpected(reply: &Reply) -> SandboxError {
    SandboxError::Lost { cause: format!("its PID 1 answered {reply:?}") }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lose(waiting: &Mutex<Waiting>, cause: &str) {
    let mut waiting = lock(waiting);
    waiting.lost.get_or_insert_with(|| cause.to_owned());
    waiting.calls.clear();
}

async fn read(channel: Channel, waiting: Arc<Mutex<Waiting>>) {
    let cause = loop {
        let frame = match channel.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break "its PID 1 is gone".to_owned(),
            Err(error) => break format!("its control socket broke: {error}"),
        };
        let reply = match Reply::decode(&frame.body) {
            Ok(reply) => reply,
            Err(error) => break format!("its PID 1 sent nonsense: {error}"),
        };
        let call = match &reply {
            Reply::Ready { .. } => continue,
            Reply::Started { call }
            | Reply::Exited { call, .. }
            | Reply::Done { call }
            | Reply::Failed { call, .. } => *call,
        };
        let sender = lock(&waiting).calls.get(&call).cloned();
        if let Some(sender) = sender {
            let _ = sender.send((reply, frame.fds));
        }
    };
    lose(&waiting, &cause);
}
