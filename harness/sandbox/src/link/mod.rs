//! The host's side of the guest program, whoever made the sandbox that it is PID 1 of: commands, files, what changed, and the
//! rights that commands have. Backends only make sandboxes, connect, and take them apart.

pub(crate) mod capabilities;
pub(crate) mod changes;
pub(crate) mod channel;
pub(crate) mod guest;
pub(crate) mod inside;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod seccomp;
pub(crate) mod transfer;
pub(crate) mod way;

use std::sync::Arc;

use guest::Guest;

/// A sandbox that runs, as far as what happens inside is concerned.
pub(crate) trait Live: Send + Sync {
    /// Its PID 1.
    fn guest(&self) -> &Arc<Guest>;

    /// How many processes the memory limit has killed so far.
    fn oom_kills(&self) -> u64;

    /// Ends everything in it at once; does not wait. Whoever waits for an answer learns that it is lost.
    fn end(&self, cause: &str);
}
