//! What experiments ask for, and what is said of those that are wrong.

#![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const FULL: &str = r#"
agents = ["core", "noop"]
models = ["openai/gpt-5", "anthropic/claude-sonnet-4-5"]
attempts = 3

[settings]
max_cost = 0.50

[matrix]
effort = ["low", "high"]
plan = [false, true]

[[exclude]]
model = "anthropic/*"
effort = "low"

[[include]]
name = "mine"
agents = ["command"]
settings = { run = "my-agent" }

[names]
"a" = "b"
"#;

fn parse(text: &str) -> Result<Experiment, Vec<String>> {
    Experiment::parse(Path::new("e.toml"), text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn spanned(text: &str) -> Result<Vec<String>, Vec<String>> {
    let asks = |agent: &str| agent != "noop" && agent != "command";
    let wanted = parse(text)?.span(&asks);
    let wanted = wanted.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let show = |wanted: &Wanted| {
        let settings =
            wanted.settings.iter().map(|(key, (_, value))| (key.clone(), value.value.clone())).collect();
        let model = wanted.model.as_ref().map(|model| model.value.as_str());
        names::derived(&wanted.agent.value, model, &settings)
    };
    Ok(wanted.iter().map(show).collect())
}

#[test]
fn experiment_spans_agents_times_models_times_settings_without_what_is_excluded() {
    assert_eq!(
        spanned(FULL).unwrap(),
        [
            "core@openai.gpt-5+effort=low+max_cost=0.5+plan=false",
            "core@openai.gpt-5+effort=low+max_cost=0.5+plan=true",
            "core@openai.gpt-5+effort=high+max_cost=0.5+plan=false",
            "core@openai.gpt-5+effort=high+max_cost=0.5+plan=true",
            "core@anthropic.claude-sonnet-4-5+effort=high+max_cost=0.5+plan=false",
            "core@anthropic.claude-sonnet-4-5+effort=high+max_cost=0.5+plan=true",
            "noop+effort=low+max_cost=0.5+plan=false",
            "noop+effort=low+max_cost=0.5+plan=true",
            "noop+effort=high+max_cost=0.5+plan=false",
            "noop+effort=high+max_cost=0.5+plan=true",
            "command+run=my-agent",
        ]
    );
    let experiment = parse(FULL).unwrap();
    assert_eq!(experiment.attempts.unwrap().source, "e.toml:4:12");
    assert_eq!(experiment.names[0].1.value, "b");
    assert_eq!(experiment.main.axes[1].values[1].place.as_ref().unwrap().place(), "e.toml:10:18");
}

#[test]
fn experiment_of_includes_alone_has_no_matrix_and_an_empty_one_is_core() {
    assert_eq!(spanned("[[include]]\nagents = ['noop']").unwrap(), ["noop"]);
    assert_eq!(spanned("").unwrap(), ["core"]);
    let mut empty = parse("").unwrap();
    empty.set_models(&["a/b".to_owned(), "a/c".to_owned()]).unwrap();
    assert_eq!(empty.span(&|_| true).unwrap().len(), 2);
    let named = parse("models = ['a/b']").unwrap().set_models(&["a/c".to_owned()]).unwrap_err();
    assert_eq!(named.to_string(), "e.toml:1:11: names models itself, beside --model");
}

#[test]
fn experiment_says_what_is_wrong_where() {
    for (text, says) in [
        ("agnets = ['core']", "e.toml:1:1: unknown key \"agnets\" (did you mean \"agents\"?)"),
        ("agents = []", "e.toml:1:10: \"agents\" may not be empty"),
        ("agents = 'core'", "e.toml:1:10: \"agents\" must be a list of strings, not a string"),
        ("[matrix]\neffort = 'low'", "e.toml:2:10: \"effort\" in [matrix] must be a list of values"),
        ("[matrix]\neffort = []", "e.toml:2:10: \"effort\" in [matrix] may not be empty"),
        ("[matrix]\neffort = ['a', 'b', 'a']", "e.toml:2:21: \"effort\" in [matrix] has \"a\" twice"),
        ("[settings]\nplan = true\n[matrix]\nplan = [true]", "e.toml:4:1: \"plan\" is in [settings] already"),
        ("[settings]\nwhen = 1979-05-27", "e.toml:2:8: \"when\" in [settings] must be a text, a number"),
        ("[settings]\nprompt = { fil = 'x' }", "e.toml:2:10: a table can only be { file = \"PATH\" }"),
        ("[settings]\nprompt = { file = 'nowhere' }", "e.toml:2:10: nowhere: cannot be read"),
        ("[[exclude]]", "e.toml:1:1: an exclude without a word would leave out everything"),
        (
            "[[include]]\nsetings = {}",
            "e.toml:2:1: unknown key \"setings\" in [include] (did you mean \"settings\"?)",
        ),
        ("[names]\nx = 1", "e.toml:2:5: a name must be a text in quotes"),
        ("attempts = 0", "e.toml:1:12: \"attempts\" must be between 1 and 10000, not 0"),
        ("agents = [", "e.toml:1:"),
    ] {
        let told = parse(text).unwrap_err();
        assert!(told[0].starts_with(says), "{text}: {told:?}");
    }
    for (text, says) in [
        ("[[exclude]]\nagent = 'nobody'", "e.toml:1:1: this exclude leaves nothing out"),
        (
            "[matrix]\neffort = ['low', 'high']\n[[exclude]]\nefort = 'low'",
            "e.toml:4:1: no combination has a setting \"efort\" (did you mean \"effort\"?)",
        ),
        (
            "[[include]]\nname = 'x'\nagents = ['noop', 'command']",
            "e.toml:2:8: the name \"x\" is for one variant, and this include is 2",
        ),
    ] {
        let told = spanned(text).unwrap_err();
        assert!(told[0].starts_with(says), "{text}: {told:?}");
    }
    let many =
        |key: &str| format!("{key} = [{}]\n", (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let told = spanned(&format!("[matrix]\n{}{}{}", many("a"), many("b"), many("c"))).unwrap_err();
    assert_eq!(told, ["e.toml: spans 1000000 variants; at most 1000 can be compared"]);
}

#[test]
fn names_are_short_readable_and_say_only_what_is_not_default() {
    let name = |model: Option<&str>, settings: &[(&str, Value)]| {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        names::derived("core", model, &settings)
    };
    assert_eq!(name(None, &[]), "core");
    assert_eq!(name(Some("openrouter/anthropic/claude-x"), &[]), "core@openrouter.anthropic.claude-x");
    assert_eq!(name(None, &[("tools", json!(["bash", "edit"]))]), "core+tools=bash,edit");
    let long = name(None, &[("test_command", json!("make test && echo done"))]);
    assert!(long.starts_with("core+test_command=make_test_echo~"), "{long}");
    let many: Vec<(String, Value)> = (0..20).map(|n| (format!("setting_{n:02}"), json!(n))).collect();
    let many: Vec<(&str, Value)> = many.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    assert!(name(Some("a/b"), &many).len() <= names::MAX_NAME, "{}", name(Some("a/b"), &many));
    assert_ne!(name(Some("a/b"), &many), name(Some("a/b"), &many[..19]));
}

#[test]
fn experiment_cut_at_any_byte_does_not_panic() {
    for at in 0..FULL.len() {
        if let Some(text) = FULL.get(..at) {
            let _ = spanned(text);
        }
    }
}

proptest! {
    #[test]
    fn experiment_survives_any_change(at in 0usize..FULL.len(), junk in "(?s).{0,12}") {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes.splice(at..at, junk.into_bytes());
        let _ = spanned(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn variants_that_differ_in_any_setting_have_different_names_fit_for_folders(
        a in proptest::collection::btree_map("[a-z_]{1,12}", "(?s).{0,40}", 0..6),
        b in proptest::collection::btree_map("[a-z_]{1,12}", "(?s).{0,40}", 0..6),
    ) {
        let json = |map: &BTreeMap<String, String>| -> BTreeMap<String, Value> {
            map.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
        };
        let (first, second) = (names::derived("core", Some("p/m"), &json(&a)), names::derived("core", Some("p/m"), &json(&b)));
        prop_assert_eq!(first == second, a == b);
        prop_assert!(harness_core::VariantName::new(first.clone()).is_ok(), "{}", first);
    }
}
