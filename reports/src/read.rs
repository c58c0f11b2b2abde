//! A run directory's three files, read under limits. A torn end is what an interrupted run looks like; anything else
//! that does not read is an error that names the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use harness_core::journal::{Journal, JournalError, MAX_LINE_BYTES};
use harness_core::manifest::{Manifest, RUN_FORMAT};
use harness_core::plan::Planned;

/// Largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 256 << 20;
/// Largest plan, in bytes.
pub const MAX_PLAN_BYTES: u64 = 1 << 30;
/// Largest journal, in bytes.
pub const MAX_JOURNAL_BYTES: u64 = 4 << 30;

/// What a run directory says.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFiles {
    /// The directory.
    pub folder: PathBuf,
    /// Everything that the results depend on.
    pub manifest: Manifest,
    /// Every trial that was to be tried.
    pub plan: Vec<Planned>,
    /// What happened.
    pub journal: Journal,
}

/// Why a run directory does not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such run.
    #[error("{} is not a run directory: it has no manifest.json", .0.display())]
    NotARun(PathBuf),
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is larger than any that we write.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How much is read.
        limit: u64,
    },
    /// A file that does not hold what it should.
    #[error("{}, line {line}, does not read", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error("{} has format {found}, this program reads up to {RUN_FORMAT}", path.display())]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// The journal does not read.
    #[error("{} does not read", path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: JournalError,
    },
    /// Files of different runs in one folder.
    #[error("{} belongs to run {found}, the manifest beside it to run {expected}", path.display())]
    OtherRun {
        /// Which file.
        path: PathBuf,
        /// The run that it names.
        found: String,
        /// The manifest's run.
        expected: String,
    },
}

impl RunFiles {
    /// Reads `folder`. A missing plan or journal is a run that was stopped before it wrote one.
    ///
    /// # Errors
    /// [`ReadError`] names the file and, for damage, the line.
    pub fn read(folder: &Path) -> Result<RunFiles, ReadError> {
        let manifest = folder.join("manifest.json");
        let Some(bytes) = limited(&manifest, MAX_MANIFEST_BYTES)? else {
            return Err(ReadError::NotARun(folder.to_owned()));
        };
        let manifest = parse_manifest(&bytes, manifest)?;

        let plan = folder.join("plan.jsonl");
        let plan = parse_plan(&limited(&plan, MAX_PLAN_BYTES)?.unwrap_or_default(), plan)?;

        let path = folder.join("journal.jsonl");
        let bytes = limited(&path, MAX_JOURNAL_BYTES)?.unwrap_or_default();
        let journal = match Journal::parse(&bytes) {
            Ok(journal) => journal,
            Err(source) => return Err(ReadError::Journal { path, source }),
        };
        if let Some(header) = &journal.header
            && header.run != manifest.run
        {
            let (found, expected) = (header.run.to_string(), manifest.run.to_string());
            return Err(ReadError::OtherRun { path, found, expected });
        }
        Ok(RunFiles { folder: folder.to_owned(), manifest, plan, journal })
    }
}

fn parse_manifest(bytes: &[u8], path: PathBuf) -> Result<Manifest, ReadError> {
    /// Read first: a later format may have other fields, and the right message then is not about those.
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged =
        |source: serde_json::Error| ReadError::Damaged { path: path.clone(), line: source.line(), source };
    let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format > RUN_FORMAT {
        return Err(ReadError::TooNew { path, found: format });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

fn parse_plan(bytes: &[u8], path: PathBuf) -> Result<Vec<Planned>, ReadError> {
    let mut plan = Vec::new();
    // What stands after the last line break is torn, and a plan is whole before the first trial starts.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for (number, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.len() > MAX_LINE_BYTES {
            return Err(ReadError::TooLarge { path, limit: MAX_LINE_BYTES as u64 });
        }
        match serde_json::from_slice(line) {
            Ok(planned) => plan.push(planned),
            Err(source) => return Err(ReadError::Damaged { path, line: number + 1, source }),
        }
    }
    Ok(plan)
}

/// The whole file, `None` when it is not there. Only a regular file is opened: a pipe in its place would hang us.
fn limited(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let fail = |source| ReadError::Io { path: path.to_owned(), source };
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fail(error)),
    };
    if !about.is_file() {
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let mut bytes = Vec::new();
    // One more than allowed, so that a file that grows while it is read is noticed too.
    File::open(path).map_err(fail)?.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}
