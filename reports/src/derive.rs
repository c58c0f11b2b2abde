//! The derived files of a run directory: `results.json` and `trials.csv`. They may be deleted and remade at any time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::formats::{Look, ReportFormat, csv, json};
use crate::results::Results;

/// A derived file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct DeriveError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Writes the derived files into `folder` and says where they are. Each is whole or not there at all, because a reader
/// may look at any moment; another process that derives at the same time writes the same.
///
/// # Errors
/// [`DeriveError`]: the run itself is untouched.
pub fn derive(folder: &Path, results: &Results) -> Result<Vec<PathBuf>, DeriveError> {
    let formats: [(&str, &dyn ReportFormat); 2] = [("results.json", &json::Json), ("trials.csv", &csv::Csv)];
    let mut written = Vec::new();
    for (name, format) in formats {
        let path = folder.join(name);
        let fail = |source| DeriveError { path: path.clone(), source };
        let content = format.report(std::slice::from_ref(results), &Look::default());
        let content = content.map_err(|error| fail(io::Error::other(error)))?;
        replace(&path, &content).map_err(fail)?;
        written.push(path);
    }
    Ok(written)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = fs::File::create(&new)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one to tell; what cannot be removed now is overwritten the next time.
        let _ = fs::remove_file(&new);
    }
    written
}
