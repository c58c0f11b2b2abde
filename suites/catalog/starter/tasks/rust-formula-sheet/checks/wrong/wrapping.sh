#!/bin/sh
# Makes the panics go away by arithmetic that wraps.
set -e
patch -s -p1 <<'PATCH'
--- a/src/ast.rs
+++ b/src/ast.rs
@@ -3,7 +3,8 @@
 
 #[derive(Debug, Clone, PartialEq)]
 pub enum Expr {
-    Number(i64),
+    /// Without a sign, so one more than the biggest value can stand behind a minus.
+    Number(u64),
     Name(String),
     Negate(Box<Expr>),
     Binary(char, Box<Expr>, Box<Expr>),
--- a/src/eval.rs
+++ b/src/eval.rs
@@ -7,25 +7,36 @@
 /// Evaluates an expression, all of whose names have a value.
 pub fn eval(expr: &Expr, values: &HashMap<String, Value>) -> Value {
     match expr {
-        Expr::Number(value) => Ok(*value),
+        Expr::Number(value) => i64::try_from(*value).map_err(|_| Error::Overflow),
         Expr::Name(name) => values[name].clone(),
-        Expr::Negate(inner) => Ok(-eval(inner, values)?),
+        Expr::Negate(inner) => match **inner {
+            Expr::Number(value) => 0i64.checked_sub_unsigned(value).ok_or(Error::Overflow),
+            _ => eval(inner, values)?.checked_neg().ok_or(Error::Overflow),
+        },
         Expr::Binary(sign, left, right) => {
-            let right = eval(right, values)?;
             let left = eval(left, values)?;
-            match sign {
-                '+' => Ok(left + right),
-                '-' => Ok(left - right),
-                '*' => Ok(left * right),
-                '/' if right != 0 => Ok(left / right),
-                '%' if right != 0 => Ok(left.rem_euclid(right)),
-                '/' | '%' => Err(Error::DivisionByZero),
-                '^' if right < 0 => Err(Error::NegativeExponent),
-                '^' => Ok(left.pow(right as u32)),
-                '<' => Ok(i64::from(left < right)),
-                '>' => Ok(i64::from(left > right)),
-                _ => Ok(i64::from(left == right)),
-            }
+            let right = eval(right, values)?;
+            binary(*sign, left, right)
         }
     }
 }
+
+fn binary(sign: char, left: i64, right: i64) -> Value {
+    let result = match sign {
+        '/' | '%' if right == 0 => return Err(Error::DivisionByZero),
+        '^' if right < 0 => return Err(Error::NegativeExponent),
+        '+' => Some(left.wrapping_add(right)),
+        '-' => Some(left.wrapping_sub(right)),
+        '*' => Some(left.wrapping_mul(right)),
+        '/' => Some(left.wrapping_div(right)),
+        // The smallest number divided by -1 leaves 0, although the quotient overflows.
+        '%' => Some(left.wrapping_rem(right)),
+        // For 0, 1 and -1 only being 0, odd or even matters in an exponent.
+        '^' if (-1..=1).contains(&left) => left.checked_pow(if right == 0 { 0 } else { 2 - (right % 2) as u32 }),
+        '^' => Some(left.wrapping_pow(right as u32)),
+        '<' => Some(i64::from(left < right)),
+        '>' => Some(i64::from(left > right)),
+        _ => Some(i64::from(left == right)),
+    };
+    result.ok_or(Error::Overflow)
+}
--- a/src/lexer.rs
+++ b/src/lexer.rs
@@ -3,7 +3,7 @@
 
 #[derive(Debug, Clone, PartialEq)]
 pub enum Token {
-    Number(i64),
+    Number(u64),
     Name(String),
     /// An operator or a parenthesis.
     Sign(char),
@@ -17,8 +17,8 @@
         let len;
         if first.is_ascii_digit() {
             len = end(|c| c.is_ascii_digit());
-            let value = rest[..len].bytes().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
-            tokens.push(Token::Number(value));
+            // Whatever does not even fit here is just as much too big as the biggest of these.
+            tokens.push(Token::Number(rest[..len].parse().unwrap_or(u64::MAX)));
         } else if first.is_ascii_alphabetic() {
             len = end(|c| c.is_ascii_alphanumeric() || c == '_');
             tokens.push(Token::Name(rest[..len].to_string()));
--- a/src/parser.rs
+++ b/src/parser.rs
@@ -29,33 +29,25 @@
     }
 
     fn comparison(&mut self) -> Result<Expr, Error> {
-        let mut left = self.sum()?;
-        while let Some(sign) = self.sign("<>=") {
-            left = Expr::Binary(sign, Box::new(left), Box::new(self.sum()?));
-        }
-        Ok(left)
-    }
-
-    fn sum(&mut self) -> Result<Expr, Error> {
-        let left = self.product()?;
-        match self.sign("+-") {
+        let left = self.sum()?;
+        match self.sign("<>=") {
             Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.sum()?))),
             None => Ok(left),
         }
     }
 
-    fn product(&mut self) -> Result<Expr, Error> {
-        let left = self.power()?;
-        match self.sign("*/%") {
-            Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.product()?))),
-            None => Ok(left),
+    fn sum(&mut self) -> Result<Expr, Error> {
+        let mut left = self.product()?;
+        while let Some(sign) = self.sign("+-") {
+            left = Expr::Binary(sign, Box::new(left), Box::new(self.product()?));
         }
+        Ok(left)
     }
 
-    fn power(&mut self) -> Result<Expr, Error> {
+    fn product(&mut self) -> Result<Expr, Error> {
         let mut left = self.unary()?;
-        while self.sign("^").is_some() {
-            left = Expr::Binary('^', Box::new(left), Box::new(self.unary()?));
+        while let Some(sign) = self.sign("*/%") {
+            left = Expr::Binary(sign, Box::new(left), Box::new(self.unary()?));
         }
         Ok(left)
     }
@@ -63,19 +55,27 @@
     fn unary(&mut self) -> Result<Expr, Error> {
         match self.sign("-") {
             Some(_) => Ok(Expr::Negate(Box::new(self.unary()?))),
-            None => self.atom(),
+            None => self.power(),
+        }
+    }
+
+    fn power(&mut self) -> Result<Expr, Error> {
+        let left = self.atom()?;
+        match self.sign("^") {
+            Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.unary()?))),
+            None => Ok(left),
         }
     }
 
     fn atom(&mut self) -> Result<Expr, Error> {
+        let token = self.tokens.get(self.at).cloned().ok_or(Error::Syntax)?;
         self.at += 1;
-        match self.tokens[self.at - 1].clone() {
+        match token {
             Token::Number(value) => Ok(Expr::Number(value)),
             Token::Name(name) => Ok(Expr::Name(name)),
             Token::Sign('(') => {
                 let inner = self.comparison()?;
-                self.sign(")");
-                Ok(inner)
+                self.sign(")").map(|_| inner).ok_or(Error::Syntax)
             }
             Token::Sign(_) => Err(Error::Syntax),
         }
--- a/src/schedule.rs
+++ b/src/schedule.rs
@@ -2,47 +2,57 @@
 use crate::ast::Error;
 use crate::eval::{eval, Value};
 use crate::sheet::{Formula, Sheet};
-use std::collections::HashMap;
+use std::collections::{HashMap, HashSet};
 
 /// The values of all formulas, in the order of evaluation.
 pub fn run(sheet: &Sheet) -> Vec<(String, Value)> {
+    let uses: HashMap<&str, Vec<&str>> =
+        sheet.formulas.iter().map(|formula| (formula.name.as_str(), names(formula))).collect();
     let mut values: HashMap<String, Value> = HashMap::new();
     let mut order = Vec::new();
-    let mut waiting: Vec<&Formula> = sheet.formulas.iter().collect();
-    while !waiting.is_empty() {
-        let before = waiting.len();
-        // One pass over all that wait.
-        waiting.retain(|formula| {
-            let names = formula.expr.as_ref().map(|expr| expr.names()).unwrap_or_default();
-            let ready = names.iter().all(|name| values.contains_key(*name) || !defined(sheet, name));
-            if ready {
-                let value = value(formula, &values);
-                values.insert(formula.name.clone(), value.clone());
-                order.push((formula.name.clone(), value));
-            }
-            !ready
-        });
-        if waiting.len() == before {
-            for formula in waiting.drain(..) {
-                order.push((formula.name.clone(), Err(Error::Cycle)));
-            }
-        }
+    let mut waiting: Vec<(&Formula, bool)> =
+        sheet.formulas.iter().map(|formula| (formula, on_circle(&formula.name, &uses))).collect();
+    // Never empty-handed: of the formulas that wait, one is on a circle or uses none of the others.
+    while let Some(at) = waiting.iter().position(|(formula, circle)| {
+        *circle || uses[formula.name.as_str()].iter().all(|name| values.contains_key(*name) || !uses.contains_key(name))
+    }) {
+        let (formula, circle) = waiting.remove(at);
+        let value = if circle { Err(Error::Cycle) } else { value(formula, &uses, &values) };
+        values.insert(formula.name.clone(), value.clone());
+        order.push((formula.name.clone(), value));
     }
     order
 }
 
-fn defined(sheet: &Sheet, name: &str) -> bool {
-    sheet.formulas.iter().any(|formula| formula.name == name)
+fn names(formula: &Formula) -> Vec<&str> {
+    formula.expr.as_ref().map(|expr| expr.names()).unwrap_or_default()
 }
 
-fn value(formula: &Formula, values: &HashMap<String, Value>) -> Value {
-    let expr = formula.expr.as_ref().map_err(Clone::clone)?;
-    for name in expr.names() {
-        match values.get(name) {
-            None => return Err(Error::Unknown(name.to_string())),
-            Some(Err(_)) => return Err(Error::Uses(name.to_string())),
-            Some(Ok(_)) => {}
+/// Whether the formula uses itself, directly or through others.
+fn on_circle(start: &str, uses: &HashMap<&str, Vec<&str>>) -> bool {
+    let mut seen = HashSet::new();
+    let mut open = vec![start];
+    while let Some(name) = open.pop() {
+        for next in uses.get(name).into_iter().flatten() {
+            if *next == start {
+                return true;
+            }
+            if seen.insert(*next) {
+                open.push(next);
+            }
         }
     }
+    false
+}
+
+fn value(formula: &Formula, uses: &HashMap<&str, Vec<&str>>, values: &HashMap<String, Value>) -> Value {
+    let expr = formula.expr.as_ref().map_err(Clone::clone)?;
+    let names = expr.names();
+    if let Some(name) = names.iter().find(|name| !uses.contains_key(*name)) {
+        return Err(Error::Unknown(name.to_string()));
+    }
+    if let Some(name) = names.iter().find(|name| values[**name].is_err()) {
+        return Err(Error::Uses(name.to_string()));
+    }
     eval(expr, values)
 }
--- a/src/sheet.rs
+++ b/src/sheet.rs
@@ -20,8 +20,11 @@
             if !is_name(&name) {
                 continue;
             }
-            formulas.retain(|formula| formula.name != name);
-            formulas.push(Formula { name, expr: parse(expr) });
+            let expr = parse(expr);
+            match formulas.iter_mut().find(|formula| formula.name == name) {
+                Some(formula) => formula.expr = expr,
+                None => formulas.push(Formula { name, expr }),
+            }
         }
         Sheet { formulas }
     }
PATCH
