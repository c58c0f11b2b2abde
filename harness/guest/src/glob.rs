//! Which paths an exclude pattern means: `*` and `?` stay within a name, `**` does not; a pattern without a slash means
//! names at every depth.

/// Whether a path below the source is left out by one of the patterns. What is below a left-out folder is not asked.
pub fn excluded<P: AsRef<[u8]>>(patterns: &[P], path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    patterns.iter().any(|pattern| {
        let pattern = pattern.as_ref();
        let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
        let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
        matches(pattern, if pattern.contains(&b'/') { path } else { name })
    })
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            matches(rest, text)
                || text.iter().enumerate().any(|(at, byte)| *byte == b'/' && matches(rest, &text[at + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        [b'?', rest @ ..] => text.first().is_some_and(|byte| *byte != b'/') && matches(rest, &text[1..]),
        [first, rest @ ..] => text.first() == Some(first) && matches(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::excluded;

    #[test]
    fn patterns_without_a_slash_mean_names_at_every_depth() {
        let check = |pattern: &str, path: &str| excluded(&[pattern], path.as_bytes());
        assert!(check("*.pyc", "a/b/c.pyc") && check(".git", "a/.git") && check("a?c", "abc"));
        assert!(!check("*.pyc", "a/b/c.py") && !check("b/*.pyc", "a/b/c.pyc"));
        assert!(check("**/c", "a/b/c") && check("**/c", "c") && check("a/**", "a/b/c"));
        assert!(check("a/*/c", "a/b/c") && !check("a/*", "a/b/c"));
    }
}
