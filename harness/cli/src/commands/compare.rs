//! `harness compare`: variants side by side, task by task.

use reports::{Results, Side};

use super::{Context, report};
use crate::args::Compare;
use crate::exit::{Exit, Failure};

/// Compares. A single run compares its own variants with the first.
pub fn compare(context: &Context, options: &Compare) -> Result<Exit, Failure> {
    let format = report::format(context, "terminal")?;
    let names: Vec<(&str, Option<&str>)> =
        std::iter::once(&options.base).chain(&options.candidates).map(|name| split(name)).collect();
    let results: Vec<Results> =
        names.iter().map(|(run, _)| report::read(&report::folder(context, run))).collect::<Result<_, _>>()?;
    if let ([only], []) = (&results[..], &options.candidates[..])
        && only.variants.len() < 2
    {
        let message = format!("the run {} has one variant, and nothing to compare it with", only.run.id);
        return Err(Failure::new(Exit::Usage, message)
            .hint(format!("name a second run: harness compare {} RUN", options.base)));
    }
    let usage = |error: &reports::CompareError| Failure::of(Exit::Usage, error);
    let mut sides: Vec<Side<'_>> = Vec::new();
    for (at, ((_, variant), results)) in names.iter().zip(&results).enumerate() {
        let found = Side::of(results, *variant).map_err(|error| usage(&error))?;
        // With candidates of its own, a base of several variants would make the table's first column arbitrary.
        if at == 0 && found.len() > 1 && !options.candidates.is_empty() {
            let known: Vec<_> = found.iter().map(|side| side.variant).collect();
            return Err(Failure::new(Exit::Usage, format!("the base {} has several variants", options.base))
                .hint(format!(
                    "name one: {}:{}",
                    options.base,
                    known.join(&format!(" or {}:", options.base))
                )));
        }
        sides.extend(found);
    }
    let comparison = reports::compare(sides[0], &sides[1..]).map_err(|error| usage(&error))?;
    let look = report::look(options.output.is_none());
    let bytes = format.comparison(&comparison, &look).map_err(|error| Failure::of(Exit::Usage, &error))?;
    report::write(options.output.as_deref(), &bytes)
}

/// `RUN:VARIANT`. A run's name may hold a colon only where it is a path to a folder.
fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((run, variant)) if !variant.contains('/') => (run, Some(variant)),
        _ => (name, None),
    }
}
