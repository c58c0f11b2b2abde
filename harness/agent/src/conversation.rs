//! The conversation so far: only ever added to, but for what the window's keeper takes out.

use crate::text::middle_out;
use crate::wires::{ToolResult, Turn};

/// Adds what we say, to what tools gave last where that is the last turn: some wires want turns to alternate.
pub(crate) fn say(turns: &mut Vec<Turn>, text: &str) {
    match turns.last_mut() {
        Some(Turn::Results { note, .. }) => match note {
            Some(note) => {
                note.push_str("\n\n");
                note.push_str(text);
            }
            None => *note = Some(text.to_owned()),
        },
        _ => turns.push(Turn::User(text.to_owned())),
    }
}

/// What a result says once it is out of the window.
pub(crate) const MASKED: &str = "[older output, taken out of the window; run it again if it is needed]";

/// Takes the text of all but the newest results out. Short ones stay: a hint costs as much. Gives how many went.
pub(crate) fn mask(turns: &mut [Turn], keep: usize) -> usize {
    let mut gone = 0;
    let mut seen = 0;
    for turn in turns.iter_mut().rev() {
        let Turn::Results { results, .. } = turn else { continue };
        for result in results.iter_mut().rev() {
            seen += 1;
            if seen > keep && !result.masked && result.text.len() > 4 * MASKED.len() {
                MASKED.clone_into(&mut result.text);
                result.masked = true;
                gone += 1;
            }
        }
    }
    gone
}

/// Shortens the newest results to so many bytes each. Gives how many were longer.
pub(crate) fn shorten(turns: &mut [Turn], bytes: usize) -> usize {
    let mut shortened = 0;
    let results = turns.iter_mut().filter_map(|turn| match turn {
        Turn::Results { results, .. } => Some(results),
        _ => None,
    });
    for result in results.flatten() {
        if result.text.len() > bytes + 200 {
            result.text = middle_out(&result.text, bytes);
            shortened += 1;
        }
    }
    shortened
}

/// Where old turns end: everything from there on stays as it is. `None` when there is nothing old.
pub(crate) fn old_until(turns: &[Turn], keep: usize) -> Option<usize> {
    let of_model = |at: &usize| matches!(turns[*at], Turn::Model(_));
    let models: Vec<usize> = (0..turns.len()).filter(of_model).collect();
    let cut = *models.get(models.len().checked_sub(keep)?)?;
    // A turn that goes on after a pause belongs to the one before it.
    let cut = (0..=cut).rev().find(|at| *at == 0 || !matches!(turns[at - 1], Turn::Model(_)))?;
    (cut > 1).then_some(cut)
}

/// Old turns as a text that another model can read.
pub(crate) fn transcript(turns: &[Turn], limit: usize) -> String {
    let mut text = String::new();
    for turn in turns {
        let part = match turn {
            Turn::User(said) => format!("## user\n{said}\n"),
            Turn::Model(raw) => format!("## assistant\n{}\n", middle_out(&raw.to_string(), 4000)),
            Turn::Results { results, note } => {
                let results: String = results.iter().map(one).collect();
                let note = note.as_deref().map(|note| format!("## user\n{note}\n")).unwrap_or_default();
                format!("{results}{note}")
            }
        };
        text.push_str(&part);
    }
    middle_out(&text, limit)
}

fn one(result: &ToolResult) -> String {
    format!("## result of {}\n{}\n", result.name, middle_out(&result.text, 2000))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(text: &str) -> Turn {
        let result = ToolResult {
            id: "1".into(),
            name: "bash".into(),
            text: text.into(),
            is_error: false,
            masked: false,
        };
        Turn::Results { results: vec![result], note: None }
    }

    #[test]
    fn mask_takes_old_output_and_leaves_what_the_model_said_verbatim() {
        let long = "x".repeat(1000);
        let thought = json!([{"type": "thinking", "signature": "SIG"}]);
        let mut turns = vec![Turn::User("t".into())];
        for _ in 0..4 {
            turns.push(Turn::Model(thought.clone()));
            turns.push(result(&long));
        }
        assert_eq!(mask(&mut turns, 1), 3);
        assert_eq!(mask(&mut turns, 1), 0);
        assert_eq!(turns.iter().filter(|turn| **turn == Turn::Model(thought.clone())).count(), 4);
        assert_eq!(turns.last().unwrap(), &result(&long));
    }

    #[test]
    fn old_until_never_tears_calls_from_results() {
        let turns: Vec<Turn> = std::iter::once(Turn::User("t".into()))
            .chain((0..6).flat_map(|_| [Turn::Model(json!([])), result("r")]))
            .collect();
        let cut = old_until(&turns, 2).unwrap();
        assert_eq!(cut, 9);
        assert!(matches!(turns[cut], Turn::Model(_)));
        assert_eq!(old_until(&turns, 6), None);
        assert_eq!(old_until(&turns[..1], 2), None);
        let paused = [
            vec![Turn::User("t".into()), Turn::Model(json!([])), result("r")],
            vec![Turn::Model(json!([])); 2],
            vec![result("r")],
        ]
        .concat();
        assert_eq!(old_until(&paused, 1), Some(3));
    }

    #[test]
    fn say_after_results_is_a_part_of_their_turn() {
        let mut turns = vec![result("r")];
        say(&mut turns, "a");
        say(&mut turns, "b");
        assert!(matches!(&turns[..], [Turn::Results { note: Some(note), .. }] if note == "a\n\nb"));
    }
}
