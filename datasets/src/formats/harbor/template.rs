//! `${VAR}` and `${VAR:-default}` in a task's environment tables: only as a whole value, and only from host variables
//! that the user named.

use std::collections::BTreeMap;

use crate::strict::{At, Document};

/// Replaces templates in a table of environment variables; what cannot be is an error of the document.
pub(super) fn resolve(
    doc: &Document<'_>,
    table: &BTreeMap<String, At<String>>,
    host: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut resolved = BTreeMap::new();
    for (name, value) in table {
        if name.is_empty() || name.contains(['=', '\0']) {
            doc.error(value.offset, format!("{name:?} cannot be the name of an environment variable"));
            continue;
        }
        match replace(&value.value, host) {
            Ok(text) if text.contains('\0') => {
                doc.error(value.offset, format!("the value of {name:?} holds a zero byte"));
            }
            Ok(text) => {
                resolved.insert(name.clone(), text);
            }
            Err(Missing(variable)) => {
                let problem =
                    doc.problem(value.offset, format!("{name:?} needs the host's variable {variable:?}"));
                doc.push_error(problem.hint(format!("set it and pass it on with `--env-pass {variable}`")));
            }
        }
    }
    resolved
}

/// A host variable that was not named by the user.
#[derive(Debug, PartialEq, Eq)]
struct Missing(String);

fn replace(value: &str, host: &BTreeMap<String, String>) -> Result<String, Missing> {
    match parse(value) {
        None => Ok(value.to_owned()),
        Some((name, default)) => match (host.get(name), default) {
            (Some(found), _) => Ok(found.clone()),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Missing(name.to_owned())),
        },
    }
}

/// Name and default of a template that is the whole value.
fn parse(value: &str) -> Option<(&str, Option<&str>)> {
    let inside = value.strip_prefix("${")?.strip_suffix('}')?;
    let (name, default) = match inside.split_once(':') {
        None => (inside, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix('-')?)),
    };
    // A brace in the name means that the value is two templates, or text that merely looks like one.
    if name.is_empty() || name.contains('}') || default.is_some_and(|default| default.contains('\n')) {
        return None;
    }
    Some((name, default))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replace_reads_only_whole_values_and_only_named_variables() {
        let host =
            BTreeMap::from([("SET".to_owned(), "here".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let table = [
            ("${SET}", Ok("here")),
            ("${SET:-other}", Ok("here")),
            ("${EMPTY:-other}", Ok("")),
            ("${UNSET:-other}", Ok("other")),
            ("${UNSET:-}", Ok("")),
            ("${UNSET:-a}b}", Ok("a}b")),
            ("${UNSET:-${SET}}", Ok("${SET}")),
            ("${UNSET}", Err("UNSET")),
            ("${PATH}", Err("PATH")),
            ("a${SET}", Ok("a${SET}")),
            ("${SET}b", Ok("${SET}b")),
            ("${SET}${SET}", Ok("${SET}${SET}")),
            ("${SET:other}", Ok("${SET:other}")),
            ("${}", Ok("${}")),
            ("$SET", Ok("$SET")),
            ("", Ok("")),
        ];
        for (value, meant) in table {
            let meant = meant.map(str::to_owned).map_err(|name: &str| Missing(name.to_owned()));
            assert_eq!(replace(value, &host), meant, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn replace_never_panics_and_never_reads_what_was_not_named(value in "[${}:A-C-]{0,20}") {
            let read = replace(&value, &BTreeMap::new());
            prop_assert!(read.is_err() || value.contains(read.as_deref().unwrap_or_default()));
        }
    }
}
