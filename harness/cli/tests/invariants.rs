//! The architecture's invariants, each as a test: what ARCHITECTURE.md promises is checked here.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("two folders up is the workspace")
        .to_owned()
}

/// Crate → its ordinary dependencies, as its Cargo.toml names them.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let workspace: toml::Table =
        toml::from_str(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let file = root().join(member.as_str().unwrap()).join("Cargo.toml");
        let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let names = manifest.get("dependencies").and_then(toml::Value::as_table);
        found.insert(name, names.into_iter().flat_map(|table| table.keys().cloned()).collect());
    }
    found
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target" && name != "catalog") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

fn is_test(file: &Path) -> bool {
    let name = file.file_stem().unwrap().to_string_lossy();
    name == "tests" || name.ends_with("_tests") || file.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn core_has_no_async_clock_network_terminal_or_data_frames() {
    let allowed = ["blake3", "serde", "serde_json", "thiserror"];
    for name in &dependencies()["harness-core"] {
        assert!(allowed.contains(&name.as_str()), "harness-core depends on {name}");
    }
    for (file, text) in sources("harness/core/src") {
        for word in
            ["SystemTime", "Instant::now", "std::net", "async fn", "println!", "std::process", "std::thread"]
        {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn crates_import_only_what_the_design_lets_them() {
    let ours = |name: &str| {
        name.starts_with("harness-") || ["datasets", "suites", "reports", "benches"].contains(&name)
    };
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("harness-core", &[][..]),
        ("harness-guest", &[][..]),
        ("harness-sandbox", &["harness-core", "harness-guest"][..]),
        ("harness-grading", &["harness-core"][..]),
        ("harness-prices", &["harness-core"][..]),
        ("harness-gateway", &["harness-core", "harness-prices"][..]),
        ("harness-agent", &["harness-core", "harness-sandbox", "harness-gateway"][..]),
        (
            "harness-engine",
            &[
                "harness-core",
                "harness-sandbox",
                "harness-grading",
                "harness-gateway",
                "harness-prices",
                "harness-agent",
            ][..],
        ),
        ("datasets", &["harness-core"][..]),
        ("suites", &["harness-core", "datasets"][..]),
        ("reports", &["harness-core", "harness-prices"][..]),
    ]);
    for (name, depends) in dependencies() {
        let Some(allowed) = allowed.get(name.as_str()) else { continue };
        for other in depends.iter().filter(|other| ours(other)) {
            assert!(allowed.contains(&other.as_str()), "{name} imports {other}");
        }
    }
}

#[test]
fn tokio_waits_and_rayon_computes_and_no_crate_does_both() {
    for (name, depends) in dependencies() {
        assert!(!(depends.contains("tokio") && depends.contains("rayon")), "{name} has both");
    }
}

#[test]
fn heavy_libraries_are_confined_to_one_module_each() {
    for (library, home) in [
        ("polars", "reports/src/frame"),
        ("indicatif", "harness/cli/src/live/bars.rs"),
        ("bollard", "harness/sandbox/src/docker"),
    ] {
        for folder in ["harness", "datasets", "suites", "reports"] {
            for (file, text) in sources(folder) {
                let inside = file.strip_prefix(root()).unwrap().to_string_lossy().starts_with(home);
                if is_test(&file) {
                    continue;
                }
                let uses = text.contains(&format!("use {library}")) || text.contains(&format!("{library}::"));
                assert!(inside || !uses, "{} uses {library}", file.display());
            }
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for folder in [
        "harness/core/src",
        "harness/sandbox/src",
        "harness/grading/src",
        "harness/prices/src",
        "harness/gateway/src",
        "harness/engine/src",
        "datasets/src",
        "suites/src",
        "reports/src",
    ] {
        for (file, text) in sources(folder).into_iter().filter(|(file, _)| !is_test(file)) {
            for word in ["println!(", "print!(", "eprintln!(", "eprint!("] {
                // A `const` test helper or a doc comment may show one; code lines may not.
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let found =
                    code.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert!(!found, "{} prints", file.display());
            }
        }
    }
}

#[test]
fn prices_have_no_clock_network_or_files() {
    for (file, text) in sources("harness/prices/src") {
        for word in ["SystemTime::now", "Instant::now", "std::net", "std::fs", "async fn"] {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn guest_program_depends_on_libc_alone() {
    let depends = &dependencies()["harness-guest"];
    assert_eq!(depends.iter().map(String::as_str).collect::<Vec<_>>(), ["libc"]);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for folder in ["harness", "datasets", "suites", "reports", "benches"] {
        for (file, text) in sources(folder) {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let says = first.starts_with("//!")
                || first.starts_with("#!")
                || file.to_string_lossy().contains("/tests/fixtures/");
            assert!(says, "{} does not open with what it is for", file.display());
        }
    }
}

#[test]
fn no_machine_path_is_in_the_project() {
    let words =
        ["/wo".to_owned() + "rk/main", "/ro".to_owned() + "ot/.cargo", "/ro".to_owned() + "ot/.rustup"];
    for folder in ["harness", "datasets", "suites", "reports", "benches"] {
        for (file, text) in sources(folder) {
            for word in &words {
                assert!(!text.contains(word.as_str()), "{} holds {word}", file.display());
            }
        }
    }
}
