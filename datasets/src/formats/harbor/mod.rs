//! Harbor's task folders, schema 1.0 to 1.4, unchanged; our own tasks are written in it too.
//!
//! ```text
//! task.toml  instruction.md  environment/Dockerfile  tests/test.sh  solution/solve.sh  steps/NAME/…
//! ```

use std::path::Path;

use rayon::prelude::*;

use super::Format;
use crate::load::{LoadError, LoadOptions, Loaded};

mod discover;
mod folder;
mod phases;
mod place;
mod template;
mod text;
mod wire;

/// The format's registration.
pub(super) struct Harbor;

impl Format for Harbor {
    fn name(&self) -> &'static str {
        "harbor"
    }

    fn summary(&self) -> &'static str {
        "task folders of Harbor and Terminal-Bench 2 (task.toml 1.0 to 1.4), and this program's own"
    }

    fn detect(&self, path: &Path) -> bool {
        discover::any(path)
    }

    fn load(&self, path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
        let found = discover::discover(path)?;
        let dataset = options.dataset.clone().unwrap_or_else(|| found.name.clone());
        let read: Vec<_> =
            found.folders.par_iter().map(|folder| folder::read(folder, &dataset, options)).collect();
        let mut loaded = Loaded { warnings: found.warnings, ..Loaded::default() };
        for (task, warnings) in read {
            match task {
                Ok(task) => loaded.tasks.push(*task),
                Err(invalid) => loaded.invalid.push(invalid),
            }
            loaded.warnings.extend(warnings);
        }
        loaded.settle();
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests;
