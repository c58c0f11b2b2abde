//! Evaluates the formulas of a sheet in an order in which each finds what it uses.
use crate::ast::Error;
use crate::eval::{eval, Value};
use crate::sheet::{Formula, Sheet};
use std::collections::HashMap;

/// The values of all formulas, in the order of evaluation.
pub fn run(sheet: &Sheet) -> Vec<(String, Value)> {
    let mut values: HashMap<String, Value> = HashMap::new();
    let mut order = Vec::new();
    let mut waiting: Vec<&Formula> = sheet.formulas.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        // One pass over all that wait.
        waiting.retain(|formula| {
            let names = formula.expr.as_ref().map(|expr| expr.names()).unwrap_or_default();
            let ready = names.iter().all(|name| values.contains_key(*name) || !defined(sheet, name));
            if ready {
                let value = value(formula, &values);
                values.insert(formula.name.clone(), value.clone());
                order.push((formula.name.clone(), value));
            }
            !ready
        });
        if waiting.len() == before {
            for formula in waiting.drain(..) {
                order.push((formula.name.clone(), Err(Error::Cycle)));
            }
        }
    }
    order
}

fn defined(sheet: &Sheet, name: &str) -> bool {
    sheet.formulas.iter().any(|formula| formula.name == name)
}

fn value(formula: &Formula, values: &HashMap<String, Value>) -> Value {
    let expr = formula.expr.as_ref().map_err(Clone::clone)?;
    for name in expr.names() {
        match values.get(name) {
            None => return Err(Error::Unknown(name.to_string())),
            Some(Err(_)) => return Err(Error::Uses(name.to_string())),
            Some(Ok(_)) => {}
        }
    }
    eval(expr, values)
}
