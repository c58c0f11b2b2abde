//! `.dockerignore`: which files of a context are left out. The rules are Docker's own, exceptions and `**` included; what it calls
//! a syntax error is one here, too.

/// Most lines that count.
const MOST_PATTERNS: usize = 2000;
/// Most letters of one line.
const MOST_LETTERS: usize = 4096;

/// What a file says is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

/// Which patterns match a folder or a folder above it: the folder's entries need not ask again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matched(Vec<bool>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// It begins with `!`: what it matches is not left out after all.
    exception: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This letter.
    Letter(char),
    /// `?`: one letter but no `/`.
    One,
    /// `*`: any letters but no `/`.
    Some,
    /// `**`, or `**/`: nothing, or anything that ends with `/`.
    Folders,
    /// `**` at the end, or at the beginning of an otherwise plain pattern: anything.
    Anything,
    /// `[a-z]`, `[^a-z]`.
    Class { not: bool, ranges: Vec<(char, char)> },
}

impl Ignore {
    /// Reads a file's text.
    ///
    /// # Errors
    /// In words for people, with the line's number.
    pub(crate) fn parse(text: &str) -> Result<Ignore, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            // A comment only where `#` is the line's first letter; elsewhere it is part of a name.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if line.len() > MOST_LETTERS || patterns.len() >= MOST_PATTERNS {
                return Err(format!("line {number}: too long, or more than {MOST_PATTERNS} lines"));
            }
            patterns.push(pattern(line.trim()).map_err(|why| format!("line {number}: {why}"))?);
        }
        Ok(Ignore { patterns })
    }

    /// Whether some line begins with `!`: what is left out may then hold what is not.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether a path below the context, with `/` between its parts, is left out: the last pattern that matches it, or a folder
    /// above it, decides. `above` is what this gave for its folder, or nothing at the top.
    pub(crate) fn check(&self, path: &str, above: &Matched) -> (bool, Matched) {
        let letters: Vec<char> = path.chars().collect();
        let mut matched = Vec::with_capacity(self.patterns.len());
        let mut ignored = false;
        for (at, pattern) in self.patterns.iter().enumerate() {
            let matches = above.0.get(at).copied().unwrap_or(false) || matches(&pattern.tokens, &letters);
            matched.push(matches);
            if matches {
                ignored = !pattern.exception;
            }
        }
        (ignored, Matched(matched))
    }

    /// Letters that one check looks at, at most: what a hostile file may cost.
    pub(crate) fn cost(&self, path: &str) -> u64 {
        let tokens: usize = self.patterns.iter().map(|pattern| pattern.tokens.len() + 1).sum();
        tokens as u64 * (path.len() as u64 + 1)
    }
}

fn pattern(line: &str) -> Result<Pattern, String> {
    let (exception, rest) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    if rest.is_empty() {
        return Err("an exception names nothing".to_owned());
    }
    let cleaned = clean(rest);
    let cleaned = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    Ok(Pattern { exception, tokens: tokens(cleaned)? })
}

/// The shortest path that means the same, as Go's `filepath.Clean` has it.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        match letters[at] {
            '*' if letters.get(at + 1) == Some(&'*') => {
                at += 2;
                let slash = letters.get(at) == Some(&'/');
                at += usize::from(slash);
                let rest = &letters[at..];
                let plain = !rest.iter().any(|letter| matches!(letter, '*' | '?' | '[' | ']' | '\\'));
                let alone = tokens.is_empty() && !slash && plain;
                tokens.push(if rest.is_empty() || alone { Token::Anything } else { Token::Folders });
                continue;
            }
            '*' => tokens.push(Token::Some),
            '?' => tokens.push(Token::One),
            '\\' => {
                at += 1;
                let letter = letters.get(at).ok_or("a \\ at the end stands for nothing")?;
                tokens.push(Token::Letter(*letter));
            }
            '[' => {
                let (class, next) = class(&letters, at)?;
                tokens.push(class);
                at = next;
                continue;
            }
            letter => tokens.push(Token::Letter(letter)),
        }
        at += 1;
    }
    Ok(tokens)
}

/// The class that begins at a `[`, and where it ends.
fn class(letters: &[char], open: usize) -> Result<(Token, usize), String> {
    let not = letters.get(open + 1) == Some(&'^');
    let mut at = open + 1 + usize::from(not);
    let mut ranges = Vec::new();
    let one = |at: &mut usize| -> Result<char, String> {
        let wrong = || "a [ is not closed, or a range in it has no end".to_owned();
        let letter = match letters.get(*at) {
            Some('\\') => {
                *at += 1;
                letters.get(*at)
            }
            Some('-' | ']') => None,
            other => other,
        };
        *at += 1;
        letter.copied().ok_or_else(wrong)
    };
    loop {
        if letters.get(at) == Some(&']') && !ranges.is_empty() {
            return Ok((Token::Class { not, ranges }, at + 1));
        }
        let low = one(&mut at)?;
        let high = if letters.get(at) == Some(&'-') {
            at += 1;
            one(&mut at)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// A table instead of recursion: hostile patterns take no longer than others.
fn matches(tokens: &[Token], path: &[char]) -> bool {
    // Which prefixes of the path the tokens so far can stand for.
    let mut row = vec![false; path.len() + 1];
    row[0] = true;
    for token in tokens {
        let mut next = vec![false; path.len() + 1];
        match token {
            Token::Some | Token::Anything | Token::Folders => {
                let mut open = false;
                for at in 0..=path.len() {
                    if at > 0 && *token == Token::Some && path[at - 1] == '/' {
                        open = false;
                    }
                    let here = row[at];
                    next[at] = match token {
                        Token::Folders => here || (open && at > 0 && path[at - 1] == '/'),
                        _ => here || open,
                    };
                    open |= here;
                }
            }
            _ => {
                for at in 1..=path.len() {
                    next[at] = row[at - 1] && fits(token, path[at - 1]);
                }
            }
        }
        if !next.contains(&true) {
            return false;
        }
        row = next;
    }
    row[path.len()]
}

fn fits(token: &Token, letter: char) -> bool {
    match token {
        Token::Letter(own) => *own == letter,
        Token::One => letter != '/',
        Token::Class { not, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *not
        }
        Token::Some | Token::Folders | Token::Anything => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn ignored(text: &str, path: &str) -> bool {
        let ignore = Ignore::parse(text).unwrap();
        let mut above = Matched::default();
        let mut ignored = false;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            (ignored, above) = ignore.check(&path[..end], &above);
        }
        ignored
    }

    #[test]
    fn ignore_follows_dockers_rules() {
        for (text, path, expected) in [
            // The examples of Docker's own reference.
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "somedir/temp", true),
            ("*/temp*", "temp", false),
            ("*/temp*", "a/b/temp", false),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("**/*.go", "x.go", true),
            ("**/*.go", "a/b/x.go", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "other.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            // Anchors, ends and dots.
            ("/foo", "foo", true),
            ("foo/", "foo", true),
            ("./foo/../bar", "bar", true),
            ("foo", "a/foo", false),
            ("foo", "foo/a/b", true),
            (".", "foo", false),
            ("/", "foo", false),
            ("../foo", "foo", false),
            // Two stars.
            ("**", "a/b", true),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "a/xfoo", false),
            ("**foo", "xfoo", true),
            ("**foo", "a/xfoo", true),
            ("foo/**", "foo", false),
            ("foo/**", "foo/a/b", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "axb", false),
            ("a**b", "a/x/b", true),
            ("a**b", "ax/b", true),
            ("a**b", "ab", true),
            ("**/*.o\n!keep/*.o", "keep/x.o", false),
            // An exception for a folder brings back what other lines left out in it.
            ("**/x\n!a", "a/x", false),
            ("secret\n!secret/public", "secret/public/a", false),
            ("secret\n!secret/public", "secret/other", true),
            // Comments, blanks, a mark of byte order.
            ("# foo\nbar", "foo", false),
            (" # foo", "# foo", true),
            ("\u{feff}foo", "foo", true),
            ("  foo  ", "foo", true),
            ("! foo\n", "foo", false),
            ("foo\n! foo", "foo", false),
            // Classes and escapes.
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[!a]x", "!x", true),
            ("\\*x", "*x", true),
            ("\\*x", "ax", false),
            ("a.b", "axb", false),
            ("a+(b)|{c}$", "a+(b)|{c}$", true),
        ] {
            assert_eq!(ignored(text, path), expected, "{text:?} and {path}");
        }
    }

    #[test]
    fn ignore_refuses_what_docker_refuses() {
        for text in ["!", "! ", "a\n[", "[a", "[]a]", "[a-]", "a\\", "[-a]"] {
            let why = Ignore::parse(text).unwrap_err();
            assert!(why.starts_with("line "), "{text:?}: {why}");
        }
        assert!(Ignore::parse(&"a\n".repeat(MOST_PATTERNS + 1)).is_err());
        assert!(Ignore::parse(&"a".repeat(MOST_LETTERS + 1)).is_err());
    }

    /// The same rules written the slow way: every way to cut the path is tried.
    fn slowly(tokens: &[Token], path: &[char]) -> bool {
        let Some((first, rest)) = tokens.split_first() else { return path.is_empty() };
        (0..=path.len()).any(|length| {
            let (own, left) = path.split_at(length);
            let fits = match first {
                Token::Anything => true,
                Token::Some => !own.contains(&'/'),
                Token::Folders => own.is_empty() || own.ends_with(&['/']),
                one => length == 1 && fits(one, own[0]),
            };
            fits && slowly(rest, left)
        })
    }

    proptest! {
        #[test]
        fn ignore_table_agrees_with_trying_everything(pattern in "(\\*|\\*\\*|\\*\\*/|[ab/?]|\\[a-b\\]|\\[\\^a\\]){0,7}", path in "[ab/]{0,9}") {
            if let Ok(tokens) = tokens(&pattern) {
                let letters: Vec<char> = path.chars().collect();
                prop_assert_eq!(matches(&tokens, &letters), slowly(&tokens, &letters));
            }
        }

        #[test]
        fn ignore_reads_any_text(text in any::<String>(), path in "[a-c/]{1,20}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = ignore.check(&path, &Matched::default());
            }
        }

        #[test]
        fn ignore_odd_patterns_end(text in "([!#*?\\[\\]^\\\\ab./ \n-]|\\*\\*){0,40}", path in "[ab/]{1,30}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = ignore.check(&path, &Matched::default());
            }
        }

        #[test]
        fn ignore_a_name_leaves_itself_and_all_below_out(name in "[a-z]{1,5}(/[a-z]{1,5}){0,2}", below in "[a-z]{1,5}") {
            prop_assert!(ignored(&name, &name));
            let deeper = format!("{name}/{below}");
            prop_assert!(ignored(&name, &deeper));
            let beside = format!("{name}{below}");
            prop_assert!(!ignored(&name, &beside));
            let but = format!("{name}\n!{name}/{below}");
            prop_assert!(!ignored(&but, &deeper));
        }

        #[test]
        fn ignore_clean_paths_are_clean(path in "[/.a]{1,12}") {
            let once = clean(&path);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
