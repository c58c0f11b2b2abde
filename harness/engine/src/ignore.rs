//! `.harborignore`: which files of a task's tests and solution are not put into a sandbox.
//!
//! The rules are git's: one pattern a line, `!` takes back, `/` at the end means folders only, a `/` elsewhere ties a pattern to the
//! file's own folder. A file in a folder below adds its rules for what is there. The files themselves are never put.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const NAME: &str = ".harborignore";
/// Most bytes of one file of rules, and the most of its lines.
const MAX_BYTES: u64 = 1 << 20;
const MAX_RULES: usize = 10_000;
/// Folders within folders.
const MAX_DEPTH: usize = 100;

/// A folder as it is put: itself, or a copy of what its rules leave.
pub(crate) enum Selected<'a> {
    /// There are no rules.
    Whole(&'a Path),
    /// Removed when it is dropped.
    Part(TempDir),
}

impl Selected<'_> {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Selected::Whole(path) => path,
            Selected::Part(copy) => copy.path(),
        }
    }
}

/// What of a folder of the task is put.
///
/// # Errors
/// When the folder cannot be read, or the copy not be made.
pub(crate) fn selected(folder: &Path) -> io::Result<Selected<'_>> {
    if !has_rules(folder, 0)? {
        return Ok(Selected::Whole(folder));
    }
    let copy = tempfile::tempdir()?;
    fill(folder, copy.path(), &mut Vec::new())?;
    Ok(Selected::Part(copy))
}

fn has_rules(folder: &Path, depth: usize) -> io::Result<bool> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("{} lies too deep", folder.display())));
    }
    let mut below = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == NAME {
            return Ok(true);
        }
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    for folder in below {
        if has_rules(&folder, depth + 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rules of the folders on the way down, each with its folder.
type Stack = Vec<(PathBuf, Vec<Rule>)>;

fn fill(from: &Path, to: &Path, stack: &mut Stack) -> io::Result<()> {
    if stack.len() > MAX_DEPTH {
        return Err(io::Error::other(format!("{} lies too deep", from.display())));
    }
    stack.push((from.to_owned(), rules(&from.join(NAME))?));
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if entry.file_name() == NAME || left_out(stack, &path, kind.is_dir()) {
            continue;
        }
        let there = to.join(entry.file_name());
        if kind.is_dir() {
            fs::create_dir(&there)?;
            fill(&path, &there, stack)?;
            fs::set_permissions(&there, fs::metadata(&path)?.permissions())?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &there)?;
        } else if kind.is_file() {
            fs::copy(&path, &there)?;
        }
    }
    stack.pop();
    Ok(())
}

fn rules(file: &Path) -> io::Result<Vec<Rule>> {
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_file() && found.len() <= MAX_BYTES => {
            let text = fs::read(file)?;
            Ok(String::from_utf8_lossy(&text).lines().filter_map(Rule::parse).take(MAX_RULES).collect())
        }
        Ok(_) => Err(io::Error::other(format!("{} is no file of at most {MAX_BYTES} bytes", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The last rule that means a path decides; rules of folders below come after those above.
fn left_out(stack: &Stack, path: &Path, is_folder: bool) -> bool {
    let mut out = false;
    for (folder, rules) in stack {
        let Ok(below) = path.strip_prefix(folder) else { continue };
        let below = below.to_string_lossy();
        if let Some(rule) = rules.iter().rev().find(|rule| rule.means(&below, is_folder)) {
            out = !rule.takes_back;
        }
    }
    out
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    takes_back: bool,
    folders_only: bool,
    /// Matched against the path from the rule's folder, not against the name alone.
    tied: bool,
    pattern: Vec<Part>,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Is(char),
    /// `?`: any letter but `/`.
    One,
    /// `*`: any number of them.
    Some,
    /// `**/`: any number of folders.
    Folders,
    /// `/**` at the end: everything below.
    Below,
    /// `[a-z]`; with `!` any other letter but `/`.
    Among {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Rule {
    fn parse(line: &str) -> Option<Rule> {
        let mut line = line.trim_end_matches('\r');
        while line.ends_with(' ') && !line.ends_with("\\ ") {
            line = &line[..line.len() - 1];
        }
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let takes_back = line.starts_with('!');
        let line = line.strip_prefix('!').unwrap_or(line);
        let folders_only = line.ends_with('/');
        let line = line.strip_suffix('/').unwrap_or(line);
        let tied = line.contains('/');
        let line = line.strip_prefix('/').unwrap_or(line);
        let pattern = parts(line);
        (!pattern.is_empty()).then_some(Rule { takes_back, folders_only, tied, pattern })
    }

    fn means(&self, below: &str, is_folder: bool) -> bool {
        if self.folders_only && !is_folder {
            return false;
        }
        let text = if self.tied { below } else { below.rsplit('/').next().unwrap_or(below) };
        matches(&self.pattern, &text.chars().collect::<Vec<_>>())
    }
}

fn parts(text: &str) -> Vec<Part> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let begins = at == 0 || chars[at - 1] == '/';
        if begins && rest.starts_with(&['*', '*', '/']) {
            parts.push(Part::Folders);
            at += 3;
        } else if begins && at > 0 && rest == ['*', '*'] {
            // The slash before it is part of it: something must be below.
            parts.pop();
            parts.push(Part::Below);
            at += 2;
        } else if rest[0] == '*' {
            parts.push(Part::Some);
            at += rest.iter().take_while(|c| **c == '*').count();
        } else if rest[0] == '?' {
            parts.push(Part::One);
            at += 1;
        } else if let Some((among, length)) = among(rest) {
            parts.push(among);
            at += length;
        } else {
            let escaped = rest[0] == '\\' && rest.len() > 1;
            parts.push(Part::Is(if escaped { rest[1] } else { rest[0] }));
            at += if escaped { 2 } else { 1 };
        }
    }
    parts
}

/// `[…]` at the start, and how long it is; one that is not closed is an ordinary letter.
fn among(chars: &[char]) -> Option<(Part, usize)> {
    if chars.first() != Some(&'[') {
        return None;
    }
    let not = matches!(chars.get(1), Some('!' | '^'));
    let first = if not { 2 } else { 1 };
    let end = (first + 1..chars.len()).find(|at| chars[*at] == ']')?;
    let mut ranges = Vec::new();
    let mut at = first;
    while at < end {
        match (chars[at], chars.get(at + 1), chars.get(at + 2)) {
            (from, Some('-'), Some(to)) if at + 2 < end => {
                ranges.push((from, *to));
                at += 3;
            }
            (one, ..) => {
                ranges.push((one, one));
                at += 1;
            }
        }
    }
    Some((Part::Among { not, ranges }, end + 1))
}

/// Each pair of places is looked at once, so that no pattern takes long.
fn matches(pattern: &[Part], text: &[char]) -> bool {
    // Which ends of the text the pattern until here can reach.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut running = false;
        for at in 0..=text.len() {
            let letter = |wanted: &dyn Fn(char) -> bool| at > 0 && reached[at - 1] && wanted(text[at - 1]);
            next[at] = match part {
                Part::Is(c) => letter(&|found| found == *c),
                Part::One => letter(&|found| found != '/'),
                Part::Among { not, ranges } => letter(&|found| {
                    found != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&found)) != *not
                }),
                Part::Some => {
                    running = reached[at] || (running && at > 0 && text[at - 1] != '/');
                    running
                }
                Part::Folders => {
                    let here = reached[at];
                    let after = running && at > 0 && text[at - 1] == '/';
                    running |= here;
                    here || after
                }
                Part::Below => {
                    let here = running;
                    running |= reached[at] && text.get(at) == Some(&'/');
                    here && at > 0 && !(at == text.len() && text[at - 1] == '/')
                }
            };
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]
    use super::*;

    /// Whether git would ignore it by this one rule.
    fn means(rule: &str, path: &str) -> bool {
        let (path, is_folder) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        Rule::parse(rule).is_some_and(|rule| rule.means(path, is_folder))
    }

    #[test]
    fn ignore_rules_mean_what_git_means() {
        for (rule, yes, no) in [
            ("*.pyc", &["a.pyc", "a/b.pyc"][..], &["a.py", "a.pyc/b"][..]),
            ("data", &["data", "a/data", "data/"], &["data2", "a/data/b"]),
            ("data/", &["data/", "a/data/"], &["data", "a/data"]),
            ("/data", &["data"], &["a/data"]),
            ("a/b", &["a/b"], &["c/a/b", "a/c"]),
            ("a/*.txt", &["a/x.txt"], &["a/b/x.txt", "x.txt"]),
            ("**/x", &["x", "a/x", "a/b/x"], &["ax", "a/bx"]),
            ("a/**/b", &["a/b", "a/c/b", "a/c/d/b"], &["ab", "a/cb"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/a"]),
            ("a?c", &["abc", "x/abc"], &["ac", "a/c"]),
            ("[a-c]x[!0-9]", &["axz", "cxy"], &["dxz", "ax1", "axzz"]),
            ("[ab", &["[ab"], &["a", "b"]),
            ("\\#a", &["#a"], &["a"]),
            ("\\!a", &["!a"], &["a"]),
            ("a\\*", &["a*"], &["ab"]),
            ("end  ", &["end"], &["end  "]),
            ("end\\ ", &["end "], &["end"]),
            ("*", &["a", "a/b", "x/"], &[]),
        ] {
            for path in yes {
                assert!(means(rule, path), "{rule:?} does not mean {path:?}");
            }
            for path in no {
                assert!(!means(rule, path), "{rule:?} means {path:?}");
            }
        }
        for nothing in ["", "# a", "   ", "!", "/"] {
            assert!(Rule::parse(nothing).is_none(), "{nothing:?}");
        }
        // A pattern that makes others try for ever.
        assert!(!means(&"*a".repeat(500), &("a".repeat(400) + "b")));
    }

    #[test]
    fn ignore_leaves_out_what_the_rules_of_all_folders_say_together() {
        let from = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = from.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        for name in [
            "test.sh",
            "big.bin",
            "keep.bin",
            "draft/x",
            "sub/a.log",
            "sub/b.log",
            "sub/c.tmp",
            "sub/deep/c.tmp",
        ] {
            write(name, name);
        }
        assert!(matches!(selected(from.path()).unwrap(), Selected::Whole(path) if path == from.path()));
        write(".harborignore", "*.bin\n!keep.bin\ndraft/\n*.log\n");
        write("sub/.harborignore", "!b.log\n/c.tmp\n");
        std::os::unix::fs::symlink("test.sh", from.path().join("link")).unwrap();
        let part = selected(from.path()).unwrap();
        let mut found = Vec::new();
        let mut folders = vec![part.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(part.path()).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        assert_eq!(found, ["keep.bin", "link", "sub/b.log", "sub/deep/c.tmp", "test.sh"]);
        assert_eq!(fs::read_link(part.path().join("link")).unwrap(), Path::new("test.sh"));
    }

    #[test]
    fn ignore_refuses_rules_that_are_no_file() {
        let from = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", from.path().join(NAME)).unwrap();
        assert!(selected(from.path()).is_err());
    }
}
