//! Record and replay: exchanges kept in a folder, compressed, each distinct piece of their bytes once, without secrets; and
//! played again with no key, no network and no cost.
//!
//! A [`Recorder`] is handed to each trial's caller ([`Caller::with_recorder`](crate::proxy::Caller::with_recorder)), a
//! [`Player`] likewise ([`Caller::with_player`](crate::proxy::Caller::with_player)); the proxy does the rest:
//!
//! ```no_run
//! # use std::{path::Path, collections::BTreeMap, io};
//! # use harness_gateway::{proxy::Caller, recording::{Mode, Pace, Recorder, Recording}, redact::Redactor};
//! # fn main() -> io::Result<()> {
//! # let (run, old, trial, upstreams) = (Path::new("run"), Path::new("old"), "task/variant/1", BTreeMap::new());
//! # let redactor = Redactor::new(None);
//! let recorder = Recorder::open(&run.join("recording"), redactor)?; // one for a run
//! let recording = Recording::open(&old.join("recording"))?; // one for a run
//! let caller = Caller::new(trial, "variant", upstreams)
//!     .with_recorder(recorder.clone())
//!     .with_player(recording.player(trial, Mode::Strict, Pace::AtOnce)?);
//! // … at the end of the run:
//! if let Err(fault) = recorder.flush() { /* the run stands; a warning says that it cannot be replayed whole */ }
//! # Ok(())
//! # }
//! ```
//!
//! The folder holds `format`; `pack`, which only grows; and a list of 64-byte entries for each trial below `trials`. An entry is
//! written after everything that it needs, and says how long the pack must be: cut anywhere, a recording is its own beginning.

mod canonical;
mod chunks;
mod difference;
mod exchange;
mod index;
mod pack;
mod player;
mod recorder;
mod writer;

pub use canonical::{Asked, Key};
pub use difference::difference;
pub use exchange::{Cost, Ending};
pub use player::{Frame, Kept, Miss, Mode, Pace, Played, Player, Recording};
pub use recorder::{Head, Recorder, Tape};

/// What the file `format` says. Version 1: pieces of pack 1, entries of 64 bytes.
const FORMAT: &str = "harness recording 1\n";
const FORMAT_FILE: &str = "format";
const PACK_FILE: &str = "pack";
/// Longest answer that is kept whole; of a longer one, the beginning.
const ANSWER_BYTES: usize = 64 << 20;
/// Longest request.
const REQUEST_BYTES: usize = 64 << 20;
