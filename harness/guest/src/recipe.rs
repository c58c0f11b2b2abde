//! What a sandbox is made of, as the spawner is told: plain data, composed by the host, that names mounts attached before.

use crate::wire::{Decoder, Encoder, Malformed};

/// A folder or file below something attached earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Number of the attachment.
    pub slot: u32,
    /// Path below it, without a leading `/`; empty means the attachment itself.
    pub below: Vec<u8>,
}

/// An overlay file system inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Where, absolute inside. The first of a recipe is at `/`.
    pub at: Vec<u8>,
    /// Read-only layers, uppermost first.
    pub lowers: Vec<Source>,
    /// Where changes go.
    pub upper: Source,
    /// The kernel's work folder, on the same file system.
    pub work: Source,
}

/// Something shown read-only as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where, absolute inside. Made when missing.
    pub at: Vec<u8>,
    /// What.
    pub source: Source,
}

/// A range of ids: inside, outside, how many.
pub type IdRange = (u32, u32, u32);

/// What all sandboxes of a host have in common: told to the spawner once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// Host name inside.
    pub hostname: Vec<u8>,
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// Capabilities that commands may have, as a bit set.
    pub capabilities: u64,
    /// Capabilities that commands in views have besides, which is what keeps everything else from reaching into them.
    pub view_capabilities: u64,
    /// System call filters for PID 1, inherited by all: first to last, as `sock_filter` bytes.
    pub first_filters: Vec<Vec<u8>>,
    /// Those that commands install besides.
    pub filters: Vec<Vec<u8>>,
}

/// What one sandbox is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The root first.
    pub overlays: Vec<Overlay>,
    /// After the overlays.
    pub binds: Vec<Bind>,
    /// Largest number of processes by `RLIMIT_NPROC`, where no cgroup counts them.
    pub nproc: Option<u64>,
    /// How many of the `tasks` files, counted from the last, are joined by commands only and not by PID 1: so that a command
    /// that takes all the processes it may have leaves PID 1 able to start what ends it.
    pub commands_groups: u32,
}

impl Basis {
    /// Appends it to a frame.
    pub fn encode(&self, to: &mut Encoder) {
        to.bytes(&self.hostname);
        to.list(&self.uids, encode_range);
        to.list(&self.gids, encode_range);
        to.u64(self.shm_bytes);
        to.u64(self.capabilities);
        to.u64(self.view_capabilities);
        to.list(&self.first_filters, |to, filter| to.bytes(filter));
        to.list(&self.filters, |to, filter| to.bytes(filter));
    }

    /// Takes it out of a frame.
    ///
    /// # Errors
    /// When the frame is malformed.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Basis, Malformed> {
        Ok(Basis {
            hostname: from.bytes()?,
            uids: from.list(decode_range)?,
            gids: from.list(decode_range)?,
            shm_bytes: from.u64()?,
            capabilities: from.u64()?,
            view_capabilities: from.u64()?,
            first_filters: from.list(Decoder::bytes)?,
            filters: from.list(Decoder::bytes)?,
        })
    }
}

impl Recipe {
    /// As a frame's body, the first on a control socket.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::new(1);
        to.list(&self.overlays, |to, overlay| {
            to.bytes(&overlay.at);
            to.list(&overlay.lowers, encode_source);
            encode_source(to, &overlay.upper);
            encode_source(to, &overlay.work);
        });
        to.list(&self.binds, |to, bind| {
            to.bytes(&bind.at);
            encode_source(to, &bind.source);
        });
        to.option(self.nproc.as_ref(), |to, count| to.u64(*count));
        to.u32(self.commands_groups);
        to.finish()
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<Recipe, Malformed> {
        let (kind, mut from) = Decoder::new(body)?;
        if kind != 1 {
            return Err(Malformed("of an unknown kind"));
        }
        let recipe = Recipe {
            overlays: from.list(|from| {
                Ok(Overlay {
                    at: from.bytes()?,
                    lowers: from.list(decode_source)?,
                    upper: decode_source(from)?,
                    work: decode_source(from)?,
                })
            })?,
            binds: from.list(|from| Ok(Bind { at: from.bytes()?, source: decode_source(from)? }))?,
            nproc: from.option(Decoder::u64)?,
            commands_groups: from.u32()?,
        };
        from.end()?;
        Ok(recipe)
    }
}

fn encode_range(to: &mut Encoder, range: &IdRange) {
    to.u32(range.0);
    to.u32(range.1);
    to.u32(range.2);
}

fn decode_range(from: &mut Decoder<'_>) -> Result<IdRange, Malformed> {
    Ok((from.u32()?, from.u32()?, from.u32()?))
}

fn encode_source(to: &mut Encoder, source: &Source) {
    to.u32(source.slot);
    to.bytes(&source.below);
}

fn decode_source(from: &mut Decoder<'_>) -> Result<Source, Malformed> {
    Ok(Source { slot: from.u32()?, below: from.bytes()? })
}
