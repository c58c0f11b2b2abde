//! What would be built or pulled for a run, in words: for `--dry-run`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use harness_core::task::VerifierMode;
use harness_core::{EnvironmentSpec, Task, TaskId};
use harness_sandbox::{Backend, EnvironmentPlan, EnvironmentRequest};

use crate::printer;

/// One line for each thing that is not there yet, and a sum. Nothing where the sandbox does not say.
pub async fn needed(backend: &dyn Backend, tasks: &BTreeMap<TaskId, Arc<Task>>) -> Vec<String> {
    let (mut lines, mut pulls) = (Vec::new(), BTreeSet::new());
    let (mut builds, mut present) = (0, 0);
    for task in tasks.values() {
        for environment in environments(task) {
            let request =
                EnvironmentRequest { spec: environment.clone(), digest: task.digest.clone(), log: None };
            let about = printer::plain(task.id.as_ref());
            match backend.plan(&request).await {
                Ok(EnvironmentPlan::Untold) => {}
                // Its bytes are not added up: images share most of them.
                Ok(EnvironmentPlan::Present { .. }) => present += 1,
                Ok(EnvironmentPlan::Build { context_bytes, pulls: first }) => {
                    builds += 1;
                    lines
                        .push(format!("would build the environment of {about} from {}", size(context_bytes)));
                    pulls.extend(first.into_iter().map(|name| (name, None)));
                }
                Ok(EnvironmentPlan::Pull { name, bytes }) => drop(pulls.insert((name, bytes))),
                Err(error) => lines
                    .push(format!("cannot tell what {about} needs: {}", printer::plain(&error.to_string()))),
            }
        }
    }
    for (name, bytes) in &pulls {
        let size = bytes.map_or_else(|| "of unknown size".to_owned(), size);
        lines.push(format!("would pull {}, {size}", printer::plain(name)));
    }
    if builds + pulls.len() + present > 0 {
        lines.push(format!(
            "{} to build, {} to pull; {} there already",
            printer::plural(builds, "environment"),
            printer::plural(pulls.len(), "image"),
            printer::plural(present, "environment"),
        ));
    }
    lines
}

fn environments(task: &Task) -> impl Iterator<Item = &EnvironmentSpec> {
    let own = task.steps.iter().filter_map(|step| match &step.verifier.mode {
        VerifierMode::Separate(Some(own)) => Some(&**own),
        VerifierMode::Separate(None) | VerifierMode::Shared => None,
    });
    std::iter::once(&task.environment).chain(own)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_sizes_are_for_people() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(164_000_000), "164.0 MB");
        assert_eq!(size(1_070_000_000), "1.1 GB");
    }
}
