//! Notices when work goes in circles, or nowhere.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::wires::Call;

/// How many steps back are looked at.
const LOOKED_AT: usize = 16;
/// How often the same step in them is pointed out.
const POINTED_OUT: usize = 3;
/// How often it ends the work.
const TOO_OFTEN: usize = 8;
/// Steps without any change of a file after which that is pointed out.
const IDLE_STEPS: u64 = 40;

/// What is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// Nothing.
    Fine,
    /// The model should know.
    Loop(String),
    /// The model should know.
    Idle(String),
    /// Nothing will come of it any more.
    Hopeless(String),
}

/// Remembers steps.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    steps: VecDeque<u64>,
    idle: u64,
    edits: u64,
}

impl Guard {
    /// Looks at a step: what was called and what came of it. Only both being the same is a circle: a test that is run again
    /// after a change is none.
    pub(crate) fn step(&mut self, calls: &[Call], outputs: &[String], edits: u64) -> Noticed {
        let mut hasher = DefaultHasher::new();
        for call in calls {
            call.name.hash(&mut hasher);
            match &call.input {
                Ok(input) => serde_json::Value::Object(input.clone()).to_string().hash(&mut hasher),
                Err(broken) => broken.hash(&mut hasher),
            }
        }
        outputs.iter().for_each(|output| without_numbers(output).hash(&mut hasher));
        let step = hasher.finish();
        self.steps.push_back(step);
        if self.steps.len() > LOOKED_AT {
            self.steps.pop_front();
        }
        let times = self.steps.iter().filter(|other| **other == step).count();
        self.idle = if edits > self.edits { 0 } else { self.idle + 1 };
        self.edits = edits;
        if times >= TOO_OFTEN {
            return Noticed::Hopeless(format!("it took the same step {times} times and the same came of it"));
        }
        if times >= POINTED_OUT {
            return Noticed::Loop(format!(
                "You have taken this same step {times} times, and the same came of it each time. Do something else: look at \
                 another place, test another assumption, or call submit with cannot_go_on if there is no way."
            ));
        }
        if self.idle >= IDLE_STEPS {
            self.idle = 0;
            return Noticed::Idle(format!(
                "For {IDLE_STEPS} steps no file was changed by edit or write. If you know enough, make the change; then check it."
            ));
        }
        Noticed::Fine
    }
}

/// Times and addresses differ from run to run and mean nothing here.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).take(20_000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(input: &str) -> Call {
        Call { id: "x".into(), name: "bash".into(), input: Ok(serde_json::from_str(input).unwrap()) }
    }

    #[test]
    fn step_repeated_is_pointed_out_and_then_hopeless() {
        let mut guard = Guard::default();
        let same = [call(r#"{"cmd":"ls"}"#)];
        let mut noticed = Vec::new();
        for turn in 0..8 {
            noticed.push(guard.step(&same, &[format!("took {turn} ms")], 0));
        }
        assert_eq!(noticed[1], Noticed::Fine);
        assert!(matches!(noticed[2], Noticed::Loop(_)));
        assert!(matches!(noticed[7], Noticed::Hopeless(_)));
    }

    #[test]
    fn step_between_two_others_is_noticed_too_and_another_result_is_none() {
        let mut guard = Guard::default();
        let (a, b) = ([call(r#"{"cmd":"a"}"#)], [call(r#"{"cmd":"b"}"#)]);
        let mut last = Noticed::Fine;
        for _ in 0..3 {
            guard.step(&a, &["x".into()], 0);
            last = guard.step(&b, &["y".into()], 0);
        }
        assert!(matches!(last, Noticed::Loop(_)));
        let mut guard = Guard::default();
        for result in ["one", "two", "three", "four"] {
            assert_eq!(guard.step(&a, &[result.into()], 0), Noticed::Fine);
        }
    }

    #[test]
    fn step_without_a_change_for_long_is_idle_once_in_a_while() {
        let mut guard = Guard::default();
        let idle = |noticed: &Noticed| matches!(noticed, Noticed::Idle(_));
        let noticed: Vec<Noticed> = (0..100)
            .map(|at: u32| {
                guard.step(&[call(&format!("{{\"cmd\":\"{}\"}}", "z".repeat(at as usize)))], &[], 0)
            })
            .collect();
        assert_eq!(noticed.iter().filter(|noticed| idle(noticed)).count(), 2);
    }
}
