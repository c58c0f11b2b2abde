//! Minimal changes of JSON bytes: what need not change stays as it was sent, to the byte.

use crate::stream::skim::{Paths, Skimmer};

/// Bytes that replace a part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// First byte replaced.
    pub start: usize,
    /// One past the last; the same as `start` to insert.
    pub end: usize,
    /// What stands there instead.
    pub text: String,
}

impl Splice {
    /// Puts a member first into an object that begins at `open`.
    pub fn member(body: &[u8], open: usize, key: &str, value: &str) -> Splice {
        let rest = body.get(open + 1..).unwrap_or_default();
        let is_empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
        let comma = if is_empty { "" } else { "," };
        Splice { start: open + 1, end: open + 1, text: format!("\"{key}\":{value}{comma}") }
    }
}

/// The body with the changes made. They must not overlap; those that lie outside it are left out.
pub fn splice(body: &[u8], mut splices: Vec<Splice>) -> Vec<u8> {
    splices.sort_by_key(|splice| splice.start);
    let added: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut at = 0;
    for Splice { start, end, text } in &splices {
        if *start < at || end < start || *end > body.len() {
            continue;
        }
        out.extend_from_slice(&body[at..*start]);
        out.extend_from_slice(text.as_bytes());
        at = *end;
    }
    out.extend_from_slice(&body[at..]);
    out
}

/// A value found in a body held whole, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The value; `None` when it was too long to keep.
    pub value: Option<serde_json::Value>,
    /// Its first byte.
    pub start: usize,
    /// One past its last.
    pub end: usize,
}

/// All values under the paths, in the order of the paths; a key that stands twice is found twice. `None` when the body is not
/// one JSON object.
pub fn find(paths: &'static Paths, count: usize, body: &[u8]) -> Option<Vec<Vec<Found>>> {
    let mut found = vec![Vec::new(); count];
    let mut skimmer = Skimmer::new(paths);
    skimmer.push(body, &mut |hit| {
        if let Some(list) = found.get_mut(hit.path) {
            list.push(Found { value: hit.value(), start: hit.start, end: hit.end });
        }
    });
    (skimmer.is_done() && opening(body).is_some()).then_some(found)
}

/// Where the body's outermost object begins.
pub fn opening(body: &[u8]) -> Option<usize> {
    let at = body.iter().position(|byte| !byte.is_ascii_whitespace())?;
    (body[at] == b'{').then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splice_changes_only_what_it_names() {
        let body = br#"{ "a" : 1, "b":2 }"#;
        let changes = vec![
            Splice { start: 8, end: 9, text: "10".to_owned() },
            Splice::member(body, 0, "c", "true"),
            Splice { start: 90, end: 99, text: "never".to_owned() },
        ];
        assert_eq!(splice(body, changes), br#"{"c":true, "a" : 10, "b":2 }"#);
        assert_eq!(splice(b"{ }", vec![Splice::member(b"{ }", 0, "c", "1")]), br#"{"c":1 }"#);
    }
}
