//! The commands of a memory sandbox: what its shell has built in, the few programs that its image has, and what a test
//! registers in Rust.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::call::Call;
use super::process::Descriptor;
use super::shell::{Flow, Shell};
use super::tree::{Kind, Node, Space, join, lock};
use crate::Exit;

/// How the content of a program's file begins. A program that was overwritten is a different one, as it should be.
pub(super) const MARK: &[u8] = b"#!memory ";

/// The image's programs, all in `/usr/bin`.
pub(super) const NAMES: &[&str] = &[
    "[", "bash", "cat", "chmod", "chown", "cp", "dirname", "echo", "env", "false", "grep", "head", "id",
    "ln", "ls", "mkdir", "mv", "nohup", "printf", "pwd", "readlink", "rm", "seq", "setsid", "sh", "sleep",
    "stat", "tail", "test", "touch", "true", "wc", "whoami", "yes",
];

/// A program in Rust.
pub type Program = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Exit> + Send>> + Send + Sync>;

/// What a test registered, by name.
pub(super) type Programs = BTreeMap<String, Program>;

/// A status as a parent sees it.
pub(super) fn byte(status: i32) -> u8 {
    status.to_le_bytes()[0]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn strings(argv: &[Vec<u8>]) -> Vec<String> {
    argv.iter().map(|arg| text(arg)).collect()
}

fn status(code: u8) -> Option<Flow> {
    Some(Flow::Next(code))
}

/// What the shell does itself, whatever stands along PATH; `None` when it is not among that.
pub(super) async fn own(shell: &mut Shell, argv: &[Vec<u8>]) -> Option<Flow> {
    let args = strings(argv);
    let first = args.get(1).map(String::as_str).unwrap_or_default();
    match args[0].as_str() {
        ":" => status(0),
        "true" | "false" | "echo" | "printf" | "test" | "[" | "pwd" => {
            status(byte(match plain(shell, &args[0], argv).await {
                Exit::Code(code) => code,
                other => return Some(Flow::Exit(other)),
            }))
        }
        "exit" => {
            let code = first.parse().unwrap_or(i32::from(shell.status));
            Some(Flow::Exit(Exit::Code(i32::from(byte(code)))))
        }
        "cd" => match shell.space.resolve(&shell.cwd, first.as_bytes(), true) {
            Ok(path) if shell.space.node(&path).is_some_and(|node| node.kind == Kind::Folder) => {
                shell.cwd = path;
                status(0)
            }
            _ => {
                shell.complain(&format!("cd: {first}: No such file or directory")).await;
                status(2)
            }
        },
        "export" => {
            for pair in &args[1..] {
                if let Some((name, value)) = pair.split_once('=') {
                    shell.env.insert(name.into(), value.into());
                }
            }
            status(0)
        }
        "unset" => {
            for name in &argv[1..] {
                shell.env.remove(name);
            }
            status(0)
        }
        "set" => {
            for option in &args[1..] {
                if let Some(letters) = option.strip_prefix('-') {
                    shell.stop_on_error |= letters.contains('e');
                } else if option.starts_with('+') && option.contains('e') {
                    shell.stop_on_error = false;
                }
            }
            status(0)
        }
        "shift" => {
            if shell.args.len() > 1 {
                shell.args.remove(1);
            }
            status(0)
        }
        "trap" => {
            if first.is_empty() && args.iter().any(|arg| arg == "TERM" || arg == "15") {
                shell.ignores_term.store(true, Ordering::Relaxed);
            }
            status(0)
        }
        // Children of this shell are not told apart: waits until nothing but it is left of its tree, which is all that
        // scripts for this backend need.
        "wait" => {
            tokio::time::sleep(Duration::from_millis(1)).await;
            status(0)
        }
        "read" => {
            let mut line = shell.fds[0].read_line().await;
            let ended = line.pop_if(|byte| *byte == b'\n').is_some();
            shell.env.insert(args.last().cloned().unwrap_or_default().into(), line);
            status(u8::from(!ended))
        }
        "command" if first == "-v" => {
            let found = shell.find(argv.get(2).map_or(b"", Vec::as_slice));
            match found {
                Ok(path) => {
                    let _ = shell.fds[1].write(&shell.space, &[&path[..], b"\n"].concat()).await;
                    status(0)
                }
                Err(_) => status(127),
            }
        }
        "." | "source" => match shell.space.read(&shell.cwd, first.as_bytes()) {
            Ok(content) => Some(shell.text(&content).await),
            Err(why) => {
                shell.complain(&format!("sh: {first}: {why}")).await;
                status(2)
            }
        },
        "eval" => Some(shell.text(&argv[1..].join(&b' ')).await),
        "exec" if argv.len() > 1 => {
            let exit = shell.program(&argv[1..]).await;
            Some(Flow::Exit(exit))
        }
        "exec" => status(0),
        // Only a script that ends itself; there is no table of processes to look others up in.
        "kill" if args.last().is_some_and(|pid| pid == "2") => {
            let signal = match first.trim_start_matches('-') {
                "KILL" | "9" => 9,
                "SEGV" | "11" => 11,
                "TERM" | "15" | "2" => 15,
                other => other.parse().unwrap_or(15),
            };
            Some(Flow::Exit(Exit::Signal(signal)))
        }
        _ => None,
    }
}

/// Runs a program of the image, or one that a test registered, as a process of its own.
pub(super) async fn run(mut shell: Shell, name: &str, argv: &[Vec<u8>]) -> Exit {
    shell.may_run().await;
    match name {
        "sh" | "bash" => interpreter(shell, argv).await,
        "env" => environment(shell, argv).await,
        "setsid" | "nohup" => {
            // Sessions are no way out of a tree here, so there is nothing to do.
            let rest = argv[1..].iter().skip_while(|arg| arg.starts_with(b"-")).cloned().collect::<Vec<_>>();
            if rest.is_empty() { Exit::Code(125) } else { shell.program(&rest).await }
        }
        "sleep" => {
            let seconds = argv.get(1).map(|arg| text(arg)).unwrap_or_default();
            match seconds.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                Some(time) => tokio::time::sleep(time).await,
                None if seconds == "infinity" => std::future::pending().await,
                None => return Exit::Code(1),
            }
            shell.may_run().await;
            Exit::Code(0)
        }
        "yes" => {
            let line = [argv.get(1).map_or(&b"y"[..], Vec::as_slice), b"\n"].concat().repeat(512);
            while shell.fds[1].write(&shell.space, &line).await.is_ok() {
                tokio::task::yield_now().await;
            }
            Exit::Signal(13)
        }
        _ => match shell.programs.get(name).cloned() {
            Some(program) => program(Call::new(shell, argv)).await,
            None => plain(&mut shell, name, argv).await,
        },
    }
}

/// `sh [-OPTIONS] -c TEXT [ARGS]`, `sh FILE [ARGS]`, or a script on stdin.
async fn interpreter(mut shell: Shell, argv: &[Vec<u8>]) -> Exit {
    let mut rest = &argv[1..];
    let mut inline = false;
    while let Some(option) = rest.first().filter(|arg| arg.starts_with(b"-") && arg.len() > 1) {
        inline |= !option.starts_with(b"--") && option.contains(&b'c');
        shell.stop_on_error |= !option.starts_with(b"--") && option.contains(&b'e');
        rest = &rest[1..];
    }
    let script = match (inline, rest.first()) {
        (true, Some(script)) => {
            let script = script.clone();
            shell.args = if rest.len() > 1 { rest[1..].to_vec() } else { vec![argv[0].clone()] };
            script
        }
        (true, None) => return Exit::Code(2),
        (false, Some(path)) => {
            shell.args = rest.to_vec();
            match shell.space.read(&shell.cwd, path) {
                Ok(content) => content.to_vec(),
                Err(why) => {
                    shell.complain(&format!("{}: {}: {why}", text(&argv[0]), text(path))).await;
                    return Exit::Code(127);
                }
            }
        }
        (false, None) => input(&shell).await,
    };
    match shell.text(&script).await {
        Flow::Next(status) => Exit::Code(i32::from(status)),
        Flow::Exit(exit) => exit,
    }
}

async fn environment(mut shell: Shell, argv: &[Vec<u8>]) -> Exit {
    let mut rest = &argv[1..];
    while let Some(arg) = rest.first() {
        let value = text(arg);
        if value == "-i" {
            shell.env.clear();
        } else if let Some((name, value)) = value.split_once('=') {
            shell.env.insert(name.into(), value.into());
        } else {
            break;
        }
        rest = &rest[1..];
    }
    if !rest.is_empty() {
        return shell.program(rest).await;
    }
    let lines: Vec<u8> =
        shell.env.iter().flat_map(|(name, value)| [name, &b"="[..], value, &b"\n"[..]].concat()).collect();
    answer(&shell, &lines).await
}

/// All of stdin.
async fn input(shell: &Shell) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match shell.fds[0].read().await {
            chunk if chunk.is_empty() => return all,
            chunk => all.extend(chunk),
        }
    }
}

async fn answer(shell: &Shell, bytes: &[u8]) -> Exit {
    match shell.fds[1].write(&shell.space, bytes).await {
        Ok(()) => Exit::Code(0),
        Err("Broken pipe") => Exit::Signal(13),
        Err(why) => {
            shell.complain(&format!("write error: {why}")).await;
            Exit::Code(1)
        }
    }
}

/// The programs that read, compute and write, and neither wait nor call others.
async fn plain(shell: &mut Shell, name: &str, argv: &[Vec<u8>]) -> Exit {
    let options: Vec<String> =
        strings(argv).into_iter().skip(1).take_while(|arg| arg.starts_with('-') && arg.len() > 1).collect();
    let has = |letter: char| options.iter().any(|option| option.contains(letter));
    let operands = &argv[1 + options.len()..];
    match name {
        "true" => return Exit::Code(0),
        "false" => return Exit::Code(1),
        "echo" => {
            let skip = usize::from(argv.get(1).is_some_and(|arg| arg == b"-n"));
            let end: &[u8] = if skip == 1 { b"" } else { b"\n" };
            return answer(shell, &[&argv[1 + skip..].join(&b' '), end].concat()).await;
        }
        "printf" => {
            return answer(
                shell,
                &formatted(argv.get(1).map_or(b"", Vec::as_slice), &argv[2.min(argv.len())..]),
            )
            .await;
        }
        "test" | "[" => {
            let end = argv.len() - usize::from(name == "[");
            return Exit::Code(i32::from(!holds(shell, &argv[1..end.max(1)])));
        }
        "pwd" => {
            let cwd = if shell.cwd.is_empty() { b"/".to_vec() } else { shell.cwd.clone() };
            return answer(shell, &[&cwd[..], b"\n"].concat()).await;
        }
        "id" => {
            let line = match (has('u'), has('g')) {
                (true, _) => format!("{}\n", shell.user.0),
                (_, true) => format!("{}\n", shell.user.1),
                _ => format!("uid={} gid={}\n", shell.user.0, shell.user.1),
            };
            return answer(shell, line.as_bytes()).await;
        }
        "whoami" => {
            let name = super::users::name_of(&shell.space, shell.user.0);
            return answer(shell, &[&name[..], b"\n"].concat()).await;
        }
        "dirname" => {
            let path = operands.first().map_or(&b""[..], Vec::as_slice);
            let folder = match path.iter().rposition(|byte| *byte == b'/') {
                None => &b"."[..],
                Some(0) => b"/",
                Some(end) => &path[..end],
            };
            return answer(shell, &[folder, b"\n"].concat()).await;
        }
        "seq" => {
            let number = |index: usize| operands.get(index).and_then(|arg| text(arg).parse::<u32>().ok());
            let (from, to) = if operands.len() > 1 { (number(0), number(1)) } else { (Some(1), number(0)) };
            let (Some(from), Some(to)) = (from, to) else { return Exit::Code(1) };
            let lines: String = (from..=to).map(|number| format!("{number}\n")).collect();
            return answer(shell, lines.as_bytes()).await;
        }
        "head" if has('c') => return first_bytes(shell, argv).await,
        "cat" | "grep" | "head" | "tail" | "wc" => return filter(shell, name, argv).await,
        _ => {}
    }
    let result = files(shell, name, &has, operands);
    match result {
        Ok(output) => answer(shell, &output).await,
        Err((at, why)) => {
            shell.complain(&format!("{name}: {}: {why}", text(&at))).await;
            Exit::Code(1)
        }
    }
}

/// `head -c N [FILE]`: reads no more than it needs, so that it can end an endless writer.
async fn first_bytes(shell: &mut Shell, argv: &[Vec<u8>]) -> Exit {
    let mut left = argv.get(2).and_then(|count| text(count).parse::<usize>().ok()).unwrap_or(0);
    let file = argv.get(3).map(|path| (path, shell.space.read(&shell.cwd, path)));
    let source = match file {
        None => shell.fds[0].clone(),
        Some((path, _)) if path == b"/dev/zero" => {
            let zeros = [0; 16 << 10];
            while left > 0 {
                let count = left.min(zeros.len());
                if answer(shell, &zeros[..count]).await != Exit::Code(0) {
                    return Exit::Signal(13);
                }
                left -= count;
            }
            return Exit::Code(0);
        }
        Some((_, Ok(content))) => return answer(shell, &content[..content.len().min(left)]).await,
        Some((path, Err(why))) => {
            shell.complain(&format!("head: {}: {why}", text(path))).await;
            return Exit::Code(1);
        }
    };
    while left > 0 {
        let chunk = source.read().await;
        if chunk.is_empty() {
            break;
        }
        let count = left.min(chunk.len());
        if answer(shell, &chunk[..count]).await != Exit::Code(0) {
            return Exit::Signal(13);
        }
        left -= count;
    }
    Exit::Code(0)
}

/// The programs that read files or stdin.
async fn filter(shell: &mut Shell, name: &str, argv: &[Vec<u8>]) -> Exit {
    let (mut options, mut operands): (Vec<String>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    let mut args = argv[1..].iter();
    while let Some(arg) = args.next() {
        if arg.len() > 1 && arg.starts_with(b"-") {
            options.push(text(arg));
            if matches!(arg.as_slice(), b"-n" | b"-c") && matches!(name, "head" | "tail") {
                options.extend(args.next().map(|arg| text(arg)));
            }
        } else {
            operands.push(arg.clone());
        }
    }
    let pattern = if name == "grep" && !operands.is_empty() { Some(text(&operands.remove(0))) } else { None };
    let mut contents = Vec::new();
    let mut code = 0;
    if operands.is_empty() && name == "cat" {
        // As it comes, so that a program that reads and writes by turns can be played.
        loop {
            let chunk = shell.fds[0].read().await;
            if chunk.is_empty() {
                return Exit::Code(0);
            }
            if answer(shell, &chunk).await != Exit::Code(0) {
                return Exit::Signal(13);
            }
        }
    }
    if operands.is_empty() {
        contents.extend(input(shell).await);
    }
    for path in &operands {
        match shell.space.read(&shell.cwd, path) {
            Ok(content) => contents.extend_from_slice(&content),
            Err(why) => {
                shell.complain(&format!("{name}: {}: {why}", text(path))).await;
                code = 1 + i32::from(name == "grep");
            }
        }
    }
    let lines = || contents.split_inclusive(|byte| *byte == b'\n');
    let count = options.iter().find_map(|option| option.trim_start_matches(['-', 'n', 'c']).parse().ok());
    let output = match name {
        "grep" => {
            let pattern = pattern.unwrap_or_default();
            let whole = options.iter().any(|option| option.contains('x'));
            let inverted = options.iter().any(|option| option.contains('v'));
            let (start, middle) =
                pattern.strip_prefix('^').map_or((false, &pattern[..]), |rest| (true, rest));
            let (end, middle) = middle.strip_suffix('$').map_or((false, middle), |rest| (true, rest));
            let matches = |line: &str| match (start || whole, end || whole) {
                (true, true) => line == middle,
                (true, false) => line.starts_with(middle),
                (false, true) => line.ends_with(middle),
                (false, false) => line.contains(middle),
            };
            let found: Vec<&[u8]> =
                lines().filter(|line| matches(text(line).trim_end_matches('\n')) != inverted).collect();
            if code == 0 && found.is_empty() {
                code = 1;
            }
            match options.iter().any(|option| option.contains('q')) {
                true => Vec::new(),
                false if options.iter().any(|option| option.contains('c')) => {
                    format!("{}\n", found.len()).into_bytes()
                }
                false => found.concat(),
            }
        }
        "head" => lines().take(count.unwrap_or(10)).collect::<Vec<_>>().concat(),
        "tail" => {
            let all: Vec<&[u8]> = lines().collect();
            all[all.len().saturating_sub(count.unwrap_or(10))..].concat()
        }
        "wc" => match options.first().map(String::as_str) {
            Some("-l") => {
                format!("{}\n", contents.iter().filter(|byte| **byte == b'\n').count()).into_bytes()
            }
            _ => format!("{}\n", contents.len()).into_bytes(),
        },
        _ => contents,
    };
    match answer(shell, &output).await {
        Exit::Code(0) => Exit::Code(code),
        other => other,
    }
}

type Failure = (Vec<u8>, &'static str);

/// The programs that change files.
fn files(
    shell: &Shell,
    name: &str,
    has: &dyn Fn(char) -> bool,
    operands: &[Vec<u8>],
) -> Result<Vec<u8>, Failure> {
    let (space, cwd) = (&shell.space, &shell.cwd);
    let whole = |path: &[u8], follow| space.resolve(cwd, path, follow).map_err(|why| (path.to_vec(), why));
    let missing = |path: &[u8]| (path.to_vec(), "No such file or directory");
    match name {
        "mkdir" => {
            for path in operands {
                if has('p') {
                    space.make_folders(cwd, path).map_err(|why| (path.clone(), why))?;
                    continue;
                }
                let at = whole(path, true)?;
                if space.node(&at).is_some() {
                    return Err((path.clone(), "File exists"));
                }
                space.set(&at, Some(Node::folder()));
            }
        }
        "touch" => {
            for path in operands {
                space.write(cwd, path, b"", true).map_err(|why| (path.clone(), why))?;
            }
        }
        "rm" => {
            for path in operands {
                let at = match space.resolve(cwd, path, false) {
                    Err(_) if has('f') => continue,
                    other => other.map_err(|why| (path.clone(), why))?,
                };
                match space.node(&at).map(|node| node.kind) {
                    None if has('f') => {}
                    None => return Err(missing(path)),
                    Some(Kind::Folder) if !has('r') && !has('R') => {
                        return Err((path.clone(), "Is a directory"));
                    }
                    Some(_) => space.set(&at, None),
                }
            }
        }
        "ln" => {
            let [target, path] = operands else { return Err(missing(b"")) };
            let mut at = whole(path, false)?;
            if space.node(&at).is_some_and(|node| node.kind == Kind::Folder) {
                let name = target.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                at = join(&at, name);
            }
            if space.node(&at).is_some() && !has('f') {
                return Err((path.clone(), "File exists"));
            }
            let node = match has('s') {
                true => Node::link(target.clone()),
                false => space.node(&whole(target, false)?).ok_or_else(|| missing(target))?,
            };
            space.set(&at, Some(node));
        }
        "readlink" => {
            let Some(path) = operands.first() else { return Err(missing(b"")) };
            if has('f') {
                return Ok([&whole(path, true)?[..], b"\n"].concat());
            }
            return match space.node(&whole(path, false)?).map(|node| node.kind) {
                Some(Kind::Link(target)) => Ok([&target[..], b"\n"].concat()),
                _ => Err((path.clone(), "not a link")),
            };
        }
        "chmod" => {
            let mode = operands.first().map(|mode| text(mode)).unwrap_or_default();
            for path in &operands[1.min(operands.len())..] {
                let at = whole(path, true)?;
                let mut node = space.node(&at).ok_or_else(|| missing(path))?;
                node.mode = match u32::from_str_radix(&mode, 8) {
                    Ok(mode) => mode,
                    Err(_) if mode.contains('x') => node.mode | 0o111,
                    Err(_) => return Err((path.clone(), "mode not known here")),
                };
                space.set(&at, Some(node));
            }
        }
        "stat" => {
            let (Some((format, paths)), true) = (operands.split_first(), has('c')) else {
                return Err((Vec::new(), "only stat -c FORMAT is known here"));
            };
            let mut lines = Vec::new();
            for path in paths {
                let node = space.node(&whole(path, false)?).ok_or_else(|| missing(path))?;
                let values = [
                    ("%a", format!("{:o}", node.mode)),
                    ("%u", node.owner.0.to_string()),
                    ("%g", node.owner.1.to_string()),
                    ("%s", node.size().to_string()),
                ];
                let line = values.iter().fold(text(format), |line, (name, value)| line.replace(name, value));
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
            }
            return Ok(lines);
        }
        "chown" => {}
        "cp" | "mv" => {
            let Some((to, sources)) = operands.split_last() else { return Err(missing(b"")) };
            for from in sources {
                let source = whole(from, name == "cp" && !has('a') && !has('P'))?;
                let node = space.node(&source).ok_or_else(|| missing(from))?;
                let mut at = whole(to, true)?;
                if space.node(&at).is_some_and(|node| node.kind == Kind::Folder) {
                    at = join(&at, source.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
                }
                if node.kind == Kind::Folder && name == "cp" && !has('r') && !has('R') && !has('a') {
                    return Err((from.clone(), "Is a directory"));
                }
                copy(space, &source, &at);
                if name == "mv" {
                    space.set(&source, None);
                }
            }
        }
        "ls" => {
            let here = vec![b".".to_vec()];
            let mut lines = Vec::new();
            for path in if operands.is_empty() { &here } else { operands } {
                let at = whole(path, true)?;
                match space.node(&at).ok_or_else(|| missing(path))?.kind {
                    Kind::Folder => {
                        if operands.len() > 1 {
                            let gap: &[u8] = if lines.is_empty() { b"" } else { b"\n" };
                            lines.extend([gap, path, b":\n"].concat());
                        }
                        let names = space.list(&at);
                        let shown =
                            names.iter().filter(|name| has('a') || has('A') || !name.starts_with(b"."));
                        lines.extend(shown.flat_map(|name| [name, &b"\n"[..]].concat()));
                    }
                    _ => lines.extend([path, &b"\n"[..]].concat()),
                }
            }
            return Ok(lines);
        }
        _ => return Err((Vec::new(), "not known in a memory sandbox")),
    }
    Ok(Vec::new())
}

fn copy(space: &Space, from: &[u8], to: &[u8]) {
    let Some(node) = space.node(from) else { return };
    let names = if node.kind == Kind::Folder { space.list(from) } else { Default::default() };
    space.set(to, Some(node));
    for name in names {
        copy(space, &join(from, &name), &join(to, &name));
    }
}

fn holds(shell: &Shell, args: &[Vec<u8>]) -> bool {
    let node = |path: &[u8]| shell.space.follow(&shell.cwd, path);
    let number = |arg: &[u8]| text(arg).parse::<i64>().unwrap_or(0);
    match args {
        [] => false,
        [not, rest @ ..] if not == b"!" && !rest.is_empty() => !holds(shell, rest),
        [one] => !one.is_empty(),
        [test, path] => match test.as_slice() {
            b"-e" | b"-r" => node(path).is_some(),
            b"-f" => node(path).is_some_and(|node| matches!(node.kind, Kind::File(_))),
            b"-d" => node(path).is_some_and(|node| node.kind == Kind::Folder),
            b"-s" => node(path).is_some_and(|node| node.size() > 0),
            b"-x" => node(path).is_some_and(|node| node.mode & 0o111 != 0),
            b"-L" | b"-h" => shell
                .space
                .resolve(&shell.cwd, path, false)
                .ok()
                .and_then(|at| shell.space.node(&at))
                .is_some_and(|node| matches!(node.kind, Kind::Link(_))),
            b"-z" => path.is_empty(),
            b"-n" => !path.is_empty(),
            _ => false,
        },
        [left, operator, right] => match operator.as_slice() {
            b"=" | b"==" => left == right,
            b"!=" => left != right,
            b"-eq" => number(left) == number(right),
            b"-ne" => number(left) != number(right),
            b"-lt" => number(left) < number(right),
            b"-le" => number(left) <= number(right),
            b"-gt" => number(left) > number(right),
            b"-ge" => number(left) >= number(right),
            _ => false,
        },
        _ => false,
    }
}

/// `printf` with `%s`, `%d`, `%%`, `\n`, `\t`, `\\` and octal bytes.
fn formatted(format: &[u8], args: &[Vec<u8>]) -> Vec<u8> {
    let mut output = Vec::new();
    let mut args = args.iter();
    loop {
        let left = args.len();
        let mut bytes = format.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'%' => match bytes.next() {
                    Some(b's' | b'd') => output.extend(args.next().into_iter().flatten()),
                    Some(other) => output.push(other),
                    None => output.push(b'%'),
                },
                b'\\' => match bytes.next() {
                    Some(b'n') => output.push(b'\n'),
                    Some(b't') => output.push(b'\t'),
                    Some(b'r') => output.push(b'\r'),
                    Some(digit @ b'0'..=b'7') => {
                        let mut value = u32::from(digit - b'0');
                        for _ in 0..2 {
                            if let Some(digit) = bytes.next_if(|byte| (b'0'..=b'7').contains(byte)) {
                                value = value * 8 + u32::from(digit - b'0');
                            }
                        }
                        output.push(value.to_le_bytes()[0]);
                    }
                    Some(other) => output.push(other),
                    None => output.push(b'\\'),
                },
                other => output.push(other),
            }
        }
        if args.len() == 0 || args.len() == left {
            return output;
        }
    }
}

/// A descriptor's captured bytes, for programs in Rust that call others.
pub(super) fn captured(descriptor: &Descriptor) -> Vec<u8> {
    match descriptor {
        Descriptor::Capture(buffer) => std::mem::take(&mut *lock(buffer)),
        _ => Vec::new(),
    }
}
