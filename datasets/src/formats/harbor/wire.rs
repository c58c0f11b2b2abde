//! task.toml as it is written: every table of the format, checked value by value, before the folder is looked at.

use std::collections::BTreeMap;

use harness_core::task::{Artifact, Hints, RewardStrategy, Traits};

use super::phases::{WireAgent, WireStep, WireVerifier, artifacts};
use super::place::{WireEnvironment, inside_path};
use crate::strict::{At, Document, Table};

/// The whole file.
pub(super) struct WireTask {
    pub(super) description: Option<String>,
    pub(super) traits: Traits,
    pub(super) hints: Hints,
    pub(super) host_root: bool,
    pub(super) reward_strategy: RewardStrategy,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) agent: WireAgent,
    pub(super) verifier: WireVerifier,
    pub(super) environment: WireEnvironment,
    pub(super) solution_env: BTreeMap<String, At<String>>,
    pub(super) steps: Vec<WireStep>,
}

impl WireTask {
    /// Reads every table; what is wrong is recorded in the document.
    pub(super) fn read(doc: &Document<'_>) -> WireTask {
        let root = doc.root();
        schema_version(&root);
        // Where a converted task came from, and with which prior conversation: for other tools.
        root.string("source");
        let package = root.table("task").map(Package::read).unwrap_or_default();
        let mut traits = Traits { tags: package.keywords, ..Traits::default() };
        let mut hints = Hints::default();
        let mut host_root = false;
        if let Some(metadata) = root.table("metadata") {
            // This table is free: whatever else stands in it is the author's, and of any type.
            traits.difficulty = metadata.loose_string("difficulty");
            traits.category = metadata.loose_string("category");
            traits.language = metadata.loose_string("language");
            let mut tags = metadata.loose_strings("tags");
            tags.extend(metadata.loose_strings("keywords"));
            tags.append(&mut traits.tags);
            traits.tags = tags;
            if let Some(ours) = metadata.is_table("harness").then(|| metadata.table("harness")).flatten() {
                host_root = read_ours(ours, &mut hints, &mut traits);
            }
        }
        traits.language = traits.language.map(|language| language.to_lowercase());
        let mut seen = std::collections::BTreeSet::new();
        traits.tags.retain(|tag| seen.insert(tag.clone()));
        let task = WireTask {
            description: package.description,
            traits,
            hints,
            host_root,
            reward_strategy: reward_strategy(&root),
            artifacts: artifacts(&root),
            agent: root.table("agent").map(WireAgent::read).unwrap_or_default(),
            verifier: root.table("verifier").map(WireVerifier::read).unwrap_or_default(),
            environment: root.table("environment").map(WireEnvironment::read).unwrap_or_default(),
            solution_env: root.table("solution").map(solution).unwrap_or_default(),
            steps: root.tables("steps").into_iter().filter_map(WireStep::read).collect(),
        };
        root.finish();
        task
    }
}

/// The newest schema that this reader was written for.
const NEWEST_MINOR: u32 = 4;

/// `schema_version`, or `version` as it was called first.
fn schema_version(root: &Table<'_, '_>) {
    let doc = root.doc();
    let written = root.string("version");
    let Some(version) = root.string("schema_version").or(written) else { return };
    let minor = version.value.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(minor) if minor <= NEWEST_MINOR => {}
        Some(_) => {
            let message =
                format!("schema {} is newer than the newest that is known, 1.{NEWEST_MINOR}", version.value);
            doc.push_warning(doc.problem(version.offset, message).hint("what is new in it is ignored"));
        }
        None => {
            let problem = doc.problem(version.offset, format!("there is no schema {:?}", version.value));
            doc.push_error(problem.hint(format!("it can be \"1.0\" to \"1.{NEWEST_MINOR}\"")));
        }
    }
}

fn reward_strategy(root: &Table<'_, '_>) -> RewardStrategy {
    let Some(strategy) = root.string("multi_step_reward_strategy") else { return RewardStrategy::default() };
    match strategy.value.as_str() {
        "mean" => RewardStrategy::Mean,
        "final" => RewardStrategy::Final,
        other => {
            let message = format!("there is no multi_step_reward_strategy {other:?}");
            let hint = "it can be \"mean\" or \"final\"";
            root.doc().push_error(root.doc().problem(strategy.offset, message).hint(hint));
            RewardStrategy::default()
        }
    }
}

/// `[task]`: how the task is called where it is published. Its id here is its folder's name.
#[derive(Default)]
struct Package {
    description: Option<String>,
    keywords: Vec<String>,
}

impl Package {
    fn read(table: Table<'_, '_>) -> Package {
        let name = table.string("name");
        table.string_or_integer("version");
        for author in table.tables("authors") {
            author.string("name");
            author.string("email");
            author.finish();
        }
        let description = table.string("description").map(|text| text.value.trim().to_owned());
        let keywords = table.strings("keywords").map(|list| list.value).unwrap_or_default();
        table.finish();
        Package {
            description: description.filter(|text| !text.is_empty()).or(name.map(|name| name.value)),
            keywords: keywords.into_iter().map(|keyword| keyword.value).collect(),
        }
    }
}

fn solution(table: Table<'_, '_>) -> BTreeMap<String, At<String>> {
    let env = table.string_map("env");
    table.finish();
    env
}

/// `[metadata.harness]`; gives whether the host's own root will do.
fn read_ours(table: Table<'_, '_>, hints: &mut Hints, traits: &mut Traits) -> bool {
    let list = |key: &'static str| table.strings(key).map(|list| list.value).unwrap_or_default();
    for tool in list("tools") {
        if tool.value.is_empty()
            || tool.value.starts_with('-')
            || tool.value.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            table.doc().error(
                tool.offset,
                format!("{} must be names of programs, not {:?}", table.name("tools"), tool.value),
            );
        } else {
            hints.tools.push(tool.value);
        }
    }
    for path in list("product") {
        if inside_path(&table, "product", &path, true) {
            hints.product.push(path.value);
        }
    }
    hints.fail_to_pass = list("fail_to_pass").into_iter().map(|name| name.value).collect();
    hints.pass_to_pass = list("pass_to_pass").into_iter().map(|name| name.value).collect();
    hints.visible_test = table.string("visible_test").map(|command| command.value);
    hints.users = table.boolean("users").is_some_and(|users| users.value);
    if let Some(language) = table.string("language") {
        traits.language = Some(language.value);
    }
    let host_root = table.boolean("host_root").is_some_and(|host_root| host_root.value);
    table.finish();
    host_root
}
