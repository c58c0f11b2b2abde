//! Names that are checked once, when they are made; afterwards each is safe as one component of a path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest id in bytes: with its neighbours it stays far below the 255 that file systems allow for a component.
pub const MAX_ID_BYTES: usize = 128;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing at all, or only blanks.
    #[error("an id may not be empty")]
    Empty,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("an id may have at most {MAX_ID_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// A character that could leave a folder, end a string or confuse a terminal.
    #[error("an id may not hold {0:?}")]
    Character(char),
    /// `.` or `..` or another name that starts with a dot or a dash, or ends in a blank.
    #[error("an id may not start with a dot, a dash or a blank, nor end in a blank: {0:?}")]
    Edge(String),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.trim().is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    // Besides what separates paths, everything that a terminal could take for a command or that hides itself.
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if let Some(c) = text.chars().find(|c| bad(*c)) {
        return Err(IdError::Character(c));
    }
    let edge = |c: Option<char>| c.is_some_and(char::is_whitespace);
    if text.starts_with(['.', '-']) || edge(text.chars().next()) || edge(text.chars().last()) {
        return Err(IdError::Edge(text.to_owned()));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and makes the id.
            ///
            /// # Errors
            /// [`IdError`] says which rule the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// Which task: unique within a run.
    TaskId
}
id! {
    /// Which cell of the comparison: agent + model + configuration, by its short stable name.
    VariantName
}
id! {
    /// Which run: the name of its folder below the runs directory.
    RunId
}

/// Which trial: one attempt of one variant at one task. Attempts count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialId {
    /// The task that is tried.
    pub task: TaskId,
    /// The variant that tries it.
    pub variant: VariantName,
    /// The how-manyeth independent attempt, from 1. A retry after a harness fault is not a new attempt.
    pub attempt: u32,
}

impl TrialId {
    /// `task/variant/attempt`: the trial's folder below `trials/`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.task, self.variant, self.attempt)
    }
}

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn task_id_takes_blanks_and_letters_of_any_script() {
        for good in ["fix git", "django__django-1234", "données", "修正", "a.b+c@1"] {
            assert_eq!(TaskId::new(good).map(String::from).as_deref(), Ok(good));
        }
    }

    #[test]
    fn task_id_refuses_what_could_leave_its_folder_or_fool_a_terminal() {
        for bad in [
            "",
            " ",
            ".",
            "..",
            ".hidden",
            "-rf",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "a\u{202e}b",
            " a",
            "a ",
        ] {
            assert!(TaskId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(TaskId::new("x".repeat(129)), Err(IdError::TooLong(129)));
    }

    #[test]
    fn task_id_is_checked_when_it_is_read_too() {
        assert!(serde_json::from_str::<TaskId>("\"../etc\"").is_err());
    }

    proptest! {
        #[test]
        fn any_accepted_id_is_exactly_one_path_component(text in "\\PC{0,40}") {
            if let Ok(id) = TaskId::new(text) {
                let path = std::path::Path::new("root").join(id.as_str());
                let parts: Vec<_> = path.components().collect();
                prop_assert_eq!(parts.len(), 2);
                prop_assert!(matches!(parts[1], std::path::Component::Normal(_)));
            }
        }
    }
}
