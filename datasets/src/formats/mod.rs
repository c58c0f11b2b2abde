//! Dataset formats: the trait and the list of its implementations. A new format is one file here and one line below.

use std::path::Path;

use crate::load::{LoadError, LoadOptions, Loaded};
use crate::nearest::did_you_mean;

mod harbor;

/// Every format, in the order in which they are asked whether a path is theirs.
pub const FORMATS: &[&dyn Format] = &[&harbor::Harbor];

/// A way to write tasks down.
///
/// Implementers: a task that cannot be read is an [`InvalidTask`](crate::InvalidTask), never left out and never an
/// error of the whole; open nothing outside of the path, read within limits, and ask neither network nor environment.
pub trait Format: Sync {
    /// What stands before the colon in `FORMAT:PATH`, and the name of the file that implements it.
    fn name(&self) -> &'static str;

    /// One line for `harness list formats`.
    fn summary(&self) -> &'static str;

    /// Whether the path looks like this format, well formed or not. Cheap: looks at names only.
    fn detect(&self, path: &Path) -> bool;

    /// Reads every task at the path; sorted by id.
    ///
    /// # Errors
    /// Only when there is no task at all, or the path cannot be opened.
    fn load(&self, path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError>;
}

/// The format of this name.
///
/// # Errors
/// [`LoadError::UnknownFormat`] with the nearest name.
pub fn by_name(name: &str) -> Result<&'static dyn Format, LoadError> {
    FORMATS.iter().copied().find(|format| format.name() == name).ok_or_else(|| {
        let names: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
        let hint = did_you_mean(name, names.iter().copied())
            .unwrap_or_else(|| format!("known: {}", names.join(", ")));
        LoadError::UnknownFormat { name: name.to_owned(), hint }
    })
}

/// Reads whatever is at the path, in the first format that recognises it.
///
/// # Errors
/// [`LoadError`] when no format does, or the path cannot be opened.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    if let Err(source) = std::fs::metadata(path) {
        return Err(LoadError::Unreadable { path: path.display().to_string(), source });
    }
    match FORMATS.iter().find(|format| format.detect(path)) {
        Some(format) => format.load(path, options),
        None => Err(LoadError::NothingFound {
            path: path.display().to_string(),
            hint: "a task's folder holds task.toml, instruction.md, environment/ and tests/".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn formats_lists_every_file_of_this_folder_once() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/formats");
        let files: BTreeSet<String> = std::fs::read_dir(here)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().replace('_', "-"))
            .filter(|name| name != "mod")
            .collect();
        let listed: Vec<String> = FORMATS.iter().map(|format| format.name().to_owned()).collect();
        assert_eq!(listed.len(), files.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), files);
    }

    #[test]
    fn by_name_offers_the_nearest_format() {
        assert!(by_name("harbor").is_ok());
        let error = by_name("harbour").err().unwrap().to_string();
        assert_eq!(error, "there is no dataset format \"harbour\" (did you mean \"harbor\"?)");
    }
}
