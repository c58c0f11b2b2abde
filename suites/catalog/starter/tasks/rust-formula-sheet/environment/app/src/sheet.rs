//! The formulas of a sheet, in order.
use crate::ast::{Error, Expr};
use crate::parser::parse;

pub struct Formula {
    pub name: String,
    pub expr: Result<Expr, Error>,
}

pub struct Sheet {
    pub formulas: Vec<Formula>,
}

impl Sheet {
    pub fn read(text: &str) -> Sheet {
        let mut formulas: Vec<Formula> = Vec::new();
        for line in text.lines() {
            let Some((name, expr)) = line.split_once('=') else { continue };
            let name = name.trim().to_string();
            if !is_name(&name) {
                continue;
            }
            formulas.retain(|formula| formula.name != name);
            formulas.push(Formula { name, expr: parse(expr) });
        }
        Sheet { formulas }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
