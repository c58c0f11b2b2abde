//! The arithmetic.
use crate::ast::{Error, Expr};
use std::collections::HashMap;

pub type Value = Result<i64, Error>;

/// Evaluates an expression, all of whose names have a value.
pub fn eval(expr: &Expr, values: &HashMap<String, Value>) -> Value {
    match expr {
        Expr::Number(value) => Ok(*value),
        Expr::Name(name) => values[name].clone(),
        Expr::Negate(inner) => Ok(-eval(inner, values)?),
        Expr::Binary(sign, left, right) => {
            let right = eval(right, values)?;
            let left = eval(left, values)?;
            match sign {
                '+' => Ok(left + right),
                '-' => Ok(left - right),
                '*' => Ok(left * right),
                '/' if right != 0 => Ok(left / right),
                '%' if right != 0 => Ok(left.rem_euclid(right)),
                '/' | '%' => Err(Error::DivisionByZero),
                '^' if right < 0 => Err(Error::NegativeExponent),
                '^' => Ok(left.pow(right as u32)),
                '<' => Ok(i64::from(left < right)),
                '>' => Ok(i64::from(left > right)),
                _ => Ok(i64::from(left == right)),
            }
        }
    }
}
