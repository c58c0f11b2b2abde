//! What a task's description asks of an engine: an image to use as it is, or a Dockerfile to build; and the digests by which
//! what was made is found again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use harness_core::{Digest, EnvironmentSource, digest::DigestBuilder};

use super::context::{Context, Wanted};
use crate::native::dockerfile::expand::{Expand, words};
use crate::native::dockerfile::lines::{Line, Lines, cut};
use crate::native::dockerfile::steps::platform;
use crate::{EnvironmentRequest, SandboxError};

/// Largest Dockerfile.
const DOCKERFILE_BYTES: u64 = 1 << 20;
/// Longest name of an image.
const NAME_BYTES: usize = 512;
/// Raised when the same description comes to be built differently, so that no image made before is taken for it.
const VERSION: &[u8] = b"1";

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Recipe {
    /// Use this image, pulled where it is missing.
    Pull(String),
    /// Build.
    Build(Box<BuildRecipe>),
}

/// A Dockerfile with all that it sees.
#[derive(Debug, Clone)]
pub(crate) struct BuildRecipe {
    /// For messages: the Dockerfile's path, or the image's name.
    pub(crate) about: String,
    /// The Dockerfile.
    pub(crate) dockerfile: Vec<u8>,
    /// Where it lies below the context, if it does.
    pub(crate) place: Option<PathBuf>,
    /// What COPY reads from.
    pub(crate) context: Context,
    /// Build arguments.
    pub(crate) args: BTreeMap<String, String>,
    /// The stage to stop at; `None` means the last.
    pub(crate) target: Option<String>,
    /// Images of other people that it starts from or copies from, sorted.
    pub(crate) bases: Vec<String>,
    /// Digest of all of the above but the bases' content.
    pub(crate) description: Digest,
}

/// What is built beside what the task's description says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The stage to stop at; `None` means the last.
    pub target: Option<String>,
}

impl Recipe {
    /// Works it out; reads the whole context, so it is nothing for an asynchronous thread.
    ///
    /// # Errors
    /// [`SandboxError::Environment`]: the description is wrong.
    pub(crate) fn read(request: &EnvironmentRequest, options: &BuildOptions) -> Result<Recipe, SandboxError> {
        match &request.spec.source {
            EnvironmentSource::Dockerfile { file, context } => {
                let about = file.display().to_string();
                let wrong = |why: String| wrong(&about, &why);
                let dockerfile = read_dockerfile(file).map_err(|error| wrong(error.to_string()))?;
                let within = Context::read(context, Some(file)).map_err(wrong)?;
                let place = below(file, context);
                BuildRecipe::work_out(about, dockerfile, place, within, options)
            }
            EnvironmentSource::Image { reference, files } => {
                check_name(reference)?;
                let within = match files {
                    Some(files) => Context::read(files, None).map_err(|why| wrong(reference, &why))?,
                    None => Context::empty(),
                };
                if within.is_empty() {
                    return Ok(Recipe::Pull(reference.clone()));
                }
                // The words of a Dockerfile that says the same.
                let mut text = format!("FROM {reference}\n");
                if let Some(workdir) = &request.spec.workdir {
                    let json = serde_json::Value::from(workdir.as_str()).to_string();
                    if workdir.contains(['\n', '\r', '\0']) {
                        return Err(wrong(reference, &format!("{json} is no working folder")));
                    }
                    text += &format!("WORKDIR {}\n", workdir.replace('$', "\\$"));
                }
                text += "COPY . ./\n";
                BuildRecipe::work_out(reference.clone(), text.into_bytes(), None, within, options)
            }
        }
    }
}

impl BuildRecipe {
    fn work_out(
        about: String,
        dockerfile: Vec<u8>,
        place: Option<PathBuf>,
        context: Context,
        options: &BuildOptions,
    ) -> Result<Recipe, SandboxError> {
        let bases = bases(&dockerfile, options).map_err(|why| wrong(&about, &why))?;
        for base in &bases {
            check_name(base)?;
        }
        let content = context
            .digest()
            .map_err(|error| SandboxError::host(format!("read the files of {about}"), error))?;
        let mut digest = DigestBuilder::new();
        digest.part("version", VERSION).part("dockerfile", &dockerfile);
        digest.part("context", content.as_str().as_bytes());
        digest.part("target", options.target.as_deref().unwrap_or_default().as_bytes());
        for (name, value) in &options.args {
            digest.part("name", name.as_bytes()).part("value", value.as_bytes());
        }
        let BuildOptions { args, target } = options.clone();
        let description = digest.finish();
        Ok(Recipe::Build(Box::new(BuildRecipe {
            about,
            dockerfile,
            place,
            context,
            args,
            target,
            bases,
            description,
        })))
    }

    /// The digest that names what comes out: the description, what its bases are on this engine, and what builds it.
    pub(crate) fn tag(&self, base_ids: &[String], builder: &str) -> Digest {
        let mut digest = DigestBuilder::new();
        digest.part("description", self.description.as_str().as_bytes());
        digest.part("builder", builder.as_bytes());
        for (name, id) in self.bases.iter().zip(base_ids) {
            digest.part("base", name.as_bytes()).part("id", id.as_bytes());
        }
        digest.finish()
    }

    /// Whether arguments, given or not, may decide the result.
    pub(crate) fn has_arguments(&self) -> bool {
        cut(&self.dockerfile).is_ok_and(|lines| lines.instructions.iter().any(|line| line.name == "ARG"))
    }

    /// Whether only BuildKit understands the Dockerfile.
    pub(crate) fn needs_buildkit(&self) -> bool {
        let Ok(lines) = cut(&self.dockerfile) else { return true };
        let first = String::from_utf8_lossy(&self.dockerfile[..self.dockerfile.len().min(200)]).into_owned();
        let directive =
            first.lines().next().and_then(|line| line.trim().strip_prefix('#').map(str::trim_start));
        let modern = |line: &Line| {
            let mut flags = line.rest.split_whitespace().take_while(|word| word.starts_with("--"));
            let known = |flag: &str| {
                [
                    "--from=",
                    "--chown=",
                    "--platform=",
                    "--interval=",
                    "--timeout=",
                    "--start-period=",
                    "--retries=",
                ]
                .iter()
                .any(|old| flag.starts_with(old))
            };
            !line.documents.is_empty() || flags.any(|flag| !known(flag))
        };
        directive.is_some_and(|text| text.starts_with("syntax")) || lines.instructions.iter().any(modern)
    }

    /// The Dockerfile for the archive.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted { bytes: &self.dockerfile, path: self.place.as_deref() }
    }
}

fn wrong(about: &str, why: &str) -> SandboxError {
    // A path may be in the reason already.
    let message = if why.starts_with(about) { why.to_owned() } else { format!("{about}: {why}") };
    SandboxError::Environment { message, log: String::new() }
}

/// Names go into paths of the engine's API: only what the grammar of references has may be in them.
fn check_name(name: &str) -> Result<(), SandboxError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter);
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    let plain = !name.contains("//") && !name.split('/').any(|part| part == "." || part == "..");
    if name.len() <= NAME_BYTES && starts && plain && name.chars().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(100).collect();
    Err(SandboxError::Environment { message: format!("{shown:?} is no image's name"), log: String::new() })
}

fn read_dockerfile(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(std::io::Error::other("this is no file"));
    }
    opened.take(DOCKERFILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCKERFILE_BYTES {
        return Err(std::io::Error::other(format!("larger than {DOCKERFILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn below(file: &Path, context: &Path) -> Option<PathBuf> {
    let folder = std::fs::canonicalize(file.parent()?).ok()?;
    let root = std::fs::canonicalize(context).ok()?;
    Some(folder.join(file.file_name()?).strip_prefix(root).ok()?.to_owned())
}

/// One stage: what it is called and what it needs.
#[derive(Default)]
struct Stage {
    name: Option<String>,
    needs: Vec<String>,
}

/// The images that the wanted stage needs, directly and through other stages. What the Dockerfile says beside that is for the
/// engine to understand.
fn bases(dockerfile: &[u8], options: &BuildOptions) -> Result<Vec<String>, String> {
    let lines = cut(dockerfile).map_err(|error| error.to_string())?;
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: Vec<Stage> = Vec::new();
    for line in &lines.instructions {
        match (line.name.as_str(), stages.last_mut()) {
            ("ARG", None) => arguments(&lines, line, options, &mut known)?,
            ("FROM", _) => stages.push(from(&lines, line, &known)?),
            ("COPY" | "ADD", Some(stage)) => stage.needs.extend(flag(line, "--from=")),
            ("RUN", Some(stage)) => {
                let mounts = line.rest.split_whitespace().take_while(|word| word.starts_with("--"));
                let options = mounts.filter_map(|word| word.strip_prefix("--mount="));
                stage.needs.extend(
                    options
                        .flat_map(|mount| mount.split(','))
                        .filter_map(|part| part.strip_prefix("from="))
                        .map(str::to_owned),
                );
            }
            _ => {}
        }
    }
    let last = stages.len().checked_sub(1).ok_or("line 1: there is no FROM")?;
    let find = |name: &str, before: usize| {
        let named = |stage: &Stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        let by_name = stages[..before].iter().rposition(named);
        by_name.or_else(|| name.parse().ok().filter(|index: &usize| *index < before))
    };
    let wanted = match &options.target {
        Some(target) => find(target, stages.len()).ok_or_else(|| format!("there is no stage {target}"))?,
        None => last,
    };
    let mut images = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![wanted];
    while let Some(at) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        for need in &stages[at].needs {
            match find(need, at) {
                Some(stage) => open.push(stage),
                None if need.eq_ignore_ascii_case("scratch") || need.contains('$') => {}
                None => drop(images.insert(need.clone())),
            }
        }
    }
    Ok(images.into_iter().collect())
}

fn flag(line: &Line, name: &str) -> Option<String> {
    let mut flags = line.rest.split_whitespace().take_while(|word| word.starts_with("--"));
    flags.find_map(|word| word.strip_prefix(name).map(str::to_owned))
}

fn expand(
    lines: &Lines,
    line: &Line,
    known: &BTreeMap<String, String>,
    word: &str,
) -> Result<String, String> {
    let lookup = |name: &str| known.get(name).cloned().or_else(|| platform(name));
    let expand = Expand { lookup: &lookup, escape: lines.escape, quotes: true };
    expand.word(word).map_err(|why| format!("line {}: {why}", line.number))
}

fn arguments(
    lines: &Lines,
    line: &Line,
    options: &BuildOptions,
    known: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for word in words(&line.rest) {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
            None => (word, None),
        };
        let value = match (options.args.get(&name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(expand(lines, line, known, &default)?),
            (None, None) => None,
        };
        known.extend(value.map(|value| (name, value)));
    }
    Ok(())
}

fn from(lines: &Lines, line: &Line, known: &BTreeMap<String, String>) -> Result<Stage, String> {
    let words = words(&line.rest);
    let mut words = words.iter().skip_while(|word| word.starts_with("--"));
    let image = words.next().ok_or_else(|| format!("line {}: FROM has no argument", line.number))?;
    let image = expand(lines, line, known, image)?;
    if image.is_empty() {
        return Err(format!("line {}: FROM names no image", line.number));
    }
    let rest: Vec<&String> = words.collect();
    let name = match rest.as_slice() {
        [] => None,
        [middle, name] if middle.eq_ignore_ascii_case("as") => Some((*name).clone()),
        _ => return Err(format!("line {}: FROM takes an image, and perhaps AS and a name", line.number)),
    };
    Ok(Stage { name, needs: vec![image] })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn of(text: &str) -> Vec<String> {
        bases(text.as_bytes(), &BuildOptions::default()).unwrap()
    }

    #[test]
    fn recipe_finds_the_images_that_the_last_stage_needs() {
        assert_eq!(of("FROM debian:12\nRUN true\n"), ["debian:12"]);
        assert_eq!(
            of("ARG V=3.12\nFROM --platform=$BUILDPLATFORM python:${V}-slim AS x\n"),
            ["python:3.12-slim"]
        );
        let several = "FROM golang AS build\nRUN x\nFROM unused AS other\nFROM scratch\n\
                       COPY --from=build /a /a\nCOPY --from=busybox:1 /b /b\n\
                       RUN --mount=type=bind,from=alpine,target=/m x\n";
        assert_eq!(of(several), ["alpine", "busybox:1", "golang"]);
        assert_eq!(of("FROM a\nFROM 0\n"), ["a"], "a stage by its number");
        let options = BuildOptions { target: Some("BUILD".to_owned()), ..BuildOptions::default() };
        assert_eq!(bases(several.as_bytes(), &options).unwrap(), ["golang"]);
        let given = BuildOptions { args: [("V".to_owned(), "9".to_owned())].into(), target: None };
        assert_eq!(bases(b"ARG V=1\nFROM x:$V", &given).unwrap(), ["x:9"]);
        assert_eq!(of("FROM a\nRUN <<E\nFROM b\nE\n"), ["a"], "a here-document is no instruction");
    }

    #[test]
    fn recipe_says_what_is_wrong() {
        for (text, expected) in [
            ("", "line 1: there is no FROM"),
            ("RUN x", "line 1: there is no FROM"),
            ("FROM", "line 1: FROM has no argument"),
            ("FROM a b c", "line 1: FROM takes an image"),
            ("ARG A\nFROM $A", "line 2: FROM names no image"),
            ("FROM ${A#x}", "line 1: ${A#x} is not understood"),
        ] {
            let why = bases(text.as_bytes(), &BuildOptions::default()).unwrap_err();
            assert!(why.starts_with(expected), "{text:?}: {why}");
        }
        let options = BuildOptions { target: Some("x".to_owned()), ..BuildOptions::default() };
        assert_eq!(bases(b"FROM a", &options).unwrap_err(), "there is no stage x");
    }

    #[test]
    fn recipe_names_cannot_lead_elsewhere() {
        for good in ["debian:12", "ghcr.io/a/b:c", "localhost:5000/x@sha256:00", "a_b.c-d"] {
            check_name(good).unwrap();
        }
        for bad in
            ["", "../x", "a/../b", "a b", "a\nb", "a?x=y", "a#b", "-x", "a//b", "\u{e9}", &"a".repeat(600)]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn recipe_tag_follows_everything_that_decides_the_result() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("Dockerfile"), "FROM a\nCOPY x /x\n").unwrap();
        std::fs::write(place.path().join("x"), "1").unwrap();
        let context = || Context::read(place.path(), None).unwrap();
        let recipe = |text: &str, options: &BuildOptions| {
            let made = BuildRecipe::work_out("x".into(), text.into(), None, context(), options).unwrap();
            let Recipe::Build(recipe) = made else { panic!() };
            recipe
        };
        let plain = BuildOptions::default();
        let id = |id: &str| vec![id.to_owned()];
        let mut tags = vec![recipe("FROM a", &plain).tag(&id("1"), "k")];
        assert_eq!(recipe("FROM a", &plain).tag(&id("1"), "k"), tags[0]);
        tags.push(recipe("FROM a", &plain).tag(&id("2"), "k"));
        tags.push(recipe("FROM a", &plain).tag(&id("1"), "other"));
        tags.push(recipe("FROM a\n", &plain).tag(&id("1"), "k"));
        let given = BuildOptions { args: [("A".to_owned(), "1".to_owned())].into(), target: None };
        tags.push(recipe("FROM a", &given).tag(&id("1"), "k"));
        std::fs::write(place.path().join("x"), "2").unwrap();
        tags.push(recipe("FROM a", &plain).tag(&id("1"), "k"));
        let all = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), all);
    }
}
