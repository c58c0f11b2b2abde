//! Dockerfiles as people write them, and as nobody should.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::context::{Context, matches_name};
use super::expand::Expand;
use super::parse::{Kind, parse};
use super::steps::{Action, Settings, Steps, absolute, base, steps};

fn work_out(text: &str) -> Steps {
    let file = parse(text.as_bytes()).unwrap();
    let settings = Settings { env: [("PATH".to_owned(), "/bin".to_owned())].into(), ..Settings::default() };
    steps(&file, settings, &BTreeMap::from([("GIVEN".to_owned(), "given".to_owned())])).unwrap()
}

fn error(text: &str) -> String {
    match parse(text.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(file) => steps(&file, Settings::default(), &BTreeMap::new()).unwrap_err().to_string(),
    }
}

fn scripts(steps: &Steps) -> Vec<&str> {
    steps
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Run(argv) => argv.last().map(String::as_str),
            _ => None,
        })
        .collect()
}

#[test]
fn dockerfile_of_an_ordinary_task() {
    let steps = work_out(
        "# syntax=docker/dockerfile:1\n\
         ARG TAG=3.12\n\
         FROM python:${TAG}-slim AS base\n\
         LABEL a=b\nMAINTAINER me\nEXPOSE 80\nSTOPSIGNAL 9\n\
         ARG TAG\nARG GIVEN=default OTHER=\"a b\"\n\
         ENV HOME=/root PATH=/opt/bin:$PATH NOTE=\"${GIVEN} ${OTHER}\"\n\
         ENV OLD some value\n\
         WORKDIR /app\nWORKDIR src/../lib\n\
         RUN apt-get update && \\\n    # a comment between\n\n    apt-get install x\n\
         USER app:staff\n\
         SHELL [\"/bin/bash\", \"-ec\"]\n\
         run echo $HOME\n\
         RUN [\"/bin/echo\", \"$HOME\"]\n\
         COPY --chown=app:app --chmod=755 a.py b*.py ./\n\
         COPY [\"with space.txt\", \"/data/\"]\n\
         VOLUME /data\nHEALTHCHECK CMD true\n\
         ENTRYPOINT [\"/run\"]\nCMD serve\n",
    );
    assert_eq!(scripts(&steps), ["apt-get update &&     apt-get install x", "echo $HOME", "$HOME"]);
    let last = steps.steps.last().unwrap();
    assert_eq!((last.workdir.as_str(), last.user.as_deref()), ("/app/lib", Some("app:staff")));
    assert_eq!(last.env["TAG"], "3.12");
    assert_eq!(steps.settings.env["PATH"], "/opt/bin:/bin");
    assert_eq!(steps.settings.env["NOTE"], "given a b");
    assert_eq!(steps.settings.env["OLD"], "some value");
    assert!(!steps.settings.env.contains_key("GIVEN"), "arguments are not part of the image");
    assert_eq!(steps.settings.cmd.as_deref().unwrap(), ["/bin/bash", "-ec", "serve"]);
    let Action::Copy(copy) = &steps.steps[5].action else { panic!("{:?}", steps.steps[5]) };
    assert_eq!(
        (copy.to.as_str(), copy.owner.as_deref(), copy.mode.as_deref()),
        ("/app/lib/", Some("app:app"), Some("755"))
    );
    let Action::Copy(copy) = &steps.steps[6].action else { panic!("{:?}", steps.steps[6]) };
    assert_eq!((copy.sources[0].as_str(), copy.to.as_str()), ("with space.txt", "/data/"));
}

#[test]
fn dockerfile_base_is_worked_out() {
    let file = parse(b"ARG REG=docker.io\nARG NAME=$REG/x\nFROM ${NAME}:${TAG:-latest}\n").unwrap();
    assert_eq!(base(&file, &BTreeMap::new()).unwrap(), "docker.io/x:latest");
    let given = BTreeMap::from([("REG".to_owned(), "r".to_owned())]);
    assert_eq!(base(&file, &given).unwrap(), "r/x:latest");
}

#[test]
fn dockerfile_here_documents() {
    let steps = work_out(
        "FROM x\nENV A=1\n\
         RUN <<EOF\necho one\n# not a comment\necho two \\\n  three\nEOF\n\
         RUN cat <<-'END' > /x && true\n\t$A stays\n\tEND\n\
         COPY <<f1 <<\"f2\" /to/\nvalue $A\nf1\nvalue $A\nf2\n\
         RUN [\"<<EOF\"]\n",
    );
    assert_eq!(scripts(&steps)[0], "echo one\n# not a comment\necho two \\\n  three\n");
    assert_eq!(scripts(&steps)[1], "cat <<-'END' > /x && true\n$A stays\nEND\n");
    assert_eq!(scripts(&steps)[2], "<<EOF");
    let Action::Copy(copy) = &steps.steps[2].action else { panic!() };
    let contents: Vec<&str> = copy.documents.iter().map(|document| document.content.as_str()).collect();
    assert_eq!(contents, ["value 1\n", "value $A\n"]);
    assert_eq!(copy.sources, Vec::<String>::new());
}

#[test]
fn dockerfile_refuses_by_name_and_line() {
    for (text, expected) in [
        ("", "line 1: there is no FROM"),
        ("RUN x", "line 1: RUN comes before FROM"),
        (
            "FROM a\n\nFROM b",
            "line 3: a second FROM (the first is in line 1): several stages are not supported",
        ),
        ("FROM a\nRUN --mount=type=cache,target=/x y", "line 2: RUN --mount is not supported"),
        ("FROM a\nCOPY --from=b /x /y", "line 2: COPY --from is not supported: there is one stage only"),
        (
            "FROM a\nADD https://x/y /z",
            "line 2: ADD of https://x/y is not supported: only files of the context are",
        ),
        ("FROM a\nONBUILD RUN x", "line 2: ONBUILD is not supported"),
        ("FROM a\nRNU x", "line 2: \"RNU\" is not an instruction that is understood"),
        ("FROM a\nRUN", "line 2: RUN has no argument"),
        ("FROM a\n# c\nSHELL bash", "line 3: SHELL takes a JSON list of strings"),
        ("FROM a\nRUN <<EOF\nx", "line 2: the here-document EOF has no end"),
        ("FROM a\nENV =x", "line 2: \"\" is not a variable's name"),
        ("FROM a\nENV A=\"x", "line 2: a \" is not closed"),
        ("FROM a\nENV A=${B#x}", "line 2: ${B#x} is not understood; only :- :+ :? - + ? are"),
        ("FROM a\nENV A=\"${B:?must be set}\"", "line 2: B: must be set"),
        ("FROM a\nCOPY x", "line 2: COPY takes at least one source and a destination"),
        ("FROM a\nCOPY x y z", "line 2: several sources need a folder: end the destination z with /"),
        ("FROM a\nUSER a b", "line 2: \"a b\" is not a user"),
        ("FROM --platform=windows/amd64 a", "line 1: FROM --platform=windows/amd64: this machine is linux/"),
        ("FROM a\nRUN \0", "line 2: there is a NUL character"),
    ] {
        assert!(error(text).starts_with(expected), "{text:?}: {}", error(text));
    }
    assert_eq!(parse(b"FROM a\nRUN \xff").unwrap_err().to_string(), "line 2: this is not UTF-8 text");
    assert!(parse(&vec![b'\n'; 2 << 20]).is_err());
    assert!(parse("FROM a\n".repeat(2000).as_bytes()).is_err());
}

#[test]
fn dockerfile_escape_directive() {
    let file = parse(b"# escape=`\nFROM a\nRUN echo `\n  C:\\x\nENV A=`$B\n").unwrap();
    let Kind::Run(super::parse::Command::Shell(script)) = &file.instructions[1].kind else { panic!() };
    assert_eq!(script, "echo   C:\\x");
    let steps = steps(&file, Settings::default(), &BTreeMap::new()).unwrap();
    assert_eq!(steps.settings.env["A"], "$B");
    assert!(parse(b"# escape=x\nFROM a").is_err());
}

#[test]
fn dockerfile_variables() {
    let lookup = |name: &str| match name {
        "A" => Some("1".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let expand = Expand { lookup: &lookup, escape: '\\', quotes: true };
    for (word, expected) in [
        ("$A${A}b$", "11b$"),
        ("'$A'\"$A\"", "$A1"),
        ("\\$A\\\\", "$A\\"),
        ("\"a\\b\\$A\"", "a\\b$A"),
        ("${X:-${A:+y}}", "y"),
        ("${EMPTY:-x}${EMPTY-x}${EMPTY+y}${EMPTY:+z}", "xy"),
        ("${X:-a b}", "a b"),
        ("$X.$_", "."),
    ] {
        assert_eq!(expand.word(word).unwrap(), expected, "{word}");
    }
    assert!(expand.word(&"${A:+".repeat(100)).is_err());
    let deep = format!("{}x{}", "${B:-".repeat(100), "}".repeat(100));
    assert_eq!(expand.word(&deep).unwrap_err(), "variables are nested too deeply");
    let long = |_: &str| Some("x".repeat(100_000));
    let expand = Expand { lookup: &long, escape: '\\', quotes: true };
    assert!(expand.word(&"$A".repeat(1000)).is_err());
}

fn context(files: &[&str], ignore: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for file in files {
        let path = place.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, *file).unwrap();
    }
    fs::write(place.path().join(".dockerignore"), ignore).unwrap();
    place
}

fn copied(place: &Path, line: &str) -> Result<Vec<String>, String> {
    let steps = work_out(&format!("FROM x\n{line}\n"));
    let Action::Copy(copy) = &steps.steps[0].action else { panic!() };
    let selection = Context::open(place, "Dockerfile").unwrap().select(copy)?;
    let into = tempfile::tempdir().unwrap();
    selection.stage(into.path(), None).unwrap();
    for item in &selection.items {
        assert!(fs::symlink_metadata(into.path().join(&item.to)).is_ok(), "{item:?} was not staged");
    }
    Ok(selection.items.iter().map(|item| item.to.to_string_lossy().into_owned()).collect())
}

#[test]
fn dockerfile_context_selects_and_ignores() {
    let place = context(
        &[
            "a.py",
            "b.py",
            "src/x.c",
            "src/deep/y.c",
            "src/deep/keep.o",
            "src/z.o",
            "secret/key",
            "docs/readme",
        ],
        "# comment\n**/*.o\n!src/deep/keep.o\n/secret\ndocs/\n",
    );
    assert_eq!(copied(place.path(), "COPY *.py /to/").unwrap(), ["a.py", "b.py"]);
    assert_eq!(copied(place.path(), "COPY src /to").unwrap(), ["deep", "deep/keep.o", "deep/y.c", "x.c"]);
    assert_eq!(copied(place.path(), "COPY s*c/x.c /to/").unwrap(), ["x.c"]);
    let all = copied(place.path(), "COPY . /to").unwrap();
    assert!(
        !all.iter().any(|name| name.contains("secret") || name.contains("docs") || name.ends_with("z.o")),
        "{all:?}"
    );
    for (line, expected) in [
        ("COPY secret/key /to", "secret/key is not in"),
        ("COPY nothing /to", "nothing is not in"),
        ("COPY ../x /to", "../x leads out of the context"),
        ("COPY src/../../x /to", "src/../../x leads out of the context"),
    ] {
        assert!(copied(place.path(), line).unwrap_err().starts_with(expected), "{line}");
    }
}

#[test]
fn dockerfile_context_does_not_leak_through_links() {
    let place = context(&["a"], "");
    let outside = context(&["precious"], "");
    std::os::unix::fs::symlink(outside.path(), place.path().join("out")).unwrap();
    std::os::unix::fs::symlink("a", place.path().join("inside")).unwrap();
    assert!(copied(place.path(), "COPY out /to").unwrap_err().ends_with("leads out of the context"));
    assert!(copied(place.path(), "COPY out/precious /to").unwrap_err().ends_with("leads out of the context"));
    assert_eq!(copied(place.path(), "COPY inside /to").unwrap(), ["inside"]);
    // Below a folder links stay links.
    assert_eq!(copied(place.path(), "COPY . /to").unwrap(), [".dockerignore", "a", "inside", "out"]);
    fs::write(place.path().join("x.bin"), b"\x1f\x8b...").unwrap();
    assert!(copied(place.path(), "ADD x.bin /to").unwrap_err().contains("COPY it, then RUN tar"));
    assert!(copied(place.path(), "COPY x.bin /to").is_ok());
}

#[test]
fn dockerfile_context_digest_follows_names_modes_and_bytes() {
    use std::os::unix::fs::PermissionsExt;
    let place = context(&["d/a", "d/b"], "");
    let digest = || {
        let steps = work_out("FROM x\nCOPY d /to\n");
        let Action::Copy(copy) = &steps.steps[0].action else { panic!() };
        Context::open(place.path(), "Dockerfile").unwrap().select(copy).unwrap().digest().unwrap()
    };
    let mut seen = vec![digest()];
    fs::File::open(place.path().join("d/a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(digest(), seen[0], "times must not count");
    fs::write(place.path().join("d/a"), "other").unwrap();
    seen.push(digest());
    fs::set_permissions(place.path().join("d/a"), fs::Permissions::from_mode(0o755)).unwrap();
    seen.push(digest());
    fs::rename(place.path().join("d/a"), place.path().join("d/c")).unwrap();
    seen.push(digest());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

proptest! {
    #[test]
    fn dockerfile_parsing_never_panics(text in "(FROM|RUN|COPY|ENV|ARG|#|\\$\\{|\\}|<<E|E|\"|'|\\\\|\n|\\[|\\]|--x=|[a-z /=:*-]){0,60}") {
        if let Ok(file) = parse(text.as_bytes()) {
            let _ = base(&file, &BTreeMap::new());
            let _ = steps(&file, Settings::default(), &BTreeMap::new());
        }
        let with_from = format!("FROM x\n{text}");
        if let Ok(file) = parse(with_from.as_bytes()) {
            let _ = steps(&file, Settings::default(), &BTreeMap::new());
        }
    }

    #[test]
    fn dockerfile_reads_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn dockerfile_paths_stay_below_the_root(from in "(/|\\.\\.|[a-c]){0,9}", path in "(/|\\.\\.|[a-c]|\\.){0,9}") {
        let path = absolute(&from, &path);
        prop_assert!(path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == "."));
    }

    #[test]
    fn dockerfile_plain_words_survive_expansion(word in "[a-zA-Z0-9/._:-]{0,40}") {
        let expand = Expand { lookup: &|_| None, escape: '\\', quotes: true };
        prop_assert_eq!(expand.word(&word).unwrap(), word);
    }

    #[test]
    fn dockerfile_glob_matches_itself_and_stars(name in "[a-z.]{1,12}", cut in 0usize..12) {
        let cut = cut.min(name.len());
        prop_assert!(matches_name(&name, &name));
        let pattern = format!("{}*", &name[..cut]);
        prop_assert!(matches_name(&pattern, &name));
        let sharp = format!("{}!", name);
        prop_assert!(!matches_name(&sharp, &name));
    }

    #[test]
    fn dockerfile_glob_takes_any_pattern(pattern in "[*?\\[\\]^a-c\\\\-]{0,30}", name in "[a-c]{0,60}") {
        let _ = matches_name(&pattern, &name);
    }
}
