//! Which instructions a Dockerfile has. What is not understood is refused by name, with its line; what only describes an image
//! and changes no file is kept as a note.

use super::DockerfileError;
use super::expand::words;
use super::lines::{Document, cut};

/// A Dockerfile that is understood, variables still in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// The file's escape character.
    pub(crate) escape: char,
    /// Instructions in order; exactly one is [`Kind::From`], and only [`Kind::Arg`] comes before it.
    pub(crate) instructions: Vec<Instruction>,
    /// What is not acted on, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Where it begins, from one.
    pub(crate) line: usize,
    /// As written, in one line: for logs.
    pub(crate) text: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What an instruction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `FROM image`.
    From(String),
    /// `RUN`.
    Run(Command),
    /// `COPY`, and `ADD` of local files.
    Copy(Copy),
    /// `ENV`: names and words.
    Env(Vec<(String, String)>),
    /// `ARG`: names and default words.
    Arg(Vec<(String, Option<String>)>),
    /// `WORKDIR`.
    Workdir(String),
    /// `USER`.
    User(String),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
}

/// The two forms of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// For the shell of that moment.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Paths in the context, perhaps with wildcards.
    pub(crate) sources: Vec<String>,
    /// Files written in the Dockerfile itself.
    pub(crate) documents: Vec<Document>,
    /// Where to.
    pub(crate) to: String,
    /// `--chown`.
    pub(crate) owner: Option<String>,
    /// `--chmod`.
    pub(crate) mode: Option<String>,
    /// Whether it was `ADD`, which would unpack archives.
    pub(crate) add: bool,
}

/// Most words in one instruction.
const MOST_WORDS: usize = 4096;

/// Reads a Dockerfile.
///
/// # Errors
/// The first thing that is wrong or not understood.
pub(crate) fn parse(bytes: &[u8]) -> Result<Dockerfile, DockerfileError> {
    let lines = cut(bytes)?;
    let mut file = Dockerfile { escape: lines.escape, instructions: Vec::new(), notes: Vec::new() };
    let mut from = None;
    for line in lines.instructions {
        let fail = |message: String| DockerfileError::new(line.number, message);
        let text = format!("{} {}", line.name, line.rest);
        if from.is_none() && !matches!(line.name.as_str(), "FROM" | "ARG") {
            return Err(fail(format!("{} comes before FROM", line.name)));
        }
        if line.rest.is_empty() {
            return Err(fail(format!("{} has no argument", line.name)));
        }
        let (flags, rest) = flags(&line.rest);
        if !flags.is_empty() && !matches!(line.name.as_str(), "FROM" | "RUN" | "COPY" | "ADD" | "HEALTHCHECK")
        {
            return Err(fail(format!("{} takes no option {}", line.name, flags[0].0)));
        }
        let kind = match line.name.as_str() {
            "FROM" => {
                if let Some(first) = from {
                    return Err(fail(format!(
                        "a second FROM (the first is in line {first}): several stages are not supported"
                    )));
                }
                from = Some(line.number);
                Kind::From(base(&flags, rest).map_err(fail)?)
            }
            "RUN" => {
                if let Some((name, _)) = flags.first() {
                    return Err(fail(format!("RUN {name} is not supported")));
                }
                Kind::Run(run(rest, &line.documents).map_err(fail)?)
            }
            "COPY" | "ADD" => {
                let mut copy = copy(&flags, rest, &line.documents, &mut file.notes)
                    .map_err(|message| fail(format!("{} {message}", line.name)))?;
                copy.add = line.name == "ADD";
                if copy.add
                    && let Some(url) = copy.sources.iter().find(|source| is_remote(source))
                {
                    return Err(fail(format!(
                        "ADD of {url} is not supported: only files of the context are"
                    )));
                }
                Kind::Copy(copy)
            }
            "ENV" => Kind::Env(pairs(rest).map_err(fail)?),
            "ARG" => Kind::Arg(arguments(rest).map_err(fail)?),
            "WORKDIR" => Kind::Workdir(rest.to_owned()),
            "USER" => Kind::User(rest.to_owned()),
            "SHELL" => match json(rest) {
                Some(shell) if !shell.is_empty() => Kind::Shell(shell),
                _ => return Err(fail("SHELL takes a JSON list of strings".to_owned())),
            },
            "CMD" => Kind::Cmd(command(rest)),
            "ENTRYPOINT" => Kind::Entrypoint(command(rest)),
            "LABEL" | "MAINTAINER" | "EXPOSE" | "STOPSIGNAL" => continue,
            "VOLUME" | "HEALTHCHECK" => {
                file.notes.push(format!("line {}: {} has no effect here", line.number, line.name));
                continue;
            }
            "ONBUILD" => return Err(fail("ONBUILD is not supported".to_owned())),
            other => return Err(fail(format!("{other:?} is not an instruction that is understood"))),
        };
        file.instructions.push(Instruction { line: line.number, text, kind });
    }
    if from.is_none() {
        return Err(DockerfileError::new(1, "there is no FROM"));
    }
    Ok(file)
}

/// Options at the front: `--name=value` or `--name`.
fn flags(rest: &str) -> (Vec<(String, String)>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest;
    while rest.starts_with("--") {
        let word = rest.split(char::is_whitespace).next().unwrap_or(rest);
        if word == "--" {
            break;
        }
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        flags.push((name.to_owned(), value.to_owned()));
        rest = rest[word.len()..].trim_start();
    }
    (flags, rest)
}

fn base(flags: &[(String, String)], rest: &str) -> Result<String, String> {
    for (name, value) in flags {
        let here = match std::env::consts::ARCH {
            "x86_64" => "linux/amd64",
            "aarch64" => "linux/arm64",
            other => other,
        };
        if name != "--platform" {
            return Err(format!("FROM {name} is not supported"));
        }
        if !value.starts_with(here) && !value.starts_with('$') {
            return Err(format!("FROM --platform={value}: this machine is {here}"));
        }
    }
    let words = words(rest);
    match words.as_slice() {
        [image] => Ok(image.clone()),
        [image, middle, _] if middle.eq_ignore_ascii_case("as") => Ok(image.clone()),
        _ => Err("FROM takes an image, and perhaps AS and a name".to_owned()),
    }
}

fn json(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

/// The JSON form where it is one; else the whole text is for the shell, as other builders have it.
fn command(rest: &str) -> Command {
    match json(rest) {
        Some(argv) if !argv.is_empty() => Command::Exec(argv),
        _ => Command::Shell(rest.to_owned()),
    }
}

fn run(rest: &str, documents: &[Document]) -> Result<Command, String> {
    match documents {
        [] => Ok(command(rest)),
        // Alone, a document is the script itself.
        [document] if document.word == rest => {
            if document.content.starts_with("#!") {
                return Err(
                    "a here-document that begins with #! is not supported: COPY it, then RUN it".to_owned()
                );
            }
            Ok(Command::Shell(document.content.clone()))
        }
        // Else the shell knows here-documents itself.
        _ => {
            let mut script = rest.to_owned();
            for document in documents {
                script.push('\n');
                script.push_str(&document.content);
                script.push_str(&document.name);
            }
            script.push('\n');
            Ok(Command::Shell(script))
        }
    }
}

fn copy(
    flags: &[(String, String)],
    rest: &str,
    documents: &[Document],
    notes: &mut Vec<String>,
) -> Result<Copy, String> {
    let mut copy = Copy {
        sources: Vec::new(),
        documents: documents.to_vec(),
        to: String::new(),
        owner: None,
        mode: None,
        add: false,
    };
    for (name, value) in flags {
        match name.as_str() {
            "--chown" => copy.owner = Some(value.clone()),
            "--chmod" => copy.mode = Some(value.clone()),
            "--link" => notes.push("--link of COPY makes no difference here".to_owned()),
            "--from" => return Err("--from is not supported: there is one stage only".to_owned()),
            other => return Err(format!("{other} is not supported")),
        }
    }
    let mut words = json(rest).unwrap_or_else(|| words(rest));
    if words.len() > MOST_WORDS {
        return Err(format!("has more than {MOST_WORDS} words"));
    }
    copy.to = words.pop().ok_or("has no argument")?;
    copy.sources =
        words.into_iter().filter(|word| !documents.iter().any(|document| document.word == *word)).collect();
    if copy.sources.is_empty() && documents.is_empty() {
        return Err("takes at least one source and a destination".to_owned());
    }
    if documents.iter().any(|document| document.word == copy.to) {
        return Err("has no destination".to_owned());
    }
    Ok(copy)
}

fn is_remote(source: &str) -> bool {
    source.contains("://") || source.starts_with("git@")
}

/// `A=1 B="2 3"`, or the old `A 1 2 3`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(rest);
    if words.len() > MOST_WORDS {
        return Err(format!("ENV has more than {MOST_WORDS} words"));
    }
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (name, value) = rest.split_once(char::is_whitespace).ok_or("ENV takes NAME=VALUE")?;
        return Ok(vec![(checked(name)?, value.trim().to_owned())]);
    }
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("ENV: {word:?} has no ="))?;
        Ok((checked(name)?, value.to_owned()))
    };
    words.iter().map(pair).collect()
}

fn arguments(rest: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let argument = |word: &String| match word.split_once('=') {
        Some((name, value)) => Ok((checked(name)?, Some(value.to_owned()))),
        None => Ok((checked(word)?, None)),
    };
    words(rest).iter().map(argument).collect()
}

fn checked(name: &str) -> Result<String, String> {
    let fits = !name.is_empty()
        && !name.contains(['"', '\'', '$', '=', '\0'])
        && !name.contains(char::is_whitespace);
    if fits { Ok(name.to_owned()) } else { Err(format!("{name:?} is not a variable's name")) }
}
