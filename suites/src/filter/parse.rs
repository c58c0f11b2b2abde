//! The grammar of a filter, by recursive descent with a bound on depth.
//!
//! ```text
//! any  = all { ("||" | "or") all }
//! all  = not { ["&&" | "and"] not }
//! not  = ("!" | "not") not | "(" any ")" | test
//! test = FIELD ("==" | "!=" | "~" | "!~" | ":") VALUE | WORD
//! ```

use datasets::nearest::did_you_mean;

use super::token::{Placed, Token};
use super::{Expr, FIELDS, Field};

/// Parentheses and negations within each other.
const MAX_DEPTH: usize = 64;

type Failed = (usize, String);

/// Reads a whole filter; `end` is where the text ends.
pub(super) fn parse(tokens: &[Placed], end: usize) -> Result<Expr, Failed> {
    let mut parser = Parser { tokens, at: 0, end };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err((parser.offset(), format!("{} is one too many here", token.show()))),
    }
}

struct Parser<'t> {
    tokens: &'t [Placed],
    at: usize,
    end: usize,
}

impl<'t> Parser<'t> {
    fn any(&mut self, depth: usize) -> Result<Expr, Failed> {
        let mut parts = vec![self.all(depth)?];
        while self.take(&Token::Or) {
            parts.push(self.all(depth)?);
        }
        Ok(single(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, Failed> {
        let mut parts = vec![self.not(depth)?];
        loop {
            let joined = self.take(&Token::And);
            let more =
                matches!(self.peek(), Some(Token::Not | Token::Open | Token::Word(_) | Token::Text(_)));
            if !joined && !more {
                return Ok(single(parts, Expr::All));
            }
            parts.push(self.not(depth)?);
        }
    }

    fn not(&mut self, depth: usize) -> Result<Expr, Failed> {
        if depth > MAX_DEPTH {
            return Err((
                self.offset(),
                format!("more than {MAX_DEPTH} parentheses and negations within each other"),
            ));
        }
        if self.take(&Token::Not) {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        let open = self.offset();
        if self.take(&Token::Open) {
            let inner = self.any(depth + 1)?;
            if !self.take(&Token::Close) {
                return Err(match self.peek() {
                    None => (open, "this parenthesis is never closed".into()),
                    Some(token) => (self.offset(), format!("{} where \")\" should stand", token.show())),
                });
            }
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expr, Failed> {
        let offset = self.offset();
        match self.next() {
            None => Err((offset, "a test such as tag:git should stand here".into())),
            Some(Token::Text(name)) => Ok(Expr::Matches(Field::Name, name.clone())),
            Some(Token::Word(word)) => match self.peek() {
                Some(Token::Equals | Token::Differs | Token::Matches | Token::MatchesNot | Token::Colon) => {
                    let field = field(word).map_err(|message| (offset, message))?;
                    self.comparison(field)
                }
                _ => Ok(Expr::Matches(Field::Name, word.clone())),
            },
            Some(token) => {
                Err((offset, format!("{} where a test such as tag:git should stand", token.show())))
            }
        }
    }

    fn comparison(&mut self, field: Field) -> Result<Expr, Failed> {
        let sign = self.next();
        let offset = self.offset();
        let value = match self.next() {
            Some(Token::Word(value) | Token::Text(value)) => value.clone(),
            Some(token) => return Err((offset, format!("{} where a value should stand", token.show()))),
            None => return Err((offset, "the value is missing".into())),
        };
        let not = |expr| Expr::Not(Box::new(expr));
        Ok(match sign {
            Some(Token::Equals) => Expr::Equals(field, value),
            Some(Token::Differs) => not(Expr::Equals(field, value)),
            Some(Token::MatchesNot) => not(Expr::Matches(field, value)),
            _ => Expr::Matches(field, value),
        })
    }

    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<&'t Token> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(offset, _)| *offset)
    }
}

fn single(mut parts: Vec<Expr>, many: impl Fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            many(parts)
        }
    }
}

fn field(word: &str) -> Result<Field, String> {
    if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == word) {
        return Ok(*field);
    }
    let hint = did_you_mean(word, FIELDS.iter().map(|(name, _)| *name))
        .unwrap_or_else(|| "known: name, tag, difficulty, category, language, dataset".to_owned());
    Err(format!("tasks have no field {word:?} ({hint})"))
}
