//! Names of variants: `AGENT@PROVIDER.MODEL+SETTING=VALUE…`, with those settings alone that are not the agent's own defaults.
//!
//! A name depends on nothing but the variant itself, so that it is the same in every run and beside any others. What is too long
//! or would not read well is shortened, and a digest stands behind it: two variants that differ anywhere differ in name.

use std::collections::BTreeMap;

use harness_core::Digest;
use serde_json::{Value, json};

/// Longest name, in bytes.
pub const MAX_NAME: usize = 96;
/// Longest value that stands in a name as it is.
const MAX_VALUE: usize = 24;
/// Characters of what stands for a longer one.
const SHORT: usize = 14;
/// Longest model.
const MAX_MODEL: usize = 48;

/// The name of a variant. `settings` are those that were given, as the agent has checked them.
pub fn derived(agent: &str, model: Option<&str>, settings: &BTreeMap<String, Value>) -> String {
    let mut name = agent.to_owned();
    if let Some(model) = model {
        name = format!("{name}@{}", self::model(model));
    }
    let parts: Vec<String> =
        settings.iter().map(|(key, value)| format!("+{key}={}", self::value(value))).collect();
    let whole = parts.iter().map(String::len).sum::<usize>() + name.len();
    if whole <= MAX_NAME {
        return name + &parts.concat();
    }
    // As many as there is room for, and a digest of all.
    let rest = format!("+~{}", digest(&json!(settings)));
    for part in parts {
        if name.len() + part.len() + rest.len() > MAX_NAME {
            break;
        }
        name += &part;
    }
    name + &rest
}

/// The same name, told apart from another variant's.
pub fn told_apart(agent: &str, model: Option<&str>, settings: &BTreeMap<String, Value>) -> String {
    format!("{}~{}", derived(agent, model, settings), digest(&json!([agent, model, settings])))
}

fn digest(value: &Value) -> String {
    Digest::of(value.to_string().as_bytes()).as_str()[..6].to_owned()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

fn model(model: &str) -> String {
    let plain = |c: char| if is_plain(c) { c } else { '.' };
    let name: String = model.chars().map(plain).collect();
    // One slash is the provider's; other signs may be those of a sibling.
    let faithful = name.len() <= MAX_MODEL && model.chars().all(|c| is_plain(c) || c == '/');
    if faithful {
        name
    } else {
        format!("{}~{}", &name[..name.len().min(MAX_MODEL - 7)], digest(&json!(model)))
    }
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let plain = |item: &Value| {
                item.as_str().is_some_and(|text| !text.is_empty() && text.chars().all(is_plain))
            };
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            let joined = words.join(",");
            if items.iter().all(plain) && !items.is_empty() && joined.len() <= MAX_VALUE {
                return joined;
            }
            return shortened(&joined, value);
        }
        other => other.to_string(),
    };
    if !text.is_empty() && text.len() <= MAX_VALUE && text.chars().all(is_plain) {
        return text;
    }
    shortened(&text, value)
}

fn shortened(text: &str, value: &Value) -> String {
    let mut short = String::new();
    for c in text.chars().take(200) {
        if short.len() >= SHORT {
            break;
        }
        if is_plain(c) {
            short.push(c);
        } else if !short.is_empty() && !short.ends_with('_') {
            short.push('_');
        }
    }
    format!("{}~{}", short.trim_end_matches('_'), digest(value))
}
