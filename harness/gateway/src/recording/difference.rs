//! What differs between two canonical forms, for a person to read.

use serde_json::Value;

/// Most places named.
const PLACES: usize = 6;
/// How much of a text is shown on each side of where it begins to differ.
const AROUND: usize = 40;
/// How much of a value is shown.
const SHOWN: usize = 120;
/// Deepest place that is looked at; the forms come from a parser that stops at 128.
const DEEPEST: usize = 200;

/// One line for each place in which the forms differ, the first few of them.
pub fn difference(recorded: &Value, now: &Value) -> Vec<String> {
    let mut found = Found::default();
    found.compare(recorded, now, String::new(), 0);
    let more = found.all.saturating_sub(PLACES);
    if more > 0 {
        found.lines.push(format!("and in {more} more places"));
    }
    found.lines
}

#[derive(Default)]
struct Found {
    lines: Vec<String>,
    all: usize,
}

impl Found {
    fn compare(&mut self, recorded: &Value, now: &Value, place: String, depth: usize) {
        if recorded == now || depth > DEEPEST {
            return;
        }
        match (recorded, now) {
            (Value::Object(recorded), Value::Object(now)) => {
                for (key, value) in recorded {
                    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    match now.get(key) {
                        Some(now) => self.compare(value, now, place, depth + 1),
                        None => self.tell(place, &format!("recorded {}, now absent", shown(value))),
                    }
                }
                for (key, value) in now.iter().filter(|(key, _)| !recorded.contains_key(*key)) {
                    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    self.tell(place, &format!("not recorded, now {}", shown(value)));
                }
            }
            (Value::Array(recorded), Value::Array(now)) => {
                for (at, (recorded, now)) in recorded.iter().zip(now).enumerate() {
                    self.compare(recorded, now, format!("{place}[{at}]"), depth + 1);
                }
                let both = recorded.len().min(now.len());
                if let Some(first) = recorded.get(both) {
                    let told = format!(
                        "recorded {} items, now {both}; the first that is gone is {}",
                        recorded.len(),
                        shown(first)
                    );
                    self.tell(place, &told);
                } else if let Some(first) = now.get(both) {
                    let told = format!(
                        "recorded {both} items, now {}; the first that is new is {}",
                        now.len(),
                        shown(first)
                    );
                    self.tell(place, &told);
                }
            }
            (Value::String(recorded), Value::String(now)) => {
                let (line, one, other) = windows(recorded, now);
                let from = if line == 1 { String::new() } else { format!("from line {line} on: ") };
                self.tell(place, &format!("{from}recorded {one:?}, now {other:?}"));
            }
            (recorded, now) => self.tell(place, &format!("recorded {}, now {}", shown(recorded), shown(now))),
        }
    }

    fn tell(&mut self, place: String, what: &str) {
        self.all += 1;
        if self.lines.len() < PLACES {
            self.lines.push(format!("{place}: {what}"));
        }
    }
}

/// The line in which two texts begin to differ, and a little of each around it.
fn windows(one: &str, other: &str) -> (usize, String, String) {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let line = one.chars().take(same).filter(|letter| *letter == '\n').count() + 1;
    let window = |text: &str| {
        let begin = same.saturating_sub(AROUND);
        let cut: String = text.chars().skip(begin).take(2 * AROUND).collect();
        let (before, after) = (
            if begin > 0 { "…" } else { "" },
            if text.chars().nth(begin + 2 * AROUND).is_some() { "…" } else { "" },
        );
        format!("{before}{cut}{after}")
    };
    (line, window(one), window(other))
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().nth(SHOWN).is_none() { text } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn difference_names_the_place_and_shows_both_sides() {
        let recorded =
            json!({"body": {"messages": [{"content": "one\ntwo\nthree"}], "gone": 1}, "model": "a"});
        let now = json!({"body": {"messages": [{"content": "one\ntwo\nTHREE"}, {"content": "x"}], "new": [1]}, "model": "b"});
        assert_eq!(
            difference(&recorded, &now),
            [
                r#"body.messages[0].content: from line 3 on: recorded "one\ntwo\nthree", now "one\ntwo\nTHREE""#,
                r#"body.messages: recorded 1 items, now 2; the first that is new is {"content":"x"}"#,
                "body.gone: recorded 1, now absent",
                "body.new: not recorded, now [1]",
                r#"model: recorded "a", now "b""#,
            ]
        );
        assert!(difference(&now, &now).is_empty());
    }

    #[test]
    fn difference_stays_short_however_much_differs() {
        let recorded: Vec<Value> = (0..1000).map(|at| json!("x".repeat(at))).collect();
        let now: Vec<Value> = (0..1000).map(|at| json!("y".repeat(at))).collect();
        let lines = difference(&json!(recorded), &json!(now));
        assert_eq!(lines.len(), PLACES + 1);
        assert_eq!(lines[PLACES], "and in 993 more places");
        assert!(lines.iter().all(|line| line.len() < 500), "{lines:?}");
    }
}
