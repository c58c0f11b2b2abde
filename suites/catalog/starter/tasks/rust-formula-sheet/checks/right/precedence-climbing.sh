#!/bin/sh
# Parses by precedence climbing and computes in 128 bits.
set -e
patch -s -p1 <<'PATCH'
--- a/src/ast.rs
+++ b/src/ast.rs
@@ -3,7 +3,7 @@
 
 #[derive(Debug, Clone, PartialEq)]
 pub enum Expr {
-    Number(i64),
+    Number(i128),
     Name(String),
     Negate(Box<Expr>),
     Binary(char, Box<Expr>, Box<Expr>),
--- a/src/eval.rs
+++ b/src/eval.rs
@@ -6,26 +6,38 @@
 
 /// Evaluates an expression, all of whose names have a value.
 pub fn eval(expr: &Expr, values: &HashMap<String, Value>) -> Value {
-    match expr {
-        Expr::Number(value) => Ok(*value),
-        Expr::Name(name) => values[name].clone(),
-        Expr::Negate(inner) => Ok(-eval(inner, values)?),
+    let wide = match expr {
+        Expr::Number(value) => *value,
+        Expr::Name(name) => return values[name].clone(),
+        Expr::Negate(inner) => -i128::from(eval(inner, values)?),
         Expr::Binary(sign, left, right) => {
-            let right = eval(right, values)?;
-            let left = eval(left, values)?;
+            let (left, right) = (i128::from(eval(left, values)?), i128::from(eval(right, values)?));
             match sign {
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
+                '+' => left + right,
+                '-' => left - right,
+                '*' => left * right,
+                '/' | '%' if right == 0 => return Err(Error::DivisionByZero),
+                '/' => left / right,
+                '%' => left % right,
+                '^' => power(left, right)?,
+                '<' => i128::from(left < right),
+                '>' => i128::from(left > right),
+                _ => i128::from(left == right),
             }
         }
+    };
+    i64::try_from(wide).map_err(|_| Error::Overflow)
+}
+
+fn power(base: i128, exponent: i128) -> Result<i128, Error> {
+    if exponent < 0 {
+        return Err(Error::NegativeExponent);
+    }
+    // 64 steps bring any base beyond the range, or show that it goes around between 0, 1 and -1.
+    let steps = if exponent > 64 { 64 + exponent % 2 } else { exponent };
+    let mut product = 1i128;
+    for _ in 0..steps {
+        product = i128::from(i64::try_from(product * base).map_err(|_| Error::Overflow)?);
     }
+    Ok(product)
 }
--- a/src/lexer.rs
+++ b/src/lexer.rs
@@ -3,7 +3,7 @@
 
 #[derive(Debug, Clone, PartialEq)]
 pub enum Token {
-    Number(i64),
+    Number(i128),
     Name(String),
     /// An operator or a parenthesis.
     Sign(char),
@@ -17,7 +17,7 @@
         let len;
         if first.is_ascii_digit() {
             len = end(|c| c.is_ascii_digit());
-            let value = rest[..len].bytes().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
+            let value = rest[..len].bytes().fold(0i128, |sum, digit| (sum * 10 + i128::from(digit - b'0')).min(1 << 100));
             tokens.push(Token::Number(value));
         } else if first.is_ascii_alphabetic() {
             len = end(|c| c.is_ascii_alphanumeric() || c == '_');
--- a/src/parser.rs
+++ b/src/parser.rs
@@ -1,83 +1,60 @@
-//! Makes an expression of tokens: one function per level, the weakest operators first.
+//! Makes an expression of tokens by the strength of the operators.
 use crate::ast::{Error, Expr};
 use crate::lexer::{tokens, Token};
+use std::iter::Peekable;
+use std::vec::IntoIter;
+
+type Tokens = Peekable<IntoIter<Token>>;
 
 pub fn parse(text: &str) -> Result<Expr, Error> {
-    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
-    let expr = parser.comparison()?;
-    if parser.at < parser.tokens.len() {
-        return Err(Error::Syntax);
+    let mut tokens = tokens(text)?.into_iter().peekable();
+    let expr = climb(&mut tokens, 1)?;
+    match tokens.next() {
+        None => Ok(expr),
+        Some(_) => Err(Error::Syntax),
     }
-    Ok(expr)
 }
 
-struct Parser {
-    tokens: Vec<Token>,
-    at: usize,
+/// Strength of an operator between two values, and the least strength that its right side is made of.
+fn strength(sign: char) -> Option<(u8, u8)> {
+    match sign {
+        '<' | '>' | '=' => Some((1, 2)),
+        '+' | '-' => Some((2, 3)),
+        '*' | '/' | '%' => Some((3, 4)),
+        '^' => Some((5, 4)),
+        _ => None,
+    }
 }
 
-impl Parser {
-    /// Takes the next token if it is one of these signs.
-    fn sign(&mut self, signs: &str) -> Option<char> {
-        match self.tokens.get(self.at) {
-            Some(Token::Sign(sign)) if signs.contains(*sign) => {
-                self.at += 1;
-                Some(*sign)
+fn climb(tokens: &mut Tokens, least: u8) -> Result<Expr, Error> {
+    let mut left = match tokens.next().ok_or(Error::Syntax)? {
+        Token::Number(value) => Expr::Number(value),
+        Token::Name(name) => Expr::Name(name),
+        Token::Sign('-') => match climb(tokens, 4)? {
+            Expr::Number(value) if value > 0 => Expr::Number(-value),
+            inner => Expr::Negate(Box::new(inner)),
+        },
+        Token::Sign('(') => {
+            let inner = climb(tokens, 1)?;
+            if tokens.next() != Some(Token::Sign(')')) {
+                return Err(Error::Syntax);
             }
-            _ => None,
-        }
-    }
-
-    fn comparison(&mut self) -> Result<Expr, Error> {
-        let mut left = self.sum()?;
-        while let Some(sign) = self.sign("<>=") {
-            left = Expr::Binary(sign, Box::new(left), Box::new(self.sum()?));
+            inner
         }
-        Ok(left)
-    }
-
-    fn sum(&mut self) -> Result<Expr, Error> {
-        let left = self.product()?;
-        match self.sign("+-") {
-            Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.sum()?))),
-            None => Ok(left),
-        }
-    }
-
-    fn product(&mut self) -> Result<Expr, Error> {
-        let left = self.power()?;
-        match self.sign("*/%") {
-            Some(sign) => Ok(Expr::Binary(sign, Box::new(left), Box::new(self.product()?))),
-            None => Ok(left),
+        Token::Sign(_) => return Err(Error::Syntax),
+    };
+    let mut compared = false;
+    while let Some(Token::Sign(sign)) = tokens.peek() {
+        let sign = *sign;
+        let Some((own, right)) = strength(sign) else { break };
+        if own < least {
+            break;
         }
-    }
-
-    fn power(&mut self) -> Result<Expr, Error> {
-        let mut left = self.unary()?;
-        while self.sign("^").is_some() {
-            left = Expr::Binary('^', Box::new(left), Box::new(self.unary()?));
-        }
-        Ok(left)
-    }
-
-    fn unary(&mut self) -> Result<Expr, Error> {
-        match self.sign("-") {
-            Some(_) => Ok(Expr::Negate(Box::new(self.unary()?))),
-            None => self.atom(),
-        }
-    }
-
-    fn atom(&mut self) -> Result<Expr, Error> {
-        self.at += 1;
-        match self.tokens[self.at - 1].clone() {
-            Token::Number(value) => Ok(Expr::Number(value)),
-            Token::Name(name) => Ok(Expr::Name(name)),
-            Token::Sign('(') => {
-                let inner = self.comparison()?;
-                self.sign(")");
-                Ok(inner)
-            }
-            Token::Sign(_) => Err(Error::Syntax),
+        if own == 1 && std::mem::replace(&mut compared, true) {
+            return Err(Error::Syntax);
         }
+        tokens.next();
+        left = Expr::Binary(sign, Box::new(left), Box::new(climb(tokens, right)?));
     }
+    Ok(left)
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
