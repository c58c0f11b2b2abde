//! What a Dockerfile comes to, variables replaced: the steps that change files, each with the environment that it runs in, and
//! the settings of the image at the end.

use std::collections::BTreeMap;

use super::DockerfileError;
use super::expand::Expand;
use super::parse::{Command, Copy, Dockerfile, Instruction, Kind};

/// What the steps begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Variables of everything that runs.
    pub(crate) env: BTreeMap<String, String>,
    /// Working folder, absolute; `/` where the base says nothing.
    pub(crate) workdir: String,
    /// `name`, `uid`, `name:group`; `None` is root.
    pub(crate) user: Option<String>,
    /// What the image would run; this program never does.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// Its arguments.
    pub(crate) cmd: Option<Vec<String>>,
}

/// What is done, in order, and what holds afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Each changes files.
    pub(crate) steps: Vec<Step>,
    /// At the end.
    pub(crate) settings: Settings,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its line in the Dockerfile.
    pub(crate) line: usize,
    /// As written: for logs.
    pub(crate) text: String,
    /// What is done.
    pub(crate) action: Action,
    /// Variables, arguments of the build among them.
    pub(crate) env: BTreeMap<String, String>,
    /// Working folder.
    pub(crate) workdir: String,
    /// User of commands.
    pub(crate) user: Option<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Runs a program.
    Run(Vec<String>),
    /// Copies files; the destination is absolute, and ends with `/` when it must be a folder.
    Copy(Copy),
    /// Makes the step's working folder.
    Folder,
}

/// The image that a Dockerfile starts from, arguments before FROM replaced.
///
/// # Errors
/// When its name cannot be worked out.
pub(crate) fn base(
    file: &Dockerfile,
    arguments: &BTreeMap<String, String>,
) -> Result<String, DockerfileError> {
    let mut known = BTreeMap::new();
    for instruction in &file.instructions {
        match &instruction.kind {
            Kind::Arg(list) => {
                for (name, default) in list {
                    let value = match arguments.get(name) {
                        Some(value) => Some(value.clone()),
                        None => default
                            .as_ref()
                            .map(|word| replace(file, instruction, &known, word))
                            .transpose()?,
                    };
                    known.extend(value.or_else(|| platform(name)).map(|value| (name.clone(), value)));
                }
            }
            Kind::From(word) => {
                let base = replace(file, instruction, &known, word)?;
                if base.is_empty() {
                    return Err(DockerfileError::new(
                        instruction.line,
                        format!("FROM {word} names no image"),
                    ));
                }
                return Ok(base);
            }
            _ => {}
        }
    }
    Err(DockerfileError::new(1, "there is no FROM"))
}

/// Works out the steps over a base with these settings.
///
/// # Errors
/// A variable's form that is not understood, or a value that cannot be.
pub(crate) fn steps(
    file: &Dockerfile,
    base: Settings,
    arguments: &BTreeMap<String, String>,
) -> Result<Steps, DockerfileError> {
    let mut now = base;
    if now.workdir.is_empty() {
        now.workdir = "/".to_owned();
    }
    let mut shell = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    let mut before_from: BTreeMap<String, String> = BTreeMap::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut in_stage = false;
    let mut steps = Vec::new();
    for instruction in &file.instructions {
        // A variable of the image wins over an argument of the same name.
        let mut all = known.clone();
        all.extend(now.env.clone());
        let word = |word: &str| replace(file, instruction, &all, word);
        let mut step = |now: &Settings, action| {
            steps.push(Step {
                line: instruction.line,
                text: instruction.text.clone(),
                action,
                env: all.clone(),
                workdir: now.workdir.clone(),
                user: now.user.clone(),
            });
        };
        match &instruction.kind {
            Kind::From(_) => {
                in_stage = true;
                known.clear();
            }
            Kind::Arg(list) => {
                for (name, default) in list {
                    let mut all = known.clone();
                    all.extend(now.env.clone());
                    let value = match arguments.get(name) {
                        Some(value) => Some(value.clone()),
                        None => {
                            default.as_ref().map(|word| replace(file, instruction, &all, word)).transpose()?
                        }
                    };
                    let value = value.or_else(|| before_from.get(name).cloned()).or_else(|| platform(name));
                    let scope = if in_stage { &mut known } else { &mut before_from };
                    scope.extend(value.clone().map(|value| (name.clone(), value)));
                    if !in_stage {
                        known.extend(value.map(|value| (name.clone(), value)));
                    }
                }
            }
            Kind::Env(pairs) => {
                // All of one line see what was before it.
                let pairs: Result<Vec<_>, DockerfileError> =
                    pairs.iter().map(|(name, value)| Ok((name.clone(), word(value)?))).collect();
                now.env.extend(pairs?);
            }
            Kind::Workdir(path) => {
                now.workdir = absolute(&now.workdir, &word(path)?);
                step(&now, Action::Folder);
            }
            Kind::User(user) => {
                let user = word(user)?;
                let fits =
                    !user.is_empty() && !user.contains(['/', '\n']) && !user.contains(char::is_whitespace);
                if !fits {
                    return Err(DockerfileError::new(instruction.line, format!("{user:?} is not a user")));
                }
                now.user = Some(user);
            }
            Kind::Shell(list) => shell.clone_from(list),
            Kind::Run(command) => step(&now, Action::Run(argv(command, &shell))),
            Kind::Cmd(command) => now.cmd = Some(argv(command, &shell)),
            Kind::Entrypoint(command) => {
                now.entrypoint = Some(argv(command, &shell));
                // As other builders have it: what the base would have given it is not meant for it.
                now.cmd = None;
            }
            Kind::Copy(copy) => {
                let mut copy = copy.clone();
                copy.sources = copy.sources.iter().map(|source| word(source)).collect::<Result<_, _>>()?;
                copy.owner = copy.owner.as_deref().map(&word).transpose()?;
                copy.mode = copy.mode.as_deref().map(&word).transpose()?;
                let to = word(&copy.to)?;
                let folder = to.ends_with('/') || to.ends_with("/.") || to == ".";
                copy.to = absolute(&now.workdir, &to);
                if folder && copy.to != "/" {
                    copy.to.push('/');
                }
                if copy.sources.len() + copy.documents.len() > 1 && !copy.to.ends_with('/') {
                    return Err(DockerfileError::new(
                        instruction.line,
                        format!("several sources need a folder: end the destination {to} with /"),
                    ));
                }
                let expand =
                    Expand { lookup: &|name| all.get(name).cloned(), escape: file.escape, quotes: false };
                for document in copy.documents.iter_mut().filter(|document| document.expands) {
                    document.content = expand
                        .word(&document.content)
                        .map_err(|message| DockerfileError::new(instruction.line, message))?;
                }
                step(&now, Action::Copy(copy));
            }
        }
    }
    Ok(Steps { steps, settings: now })
}

fn replace(
    file: &Dockerfile,
    instruction: &Instruction,
    known: &BTreeMap<String, String>,
    word: &str,
) -> Result<String, DockerfileError> {
    let expand = Expand { lookup: &|name| known.get(name).cloned(), escape: file.escape, quotes: true };
    expand.word(word).map_err(|message| DockerfileError::new(instruction.line, message))
}

fn argv(command: &Command, shell: &[String]) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(script) => shell.iter().cloned().chain([script.clone()]).collect(),
    }
}

/// Arguments that every builder knows without being told.
pub(crate) fn platform(name: &str) -> Option<String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    match name {
        "TARGETARCH" | "BUILDARCH" => Some(arch.to_owned()),
        "TARGETOS" | "BUILDOS" => Some("linux".to_owned()),
        "TARGETPLATFORM" | "BUILDPLATFORM" => Some(format!("linux/{arch}")),
        _ => None,
    }
}

/// A path from a folder, `.` and `..` resolved; never above the root.
pub(crate) fn absolute(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if path.starts_with('/') { "" } else { from };
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
