//! From what was typed to the tasks of a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use datasets::formats;
use datasets::nearest::did_you_mean;
use datasets::{InvalidTask, LoadError, LoadOptions, Loaded, Problem};
use harness_core::digest::DigestBuilder;
use harness_core::{Digest, Task};

use crate::catalog::{self, CATALOG, CatalogError};
use crate::defaults::Defaults;
use crate::file::{self, SuiteFile};
use crate::filter::Filter;

/// How to select.
#[derive(Debug, Clone, Default)]
pub struct SelectOptions {
    /// A folder of this user's own, for unpacking bundled suites.
    pub cache: PathBuf,
    /// How to read datasets.
    pub load: LoadOptions,
    /// Which tasks; applied after the suite's own filter and limit.
    pub filter: Option<Filter>,
    /// At most so many tasks.
    pub limit: Option<usize>,
    /// With it, `limit` takes a sample that depends on nothing but the seed and the ids.
    pub seed: Option<u64>,
}

/// The tasks of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// For people.
    pub name: String,
    /// The tasks, sorted by id; no two have the same.
    pub tasks: Vec<Task>,
    /// Tasks that would perhaps have been selected and cannot be read.
    pub invalid: Vec<InvalidTask>,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
    /// What the suite proposes for the run.
    pub defaults: Defaults,
}

impl Selection {
    /// Digest of the ids and digests of its tasks.
    pub fn digest(&self) -> Digest {
        let mut digest = DigestBuilder::new();
        for task in &self.tasks {
            digest.part(task.id.as_str(), task.digest.as_str().as_bytes());
        }
        digest.finish()
    }
}

/// Why nothing could be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// Neither a bundled suite nor anything on disk.
    #[error("there is no suite, file or folder {name:?} ({hint})")]
    Unknown {
        /// As typed.
        name: String,
        /// The nearest, or what there is.
        hint: String,
    },
    /// A bundled suite has no such task.
    #[error("the suite {suite} has no task {task:?} ({hint})")]
    NoTask {
        /// The suite.
        suite: String,
        /// As typed.
        task: String,
        /// The nearest, or the way to see all.
        hint: String,
    },
    /// A suite file is wrong; each problem has its place.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    File(Vec<Problem>),
    /// A dataset cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A bundled suite cannot be unpacked.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Suite files that name suite files that name …
const MAX_NESTING: usize = 8;

/// Finds the tasks that the sources name.
///
/// A source is `FORMAT:PATH`, a bundled suite's name, `SUITE/TASK` of a bundled suite, a suite file, a folder of tasks,
/// or a task's folder. A bare name that is both a bundled suite's and a folder's means the suite; `./NAME` means the
/// folder. Defaults come from the first suite that proposes them. A suite's own filter and limit come first, then
/// those of the options; tasks that cannot be read count against no limit.
///
/// # Errors
/// [`SelectError`] when a source is nothing that can be read. Single tasks that cannot be are in
/// [`Selection::invalid`].
pub fn resolve(sources: &[String], options: &SelectOptions) -> Result<Selection, SelectError> {
    let mut selection = Selection { name: name(sources), ..Selection::default() };
    let mut loaded = Loaded::default();
    for source in sources {
        let found = Resolver { options, base: Path::new(""), depth: 0 }.source(source)?;
        if let (Some(suite), 1) = (found.name, sources.len()) {
            selection.name = suite;
        }
        if selection.defaults == Defaults::default() {
            selection.defaults = found.defaults;
        }
        append(&mut loaded, found.loaded);
    }
    settle(&mut loaded);
    let picked = Picked { filter: options.filter.as_ref(), limit: options.limit, seed: options.seed };
    picked.apply(&mut loaded);
    selection.tasks = loaded.tasks;
    selection.invalid = loaded.invalid;
    selection.warnings = loaded.warnings;
    Ok(selection)
}

/// What one source gave.
#[derive(Default)]
struct Source {
    name: Option<String>,
    loaded: Loaded,
    defaults: Defaults,
}

impl Source {
    fn plain(loaded: Loaded) -> Source {
        Source { loaded, ..Source::default() }
    }
}

struct Resolver<'a> {
    options: &'a SelectOptions,
    /// What relative paths are relative to.
    base: &'a Path,
    depth: usize,
}

impl Resolver<'_> {
    fn source(&self, source: &str) -> Result<Source, SelectError> {
        let path = self.base.join(source);
        if let Some(bundled) = catalog::by_name(source) {
            let mut found = self.suite_file(&bundled.unpack(&self.options.cache)?)?;
            if path.exists() {
                let problem = Problem::new(path, format!("is not read: {source:?} means the bundled suite"));
                found.loaded.warnings.push(problem.hint(format!("write ./{source} for what lies here")));
            }
            return Ok(found);
        }
        if let Some((format, rest)) = source.split_once(':')
            && (!path.exists() || formats::by_name(format).is_ok())
        {
            let path = self.base.join(rest);
            return Ok(Source::plain(formats::by_name(format)?.load(&path, &self.options.load)?));
        }
        if path.is_dir() {
            return Ok(Source::plain(datasets::load(&path, &self.options.load)?));
        }
        if path.file_name().is_some_and(|name| name == "task.toml") && path.exists() {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok(Source::plain(datasets::load(folder, &self.options.load)?));
        }
        if path.exists() {
            return self.suite_file(&path);
        }
        if let Some((suite, task)) = source.split_once('/')
            && let Some(bundled) = catalog::by_name(suite)
        {
            let found = self.suite_file(&bundled.unpack(&self.options.cache)?)?;
            return one_task(found, suite, task);
        }
        Err(unknown(source))
    }

    fn suite_file(&self, path: &Path) -> Result<Source, SelectError> {
        let (suite, warnings) = file::read(path).map_err(SelectError::File)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let mut loaded = Loaded { warnings, ..Loaded::default() };
        for (source, place) in &suite.sources {
            let at_place = |message: String| SelectError::File(vec![Problem { message, ..place.clone() }]);
            if self.depth >= MAX_NESTING {
                return Err(at_place(format!("suite files name each other more than {MAX_NESTING} deep")));
            }
            let below = Resolver { options: self.options, base, depth: self.depth + 1 };
            match below.source(source) {
                Ok(found) => append(&mut loaded, found.loaded),
                Err(SelectError::File(problems)) => return Err(SelectError::File(problems)),
                Err(error) => return Err(at_place(error.to_string())),
            }
        }
        settle(&mut loaded);
        let SuiteFile { name, filter, limit, seed, defaults, .. } = suite;
        Picked { filter: filter.as_ref(), limit, seed }.apply(&mut loaded);
        Ok(Source { name: Some(name), loaded, defaults })
    }
}

/// Which of the tasks that were found.
struct Picked<'a> {
    filter: Option<&'a Filter>,
    limit: Option<usize>,
    seed: Option<u64>,
}

impl Picked<'_> {
    fn apply(&self, loaded: &mut Loaded) {
        if let Some(filter) = self.filter {
            loaded.tasks.retain(|task| filter.picks(task));
            loaded.invalid.retain(|task| filter.may_pick(task));
        }
        let Some(limit) = self.limit.filter(|limit| *limit < loaded.tasks.len()) else { return };
        if let Some(seed) = self.seed {
            // Each task's place depends on its id and the seed alone, so a new task moves no other.
            loaded.tasks.sort_by_cached_key(|task| {
                DigestBuilder::new()
                    .part("seed", &seed.to_le_bytes())
                    .part("id", task.id.as_str().as_bytes())
                    .finish()
            });
        }
        loaded.tasks.truncate(limit);
        loaded.tasks.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

fn append(all: &mut Loaded, more: Loaded) {
    all.tasks.extend(more.tasks);
    all.invalid.extend(more.invalid);
    all.warnings.extend(more.warnings);
}

/// One folder named twice is one task; two folders with one id are an error of both.
fn settle(loaded: &mut Loaded) {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut seen = BTreeSet::new();
    loaded.tasks.retain(|task| seen.insert(real(&task.origin)));
    loaded.invalid.retain(|task| seen.insert(real(&task.origin)));
    let mut warnings = Vec::with_capacity(loaded.warnings.len());
    for warning in loaded.warnings.drain(..) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    loaded.warnings = warnings;
    loaded.settle();
}

fn one_task(mut found: Source, suite: &str, task: &str) -> Result<Source, SelectError> {
    let ids: Vec<String> = found.loaded.tasks.iter().map(|task| task.id.to_string()).collect();
    found.loaded.tasks.retain(|found| found.id.as_str() == task);
    found.loaded.invalid.retain(|found| found.id == task);
    if found.loaded.tasks.is_empty() && found.loaded.invalid.is_empty() {
        let hint = did_you_mean(task, ids.iter().map(String::as_str))
            .unwrap_or_else(|| format!("`harness list tasks {suite}` shows all"));
        return Err(SelectError::NoTask { suite: suite.to_owned(), task: task.to_owned(), hint });
    }
    Ok(found)
}

fn unknown(source: &str) -> SelectError {
    let names: Vec<&str> = CATALOG.iter().map(|bundled| bundled.name).collect();
    let hint = did_you_mean(source, names.iter().copied())
        .unwrap_or_else(|| format!("bundled suites: {}", names.join(", ")));
    SelectError::Unknown { name: source.to_owned(), hint }
}

/// What to call a selection that no suite file names.
fn name(sources: &[String]) -> String {
    match sources {
        [one] => {
            let path = Path::new(one.split_once(':').map_or(one.as_str(), |(_, path)| path));
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            real.file_name().map_or_else(|| one.clone(), |name| datasets::printable(Path::new(name)))
        }
        many => format!("{} sources", many.len()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
