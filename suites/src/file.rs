//! A suite file: TOML that says which tasks, and how a run should go about them.
//!
//! ```toml
//! name = "nightly"
//! description = "what must never break"
//! sources = ["tasks", "../shared/tasks", "harbor:/data/terminal-bench", "starter", "smoke.toml"]
//! filter = 'difficulty != "hard"'
//! limit = 50
//! seed = 7              # with it, `limit` takes a sample instead of the first by id
//!
//! [defaults]            # a flag wins over each
//! attempts = 3
//! jobs = 4
//! retries = 2
//! timeout_multiplier = 1.5
//! agent_timeout_max_sec = 900
//! verifier_timeout_max_sec = 300
//! network = "none"
//!
//! [defaults.agents.core]   # settings of an agent, where an experiment or a flag says nothing
//! max_cost = 0.50
//! ```

use std::fs::File;
use std::io::Read;
use std::path::Path;

use datasets::Problem;
use datasets::strict::{At, Document, Found, Table};

use crate::defaults::{Defaults, whole};
use crate::filter::Filter;

const MAX_BYTES: u64 = 1 << 20;

/// A suite file, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SuiteFile {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// At least one, each with the place where it is written.
    pub(crate) sources: Vec<(String, Problem)>,
    pub(crate) filter: Option<Filter>,
    pub(crate) limit: Option<usize>,
    pub(crate) seed: Option<u64>,
    pub(crate) defaults: Defaults,
}

/// Reads a suite file from disk; gives its warnings beside it.
pub(crate) fn read(path: &Path) -> Result<(SuiteFile, Vec<Problem>), Vec<Problem>> {
    let text = text(path).map_err(|message| vec![Problem::new(path, message)])?;
    parse(path, &text)
}

/// Reads a suite file's text.
pub(crate) fn parse(path: &Path, text: &str) -> Result<(SuiteFile, Vec<Problem>), Vec<Problem>> {
    let doc = Document::parse(path, text).map_err(|problem| vec![*problem])?;
    let root = doc.root();
    let name = root.string("name").filter(|name| {
        let fit = harness_core::TaskId::new(name.value.clone());
        if let Err(error) = &fit {
            doc.error(name.offset, format!("the suite's name is not fit for one: {error}"));
        }
        fit.is_ok()
    });
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let suite = SuiteFile {
        name: name.map_or(stem, |name| name.value),
        description: root.string("description").map(|text| text.value),
        sources: sources(&root),
        filter: root.string("filter").and_then(|text| {
            Filter::parse(&text.value)
                .map_err(|error| {
                    doc.error(text.offset, format!("filter, character {}: {}", error.column, error.message))
                })
                .ok()
        }),
        limit: whole(&root, "limit", 1..=i64::MAX).and_then(|limit| usize::try_from(limit.value).ok()),
        seed: whole(&root, "seed", 0..=i64::MAX).map(|seed| seed.value),
        defaults: root.table("defaults").map(Defaults::read).unwrap_or_default(),
    };
    root.finish();
    let Found { errors, warnings } = doc.into_found();
    if errors.is_empty() { Ok((suite, warnings)) } else { Err(errors) }
}

fn sources(root: &Table<'_, '_>) -> Vec<(String, Problem)> {
    let doc = root.doc();
    let Some(list) = root.strings("sources") else {
        // A wrong type was told already.
        if !root.has("sources") {
            doc.error(
                0,
                "\"sources\" is missing: a list of folders, FORMAT:PATH, or names of bundled suites",
            );
        }
        return Vec::new();
    };
    if list.value.is_empty() {
        doc.error(list.offset, "\"sources\" may not be empty");
    }
    let place = |source: At<String>| (source.value, doc.problem(source.offset, ""));
    list.value.into_iter().map(place).collect()
}

pub(crate) fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Asked before it is opened: a pipe would make us wait.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is longer than {} KiB", MAX_BYTES >> 10));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

    use std::time::Duration;

    use harness_core::NetworkMode;
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = r#"
name = "nightly"
description = "ü"
sources = ["tasks", "harbor:x"]
filter = 'tag:git'
limit = 50
seed = 7
[defaults]
attempts = 3
jobs = 4
retries = 0
timeout_multiplier = 1.5
agent_timeout_max_sec = 900
verifier_timeout_max_sec = 0.5
network = "none"
"#;

    #[test]
    fn suite_file_reads_every_value_and_remembers_its_place() {
        let (suite, warnings) = parse(Path::new("s/nightly.toml"), FULL).unwrap();
        assert_eq!(warnings, []);
        assert_eq!((suite.name.as_str(), suite.limit, suite.seed), ("nightly", Some(50), Some(7)));
        assert_eq!(suite.sources[1].0, "harbor:x");
        assert_eq!(suite.sources[1].1.position, Some((4, 21)));
        let attempts = suite.defaults.attempts.unwrap();
        assert_eq!((attempts.value, attempts.source.as_str()), (3, "s/nightly.toml:9:12"));
        assert_eq!(suite.defaults.retries.unwrap().value, 0);
        assert_eq!(suite.defaults.verifier_timeout_max.unwrap().value, Duration::from_millis(500));
        assert_eq!(suite.defaults.network.unwrap().value, NetworkMode::None);
    }

    #[test]
    fn suite_file_refuses_and_warns_with_place() {
        let refused = |text: &str| parse(Path::new("s.toml"), text).unwrap_err()[0].to_string();
        for (text, message) in [
            ("", "s.toml:1:1: \"sources\" is missing"),
            ("sources = []", "s.toml:1:11: \"sources\" may not be empty"),
            ("sources = \"x\"", "s.toml:1:11: \"sources\" must be a list of strings, not a string"),
            ("sources = [\"x\"]\nlimit = 0", "s.toml:2:9: \"limit\" must be between 1 and"),
            (
                "sources = [\"x\"]\nfilter = \"tga:x\"",
                "s.toml:2:10: filter, character 1: tasks have no field",
            ),
            ("sources = [\"x\"]\nname = \"../x\"", "s.toml:2:8: the suite's name is not fit"),
            ("sources = [\"x\"]\n[defaults]\njobs = 0", "s.toml:3:8: \"jobs\" in [defaults] must be between"),
            (
                "sources = [\"x\"]\n[defaults]\nnetwork = \"all\"",
                "s.toml:3:11: there is no network \"all\" (it can",
            ),
            (
                "sources = [\"x\"]\n[defaults]\ntimeout_multiplier = 0.0",
                "s.toml:3:22: \"timeout_multiplier\" in",
            ),
        ] {
            assert!(refused(text).starts_with(message), "{text}: {}", refused(text));
        }
        let (_, warnings) =
            parse(Path::new("s.toml"), "sources = [\"x\"]\nfilters = 1\n[defaults]\njob = 2").unwrap();
        let warnings: Vec<_> = warnings.iter().map(Problem::to_string).collect();
        assert_eq!(
            warnings,
            [
                "s.toml:2:1: unknown key \"filters\" (did you mean \"filter\"?)",
                "s.toml:4:1: unknown key \"job\" in [defaults] (did you mean \"jobs\"?)"
            ]
        );
    }

    #[test]
    fn suite_file_cut_at_any_byte_does_not_panic() {
        for at in 0..FULL.len() {
            if let Some(text) = FULL.get(..at) {
                let _ = parse(Path::new("s.toml"), text);
            }
        }
    }

    proptest! {
        #[test]
        fn suite_file_survives_any_change(at in 0usize..FULL.len(), junk in "(?s).{0,12}") {
            let mut bytes = FULL.as_bytes().to_vec();
            bytes.splice(at..at, junk.into_bytes());
            let _ = parse(Path::new("s.toml"), &String::from_utf8_lossy(&bytes));
        }
    }
}
