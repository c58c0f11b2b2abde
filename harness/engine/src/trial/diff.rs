//! A unified diff of many files with its size counted while it is made.

use std::time::Duration;

use harness_core::DiffStat;
use similar::TextDiff;

/// Largest diff that is kept, in bytes; what is beyond is counted and not written.
const MAX_TEXT: usize = 16 << 20;

/// A diff that grows by files.
#[derive(Debug, Default)]
pub(super) struct Diff {
    pub(super) text: Vec<u8>,
    pub(super) stat: DiffStat,
}

impl Diff {
    /// Adds one file: its old and new content, `None` where there is none.
    pub(super) fn file(&mut self, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) {
        if old == new {
            return;
        }
        let (before, after) = (old.unwrap_or_default(), new.unwrap_or_default());
        if before.contains(&0) || after.contains(&0) {
            return self.opaque(path);
        }
        self.stat.files += 1;
        // A pathological pair of files costs two seconds at most and then a coarser diff.
        let diff = TextDiff::configure().timeout(Duration::from_secs(2)).diff_lines(before, after);
        let mut text = Vec::new();
        let name =
            |side: &str, there: bool| if there { format!("{side}/{path}") } else { "/dev/null".to_owned() };
        let (from, to) = (name("a", old.is_some()), name("b", new.is_some()));
        text.extend(format!("diff --git a/{path} b/{path}\n").into_bytes());
        if old.is_none() {
            text.extend(b"new file mode 100644\n");
        } else if new.is_none() {
            text.extend(b"deleted file mode 100644\n");
        }
        let mut unified = diff.unified_diff();
        unified.context_radius(3);
        self.stat.hunks += unified.iter_hunks().count() as u32;
        for change in diff.iter_all_changes() {
            match change.tag() {
                similar::ChangeTag::Insert => self.stat.added += 1,
                similar::ChangeTag::Delete => self.stat.removed += 1,
                similar::ChangeTag::Equal => {}
            }
        }
        text.extend(format!("--- {from}\n+++ {to}\n").into_bytes());
        for hunk in unified.iter_hunks() {
            text.extend(format!("{}\n", hunk.header()).into_bytes());
            for change in hunk.iter_changes() {
                text.extend(change.tag().to_string().into_bytes());
                text.extend_from_slice(change.value());
                if change.missing_newline() {
                    text.extend(b"\n\\ No newline at end of file\n");
                }
            }
        }
        self.keep(&text);
    }

    /// Adds a file that is binary, too large or no file any more.
    pub(super) fn opaque(&mut self, path: &str) {
        self.stat.files += 1;
        self.keep(
            format!("diff --git a/{path} b/{path}\nBinary files a/{path} and b/{path} differ\n").as_bytes(),
        );
    }

    fn keep(&mut self, text: &[u8]) {
        if self.text.len() + text.len() <= MAX_TEXT {
            self.text.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diff_counts_files_hunks_and_lines() {
        let mut diff = Diff::default();
        diff.file("a.txt", Some(b"one\ntwo\nthree\n"), Some(b"one\n2\nthree\nfour\n"));
        diff.file("new.txt", None, Some(b"x\n"));
        diff.file("gone.txt", Some(b"y\n"), None);
        diff.file("same.txt", Some(b"y\n"), Some(b"y\n"));
        diff.file("bin", Some(b"\0"), Some(b"\0\0"));
        let DiffStat { files, hunks, added, removed, .. } = diff.stat;
        assert_eq!((files, hunks, added, removed), (4, 3, 3, 2));
        let text = String::from_utf8(diff.text).unwrap();
        assert!(text.contains("--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+x\n"), "{text}");
    }

    #[test]
    fn diff_of_hostile_files_is_bounded_in_time() {
        let a: Vec<u8> = (0..200_000u32).flat_map(|i| [b'a' + (i % 7) as u8, b'\n']).collect();
        let b: Vec<u8> = (0..200_000u32).flat_map(|i| [b'a' + (i * 31 % 11) as u8, b'\n']).collect();
        let began = std::time::Instant::now();
        Diff::default().file("x", Some(&a), Some(&b));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
