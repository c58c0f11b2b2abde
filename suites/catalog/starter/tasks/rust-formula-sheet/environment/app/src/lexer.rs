//! Cuts an expression into tokens.
use crate::ast::Error;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Number(i64),
    Name(String),
    /// An operator or a parenthesis.
    Sign(char),
}

pub fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = |inside: fn(char) -> bool| rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let len;
        if first.is_ascii_digit() {
            len = end(|c| c.is_ascii_digit());
            let value = rest[..len].bytes().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            tokens.push(Token::Number(value));
        } else if first.is_ascii_alphabetic() {
            len = end(|c| c.is_ascii_alphanumeric() || c == '_');
            tokens.push(Token::Name(rest[..len].to_string()));
        } else if "+-*/%^()<>=".contains(first) {
            len = 1;
            tokens.push(Token::Sign(first));
        } else {
            return Err(Error::Syntax);
        }
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}
