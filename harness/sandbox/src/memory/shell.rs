//! Carries out scripts in a memory sandbox.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::process::{Descriptor, Tree};
use super::programs::{self, Programs};
use super::syntax::{Command, Part, Redirect, Script, Word, parse};
use super::tree::{Kind, Space, lock};
use crate::Exit;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How deep programs may call programs, so that a script that runs itself ends.
const DEEPEST: u32 = 24;

/// One process: what `fork` copies.
#[derive(Clone)]
pub(super) struct Shell {
    pub(super) space: Space,
    pub(super) programs: Arc<Programs>,
    pub(super) tree: Arc<Tree>,
    pub(super) fds: [Descriptor; 3],
    /// All variables are exported.
    pub(super) env: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) args: Vec<Vec<u8>>,
    pub(super) cwd: Vec<u8>,
    pub(super) user: (u32, u32),
    pub(super) status: u8,
    pub(super) stop_on_error: bool,
    pub(super) ignores_term: Arc<AtomicBool>,
    pub(super) depth: u32,
}

/// Whether a script goes on.
pub(super) enum Flow {
    /// With this status.
    Next(u8),
    /// The process ends.
    Exit(Exit),
}

impl Shell {
    /// Runs a program to its end, as the first process: nobody else holds its descriptors.
    pub(super) async fn run(self, argv: Vec<Vec<u8>>) -> Exit {
        match self.find(&argv[0]) {
            Ok(path) => Box::pin(self.file(&path, &argv)).await,
            Err((status, _)) => Exit::Code(i32::from(status)),
        }
    }

    /// Runs a script's text.
    pub(super) fn text<'a>(&'a mut self, text: &'a [u8]) -> Boxed<'a, Flow> {
        Box::pin(async move {
            match parse(text) {
                Ok(script) => self.script(&script, true).await,
                Err(message) => {
                    self.complain(&format!("sh: {message}")).await;
                    Flow::Next(2)
                }
            }
        })
    }

    fn script<'a>(&'a mut self, script: &'a Script, checked: bool) -> Boxed<'a, Flow> {
        Box::pin(async move {
            for (command, background) in script {
                if *background {
                    self.background(command.clone());
                    self.status = 0;
                    continue;
                }
                match self.command(command, checked).await {
                    Flow::Next(status) => self.status = status,
                    exit => return exit,
                }
                if checked && self.stop_on_error && self.status != 0 && fails(command) {
                    return Flow::Exit(Exit::Code(i32::from(self.status)));
                }
            }
            Flow::Next(if script.is_empty() { 0 } else { self.status })
        })
    }

    /// `command &`: a process of its own, without input.
    fn background(&self, command: Command) {
        let mut child = self.clone();
        child.fds[0] = Descriptor::Null;
        child.ignores_term = Arc::new(AtomicBool::new(self.ignores_term.load(Ordering::Relaxed)));
        self.tree.clone().spawn(child.ignores_term.clone(), async move {
            child.command(&command, true).await;
        });
    }

    fn command<'a>(&'a mut self, command: &'a Command, checked: bool) -> Boxed<'a, Flow> {
        Box::pin(async move {
            match command {
                Command::Simple { assignments, words, redirects } => {
                    self.simple(assignments, words, redirects).await
                }
                Command::Group { body, redirects, subshell } => {
                    let kept = self.fds.clone();
                    if let Err(status) = self.redirect(redirects).await {
                        self.fds = kept;
                        return Flow::Next(status);
                    }
                    let flow = if *subshell {
                        let mut child = self.clone();
                        match child.script(body, checked).await {
                            Flow::Exit(Exit::Code(status)) => Flow::Next(programs::byte(status)),
                            flow => flow,
                        }
                    } else {
                        self.script(body, checked).await
                    };
                    self.fds = kept;
                    flow
                }
                Command::And(left, right) => match self.command(left, false).await {
                    Flow::Next(0) => self.command(right, checked).await,
                    flow => flow,
                },
                Command::Or(left, right) => match self.command(left, false).await {
                    Flow::Next(status) if status != 0 => {
                        self.status = status;
                        self.command(right, checked).await
                    }
                    flow => flow,
                },
                Command::Not(inner) => match self.command(inner, false).await {
                    Flow::Next(status) => Flow::Next(u8::from(status == 0)),
                    exit => exit,
                },
                Command::Pipe(stages) => self.pipe(stages).await,
                Command::If { branches, otherwise } => {
                    for (condition, body) in branches {
                        match self.script(condition, false).await {
                            Flow::Next(0) => return self.script(body, checked).await,
                            Flow::Next(_) => {}
                            exit => return exit,
                        }
                    }
                    match otherwise {
                        Some(body) => self.script(body, checked).await,
                        None => Flow::Next(0),
                    }
                }
                Command::While { condition, body, until } => loop {
                    // Keeps a loop that never waits from holding the thread, and lets it be killed.
                    tokio::task::yield_now().await;
                    match self.script(condition, false).await {
                        Flow::Next(status) if (status == 0) != *until => {}
                        Flow::Next(_) => return Flow::Next(0),
                        exit => return exit,
                    }
                    if let exit @ Flow::Exit(_) = self.script(body, checked).await {
                        return exit;
                    }
                },
                Command::For { name, words, body } => {
                    for value in self.expand(words).await {
                        tokio::task::yield_now().await;
                        self.env.insert(name.clone(), value);
                        if let exit @ Flow::Exit(_) = self.script(body, checked).await {
                            return exit;
                        }
                    }
                    Flow::Next(self.status)
                }
            }
        })
    }

    /// All stages but the last are processes of their own; the status is the last one's.
    async fn pipe(&mut self, stages: &[Command]) -> Flow {
        let Some((last, others)) = stages.split_last() else { return Flow::Next(0) };
        let mut input = self.fds[0].clone();
        for stage in others {
            let (write, read) = tokio::io::duplex(64 << 10);
            let mut child = self.clone();
            child.fds[0] = std::mem::replace(&mut input, Descriptor::stream(read));
            child.fds[1] = Descriptor::stream(write);
            let stage = stage.clone();
            self.tree.clone().spawn(self.ignores_term.clone(), async move {
                child.command(&stage, true).await;
            });
        }
        let mut child = self.clone();
        child.fds[0] = input;
        match child.command(last, true).await {
            Flow::Exit(Exit::Code(status)) => Flow::Next(programs::byte(status)),
            flow => flow,
        }
    }

    async fn simple(
        &mut self,
        assignments: &[(Vec<u8>, Word)],
        words: &[Word],
        redirects: &[Redirect],
    ) -> Flow {
        self.may_run().await;
        let kept = self.fds.clone();
        if let Err(status) = self.redirect(redirects).await {
            self.fds = kept;
            return Flow::Next(status);
        }
        let argv = self.expand(words).await;
        if argv.is_empty() {
            // Without a command the status is that of the last `$( )` in the assignments, else 0.
            self.status = 0;
        }
        let mut values = Vec::with_capacity(assignments.len());
        for (name, word) in assignments {
            values.push((name.clone(), self.expand_one(word).await));
        }
        let flow = if argv.is_empty() {
            self.env.extend(values);
            Flow::Next(self.status)
        } else {
            let before: Vec<_> =
                values.iter().map(|(name, _)| (name.clone(), self.env.get(name).cloned())).collect();
            self.env.extend(values);
            let flow = self.call(argv).await;
            for (name, value) in before {
                match value {
                    Some(value) => self.env.insert(name, value),
                    None => self.env.remove(&name),
                };
            }
            flow
        };
        // `exec` without a command keeps what it redirected.
        let keeps = matches!(words, [word] if word.parts == [Part::Text(b"exec".to_vec())]);
        if !keeps {
            self.fds = kept;
        }
        flow
    }

    /// Runs one command: the shell's own, or a program.
    pub(super) fn call<'a>(&'a mut self, argv: Vec<Vec<u8>>) -> Boxed<'a, Flow> {
        Box::pin(async move {
            match programs::own(self, &argv).await {
                Some(flow) => flow,
                None => match self.program(&argv).await {
                    Exit::Code(status) => Flow::Next(programs::byte(status)),
                    other => Flow::Exit(other),
                },
            }
        })
    }

    /// Runs a program that is a file, as a child.
    pub(super) async fn program(&mut self, argv: &[Vec<u8>]) -> Exit {
        let name = String::from_utf8_lossy(&argv[0]).into_owned();
        let path = match self.find(&argv[0]) {
            Ok(path) => path,
            Err((status, why)) => {
                self.complain(&format!("sh: {name}: {why}")).await;
                return Exit::Code(i32::from(status));
            }
        };
        self.depth += 1;
        let exit = if self.depth > DEEPEST {
            self.complain("sh: programs call each other too deeply").await;
            Exit::Code(126)
        } else {
            Box::pin(self.clone().file(&path, argv)).await
        };
        self.depth -= 1;
        exit
    }

    /// Becomes the program in a file.
    async fn file(mut self, path: &[u8], argv: &[Vec<u8>]) -> Exit {
        let Ok(content) = self.space.read(b"", path) else { return Exit::Code(126) };
        self.stop_on_error = false;
        if let Some(name) = content.strip_prefix(programs::MARK) {
            let name = name.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return programs::run(self, &String::from_utf8_lossy(name), argv).await;
        }
        self.args = vec![path.to_vec()];
        self.args.extend_from_slice(&argv[1..]);
        match self.text(&content).await {
            Flow::Next(status) => Exit::Code(i32::from(status)),
            Flow::Exit(exit) => exit,
        }
    }

    /// The file that a program's name means: as it stands with a slash, else along PATH.
    pub(super) fn find(&self, name: &[u8]) -> Result<Vec<u8>, (u8, &'static str)> {
        let candidates: Vec<Vec<u8>> = if name.contains(&b'/') {
            vec![name.to_vec()]
        } else {
            let path = self.env.get(&b"PATH"[..]).cloned().unwrap_or_default();
            path.split(|byte| *byte == b':').map(|folder| [folder, b"/", name].concat()).collect()
        };
        let mut found = (127, "not found");
        for candidate in candidates {
            let Ok(at) = self.space.resolve(&self.cwd, &candidate, true) else { continue };
            match self.space.node(&at) {
                Some(node) if matches!(node.kind, Kind::File(_)) && node.mode & 0o111 != 0 => return Ok(at),
                Some(_) => found = (126, "Permission denied"),
                None => {}
            }
        }
        Err(found)
    }

    async fn redirect(&mut self, redirects: &[Redirect]) -> Result<(), u8> {
        for redirect in redirects {
            let result = match redirect {
                Redirect::Same { fd, as_fd } => {
                    self.fds[*fd] = self.fds[*as_fd].clone();
                    continue;
                }
                Redirect::Here(word) => {
                    let content = self.expand_one(word).await;
                    self.fds[0] = Descriptor::Content(Arc::new(content.into()));
                    continue;
                }
                Redirect::Read(word) => {
                    let path = self.expand_one(word).await;
                    if path == b"/dev/null" {
                        self.fds[0] = Descriptor::Null;
                        continue;
                    }
                    let content = self.space.read(&self.cwd, &path);
                    content
                        .map(|content| {
                            (0, Descriptor::Content(Arc::new(content.to_vec().into())), path.clone())
                        })
                        .map_err(|why| (path, why))
                }
                Redirect::Write { fd, to, append } => {
                    let path = self.expand_one(to).await;
                    if path == b"/dev/null" {
                        self.fds[*fd] = Descriptor::Null;
                        continue;
                    }
                    let opened = self.space.write(&self.cwd, &path, b"", *append);
                    opened.map(|at| (*fd, Descriptor::File(at), path.clone())).map_err(|why| (path, why))
                }
            };
            match result {
                Ok((fd, descriptor, _)) => self.fds[fd] = descriptor,
                Err((path, why)) => {
                    self.complain(&format!("sh: {}: {why}", String::from_utf8_lossy(&path))).await;
                    return Err(1);
                }
            }
        }
        Ok(())
    }

    /// Words with their variables and outputs put in, unquoted ones split at blanks.
    async fn expand(&mut self, words: &[Word]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for word in words {
            // `"$@"` alone is each argument, whole.
            if let [Part::Variable { name, quoted: true, .. }] = &word.parts[..]
                && name == b"@"
            {
                all.extend(self.args.iter().skip(1).cloned());
                continue;
            }
            let mut current = Vec::new();
            let mut any = word.quoted;
            for part in &word.parts {
                let (value, quoted) = self.value(part).await;
                if quoted {
                    any = true;
                    current.extend(value);
                    continue;
                }
                for byte in value {
                    if byte.is_ascii_whitespace() {
                        if any || !current.is_empty() {
                            all.push(std::mem::take(&mut current));
                        }
                        any = false;
                    } else {
                        current.push(byte);
                    }
                }
            }
            if any || !current.is_empty() {
                match &word.parts[..] {
                    // Names in the working folder are the only pattern that is known.
                    [Part::Text(star)] if star == b"*" && !word.quoted => {
                        let names = self.space.list(&self.cwd).into_iter();
                        all.extend(names.filter(|name| !name.starts_with(b".")));
                    }
                    _ => all.push(current),
                }
            }
        }
        all
    }

    async fn expand_one(&mut self, word: &Word) -> Vec<u8> {
        let mut whole = Vec::new();
        for part in &word.parts {
            whole.extend(self.value(part).await.0);
        }
        whole
    }

    async fn value(&mut self, part: &Part) -> (Vec<u8>, bool) {
        match part {
            Part::Text(text) => (text.clone(), true),
            Part::Variable { name, default, quoted } => {
                let value = self.variable(name).filter(|value| default.is_none() || !value.is_empty());
                (value.or_else(|| default.clone()).unwrap_or_default(), *quoted)
            }
            Part::Output { script, quoted } => {
                let buffer = Arc::default();
                let mut child = self.clone();
                child.fds[1] = Descriptor::Capture(Arc::clone(&buffer));
                self.status = match child.script(script, true).await {
                    Flow::Next(status) => status,
                    Flow::Exit(Exit::Code(status)) => programs::byte(status),
                    Flow::Exit(_) => 137,
                };
                let mut output = std::mem::take(&mut *lock(&buffer));
                while output.last() == Some(&b'\n') {
                    output.pop();
                }
                (output, *quoted)
            }
        }
    }

    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        match name {
            b"?" => Some(self.status.to_string().into_bytes()),
            b"#" => Some(self.args.len().saturating_sub(1).to_string().into_bytes()),
            b"$" => Some(b"2".to_vec()),
            b"!" => Some(b"3".to_vec()),
            b"@" | b"*" => Some(self.args.get(1..).unwrap_or_default().join(&b' ')),
            [digit] if digit.is_ascii_digit() => self.args.get(usize::from(digit - b'0')).cloned(),
            _ => self.env.get(name).cloned(),
        }
    }

    /// Waits while the sandbox is frozen.
    pub(super) async fn may_run(&self) {
        self.tree.thawed().await;
    }

    /// One line to stderr.
    pub(super) async fn complain(&self, line: &str) {
        // A reader that is gone wants no complaints.
        let _ = self.fds[2].write(&self.space, format!("{line}\n").as_bytes()).await;
    }
}

/// Whether `set -e` looks at this command: lists and negations have been looked at by themselves.
fn fails(command: &Command) -> bool {
    !matches!(command, Command::And(..) | Command::Or(..) | Command::Not(_))
}
