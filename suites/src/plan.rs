//! Which trial comes when.

use std::collections::BTreeMap;

use harness_core::plan::Planned;
use harness_core::{Task, TaskId, TrialId, VariantName};

/// What a plan is made of.
#[derive(Debug, Clone)]
pub struct PlanSpec<'a> {
    /// The tasks, in any order.
    pub tasks: &'a [Task],
    /// The variants, in the order in which they are tried side by side.
    pub variants: &'a [VariantName],
    /// Attempts per task and variant.
    pub attempts: u32,
    /// How many milliseconds a task took before, where that is known.
    pub history: &'a BTreeMap<TaskId, u64>,
}

/// Every trial, in the order in which they are tried.
///
/// Attempts are outermost, so that an interrupted run has whole rounds. Within a round the longest expected task comes
/// first, so that none of them is left running alone at the end; a task without history might be long, so it comes
/// before all others; ties go by id. A task's variants stand together, so that they meet the same load.
pub fn plan(spec: &PlanSpec<'_>) -> Vec<Planned> {
    let mut tasks: Vec<&Task> = spec.tasks.iter().collect();
    let expected = |task: &Task| spec.history.get(&task.id).copied().unwrap_or(u64::MAX);
    tasks.sort_by(|a, b| expected(b).cmp(&expected(a)).then_with(|| a.id.cmp(&b.id)));
    let mut trials = Vec::with_capacity(tasks.len() * spec.variants.len() * spec.attempts as usize);
    for attempt in 1..=spec.attempts {
        for task in &tasks {
            for variant in spec.variants {
                trials.push(Planned {
                    id: TrialId { task: task.id.clone(), variant: variant.clone(), attempt },
                    task_digest: task.digest.clone(),
                });
            }
        }
    }
    trials
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

    use super::*;
    use crate::select::tests::folder_of_tasks;

    #[test]
    fn plan_puts_attempts_outermost_and_the_longest_first() {
        let dir = folder_of_tasks(&["a", "b", "c", "d"]);
        let tasks = datasets::load(dir.path(), &Default::default()).unwrap().tasks;
        let variants = ["x", "y"].map(|name| VariantName::new(name).unwrap());
        let id = |name: &str| TaskId::new(name).unwrap();
        let order = |history: &BTreeMap<TaskId, u64>, attempts| -> Vec<String> {
            let spec = PlanSpec { tasks: &tasks, variants: &variants, attempts, history };
            plan(&spec).iter().map(|trial| trial.id.path()).collect()
        };
        let none = BTreeMap::new();
        assert_eq!(
            order(&none, 2)[..9],
            ["a/x/1", "a/y/1", "b/x/1", "b/y/1", "c/x/1", "c/y/1", "d/x/1", "d/y/1", "a/x/2"]
        );
        let known = BTreeMap::from([(id("a"), 5), (id("b"), 900), (id("d"), 5)]);
        assert_eq!(
            order(&known, 1),
            ["c/x/1", "c/y/1", "b/x/1", "b/y/1", "a/x/1", "a/y/1", "d/x/1", "d/y/1"]
        );
        let spec = PlanSpec { tasks: &tasks, variants: &variants, attempts: 3, history: &known };
        let mut unique: Vec<_> = plan(&spec).into_iter().map(|trial| trial.id).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), 4 * 2 * 3, "every trial exactly once");
    }
}
