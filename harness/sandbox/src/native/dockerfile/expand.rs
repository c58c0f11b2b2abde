//! Words, quotes and variables as Dockerfiles have them.

/// Most bytes that replacing variables may give, and how deep `${A:-${B:-…}}` may go.
const MOST_BYTES: usize = 1 << 20;
const DEPTH: usize = 32;

/// Cuts text at white space outside quotes; quotes stay. `\` keeps the next character from counting.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quote != Some('\'') => {
                word.push(letter);
                word.extend(letters.next());
            }
            '"' | '\'' if quote.is_none() => {
                quote = Some(letter);
                word.push(letter);
            }
            _ if quote == Some(letter) => {
                quote = None;
                word.push(letter);
            }
            _ if letter.is_whitespace() && quote.is_none() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Replaces variables in a word and takes its quotes away.
pub(crate) struct Expand<'a> {
    /// The value of a variable.
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// The file's escape character.
    pub(crate) escape: char,
    /// Whether quotes and escapes are taken away; here-documents keep theirs.
    pub(crate) quotes: bool,
}

impl Expand<'_> {
    /// The word as it is meant.
    ///
    /// # Errors
    /// For an open quote or brace, a form that is not understood (by name), and too much.
    pub(crate) fn word(&self, word: &str) -> Result<String, String> {
        let letters: Vec<char> = word.chars().collect();
        let mut budget = MOST_BYTES;
        self.part(&letters, DEPTH, &mut budget)
    }

    fn part(&self, letters: &[char], depth: usize, budget: &mut usize) -> Result<String, String> {
        if depth == 0 {
            return Err("variables are nested too deeply".to_owned());
        }
        let mut out = String::new();
        let mut quote = None;
        let mut at = 0;
        while at < letters.len() {
            let letter = letters[at];
            at += 1;
            match letter {
                _ if quote == Some('\'') => {
                    if letter == '\'' {
                        quote = None
                    } else {
                        out.push(letter)
                    }
                }
                '\'' if self.quotes && quote.is_none() => quote = Some('\''),
                '"' if self.quotes => quote = if quote.is_some() { None } else { Some('"') },
                _ if letter == self.escape => {
                    let next = letters.get(at).copied();
                    at += 1;
                    match next {
                        None => out.push(letter),
                        // In quotes and documents it is only special before what is.
                        Some(next) if quote.is_some() || !self.quotes => {
                            if !(next == '$' || next == self.escape || (next == '"' && self.quotes)) {
                                out.push(letter);
                            }
                            out.push(next);
                        }
                        Some(next) => out.push(next),
                    }
                }
                '$' => {
                    let value = self.variable(letters, &mut at, depth, budget)?;
                    *budget = budget.checked_sub(value.len()).ok_or("replacing variables gives too much")?;
                    out.push_str(&value);
                }
                _ => out.push(letter),
            }
        }
        match quote {
            Some(quote) => Err(format!("a {quote} is not closed")),
            None => Ok(out),
        }
    }

    /// What stands after a `$`.
    fn variable(
        &self,
        letters: &[char],
        at: &mut usize,
        depth: usize,
        budget: &mut usize,
    ) -> Result<String, String> {
        let name_from = |from: usize| {
            let end =
                letters[from..].iter().position(|letter| !(letter.is_ascii_alphanumeric() || *letter == '_'));
            end.map_or(letters.len(), |end| from + end)
        };
        if letters.get(*at) != Some(&'{') {
            let end = name_from(*at);
            let name: String = letters[*at..end].iter().collect();
            *at = end;
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok((self.lookup)(&name).unwrap_or_default());
        }
        let end = name_from(*at + 1);
        let name: String = letters[*at + 1..end].iter().collect();
        let close = closing(letters, *at).ok_or("a ${ is not closed")?;
        let rest = &letters[end..close];
        *at = close + 1;
        if name.is_empty() {
            return Err("a ${} has no name".to_owned());
        }
        let value = (self.lookup)(&name);
        let (value, operator, word) = match rest {
            [] => return Ok(value.unwrap_or_default()),
            // With the colon, an empty value counts as none.
            [':', operator @ ('-' | '+' | '?'), word @ ..] => {
                (value.filter(|value| !value.is_empty()), operator, word)
            }
            [operator @ ('-' | '+' | '?'), word @ ..] => (value, operator, word),
            other => {
                let other: String = other.iter().collect();
                return Err(format!("${{{name}{other}}} is not understood; only :- :+ :? - + ? are"));
            }
        };
        match (operator, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => self.part(word, depth - 1, budget),
            ('?', None) => Err(format!("{name}: {}", self.part(word, depth - 1, budget)?)),
            _ => Ok(String::new()),
        }
    }
}

/// Where the brace at a position is closed.
fn closing(letters: &[char], open: usize) -> Option<usize> {
    let mut depth = 0;
    let mut at = open;
    while at < letters.len() {
        match letters[at] {
            '\\' => at += 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}
