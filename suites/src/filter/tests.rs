//! What filters pick, what is wrong with those that are none, and that no text breaks the reader.
#![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

use proptest::prelude::*;

use super::*;

/// name, tags, difficulty, language
const TASKS: &[(&str, &[&str], &str, &str)] = &[
    ("fix-git", &["git", "Slow"], "easy", "shell"),
    ("fix-tree", &["data"], "hard", "rust"),
    ("write-log", &["git", "logs"], "medium", "rust"),
    ("Other", &[], "", ""),
];

fn facts(at: usize) -> (String, Traits) {
    let (name, tags, difficulty, language) = TASKS[at];
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let traits = Traits {
        difficulty: text(difficulty),
        category: None,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        language: text(language),
    };
    (name.to_owned(), traits)
}

fn picked(filter: &str) -> Vec<String> {
    let filter = Filter::parse(filter).unwrap();
    let ask = |at: &usize| {
        let (name, traits) = facts(*at);
        let facts = Facts { name: &name, dataset: "mine", traits: Some(&traits) };
        filter.0.ask(&facts).unwrap()
    };
    (0..TASKS.len()).filter(ask).map(|at| TASKS[at].0.to_owned()).collect()
}

#[test]
fn filter_picks_what_it_says() {
    let table: &[(&str, &[&str])] = &[
        (
            r#"language == "rust" && !(tag == "slow") || name ~ "fix-*""#,
            &["fix-git", "fix-tree", "write-log"],
        ),
        ("tag:git", &["fix-git", "write-log"]),
        ("tag:git lang:rust", &["write-log"]),
        ("tag:git and lang:rust or Other", &["write-log", "Other"]),
        ("tag:git && (lang:rust or Other)", &["write-log"]),
        ("!tag:git", &["fix-tree", "Other"]),
        ("not not tag:git", &["fix-git", "write-log"]),
        ("tag == SLOW", &["fix-git"]),
        ("tag != git", &["fix-tree", "Other"]),
        ("name == other", &[]),
        ("id = Other", &["Other"]),
        ("fix-*", &["fix-git", "fix-tree"]),
        ("'fix-git'", &["fix-git"]),
        ("name !~ *-*", &["Other"]),
        ("difficulty != easy", &["fix-tree", "write-log", "Other"]),
        ("difficulty == ''", &[]),
        ("category ~ *", &[]),
        ("dataset:mine", &["fix-git", "fix-tree", "write-log", "Other"]),
        ("tag:l*", &["write-log"]),
        ("fix-* !fix-git", &["fix-tree"]),
        (r#"name == "a\"b\\""#, &[]),
    ];
    for (filter, names) in table {
        assert_eq!(picked(filter), *names, "{filter}");
    }
}

#[test]
fn filter_errors_point_at_the_place() {
    let table = [
        ("", 1, "a test such as"),
        ("tag == ", 8, "the value is missing"),
        ("tag == &&", 8, "where a value should stand"),
        ("tga:git", 1, "tasks have no field \"tga\" (did you mean \"tag\"?)"),
        ("colour == red", 1, "known: name, tag"),
        ("(tag:git", 1, "never closed"),
        ("tag:git)", 8, "one too many"),
        ("a || || b", 6, "where a test such as"),
        ("ü && \"x", 6, "never closed"),
        ("a & b", 3, "means nothing here"),
        (r#""a\n""#, 3, "a backslash stands only"),
        ("(a == b)", 2, "tasks have no field"),
    ];
    for (filter, column, message) in table {
        let error = Filter::parse(filter).unwrap_err();
        assert_eq!(error.column, column, "{filter}: {error}");
        assert!(error.message.contains(message), "{filter}: {error}");
        let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[2].chars().count(), 2 + column, "the mark stands below the place: {error}");
    }
}

#[test]
fn filter_bounds_depth_and_length() {
    for deep in ["(".repeat(4000), "!".repeat(4000), "not ".repeat(2000)] {
        assert!(Filter::parse(&deep).unwrap_err().message.contains("within each other"));
    }
    assert!(Filter::parse(&"a ".repeat(5000)).unwrap_err().message.contains("at most"));
}

#[test]
fn filter_keeps_a_broken_task_unless_its_name_decides() {
    let broken = InvalidTask {
        id: "fix-git".into(),
        origin: "x".into(),
        dataset: "mine".into(),
        traits: None,
        problems: vec![],
    };
    for (filter, kept) in [
        ("fix-git", true),
        ("name:other", false),
        ("tag:git", true),
        ("!tag:git", true),
        ("tag:git && name:other", false),
        ("tag:git || name:other", true),
        ("dataset:theirs", false),
    ] {
        assert_eq!(Filter::parse(filter).unwrap().may_pick(&broken), kept, "{filter}");
    }
    // So much could be read of it, and something else was wrong.
    let traits = Some(Traits { tags: vec!["git".into()], ..Traits::default() });
    let known = InvalidTask { traits, ..broken };
    for (filter, kept) in [("tag:git", true), ("tag:logs", false), ("!tag:git", false), ("lang:rust", false)]
    {
        assert_eq!(Filter::parse(filter).unwrap().may_pick(&known), kept, "{filter}");
    }
}

fn any_filter() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec!["name", "id", "tag", "difficulty", "category", "lang", "dataset"]);
    let sign = prop::sample::select(vec!["==", "!=", "~", "!~", ":"]);
    let test =
        (field, sign, "[a-z*?-]{1,6}").prop_map(|(field, sign, value)| format!("{field} {sign} \"{value}\""));
    test.prop_recursive(4, 32, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

proptest! {
    #[test]
    fn filter_reader_never_panics(text in "(?s).{0,80}") {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.column <= text.chars().count() + 1);
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn filter_reader_never_panics_on_its_own_signs(text in "[()!&|=~:\"'\\\\ a*üñ]{0,40}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn filter_negated_picks_exactly_the_others(filter in any_filter()) {
        let picked_twice = picked(&format!("!!({filter})"));
        let others = picked(&format!("not ({filter})"));
        let these = picked(&filter);
        prop_assert_eq!(&these, &picked_twice);
        prop_assert_eq!(these.len() + others.len(), TASKS.len());
        prop_assert!(these.iter().all(|name| !others.contains(name)));
    }
}
