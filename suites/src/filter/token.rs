//! The words and signs of a filter.

/// One word or sign and the byte offset where it starts.
pub(super) type Placed = (usize, Token);

/// A word or sign.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    Not,
    And,
    Or,
    Equals,
    Differs,
    Matches,
    MatchesNot,
    Colon,
    /// Bare.
    Word(String),
    /// In quotes.
    Text(String),
}

impl Token {
    /// As messages name it.
    pub(super) fn show(&self) -> String {
        match self {
            Token::Open => "\"(\"".into(),
            Token::Close => "\")\"".into(),
            Token::Not => "\"!\"".into(),
            Token::And => "\"&&\"".into(),
            Token::Or => "\"||\"".into(),
            Token::Equals => "\"==\"".into(),
            Token::Differs => "\"!=\"".into(),
            Token::Matches => "\"~\"".into(),
            Token::MatchesNot => "\"!~\"".into(),
            Token::Colon => "\":\"".into(),
            Token::Word(word) | Token::Text(word) => format!("{word:?}"),
        }
    }
}

const SIGNS: &[(&str, Token)] = &[
    ("&&", Token::And),
    ("||", Token::Or),
    ("==", Token::Equals),
    ("!=", Token::Differs),
    ("!~", Token::MatchesNot),
    ("=", Token::Equals),
    ("~", Token::Matches),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (":", Token::Colon),
];

/// Cuts a filter into its words and signs.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, (usize, String)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if c == '"' || c == '\'' {
            let (value, end) = quoted(text, at, c)?;
            tokens.push((at, Token::Text(value)));
            at = end;
        } else if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| text[at..].starts_with(sign)) {
            tokens.push((at, token.clone()));
            at += sign.len();
        } else if is_word(c) {
            let end = text[at..].find(|c: char| !is_word(c)).map_or(text.len(), |length| at + length);
            tokens.push((
                at,
                match &text[at..end] {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    word => Token::Word(word.to_owned()),
                },
            ));
            at = end;
        } else {
            return Err((
                at,
                format!("{c:?} means nothing here; text other than plain words goes in quotes"),
            ));
        }
    }
    Ok(tokens)
}

/// Letters and digits of any script, and what names and patterns are made of beside them.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.*?+/@#".contains(c)
}

fn quoted(text: &str, start: usize, quote: char) -> Result<(String, usize), (usize, String)> {
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((value, start + 1 + at + 1)),
            '\\' => match chars.next() {
                Some((_, escaped)) if escaped == quote || escaped == '\\' => value.push(escaped),
                _ => {
                    return Err((
                        start + 1 + at,
                        "a backslash stands only before a quote or a backslash".into(),
                    ));
                }
            },
            c => value.push(c),
        }
    }
    Err((start, "the quote is never closed".into()))
}
