//! Makes an expression of tokens: one function per level, the weakest operators first.
use crate::ast::{Error, Expr};
use crate::lexer::{tokens, Token};

pub fn parse(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let expr = parser.comparison()?;
    if parser.at < parser.tokens.len() {
        return Err(Error::Syntax);
    }
    Ok(expr)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    /// Takes the next token if it is one of these signs.
    fn sign(&mut self, signs: &str) -> Option<char> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) if signs.contains(*sign) => {
                self.at += 1;
                Some(*sign)
            }
            _ => None,
        }
    }

    fn comparison(&mut self) -> Result<Expr, Error> {
        let mut left = self.sum()?;
        while let Some(sign) = self.sign("<>=") {
            left = Expr::Binary(sign, Box::new(left), Box::new(self.sum()?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, Error> {
        let left = self.product()?;
        match self.sign("+-") {
            Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.sum()?))),
            None => Ok(left),
        }
    }

    fn product(&mut self) -> Result<Expr, Error> {
        let left = self.power()?;
        match self.sign("*/%") {
            Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.product()?))),
            None => Ok(left),
        }
    }

    fn power(&mut self) -> Result<Expr, Error> {
        let mut left = self.unary()?;
        while self.sign("^").is_some() {
            left = Expr::Binary('^', Box::new(left), Box::new(self.unary()?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        match self.sign("-") {
            Some(_) => Ok(Expr::Negate(Box::new(self.unary()?))),
            None => self.atom(),
        }
    }

    fn atom(&mut self) -> Result<Expr, Error> {
        self.at += 1;
        match self.tokens[self.at - 1].clone() {
            Token::Number(value) => Ok(Expr::Number(value)),
            Token::Name(name) => Ok(Expr::Name(name)),
            Token::Sign('(') => {
                let inner = self.comparison()?;
                self.sign(")");
                Ok(inner)
            }
            Token::Sign(_) => Err(Error::Syntax),
        }
    }
}
