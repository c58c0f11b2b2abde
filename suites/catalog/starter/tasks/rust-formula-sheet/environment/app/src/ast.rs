//! Expressions and what can go wrong with them.
use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Number(i64),
    Name(String),
    Negate(Box<Expr>),
    Binary(char, Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    Overflow,
    DivisionByZero,
    NegativeExponent,
    Syntax,
    Unknown(String),
    Uses(String),
    Cycle,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Overflow => write!(f, "overflow"),
            Error::DivisionByZero => write!(f, "division by zero"),
            Error::NegativeExponent => write!(f, "negative exponent"),
            Error::Syntax => write!(f, "syntax"),
            Error::Unknown(name) => write!(f, "unknown {name}"),
            Error::Uses(name) => write!(f, "uses {name}"),
            Error::Cycle => write!(f, "cycle"),
        }
    }
}

impl Expr {
    /// The names that the expression uses, in order of appearance.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Expr::Number(_) => vec![],
            Expr::Name(name) => vec![name],
            Expr::Negate(inner) => inner.names(),
            Expr::Binary(_, left, right) => [left.names(), right.names()].concat(),
        }
    }
}
