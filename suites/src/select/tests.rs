//! What sources mean, and what filters, limits and seeds leave of them.
#![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

use std::fs;

use tempfile::TempDir;

use super::*;

/// A folder with the least task at each of these paths; the tag of each is the first letter of its name.
pub(crate) fn folder_of_tasks(paths: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in paths {
        let task = dir.path().join(path);
        let tag = &Path::new(path).file_name().unwrap().to_str().unwrap()[..1];
        for (name, text) in [
            ("task.toml", format!("[metadata]\ntags = [\"{tag}\"]\n")),
            ("instruction.md", "Do it.".to_owned()),
            ("environment/Dockerfile", "FROM debian:12\n".to_owned()),
            ("tests/test.sh", "echo 1 > /logs/verifier/reward.txt\n".to_owned()),
        ] {
            let file = task.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }
    dir
}

struct Room {
    dir: TempDir,
    options: SelectOptions,
}

fn room(paths: &[&str]) -> Room {
    let dir = folder_of_tasks(paths);
    let options = SelectOptions { cache: dir.path().join(".cache"), ..SelectOptions::default() };
    Room { dir, options }
}

impl Room {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.dir.path().join(name), text).unwrap();
        self.path(name)
    }

    fn resolve(&self, sources: &[&str]) -> Result<Selection, SelectError> {
        let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
        resolve(&sources, &self.options)
    }
}

fn ids(selection: &Selection) -> Vec<&str> {
    selection.tasks.iter().map(|task| task.id.as_str()).collect()
}

#[test]
fn resolve_takes_folders_formats_suite_files_and_single_tasks() {
    let room = room(&["set/tasks/a1", "set/tasks/b1", "more/b2", "more/c1"]);
    let set = room.path("set/tasks");
    let selection = room.resolve(&[&set]).unwrap();
    assert_eq!((selection.name.as_str(), ids(&selection)), ("tasks", vec!["a1", "b1"]));
    assert_eq!(selection.tasks[0].dataset, "set");
    assert_eq!(ids(&room.resolve(&[&format!("harbor:{set}")]).unwrap()), ["a1", "b1"]);
    let one = room.path("more/c1");
    assert_eq!(ids(&room.resolve(&[&one]).unwrap()), ["c1"]);
    assert_eq!(ids(&room.resolve(&[&room.path("more/c1/task.toml")]).unwrap()), ["c1"]);
    assert_eq!(
        ids(&room.resolve(&[&set, &one, &room.path("set")]).unwrap()),
        ["a1", "b1", "c1"],
        "one task once"
    );

    let file = room.write(
        "mine.toml",
        "name = \"mine\"\nsources = [\"set/tasks\", \"harbor:more\"]\nfilter = \"!c1\"\n[defaults]\nattempts = 3",
    );
    let selection = room.resolve(&[&file]).unwrap();
    assert_eq!((selection.name.as_str(), ids(&selection)), ("mine", vec!["a1", "b1", "b2"]));
    let attempts = selection.defaults.attempts.unwrap();
    assert_eq!((attempts.value, attempts.source), (3, format!("{file}:5:12")));
    let outer = room.write("outer.toml", "sources = [\"mine.toml\", \"more/c1\"]\nlimit = 3");
    assert_eq!(ids(&room.resolve(&[&outer]).unwrap()), ["a1", "b1", "b2"]);
}

#[test]
fn resolve_names_what_it_cannot_find_and_the_nearest() {
    let room = room(&["a"]);
    let error = |source: &str| room.resolve(&[source]).unwrap_err().to_string();
    assert_eq!(error("startr"), "there is no suite, file or folder \"startr\" (did you mean \"starter\"?)");
    assert_eq!(error("zzz"), "there is no suite, file or folder \"zzz\" (bundled suites: starter)");
    assert_eq!(error("harbr:x"), "there is no dataset format \"harbr\" (did you mean \"harbor\"?)");
    assert!(error("harbor:nowhere").starts_with("nowhere: cannot be read: "));
    let file = room.write("s.toml", "sources = [\"a\", \"nowhere\"]");
    assert_eq!(
        error(&file),
        format!("{file}:1:17: there is no suite, file or folder \"nowhere\" (bundled suites: starter)")
    );
    let endless = room.write("endless.toml", "sources = [\"endless.toml\"]");
    assert!(error(&endless).contains("more than 8 deep"), "{}", error(&endless));
    let broken = room.write("broken.toml", "sources = 3\nlimit = -1");
    assert_eq!(error(&broken).lines().count(), 2, "every problem is told: {}", error(&broken));
    fs::create_dir(room.dir.path().join("empty")).unwrap();
    assert!(error(&room.path("empty")).contains("no task was found here"));
}

#[test]
fn resolve_counts_broken_tasks_that_may_be_meant() {
    let room = room(&["set/a1", "set/b1", "set/b2"]);
    fs::write(room.dir.path().join("set/b1/task.toml"), "x =").unwrap();
    let select = |filter: &str| {
        let filter = Some(Filter::parse(filter).unwrap());
        let options = SelectOptions { filter, limit: Some(1), ..room.options.clone() };
        let selection = resolve(&[room.path("set")], &options).unwrap();
        (selection.tasks.len(), selection.invalid.len())
    };
    assert_eq!(select("tag:b"), (1, 1));
    assert_eq!(select("*1"), (1, 1));
    assert_eq!(select("a*"), (1, 0));
    assert_eq!(select("tag:nothing"), (0, 1));
}

#[test]
fn resolve_refuses_two_folders_with_one_id_even_from_two_sources() {
    let room = room(&["x/same", "y/same", "y/other"]);
    let selection = room.resolve(&[&room.path("x"), &room.path("y")]).unwrap();
    assert_eq!((ids(&selection), selection.invalid.len()), (vec!["other"], 2));
    for invalid in &selection.invalid {
        assert!(invalid.note().message.starts_with("two tasks have the id \"same\""));
    }
}

#[test]
fn resolve_samples_by_seed_and_id_alone() {
    let names: Vec<String> = (0..40).map(|n| format!("t{n:02}")).collect();
    let room = room(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let sample = |limit, seed| {
        let options = SelectOptions { limit: Some(limit), seed, ..room.options.clone() };
        let selection = resolve(&[room.path("")], &options).unwrap();
        ids(&selection).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sample(3, None), ["t00", "t01", "t02"]);
    let seven = sample(10, Some(7));
    assert_eq!(seven.len(), 10);
    assert_eq!(seven, sample(10, Some(7)));
    assert_ne!(seven, sample(10, Some(8)));
    assert!(seven.iter().all(|id| sample(11, Some(7)).contains(id)), "a larger sample holds the smaller");
    assert!(seven.is_sorted());
    assert_eq!(sample(99, Some(7)).len(), 40);
}

#[test]
fn resolve_digest_changes_with_any_task() {
    let room = room(&["a", "b"]);
    let first = room.resolve(&[&room.path("")]).unwrap().digest();
    assert_eq!(room.resolve(&[&room.path("")]).unwrap().digest(), first);
    assert_ne!(room.resolve(&[&room.path("a")]).unwrap().digest(), first);
    room.write("b/instruction.md", "Do more.");
    assert_ne!(room.resolve(&[&room.path("")]).unwrap().digest(), first);
}
