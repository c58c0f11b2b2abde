//! A shell in the sandbox that lives as long as the work: folder, variables, functions and background jobs stay from one command
//! to the next. Each command is evaluated with its input closed and its output told apart from the next one's by a mark that
//! nobody can guess.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness_sandbox::{Exit, Place, Process, ProcessControl, ProcessSpec, SandboxError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Most of a command's output that is kept whole, for a file that the model can look into.
const MAX_FULL: u64 = 16 << 20;
/// From here on it is kept in a file on the host and not in memory.
const IN_MEMORY: usize = 128 << 10;
/// Longest mark with exit status and folder.
const MAX_MARK: usize = 64 << 10;
/// How long the end of a shell that is told to end is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running shell.
pub(crate) struct Shell {
    /// Only ever reached through `&mut`: the lock is there because a process cannot be shared and a shell has to be.
    process: Mutex<Process>,
    mark: String,
    /// Where it is.
    pub(crate) cwd: String,
}

/// How a shell is started.
#[derive(Debug, Clone)]
pub(crate) struct ShellSpec {
    pub(crate) cwd: String,
    pub(crate) user: Option<String>,
    pub(crate) env: std::collections::BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It ended with this status.
    Exited(i32),
    /// Its time was over; the shell is gone.
    TimedOut,
    /// The shell ended with it.
    ShellGone(Exit),
}

impl Shell {
    /// Starts bash, or what stands in its place.
    pub(crate) async fn start(place: &dyn Place, spec: &ShellSpec) -> Result<Shell, SandboxError> {
        let mut env = spec.env.clone();
        // Nobody answers questions or turns pages here.
        for (name, value) in
            [("TERM", "dumb"), ("PAGER", "cat"), ("GIT_PAGER", "cat"), ("GIT_TERMINAL_PROMPT", "0")]
        {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let process = |argv: &[&str]| ProcessSpec {
            env: env.clone(),
            cwd: Some(spec.cwd.clone()),
            user: spec.user.clone(),
            stdin: true,
            ..ProcessSpec::new(argv)
        };
        let mut process = match place.spawn(process(&["bash", "--noprofile", "--norc"])).await {
            Err(SandboxError::Inside { .. }) => place.spawn(process(&["/bin/sh"])).await?,
            started => started?,
        };
        // The mark has a descriptor of its own, so that a command that sends all output elsewhere does not take it along.
        write(&mut process, b"exec 9>&1\n").await;
        let random = || RandomState::new().build_hasher().finish();
        Ok(Shell {
            process: Mutex::new(process),
            mark: format!("\n{:016x}{:016x} ", random(), random()),
            cwd: spec.cwd.clone(),
        })
    }

    /// Runs a command; its output goes to the spool. Afterwards the shell is there only if the command exited.
    pub(crate) async fn run(
        &mut self,
        command: &str,
        limit: Duration,
        spool: &mut Spool,
    ) -> Result<Ran, SandboxError> {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        let quoted = command.replace('\'', "'\\''");
        let mark = self.mark.trim();
        // A command before may have sent the shell's own output elsewhere for good.
        // In dash a syntax error in `eval` ends the shell; `command` keeps it from that, and does nothing else.
        let script = format!(
            "exec >&9\ncommand eval '{quoted}' </dev/null 2>&1 9>&-\nprintf '\\n%s %d %s\\036' {mark} \"$?\" \"$PWD\" >&9\n"
        );
        let mut script = script.as_bytes();
        let mut held: Vec<u8> = Vec::new();
        let mut piece = vec![0; 32 << 10];
        let mut complaint = [0; 4096];
        let mut errors_open = true;
        let Process { stdin, stdout, stderr, exit, control } =
            self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            let wants_writing = !script.is_empty() && stdin.is_some();
            tokio::select! {
                biased;
                () = &mut deadline => {
                    control.kill();
                    spool.add(&held);
                    return Ok(Ran::TimedOut);
                }
                wrote = async { stdin.as_mut().expect("checked before").write(script).await }, if wants_writing => {
                    match wrote {
                        Ok(count) => script = &script[count..],
                        Err(_) => script = &[],
                    }
                }
                read = stdout.read(&mut piece) => {
                    let count = read.unwrap_or(0);
                    held.extend_from_slice(&piece[..count]);
                    if let Some((status, cwd)) = found(&self.mark, &mut held, spool) {
                        if cwd.starts_with('/') {
                            self.cwd = cwd;
                        }
                        return Ok(Ran::Exited(status));
                    }
                    if count == 0 {
                        spool.add(&held);
                        return Ok(Ran::ShellGone(end(exit, &**control).await?));
                    }
                }
                read = stderr.read(&mut complaint), if errors_open => {
                    let count = read.unwrap_or(0);
                    errors_open = count > 0;
                    spool.add(&complaint[..count]);
                }
                ended = &mut *exit => {
                    let ended = ended?;
                    // What it wrote last is there already; whoever holds the stream open after it does not keep us.
                    while let Ok(Ok(count @ 1..)) =
                        tokio::time::timeout(Duration::from_millis(50), stdout.read(&mut piece)).await
                    {
                        held.extend_from_slice(&piece[..count]);
                        if held.len() > MAX_MARK {
                            spool.add(&std::mem::take(&mut held));
                        }
                    }
                    spool.add(&held);
                    return Ok(Ran::ShellGone(ended));
                }
            }
        }
    }

    /// Lets it end by itself, so that what it left running in the background goes on.
    pub(crate) async fn leave(self) {
        let mut process = self.process.into_inner().unwrap_or_else(PoisonError::into_inner);
        write(&mut process, b"exit\n").await;
        process.stdin = None;
        // One that stays is killed when it is dropped; how it ended concerns nobody.
        let _ = tokio::time::timeout(FAREWELL, &mut process.exit).await;
    }
}

type Ending = std::pin::Pin<Box<dyn Future<Output = Result<Exit, SandboxError>> + Send>>;

/// The end of a shell that has closed its output.
async fn end(exit: &mut Ending, control: &dyn ProcessControl) -> Result<Exit, SandboxError> {
    match tokio::time::timeout(FAREWELL, &mut *exit).await {
        Ok(ended) => ended,
        Err(_) => {
            control.kill();
            exit.await
        }
    }
}

async fn write(process: &mut Process, bytes: &[u8]) {
    if let Some(stdin) = &mut process.stdin {
        // A shell that does not read has ended, and says so by its exit.
        let _ = tokio::time::timeout(FAREWELL, stdin.write_all(bytes)).await;
    }
}

/// Looks for the mark, and passes on what is certainly output. Gives exit status and folder.
fn found(mark: &str, held: &mut Vec<u8>, spool: &mut Spool) -> Option<(i32, String)> {
    let mark = mark.as_bytes();
    if let Some(at) = memchr::memmem::find(held, mark) {
        let rest = &held[at + mark.len()..];
        let end = memchr::memchr(0x1e, rest)?;
        let told = String::from_utf8_lossy(&rest[..end]).into_owned();
        spool.add(&held[..at]);
        held.clear();
        let (status, cwd) = told.split_once(' ').unwrap_or((&told, ""));
        return Some((status.parse().unwrap_or(-1), cwd.to_owned()));
    }
    // A part of the mark may stand at the end.
    let sure = held.len().saturating_sub(mark.len());
    spool.add(&held[..sure]);
    held.drain(..sure);
    None
}

/// A command's output: first and last bytes, all of it up to a limit, and how much it was.
pub(crate) struct Spool {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes in all.
    pub(crate) total: u64,
    full: Full,
    kept: u64,
}

enum Full {
    Memory(Vec<u8>),
    File(tempfile::NamedTempFile),
    /// The host's disk refused: the model goes without.
    Gone,
}

impl Spool {
    /// Keeps `cap` bytes for the model.
    pub(crate) fn new(cap: usize) -> Spool {
        let half = (cap / 2).max(1);
        Spool {
            half,
            head: Vec::new(),
            tail: VecDeque::new(),
            total: 0,
            full: Full::Memory(Vec::new()),
            kept: 0,
        }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = usize::try_from(MAX_FULL.saturating_sub(self.kept)).unwrap_or(usize::MAX).min(bytes.len());
        self.kept += room as u64;
        self.keep(&bytes[..room]);
        let first = self.half.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..first]);
        let rest = &bytes[first..];
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..over.min(self.tail.len()));
        self.tail.extend(rest);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Full::Memory(all) = &mut self.full {
            if all.len() + bytes.len() <= IN_MEMORY {
                all.extend_from_slice(bytes);
                return;
            }
            let moved =
                tempfile::NamedTempFile::new().and_then(|mut file| file.write_all(all).map(|()| file));
            self.full = moved.map_or(Full::Gone, Full::File);
        }
        if let Full::File(file) = &mut self.full
            && file.write_all(bytes).is_err()
        {
            self.full = Full::Gone;
        }
    }

    /// How many bytes the model does not get to read.
    pub(crate) fn missing(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// What is to be copied into the sandbox, where something is missing.
    pub(crate) fn source(&self) -> Option<harness_sandbox::Source> {
        match &self.full {
            _ if self.missing() == 0 => None,
            Full::Memory(all) => Some(harness_sandbox::Source::Bytes(all.clone())),
            Full::File(file) => Some(harness_sandbox::Source::File(PathBuf::from(file.path()))),
            Full::Gone => None,
        }
    }

    /// First and last lines, and between them how much is missing and where all of it is.
    pub(crate) fn text(&self, file: Option<&str>) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.missing() == 0 {
            return clean(&[&self.head[..], &tail].concat());
        }
        let mut text = clean(&self.head);
        let _ = write!(text, "\n\n[… {} of {} bytes left out", self.missing(), self.total);
        if let Some(file) = file {
            let part = if self.total > self.kept {
                format!("the first {} bytes are", self.kept)
            } else {
                "all is".to_owned()
            };
            let _ = write!(text, "; {part} in {file}");
        }
        text.push_str(" …]\n\n");
        text.push_str(&clean(&tail));
        text
    }
}

/// As text, without what only a terminal understands: it costs tokens and hides what was said.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(['\x1b', '\r', '\0']) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' if letters.peek() == Some(&'[') => {
                letters.next();
                while letters.next_if(|next| !('\x40'..='\x7e').contains(next)).is_some() {}
                letters.next();
            }
            '\x1b' | '\0' => {}
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            letter => out.push(letter),
        }
    }
    out
}

/// How long something took, in words for the model.
pub(crate) fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spool_keeps_head_and_tail_and_says_what_is_missing() {
        let mut spool = Spool::new(10);
        for piece in ["abc", "def", "ghijklmnop", "q"] {
            spool.add(piece.as_bytes());
        }
        assert_eq!((spool.total, spool.missing()), (17, 7));
        let text = spool.text(Some("/tmp/1"));
        assert!(
            text.starts_with("abcde\n") && text.ends_with("mnopq") && text.contains("7 of 17 bytes"),
            "{text}"
        );
        assert!(text.contains("all is in /tmp/1"));
        assert_eq!(spool.source(), Some(harness_sandbox::Source::Bytes(b"abcdefghijklmnopq".to_vec())));
        let mut short = Spool::new(10);
        short.add(b"0123456789");
        assert_eq!(short.text(None), "0123456789");
    }

    #[test]
    fn spool_of_much_output_holds_little_memory() {
        let mut spool = Spool::new(1000);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            spool.add(&piece);
        }
        assert_eq!(spool.total, 64 << 20);
        assert_eq!(spool.kept, MAX_FULL);
        assert!(matches!(&spool.full, Full::File(file) if file.path().metadata().unwrap().len() == MAX_FULL));
    }

    #[test]
    fn clean_takes_out_colours_and_bars() {
        assert_eq!(clean(b"\x1b[31mred\x1b[0m\r\n10%\r20%\0"), "red\n10%\n20%");
    }
}
