//! `checks/`: a task's own wrong and right solutions, by which `harness check suite` proves that its tests judge well.

use std::path::{Path, PathBuf};

use crate::problem::Problem;
use crate::tree::{Tree, TreeLimits};

/// The wrong and right solutions that a task brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// Plausible and wrong: pass what the agent can see, fail a hidden test.
    pub wrong: Vec<Check>,
    /// Right, and unlike the oracle's.
    pub right: Vec<Check>,
}

/// One solution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// The script's name without `.sh`.
    pub name: String,
    /// The script, on the host.
    pub script: PathBuf,
}

/// Reads `checks/wrong/*.sh` and `checks/right/*.sh` of a task's folder, each sorted by name. A task without the
/// folder has none.
///
/// # Errors
/// The folder cannot be walked, or holds a link out or something that is no file.
pub fn read_checks(task: &Path) -> Result<Checks, Vec<Problem>> {
    let tree = Tree::walk(task, TreeLimits::default())?;
    let scripts = |folder: &str| -> Vec<Check> {
        let mut scripts: Vec<Check> = tree
            .children(folder)
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_suffix(".sh")?;
                let script =
                    tree.is_file(path.to_str()?).then(|| tree.host_path(path.to_str()?)).flatten()?;
                Some(Check { name: name.to_owned(), script })
            })
            .collect();
        scripts.sort();
        scripts
    };
    Ok(Checks { wrong: scripts("checks/wrong"), right: scripts("checks/right") })
}
