//! What travels in frames: between host and spawner, and between host and PID 1. Every request carries a number that its
//! answers repeat.

use crate::recipe::Basis;
use crate::wire::{Decoder, Encoder, Malformed};

/// From the host to the spawner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnerRequest {
    /// First of all: how to set itself up.
    Hello {
        /// Whether it has the machine's root rights: then lower mounts are idmapped, else it makes a user namespace of its own.
        privileged: bool,
        /// First id outside of the range that sandboxes get, when privileged.
        base: u32,
        /// What all sandboxes have in common.
        basis: Box<Basis>,
    },
    /// Makes a host path available to recipes; or, when a descriptor comes along, the detached mount that it is, and the path
    /// is only its name in messages. Answered by [`SpawnerReply::Attached`].
    Attach {
        /// Repeated in the answer.
        call: u32,
        /// On the host.
        path: Vec<u8>,
        /// Whether nothing may be written through it.
        read_only: bool,
        /// Whether its ids are already those of the range, so that it must not be idmapped.
        plain_ids: bool,
    },
    /// Lets go of an attachment. Not answered.
    Detach {
        /// Which.
        slot: u32,
    },
    /// Clones what becomes a sandbox: a process with namespaces of its own that waits, on the control socket, for a frame that
    /// holds its recipe. Descriptors: that socket, then the v2 cgroup folder when `into_cgroup`. Answered by
    /// [`SpawnerReply::Cloned`] with the pidfd.
    Clone {
        /// Repeated in the answer.
        call: u32,
        /// Whether a v2 cgroup folder comes along.
        into_cgroup: bool,
    },
    /// Hands out detached copies of attachments. Answered by [`SpawnerReply::Lent`].
    Lend {
        /// Repeated in the answer.
        call: u32,
        /// Which.
        slots: Vec<u32>,
    },
}

/// From the spawner to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnerReply {
    /// It stands; the first of all answers.
    Hello {
        /// Why lower mounts cannot be idmapped here; empty when they can.
        trouble: String,
    },
    /// The path has this number now.
    Attached {
        /// Of the request.
        call: u32,
        /// For recipes.
        slot: u32,
    },
    /// The process was cloned; what becomes of it is told on its control socket. Comes with its pidfd.
    Cloned {
        /// Of the request.
        call: u32,
        /// As the host sees it.
        pid: u32,
    },
    /// Comes with the descriptors of the mounts.
    Lent {
        /// Of the request.
        call: u32,
    },
    /// It did not work.
    Failed {
        /// Of the request.
        call: u32,
        /// What was tried.
        what: String,
        /// The kernel's error number.
        errno: i32,
    },
}

/// A command to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// Program and arguments, at least one.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`, complete.
    pub env: Vec<Vec<u8>>,
    /// Working folder, absolute.
    pub cwd: Vec<u8>,
    /// `name`, `uid`, `name:group`, `uid:gid`; empty means root.
    pub user: Vec<u8>,
    /// View to run in; 0 is the sandbox itself.
    pub view: u32,
    /// Columns and rows of a terminal to allocate.
    pub pty: Option<(u16, u16)>,
    /// Milliseconds until TERM.
    pub deadline_ms: Option<u64>,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u64,
    /// The name under which a successor finds it: see [`Request::Exec`].
    pub kept: Option<u64>,
}

/// A file operation; a socket for its data comes along. See [`crate::tree`] for what is said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOp {
    /// Unpacks a stream at a path.
    Put {
        /// Absolute inside.
        at: Vec<u8>,
        /// Owner of everything made.
        owner: (u32, u32),
    },
    /// Packs what is at a path.
    Get {
        /// Absolute inside.
        from: Vec<u8>,
        /// Most bytes of content.
        limit: u64,
        /// Most entries.
        max_entries: u64,
        /// Globs of paths left out.
        exclude: Vec<Vec<u8>>,
    },
    /// Lists what differs from the image, where PID 1 keeps the layers.
    Changes {
        /// Which.
        layers: Layers,
        /// Most changes.
        limit: u64,
    },
    /// Sends the bytes of one regular file.
    Read {
        /// Absolute inside.
        path: Vec<u8>,
        /// Most bytes.
        limit: u64,
    },
}

/// What a sandbox's root is stacked from: paths below the layers that PID 1 keeps, uppermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// What was written.
    pub uppers: Vec<Vec<u8>>,
    /// The image's own.
    pub lowers: Vec<Vec<u8>>,
    /// Paths inside that are there because something is mounted on them.
    pub mount_points: Vec<Vec<u8>>,
}

/// A view to make. Descriptors: one detached mount for each lower layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its number, not 0, chosen by the host.
    pub view: u32,
    /// Private folders.
    pub private: Vec<Vec<u8>>,
    /// The image's own again.
    pub restore: Vec<Vec<u8>>,
    /// Not there.
    pub hide: Vec<Vec<u8>>,
    /// Bytes that each private folder may hold.
    pub private_bytes: u64,
    /// For each overlay of the sandbox: where it is, and its lowers as (descriptor index, path below), uppermost first.
    pub overlays: Vec<ViewOverlay>,
}

/// One overlay of the sandbox as a view needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewOverlay {
    /// Where it is mounted.
    pub at: Vec<u8>,
    /// Index of the descriptor, and path below.
    pub lowers: Vec<(u32, Vec<u8>)>,
}

/// Length of the secret that lets a successor in.
pub const SECRET_BYTES: usize = 32;

/// From the host to PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Starts a command. Descriptors: stdin (when `stdin`), stdout, stderr; none with a terminal.
    ///
    /// One that is `kept` has stdout and stderr, then the ends that these are read from, which PID 1 keeps: while nobody is
    /// there to read, what it writes waits in the pipes. It survives its host, and so does how it ended, until
    /// [`Request::Forget`]. Where one of this name is kept already, that one is meant: nothing is started, and its reading ends
    /// come with [`Reply::Started`].
    Exec {
        /// Names the process in later requests and answers.
        call: u32,
        /// The command.
        exec: Box<Exec>,
    },
    /// KILL to a command's whole tree. Not answered; its exit is.
    Kill {
        /// The call that started it.
        call: u32,
    },
    /// Lets go of a kept command that ended: its host has written down what became of it. Not answered.
    Forget {
        /// Its name.
        kept: u64,
    },
    /// From now on waits so long for a successor when the host is gone, and keeps the listeners that are made meanwhile, so that
    /// who connects to them waits too. Nought ends that, and closes them.
    Outlive {
        /// Repeated in the answer.
        call: u32,
        /// Milliseconds.
        linger_ms: u64,
    },
    /// Changes a command's terminal. Not answered.
    Resize {
        /// The call that started it.
        call: u32,
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Ends everything but PID 1; answered when all are gone.
    KillAll {
        /// Repeated in the answer.
        call: u32,
    },
    /// Stops or continues everything but PID 1 by signals, where no cgroup can.
    Stop {
        /// Repeated in the answer.
        call: u32,
        /// Stop, or go on.
        on: bool,
    },
    /// Moves files, in a process of its own. A socket comes along, on which the outcome is told; not answered here unless it
    /// could not be started.
    Files {
        /// Repeated in the answer.
        call: u32,
        /// View to do it in; 0 is the sandbox itself.
        view: u32,
        /// What to do.
        op: FileOp,
    },
    /// Makes a view.
    View {
        /// Repeated in the answer.
        call: u32,
        /// Which.
        spec: Box<View>,
    },
    /// Makes a listener on the loopback; the answer carries it.
    Listen {
        /// Repeated in the answer.
        call: u32,
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// From a successor, where PID 1 waits behind a socket of its own: the secret that the first host brought. Answered by
    /// [`Reply::Ready`].
    Secret {
        /// Random, kept by the host.
        secret: [u8; SECRET_BYTES],
    },
    /// First of all, where PID 1 waits behind a socket of its own. Answered by [`Reply::Ready`], or by [`Reply::Failed`].
    Arrive {
        /// What a successor will have to show.
        secret: [u8; SECRET_BYTES],
        /// What to do first.
        arrival: Box<Arrival>,
    },
    /// Ends PID 1 and everything with it. Not answered.
    End,
}

/// What PID 1 does in a sandbox that somebody else made, before anything else runs in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Only capabilities, filters and the number of processes count.
    pub basis: Basis,
    /// Touch no mounts: somebody else has seen to everything.
    pub bare: bool,
    /// Mounts to let go of.
    pub unmount: Vec<Vec<u8>>,
    /// Files that an engine bound from its host, to be replaced by copies in memory.
    pub copied: Vec<Vec<u8>>,
    /// Files that an engine laid over the image's own, to be taken away where they are; with what they were laid on when that
    /// is empty, hence the engine's too.
    pub dropped: Vec<Vec<u8>>,
    /// Where the image's layers are mounted, to be kept for views only.
    pub layers: Option<Vec<u8>>,
    /// How long to wait for a successor when the host is gone, before ending.
    pub linger_ms: u64,
}

/// From PID 1 to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The sandbox stands. Has no call.
    Ready {
        /// The first number for a request that nobody has used.
        next: u32,
    },
    /// The command runs. With a terminal, its master comes along.
    Started {
        /// Of the request.
        call: u32,
    },
    /// The command's process was waited for.
    Exited {
        /// Of the request.
        call: u32,
        /// How it ended.
        how: Ended,
    },
    /// It was done. A descriptor comes along where the request says so.
    Done {
        /// Of the request.
        call: u32,
    },
    /// It was not done. Call 0 is the setting up of the sandbox itself.
    Failed {
        /// Of the request.
        call: u32,
        /// Whose fault it is.
        kind: Failure,
        /// In words.
        message: String,
    },
}

/// How a process ended; only ever what `waitpid` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Its deadline had passed, and its whole tree is gone.
    TimedOut,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// What was asked for is not there inside.
    Inside,
    /// The kernel refused something that we rely on.
    Host,
}

impl SpawnerRequest {
    /// As a frame's body.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            SpawnerRequest::Hello { privileged, base, basis } => {
                let mut to = Encoder::new(1);
                to.u8(u8::from(*privileged));
                to.u32(*base);
                basis.encode(&mut to);
                to.finish()
            }
            SpawnerRequest::Attach { call, path, read_only, plain_ids } => {
                let mut to = Encoder::new(2);
                to.u32(*call);
                to.bytes(path);
                to.u8(u8::from(*read_only));
                to.u8(u8::from(*plain_ids));
                to.finish()
            }
            SpawnerRequest::Detach { slot } => {
                let mut to = Encoder::new(3);
                to.u32(*slot);
                to.finish()
            }
            SpawnerRequest::Clone { call, into_cgroup } => {
                let mut to = Encoder::new(4);
                to.u32(*call);
                to.u8(u8::from(*into_cgroup));
                to.finish()
            }
            SpawnerRequest::Lend { call, slots } => {
                let mut to = Encoder::new(5);
                to.u32(*call);
                to.list(slots, |to, slot| to.u32(*slot));
                to.finish()
            }
        }
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<SpawnerRequest, Malformed> {
        let (kind, mut from) = Decoder::new(body)?;
        let request = match kind {
            1 => SpawnerRequest::Hello {
                privileged: from.u8()? != 0,
                base: from.u32()?,
                basis: Box::new(Basis::decode(&mut from)?),
            },
            2 => SpawnerRequest::Attach {
                call: from.u32()?,
                path: from.bytes()?,
                read_only: from.u8()? != 0,
                plain_ids: from.u8()? != 0,
            },
            3 => SpawnerRequest::Detach { slot: from.u32()? },
            4 => SpawnerRequest::Clone { call: from.u32()?, into_cgroup: from.u8()? != 0 },
            5 => SpawnerRequest::Lend { call: from.u32()?, slots: from.list(Decoder::u32)? },
            _ => return Err(Malformed("of an unknown kind")),
        };
        from.end()?;
        Ok(request)
    }
}

impl SpawnerReply {
    /// As a frame's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut to;
        match self {
            SpawnerReply::Hello { trouble } => {
                to = Encoder::new(1);
                to.bytes(trouble.as_bytes());
            }
            SpawnerReply::Attached { call, slot } => {
                to = Encoder::new(2);
                to.u32(*call);
                to.u32(*slot);
            }
            SpawnerReply::Cloned { call, pid } => {
                to = Encoder::new(3);
                to.u32(*call);
                to.u32(*pid);
            }
            SpawnerReply::Lent { call } => {
                to = Encoder::new(4);
                to.u32(*call);
            }
            SpawnerReply::Failed { call, what, errno } => {
                to = Encoder::new(5);
                to.u32(*call);
                to.bytes(what.as_bytes());
                to.u32(*errno as u32);
            }
        }
        to.finish()
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<SpawnerReply, Malformed> {
        let (kind, mut from) = Decoder::new(body)?;
        let reply = match kind {
            1 => SpawnerReply::Hello { trouble: text(&mut from)? },
            2 => SpawnerReply::Attached { call: from.u32()?, slot: from.u32()? },
            3 => SpawnerReply::Cloned { call: from.u32()?, pid: from.u32()? },
            4 => SpawnerReply::Lent { call: from.u32()? },
            5 => {
                SpawnerReply::Failed { call: from.u32()?, what: text(&mut from)?, errno: from.u32()? as i32 }
            }
            _ => return Err(Malformed("of an unknown kind")),
        };
        from.end()?;
        Ok(reply)
    }
}

impl Request {
    /// As a frame's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut to;
        match self {
            Request::Exec { call, exec } => {
                to = Encoder::new(1);
                to.u32(*call);
                to.list(&exec.argv, |to, arg| to.bytes(arg));
                to.list(&exec.env, |to, pair| to.bytes(pair));
                to.bytes(&exec.cwd);
                to.bytes(&exec.user);
                to.u32(exec.view);
                to.option(exec.pty.as_ref(), |to, (columns, rows)| {
                    to.u32(u32::from(*columns) << 16 | u32::from(*rows));
                });
                to.option(exec.deadline_ms.as_ref(), |to, ms| to.u64(*ms));
                to.u64(exec.grace_ms);
                to.option(exec.kept.as_ref(), |to, kept| to.u64(*kept));
            }
            Request::Kill { call } => {
                to = Encoder::new(2);
                to.u32(*call);
            }
            Request::Resize { call, columns, rows } => {
                to = Encoder::new(3);
                to.u32(*call);
                to.u32(u32::from(*columns) << 16 | u32::from(*rows));
            }
            Request::KillAll { call } => {
                to = Encoder::new(4);
                to.u32(*call);
            }
            Request::Stop { call, on } => {
                to = Encoder::new(5);
                to.u32(*call);
                to.u8(u8::from(*on));
            }
            Request::Files { call, view, op } => {
                to = Encoder::new(6);
                to.u32(*call);
                to.u32(*view);
                match op {
                    FileOp::Put { at, owner } => {
                        to.u8(1);
                        to.bytes(at);
                        to.u32(owner.0);
                        to.u32(owner.1);
                    }
                    FileOp::Get { from, limit, max_entries, exclude } => {
                        to.u8(2);
                        to.bytes(from);
                        to.u64(*limit);
                        to.u64(*max_entries);
                        to.list(exclude, |to, glob| to.bytes(glob));
                    }
                    FileOp::Changes { layers, limit } => {
                        to.u8(4);
                        for list in [&layers.uppers, &layers.lowers, &layers.mount_points] {
                            to.list(list, |to, path| to.bytes(path));
                        }
                        to.u64(*limit);
                    }
                    FileOp::Read { path, limit } => {
                        to.u8(3);
                        to.bytes(path);
                        to.u64(*limit);
                    }
                }
            }
            Request::View { call, spec } => {
                to = Encoder::new(7);
                to.u32(*call);
                to.u32(spec.view);
                for list in [&spec.private, &spec.restore, &spec.hide] {
                    to.list(list, |to, path| to.bytes(path));
                }
                to.u64(spec.private_bytes);
                to.list(&spec.overlays, |to, overlay| {
                    to.bytes(&overlay.at);
                    to.list(&overlay.lowers, |to, (index, below)| {
                        to.u32(*index);
                        to.bytes(below);
                    });
                });
            }
            Request::Listen { call, port } => {
                to = Encoder::new(8);
                to.u32(*call);
                to.u32(u32::from(*port));
            }
            Request::Arrive { secret, arrival } => {
                to = Encoder::new(10);
                to.u32(0);
                to.bytes(secret);
                arrival.basis.encode(&mut to);
                to.u8(u8::from(arrival.bare));
                to.list(&arrival.unmount, |to, path| to.bytes(path));
                to.list(&arrival.copied, |to, path| to.bytes(path));
                to.list(&arrival.dropped, |to, path| to.bytes(path));
                to.option(arrival.layers.as_ref(), |to, path| to.bytes(path));
                to.u64(arrival.linger_ms);
            }
            Request::End => {
                to = Encoder::new(11);
                to.u32(0);
            }
            Request::Secret { secret } => {
                to = Encoder::new(9);
                to.u32(0);
                to.bytes(secret);
            }
            Request::Forget { kept } => {
                to = Encoder::new(12);
                to.u32(0);
                to.u64(*kept);
            }
            Request::Outlive { call, linger_ms } => {
                to = Encoder::new(13);
                to.u32(*call);
                to.u64(*linger_ms);
            }
        }
        to.finish()
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<Request, Malformed> {
        let (kind, mut from) = Decoder::new(body)?;
        let call = from.u32()?;
        let request = match kind {
            1 => Request::Exec { call, exec: Box::new(decode_exec(&mut from)?) },
            2 => Request::Kill { call },
            3 => {
                let (columns, rows) = size(&mut from)?;
                Request::Resize { call, columns, rows }
            }
            4 => Request::KillAll { call },
            5 => Request::Stop { call, on: from.u8()? != 0 },
            6 => Request::Files { call, view: from.u32()?, op: decode_file_op(&mut from)? },
            7 => Request::View { call, spec: Box::new(decode_view(&mut from)?) },
            9 => Request::Secret { secret: secret(&mut from)? },
            10 => Request::Arrive {
                secret: secret(&mut from)?,
                arrival: Box::new(Arrival {
                    basis: Basis::decode(&mut from)?,
                    bare: from.u8()? != 0,
                    unmount: from.list(Decoder::bytes)?,
                    copied: from.list(Decoder::bytes)?,
                    dropped: from.list(Decoder::bytes)?,
                    layers: from.option(Decoder::bytes)?,
                    linger_ms: from.u64()?,
                }),
            },
            11 => Request::End,
            12 => Request::Forget { kept: from.u64()? },
            13 => Request::Outlive { call, linger_ms: from.u64()? },
            8 => Request::Listen {
                call,
                port: u16::try_from(from.u32()?).map_err(|_| Malformed("a port above 65535"))?,
            },
            _ => return Err(Malformed("of an unknown kind")),
        };
        from.end()?;
        Ok(request)
    }
}

impl Reply {
    /// As a frame's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut to;
        match self {
            Reply::Ready { next } => {
                to = Encoder::new(1);
                to.u32(*next);
            }
            Reply::Started { call } => {
                to = Encoder::new(2);
                to.u32(*call);
            }
            Reply::Exited { call, how } => {
                to = Encoder::new(3);
                to.u32(*call);
                let (tag, value) = match how {
                    Ended::Code(code) => (1, *code),
                    Ended::Signal(signal) => (2, *signal),
                    Ended::TimedOut => (3, 0),
                };
                to.u8(tag);
                to.u32(value as u32);
            }
            Reply::Done { call } => {
                to = Encoder::new(4);
                to.u32(*call);
            }
            Reply::Failed { call, kind, message } => {
                to = Encoder::new(5);
                to.u32(*call);
                to.u8(if *kind == Failure::Inside { 1 } else { 2 });
                to.bytes(message.as_bytes());
            }
        }
        to.finish()
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<Reply, Malformed> {
        let (kind, mut from) = Decoder::new(body)?;
        let reply = match kind {
            1 => Reply::Ready { next: from.u32()? },
            2 => Reply::Started { call: from.u32()? },
            3 => {
                let call = from.u32()?;
                let (tag, value) = (from.u8()?, from.u32()? as i32);
                let how = match tag {
                    1 => Ended::Code(value),
                    2 => Ended::Signal(value),
                    3 => Ended::TimedOut,
                    _ => return Err(Malformed("an unknown kind of exit")),
                };
                Reply::Exited { call, how }
            }
            4 => Reply::Done { call: from.u32()? },
            5 => Reply::Failed {
                call: from.u32()?,
                kind: if from.u8()? == 1 { Failure::Inside } else { Failure::Host },
                message: text(&mut from)?,
            },
            _ => return Err(Malformed("of an unknown kind")),
        };
        from.end()?;
        Ok(reply)
    }
}

fn secret(from: &mut Decoder<'_>) -> Result<[u8; SECRET_BYTES], Malformed> {
    from.bytes()?.try_into().map_err(|_| Malformed("a secret of another length"))
}

fn text(from: &mut Decoder<'_>) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(&from.bytes()?).into_owned())
}

fn size(from: &mut Decoder<'_>) -> Result<(u16, u16), Malformed> {
    let both = from.u32()?;
    Ok(((both >> 16) as u16, both as u16))
}

fn decode_exec(from: &mut Decoder<'_>) -> Result<Exec, Malformed> {
    let exec = Exec {
        argv: from.list(Decoder::bytes)?,
        env: from.list(Decoder::bytes)?,
        cwd: from.bytes()?,
        user: from.bytes()?,
        view: from.u32()?,
        pty: from.option(size)?,
        deadline_ms: from.option(Decoder::u64)?,
        grace_ms: from.u64()?,
        kept: from.option(Decoder::u64)?,
    };
    if exec.argv.is_empty() { Err(Malformed("a command without a program")) } else { Ok(exec) }
}

fn decode_file_op(from: &mut Decoder<'_>) -> Result<FileOp, Malformed> {
    Ok(match from.u8()? {
        1 => FileOp::Put { at: from.bytes()?, owner: (from.u32()?, from.u32()?) },
        2 => FileOp::Get {
            from: from.bytes()?,
            limit: from.u64()?,
            max_entries: from.u64()?,
            exclude: from.list(Decoder::bytes)?,
        },
        4 => FileOp::Changes {
            layers: Layers {
                uppers: from.list(Decoder::bytes)?,
                lowers: from.list(Decoder::bytes)?,
                mount_points: from.list(Decoder::bytes)?,
            },
            limit: from.u64()?,
        },
        3 => FileOp::Read { path: from.bytes()?, limit: from.u64()? },
        _ => return Err(Malformed("an unknown file operation")),
    })
}

fn decode_view(from: &mut Decoder<'_>) -> Result<View, Malformed> {
    Ok(View {
        view: from.u32()?,
        private: from.list(Decoder::bytes)?,
        restore: from.list(Decoder::bytes)?,
        hide: from.list(Decoder::bytes)?,
        private_bytes: from.u64()?,
        overlays: from.list(|from| {
            Ok(ViewOverlay { at: from.bytes()?, lowers: from.list(|from| Ok((from.u32()?, from.bytes()?)))? })
        })?,
    })
}
