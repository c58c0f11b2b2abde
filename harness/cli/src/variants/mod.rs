//! The variants of a run: what an experiment asks for, checked by the agents themselves, each with a name of its own.

mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datasets::Problem;
use datasets::nearest::did_you_mean;
use harness_core::{Variant, VariantName};
use harness_engine::Cell;
use harness_engine::agents::{self, Agent, SettingError, settings};
use serde_json::Value;
use suites::Experiment;
use suites::experiment::{Placed, Wanted, names};

use crate::exit::{Exit, Failure};

pub use typed::{AgentArg, agent_args, experiment};

/// Most complaints that are shown at once.
const MAX_SHOWN: usize = 20;

/// Settings of an agent where the experiment says nothing, and who says so.
pub type Defaults = BTreeMap<String, BTreeMap<String, (Value, String)>>;

/// The experiment of a file, with the models of flags where it names none.
pub fn from_file(file: &Path, models: &[String]) -> Result<Experiment, Failure> {
    let mut experiment = Experiment::read(file).map_err(|problems| complain(&problems))?;
    if !models.is_empty() {
        for model in models {
            crate::providers::split(model)?;
        }
        experiment.set_models(models).map_err(|problem| {
            Failure::new(Exit::Usage, problem.to_string())
                .hint("name models in one place: the file, or --model")
        })?;
    }
    Ok(experiment)
}

/// The variants, each once, each with its agent.
pub fn cells(experiment: &Experiment, defaults: &Defaults) -> Result<Vec<Cell>, Failure> {
    let asks = |agent: &str| agents::by_name(agent).is_none_or(agents::AgentKind::uses_model);
    let wanted = experiment.span(&asks).map_err(|problems| complain(&problems))?;
    let mut problems: Vec<Failure> = Vec::new();
    let mut made: Vec<Made> = Vec::new();
    for wanted in wanted {
        match make(wanted, defaults) {
            Ok(one) => made.push(one),
            Err(failure) if problems.iter().any(|other| other.message == failure.message) => {}
            Err(failure) => problems.push(failure),
        }
    }
    if let Some(failure) = together(problems) {
        return Err(failure);
    }
    if made.is_empty() {
        return Err(Failure::new(Exit::Invalid, "the experiment has no variants")
            .hint("its excludes leave nothing of the matrix, and it includes nothing"));
    }
    no_twins(&made)?;
    named(made, &experiment.names)
}

/// The variants with their settings, for people.
pub fn list(cells: &[Cell]) -> Vec<String> {
    let mut lines = vec![crate::printer::plural(cells.len(), "variant") + ":"];
    for cell in cells {
        let variant = &cell.variant;
        let model = variant.model.as_deref().map(|model| format!(", model {model}")).unwrap_or_default();
        lines.push(format!("  {} (agent {}{model})", variant.name, variant.agent));
        for (key, value) in &variant.settings {
            let text =
                value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string());
            lines.push(format!("    {key} = {}", crate::printer::plain(&crate::printer::fitted(&text, 200))));
        }
    }
    lines
}

/// One variant from its parts; also how `resume` makes it again from the manifest.
pub fn cell(agent: &str, model: Option<&str>, given: BTreeMap<String, Value>) -> Result<Cell, Failure> {
    let settings = given.into_iter().map(|(key, value)| (key, (None, Placed::flag(value)))).collect();
    let model = model.map(|model| Placed::flag(model.to_owned()));
    let wanted = Wanted { agent: Placed::flag(agent.to_owned()), model, settings, name: None };
    let mut cells = named(vec![make(wanted, &Defaults::new())?], &[])?;
    Ok(cells.remove(0))
}

/// A variant that its agent has agreed to.
struct Made {
    wanted: Wanted,
    settings: BTreeMap<String, Value>,
    agent: Arc<dyn Agent>,
}

impl Made {
    fn model(&self) -> Option<&str> {
        self.wanted.model.as_ref().map(|model| model.value.as_str())
    }

    fn derived(&self) -> String {
        names::derived(&self.wanted.agent.value, self.model(), &self.settings)
    }
}

fn make(wanted: Wanted, defaults: &Defaults) -> Result<Made, Failure> {
    let agent = &wanted.agent.value;
    let Some(kind) = agents::by_name(agent) else {
        let known: Vec<_> = agents::AGENTS.iter().map(|kind| kind.name()).collect();
        let hint = did_you_mean(agent, known.iter().copied()).unwrap_or_default();
        let hint =
            format!("{hint}{}the agents are {}", if hint.is_empty() { "" } else { " " }, known.join(", "));
        return Err(
            at(wanted.agent.place.as_ref(), Exit::Usage, format!("there is no agent {agent:?}")).hint(hint)
        );
    };
    if let Some(model) = &wanted.model
        && let Err(failure) = crate::providers::split(&model.value)
    {
        let place = model.place.as_ref();
        let said = failure.message.trim_start_matches("--model ").to_owned();
        let message = if place.is_some() { said } else { failure.message };
        return Err(at(place, failure.code, message).hint(failure.hint.unwrap_or_default()));
    }
    let mut given: BTreeMap<String, Value> = BTreeMap::new();
    for (key, (value, _)) in defaults.get(agent).into_iter().flatten() {
        given.insert(key.clone(), value.clone());
    }
    given.extend(wanted.settings.iter().map(|(key, (_, value))| (key.clone(), value.value.clone())));
    let refused = |error: &SettingError| refusal(&wanted, error, defaults);
    let checked = settings::check(agent, kind.settings(), &given).map_err(|error| refused(&error))?;
    let model = wanted.model.as_ref().map(|model| model.value.as_str());
    let agent = kind.configure(model, &checked).map_err(|error| refused(&error))?;
    Ok(Made { wanted, settings: checked, agent })
}

/// What an agent has against a setting, at the place where that is written.
fn refusal(wanted: &Wanted, error: &SettingError, defaults: &Defaults) -> Failure {
    let source = |name: &str| {
        let own = !wanted.settings.contains_key(name);
        let told = defaults.get(&wanted.agent.value).filter(|_| own).and_then(|settings| settings.get(name));
        told.map(|(_, source)| source.as_str())
    };
    let (place, source, hint) = match error {
        SettingError::Unknown { name, known_names, .. } => {
            let place = wanted.settings.get(name).and_then(|(key, _)| key.as_ref());
            (place, source(name), did_you_mean(name, known_names.iter().copied()))
        }
        SettingError::Bad { name, .. } => {
            let place = wanted.settings.get(name).and_then(|(_, value)| value.place.as_ref());
            (place, source(name), None)
        }
        SettingError::Missing { .. } => (wanted.agent.place.as_ref(), None, None),
    };
    let message = match source {
        Some(source) => format!("{source}: {error}"),
        None => error.to_string(),
    };
    let failure = at(place, Exit::Invalid, message);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Two variants alike would be one, with twice the attempts and nobody the wiser.
fn no_twins(made: &[Made]) -> Result<(), Failure> {
    let mut seen: Vec<(&str, Option<&str>, &BTreeMap<String, Value>)> = Vec::new();
    for one in made {
        let key = (one.wanted.agent.value.as_str(), one.model(), &one.settings);
        if seen.contains(&key) {
            let name = one.wanted.name.as_ref().map_or_else(|| one.derived(), |name| name.value.clone());
            let message = format!("the variant {name} is asked for twice, with the same settings");
            let failure = at(one.wanted.agent.place.as_ref(), Exit::Usage, message);
            return Err(failure.hint("use --attempts to try a variant more than once"));
        }
        seen.push(key);
    }
    Ok(())
}

fn named(made: Vec<Made>, renamed: &[(Placed<String>, Placed<String>)]) -> Result<Vec<Cell>, Failure> {
    let derived: Vec<String> = made.iter().map(Made::derived).collect();
    if let Some((key, _)) = renamed.iter().find(|(key, _)| !derived.contains(&key.value)) {
        let failure = at(key.place.as_ref(), Exit::Invalid, format!("no variant is called {:?}", key.value));
        let hint = did_you_mean(&key.value, derived.iter().map(String::as_str));
        return Err(
            failure.hint(hint.unwrap_or_else(|| "--dry-run without [names] lists the names".to_owned()))
        );
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut cells = Vec::new();
    for (one, own) in made.iter().zip(&derived) {
        let given = renamed.iter().find(|(key, _)| key.value == *own).map(|(_, name)| name);
        let given = one.wanted.name.as_ref().or(given);
        let name = match given {
            Some(name) => name.value.clone(),
            // Told apart by all that they are, whichever comes first.
            None if derived.iter().filter(|other| *other == own).count() > 1 => {
                names::told_apart(&one.wanted.agent.value, one.model(), &one.settings)
            }
            None => own.clone(),
        };
        let place = given.and_then(|name| name.place.as_ref());
        let id = VariantName::new(&*name)
            .map_err(|error| at(place, Exit::Usage, format!("{name:?} is no name for a variant: {error}")))?;
        if !taken.insert(name.clone()) {
            return Err(at(place, Exit::Usage, format!("two variants are called {name:?}"))
                .hint("give each a name of its own: results are kept by it"));
        }
        let variant = Variant {
            name: id,
            agent: one.wanted.agent.value.clone(),
            model: one.model().map(str::to_owned),
            settings: one.settings.clone(),
        };
        cells.push(Cell { variant: Arc::new(variant), agent: Arc::clone(&one.agent) });
    }
    Ok(cells)
}

/// A failure at its place: what a file says is invalid, what a flag says may be a matter of usage.
fn at(place: Option<&Problem>, code: Exit, message: String) -> Failure {
    let code = if place.is_some() { Exit::Invalid } else { code };
    Failure::new(code, placed(place, message))
}

fn placed(place: Option<&Problem>, message: String) -> String {
    match place {
        Some(place) => format!("{}: {message}", place.place()),
        None => message,
    }
}

fn complain(problems: &[Problem]) -> Failure {
    let lines: Vec<String> = problems.iter().take(MAX_SHOWN).map(Problem::to_string).collect();
    Failure::new(Exit::Invalid, lines.join("\n"))
}

/// Several failures as one.
fn together(mut failures: Vec<Failure>) -> Option<Failure> {
    if failures.len() < 2 {
        return failures.pop();
    }
    let code = if failures.iter().any(|failure| failure.code == Exit::Invalid) {
        Exit::Invalid
    } else {
        failures[0].code
    };
    let say = |failure: &Failure| match &failure.hint {
        Some(hint) => format!("{} ({hint})", failure.message),
        None => failure.message.clone(),
    };
    let mut lines: Vec<String> = failures.iter().take(MAX_SHOWN).map(say).collect();
    if failures.len() > MAX_SHOWN {
        lines.push(format!("and {} more", failures.len() - MAX_SHOWN));
    }
    Some(Failure::new(code, lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Vec<AgentArg>, Failure> {
        agent_args(line.split(' ').map(str::to_owned))
    }

    fn typed(line: &str, models: &[&str]) -> Result<Vec<String>, Failure> {
        let models: Vec<String> = models.iter().map(|model| (*model).to_owned()).collect();
        let cells = cells(&experiment(&parse(line)?, &models)?, &Defaults::new())?;
        Ok(cells.iter().map(|cell| cell.variant.name.to_string()).collect())
    }

    #[test]
    fn agent_settings_go_to_the_agent_before_them() {
        let found =
            parse("run suite --agent command --agent-set run=x --limit 2 --agent=command --agent-set=run=y")
                .unwrap();
        assert_eq!(found[0].set, ["run=x"]);
        assert_eq!(found[1].set, ["run=y"]);
        assert!(parse("--agent-set run=x --agent command").is_err());
        let of_none = parse("run suite --agent-set plan=on --model m/n --agent-set effort=low").unwrap();
        assert_eq!((of_none.len(), of_none[0].name.as_str()), (1, "core"));
        assert_eq!(of_none[0].set, ["plan=on", "effort=low"]);
    }

    #[test]
    fn repeated_settings_of_an_agent_span_a_matrix() {
        let names = typed(
            "--agent core --agent-set effort=low --agent-set plan=on --agent-set effort=high --agent noop",
            &["scripted/starter", "openai/gpt-5"],
        );
        assert_eq!(
            names.unwrap(),
            [
                "core@scripted.starter+effort=low+plan=on",
                "core@scripted.starter+effort=high+plan=on",
                "core@openai.gpt-5+effort=low+plan=on",
                "core@openai.gpt-5+effort=high+plan=on",
                "noop",
            ]
        );
    }

    #[test]
    fn variants_that_differ_in_a_setting_differ_in_name_and_twins_are_refused() {
        let names =
            typed("--agent command --agent-set run=x --agent command --agent-set run=y --agent noop", &[]);
        assert_eq!(names.unwrap(), ["command+run=x", "command+run=y", "noop"]);
        for twins in [
            "--agent noop --agent noop",
            "--agent command --agent-set run=x --agent-set run=x",
            "--agent core --agent-set max_steps=5 --agent core --agent-set max_steps=5",
        ] {
            let refused = typed(twins, &["scripted/starter"]).unwrap_err();
            assert_eq!(refused.code, Exit::Usage);
            assert!(refused.message.contains("is asked for twice"), "{}", refused.message);
        }
    }

    #[test]
    fn a_wrong_agent_or_setting_is_refused_by_name() {
        let refused = |line: &str| typed(line, &["openai/gpt-5"]).unwrap_err();
        assert!(refused("--agent orcale").hint.unwrap().contains("oracle"));
        assert!(refused("--agent command --agent-set rnu=x").message.contains("\"rnu\""));
        assert_eq!(refused("--agent command --agent-set rnu=x").hint.unwrap(), "did you mean \"run\"?");
        assert!(refused("--agent command").message.contains("needs a program"));
        let failure = refused("--agent core --agent-set temperature=0.5");
        assert_eq!(failure.code, Exit::Invalid);
        assert!(
            failure.message.contains("\"temperature\"") && failure.message.contains("gpt-5"),
            "{failure}"
        );
    }

    #[test]
    fn defaults_hold_where_nothing_else_is_said_and_are_part_of_the_variant() {
        let told = |key: &str, value: &str| (key.to_owned(), (Value::from(value), "harness.toml".to_owned()));
        let defaults =
            Defaults::from([("core".to_owned(), [told("plan", "on"), told("effort", "low")].into())]);
        let asked =
            experiment(&parse("--agent core --agent-set effort=high").unwrap(), &["scripted/starter".into()]);
        let cells = cells(&asked.unwrap(), &defaults).unwrap();
        assert_eq!(cells[0].variant.name.as_str(), "core@scripted.starter+effort=high+plan=on");
        let wrong = Defaults::from([("core".to_owned(), [told("plam", "on")].into())]);
        let asked = experiment(&parse("--agent core").unwrap(), &["scripted/starter".into()]).unwrap();
        let refused = super::cells(&asked, &wrong).err().unwrap();
        assert!(refused.message.starts_with("harness.toml: ") && refused.code == Exit::Invalid, "{refused}");
    }

    proptest! {
        #[test]
        fn any_matrix_has_as_many_names_as_variants_and_each_is_the_same_beside_any_others(
            steps in proptest::collection::btree_set(1u32..500, 1..4),
            instructions in proptest::collection::btree_set("[ -~é\n]{1,60}", 1..4),
            models in proptest::collection::btree_set("[a-z]{1,4}/[a-zA-Z0-9._:/-]{1,70}", 1..3),
        ) {
            let set = |key: &str, value: String| (key.to_owned(), Value::from(value));
            let mut settings: Vec<_> = steps.iter().map(|n| set("max_steps", n.to_string())).collect();
            let instructions: Vec<_> = instructions.iter().filter(|text| !text.trim().is_empty()).collect();
            settings.extend(instructions.iter().map(|text| set("instructions", (*text).clone())));
            let models: Vec<String> = models.into_iter().collect();
            let all = suites::experiment::flags(vec![("core".to_owned(), settings)], &models);
            let all = cells(&all, &Defaults::new()).unwrap();
            prop_assert_eq!(all.len(), steps.len() * instructions.len().max(1) * models.len());
            let names: BTreeSet<_> = all.iter().map(|cell| cell.variant.name.clone()).collect();
            prop_assert_eq!(names.len(), all.len());
            for cell in &all {
                let variant = &cell.variant;
                prop_assert!(variant.name.as_str().len() <= 128);
                let alone = super::cell(&variant.agent, variant.model.as_deref(), variant.settings.clone()).unwrap();
                prop_assert_eq!(&alone.variant, variant);
            }
        }
    }
}
