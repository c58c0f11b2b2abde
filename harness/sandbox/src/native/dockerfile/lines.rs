//! Cuts a Dockerfile into instructions: comments, parser directives, continued lines and here-documents.

use super::DockerfileError;

/// Most bytes of a file, and most instructions in it.
const MOST_BYTES: usize = 1 << 20;
const MOST_INSTRUCTIONS: usize = 1000;

/// A file, cut up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The character that continues lines and takes away meanings: `\` or `` ` ``.
    pub(crate) escape: char,
    /// Instructions in order.
    pub(crate) instructions: Vec<Line>,
}

/// One instruction, uninterpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where it begins, from one.
    pub(crate) number: usize,
    /// Its first word in upper case.
    pub(crate) name: String,
    /// The rest, continued lines joined.
    pub(crate) rest: String,
    /// Its here-documents in order.
    pub(crate) documents: Vec<Document>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// The word as written: `<<-"EOF"`.
    pub(crate) word: String,
    /// What ends it.
    pub(crate) name: String,
    /// Whether variables in it are replaced (its name was not quoted).
    pub(crate) expands: bool,
    /// Its content, tabs taken away where `<<-` asked for that.
    pub(crate) content: String,
}

/// Cuts a file.
///
/// # Errors
/// For a file that is too large, is no text, or has an open here-document.
pub(crate) fn cut(bytes: &[u8]) -> Result<Lines, DockerfileError> {
    if bytes.len() > MOST_BYTES {
        return Err(DockerfileError::new(1, format!("the file is larger than {MOST_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        DockerfileError::new(line, "this is not UTF-8 text")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find('\0') {
        return Err(DockerfileError::new(1 + text[..at].matches('\n').count(), "there is a NUL character"));
    }
    let all: Vec<&str> = text.lines().collect();
    let escape = escape_directive(&all)?;
    let mut instructions = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if is_comment_or_empty(all[at]) {
            at += 1;
            continue;
        }
        let number = at + 1;
        let whole = join(&all, &mut at, escape);
        let whole = whole.trim();
        let (name, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        let mut line =
            Line { number, name: name.to_uppercase(), rest: rest.trim().to_owned(), documents: Vec::new() };
        if matches!(line.name.as_str(), "RUN" | "COPY" | "ADD") {
            line.documents = documents(&line, &all, &mut at)?;
        }
        if !line.name.is_empty() {
            instructions.push(line);
        }
        if instructions.len() > MOST_INSTRUCTIONS {
            return Err(DockerfileError::new(number, format!("more than {MOST_INSTRUCTIONS} instructions")));
        }
    }
    Ok(Lines { escape, instructions })
}

fn is_comment_or_empty(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Directives are comments of the form `# key=value` before anything else.
fn escape_directive(all: &[&str]) -> Result<char, DockerfileError> {
    for (at, line) in all.iter().enumerate() {
        let Some(comment) = line.trim().strip_prefix('#') else { break };
        let Some((key, value)) = comment.split_once('=') else { break };
        match key.trim().to_lowercase().as_str() {
            "escape" => {
                return match value.trim() {
                    "\\" => Ok('\\'),
                    "`" => Ok('`'),
                    other => Err(DockerfileError::new(at + 1, format!("escape is \\ or `, not {other:?}"))),
                };
            }
            "syntax" | "check" => {}
            _ => break,
        }
    }
    Ok('\\')
}

/// Joins a line with those that continue it; comments and empty lines between them do not count.
fn join(all: &[&str], at: &mut usize, escape: char) -> String {
    let mut whole = String::new();
    while *at < all.len() {
        let line = all[*at];
        *at += 1;
        if !whole.is_empty() && is_comment_or_empty(line) {
            continue;
        }
        match line.trim_end().strip_suffix(escape) {
            Some(part) => {
                whole.push_str(part);
                // An empty first part must not make the next line look like the first.
                if whole.is_empty() {
                    whole.push(' ');
                }
            }
            None => {
                whole.push_str(line);
                break;
            }
        }
    }
    whole
}

fn documents(line: &Line, all: &[&str], at: &mut usize) -> Result<Vec<Document>, DockerfileError> {
    let mut found = Vec::new();
    // In the JSON form a word like this is just a word.
    if line.rest.starts_with('[') {
        return Ok(found);
    }
    for word in super::expand::words(&line.rest) {
        let Some((strip, name, expands)) = here_word(&word) else { continue };
        let mut content = String::new();
        loop {
            let Some(next) = all.get(*at) else {
                return Err(DockerfileError::new(
                    line.number,
                    format!("the here-document {name} has no end"),
                ));
            };
            *at += 1;
            let next = if strip { next.trim_start_matches('\t') } else { next };
            if next == name {
                break;
            }
            content.push_str(next);
            content.push('\n');
        }
        found.push(Document { word, name, expands, content });
    }
    Ok(found)
}

/// Takes `<<EOF`, `<<-EOF`, `3<<"EOF"` apart: whether tabs go, the name, whether variables are replaced.
fn here_word(word: &str) -> Option<(bool, String, bool)> {
    let rest = word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<")?;
    let (strip, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let quoted = |quote: char| rest.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let (name, expands) = match quoted('"').or_else(|| quoted('\'')) {
        Some(name) => (name, false),
        None => (rest, true),
    };
    let fits =
        !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_.-/".contains(letter));
    fits.then(|| (strip, name.to_owned(), expands))
}
