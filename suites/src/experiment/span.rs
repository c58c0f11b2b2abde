//! From an experiment to its variants: every combination, without what is excluded, with what is included.

use std::collections::BTreeMap;

use datasets::Problem;
use datasets::nearest::did_you_mean;
use serde_json::Value;

use super::{Axis, Block, Exclude, Experiment, Placed, Wanted};
use crate::filter::glob;

/// Nobody reads a table of more variants, and a slip in a matrix is quickly made.
const MAX_VARIANTS: usize = 1000;

/// What flags ask for: each agent with its own settings, where a setting that is given more than once is an axis.
pub fn flags(agents: Vec<(String, Vec<(String, Value)>)>, models: &[String]) -> Experiment {
    let block = |(agent, settings): (String, Vec<(String, Value)>)| {
        let mut axes: Vec<Axis> = Vec::new();
        for (key, value) in settings {
            let value = Placed::flag(value);
            match axes.iter_mut().find(|axis| axis.key.value == key) {
                Some(axis) => axis.values.push(value),
                None => axes.push(Axis { key: Placed::flag(key), values: vec![value] }),
            }
        }
        let models = models.iter().cloned().map(Placed::flag).collect();
        Block { agents: vec![Placed::flag(agent)], models, axes, name: None }
    };
    Experiment { include: agents.into_iter().map(block).collect(), ..Experiment::default() }
}

impl Experiment {
    /// Gives the models to every part that names none.
    ///
    /// # Errors
    /// The file names models everywhere itself, so that nobody would know which are meant.
    pub fn set_models(&mut self, models: &[String]) -> Result<(), Problem> {
        let flags: Vec<Placed<String>> = models.iter().cloned().map(Placed::flag).collect();
        let mut blocks = std::iter::once(&mut self.main).chain(&mut self.include);
        if let Some(named) = blocks.find_map(|block| block.models.first()) {
            let place = named.place.clone().unwrap_or_else(|| Problem::new("", ""));
            return Err(Problem { message: "names models itself, beside --model".to_owned(), ..place });
        }
        for block in std::iter::once(&mut self.main).chain(&mut self.include) {
            block.models.clone_from(&flags);
        }
        Ok(())
    }

    /// Every variant, in the order of the file: agents, then models, then settings, the last one changing fastest.
    ///
    /// # Errors
    /// [`Problem`]s with their places: too many variants, an exclude that leaves nothing out, a name for several.
    pub fn span(&self, asks_model: &dyn Fn(&str) -> bool) -> Result<Vec<Wanted>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut main = self.main.variants(asks_model).map_err(|problem| vec![*problem])?;
        for exclude in &self.exclude {
            let before = main.len();
            let unknown = exclude.settings.iter().find(|(key, _)| {
                main.iter().all(|wanted| !wanted.settings.contains_key(&key.value)) && before > 0
            });
            if let Some((key, _)) = unknown {
                let known =
                    self.main.axes.iter().map(|axis| axis.key.value.as_str()).chain(["agent", "model"]);
                let place = key.place.clone().unwrap_or_else(|| exclude.place.clone());
                let problem =
                    Problem { message: format!("no combination has a setting {:?}", key.value), ..place };
                problems.push(match did_you_mean(&key.value, known) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
                continue;
            }
            main.retain(|wanted| !exclude.matches(wanted));
            if main.len() == before {
                let message = "this exclude leaves nothing out".to_owned();
                problems.push(Problem { message, ..exclude.place.clone() });
            }
        }
        for include in &self.include {
            let found = include.variants(asks_model).map_err(|problem| vec![*problem])?;
            if let (Some(name), true) = (&include.name, found.len() != 1) {
                let place = name.place.clone().unwrap_or_else(|| Problem::new("", ""));
                let message = format!(
                    "the name {:?} is for one variant, and this include is {}",
                    name.value,
                    found.len()
                );
                problems.push(Problem { message, ..place });
            }
            main.extend(found);
        }
        if main.len() > MAX_VARIANTS {
            let place = self.main.agents.first().and_then(|agent| agent.place.clone());
            let place = place.unwrap_or_else(|| Problem::new("", ""));
            problems.push(Problem { message: too_many(main.len()), position: None, ..place });
        }
        if problems.is_empty() { Ok(main) } else { Err(problems) }
    }
}

fn too_many(count: usize) -> String {
    format!("spans {count} variants; at most {MAX_VARIANTS} can be compared")
}

impl Block {
    fn variants(&self, asks_model: &dyn Fn(&str) -> bool) -> Result<Vec<Wanted>, Box<Problem>> {
        let each: usize = self.axes.iter().map(|axis| axis.values.len()).fold(1, usize::saturating_mul);
        let all = each.saturating_mul(self.agents.len()).saturating_mul(self.models.len().max(1));
        if all > 100 * MAX_VARIANTS {
            let place = self.axes.iter().find_map(|axis| axis.key.place.clone());
            let place = place.unwrap_or_else(|| Problem::new("--agent-set", ""));
            return Err(Box::new(Problem { message: too_many(all), position: None, ..place }));
        }
        let mut found = Vec::new();
        for agent in &self.agents {
            // An agent that asks no model is one variant, however many models there are.
            let models: Vec<Option<&Placed<String>>> = match self.models.as_slice() {
                models if models.is_empty() || !asks_model(&agent.value) => vec![None],
                models => models.iter().map(Some).collect(),
            };
            for model in models {
                for combination in combinations(&self.axes) {
                    found.push(Wanted {
                        agent: agent.clone(),
                        model: model.cloned(),
                        settings: combination,
                        name: self.name.clone(),
                    });
                }
            }
        }
        Ok(found)
    }
}

type Combination = BTreeMap<String, (Option<Problem>, Placed<Value>)>;

fn combinations(axes: &[Axis]) -> Vec<Combination> {
    let mut all = vec![Combination::new()];
    for axis in axes {
        let with = |before: &Combination, value: &Placed<Value>| {
            let mut combination = before.clone();
            combination.insert(axis.key.value.clone(), (axis.key.place.clone(), value.clone()));
            combination
        };
        all =
            all.iter().flat_map(|before| axis.values.iter().map(move |value| with(before, value))).collect();
    }
    all
}

impl Exclude {
    fn matches(&self, wanted: &Wanted) -> bool {
        let fits = |pattern: &Option<String>, text: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| text.is_some_and(|text| glob::matches(pattern, text)))
        };
        fits(&self.agent, Some(&wanted.agent.value))
            && fits(&self.model, wanted.model.as_ref().map(|model| model.value.as_str()))
            && self.settings.iter().all(|(key, value)| {
                wanted.settings.get(&key.value).is_some_and(|(_, set)| same(&set.value, value))
            })
    }
}

/// Whether two values mean the same: `1` and `"1"` do, because on a command line everything is text.
fn same(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    a == b || text(a) == text(b)
}
