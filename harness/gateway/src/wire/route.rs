//! Paths, keys and queries: what is the same on every wire about how a request is addressed.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, InvalidHeaderValue};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An answer of a model: what is metered.
    Generate,
    /// How many tokens an input has; costs nothing.
    CountTokens,
    /// Which models there are; costs nothing.
    Models,
}

/// What a path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What is asked.
    pub operation: Operation,
    /// The model, on wires that have it in the path.
    pub model: Option<String>,
    /// Whether the answer streams, on wires that say so in the path.
    pub stream: Option<bool>,
}

impl Route {
    /// A route whose path says nothing but what is asked.
    pub(super) fn plain(operation: Operation) -> Route {
        Route { operation, model: None, stream: None }
    }
}

/// A header that carries a key, and what stands before the key in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHeader {
    /// In lower case.
    pub name: &'static str,
    /// `Bearer ` or nothing.
    pub prefix: &'static str,
}

/// Headers that carry a key on some wire. All are taken off whatever an agent sends: a real key that reached it some other
/// way must not leave through us.
const KEY_HEADERS: &[&str] =
    &["authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization"];
/// Query parameters that do.
const KEY_PARAMETERS: &[&str] = &["key", "api_key", "api-key", "access_token"];

/// The segments of a path without its query.
pub(super) fn segments(path: &str) -> Vec<&str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// Whether a path means the same to everybody: no segment climbs or stays, and nothing that divides segments, ends a path or is
/// a sign of its own is written in another way. Agents need none of it; a server behind us may undo it, and find another
/// endpoint than the one that is metered.
pub(super) fn is_plain(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let hidden = path.match_indices('%').any(|(at, _)| {
        let code = path.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        code.is_none_or(|byte| {
            byte < 0x20 || matches!(byte, b'.' | b'/' | b'\\' | b'%' | b'?' | b'#' | b';' | 0x7f)
        })
    });
    let climbs = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    let model_climbs = |segment: &str| segment.split(':').next().is_some_and(climbs);
    !hidden
        && !path.bytes().any(|byte| byte == b'\\' || byte < 0x20)
        && !path.split('/').any(|segment| climbs(segment) || model_climbs(segment))
}

/// The key that an agent presents, in a header or the query: its virtual key.
pub fn presented_key<'a>(headers: &'a HeaderMap, path: &'a str) -> Option<&'a str> {
    let in_header = headers.iter().find_map(|(name, value)| {
        let name = KEY_HEADERS.iter().find(|known| name == **known)?;
        let value = value.to_str().ok()?.trim();
        let bare = (*name == "authorization")
            .then(|| value.split_once(' '))
            .flatten()
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        Some(bare.map_or(value, |(_, key)| key.trim()))
    });
    in_header.or_else(|| parameters(path).find_map(|(name, value)| is_key(name).then_some(value)))
}

/// Takes every key off the headers and puts one on, if there is one.
///
/// # Errors
/// The key is none that a header can carry: it has a line break in it, perhaps. It must not be shown.
pub fn replace_key(
    headers: &mut HeaderMap,
    header: KeyHeader,
    key: Option<&str>,
) -> Result<(), InvalidHeaderValue> {
    for known in KEY_HEADERS {
        headers.remove(*known);
    }
    let Some(key) = key else { return Ok(()) };
    let mut value = HeaderValue::try_from(format!("{}{key}", header.prefix))?;
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static(header.name), value);
    Ok(())
}

/// The path and query without any key.
pub fn without_key(path: &str) -> String {
    let Some((bare, _)) = path.split_once('?') else { return path.to_owned() };
    let kept: Vec<&str> = path[bare.len() + 1..]
        .split('&')
        .filter(|part| !is_key(part.split('=').next().unwrap_or_default()))
        .collect();
    if kept.is_empty() { bare.to_owned() } else { format!("{bare}?{}", kept.join("&")) }
}

fn is_key(name: &str) -> bool {
    KEY_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn parameters(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")))
}

#[cfg(test)]
mod tests {
    use super::super::{WIRES, recognise};
    use super::*;

    fn read(method: &str, path: &str) -> Option<(&'static str, Operation, Option<String>, Option<bool>)> {
        let (wire, route) = recognise(method, path)?;
        Some((wire.name(), route.operation, route.model, route.stream))
    }

    #[test]
    fn recognise_knows_the_paths_of_every_wire_and_of_servers_like_them() {
        use Operation::{CountTokens, Generate, Models};
        let gemini = || Some("gemini-2.5-pro".to_owned());
        for (method, path, expected) in [
            ("POST", "/v1/responses", ("openai", Generate, None, None)),
            ("POST", "/responses?x=1", ("openai", Generate, None, None)),
            ("POST", "/openai/v1/responses?api-version=preview", ("openai", Generate, None, None)),
            ("POST", "/v1/chat/completions", ("openai-chat", Generate, None, None)),
            (
                "POST",
                "/openai/deployments/gpt/chat/completions?api-version=1",
                ("openai-chat", Generate, None, None),
            ),
            ("POST", "/v1/messages?beta=true", ("anthropic", Generate, None, None)),
            ("POST", "/v1/messages/count_tokens", ("anthropic", CountTokens, None, None)),
            (
                "POST",
                "/v1beta/models/gemini-2.5-pro:generateContent",
                ("google", Generate, gemini(), Some(false)),
            ),
            (
                "POST",
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
                ("google", Generate, gemini(), Some(true)),
            ),
            (
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
                ("google", Generate, gemini(), Some(false)),
            ),
            (
                "POST",
                "/v1beta/models/gemini-2.5-pro:countTokens",
                ("google", CountTokens, gemini(), Some(false)),
            ),
            ("GET", "/v1/models", ("openai", Models, None, None)),
            ("GET", "/v1beta/models", ("google", Models, None, None)),
        ] {
            assert_eq!(read(method, path), Some(expected), "{path}");
        }
        for (method, path) in [
            ("GET", "/v1/responses"),
            ("POST", "/v1/embeddings"),
            ("POST", "/v1/responses/compact"),
            ("POST", "/v1beta/models/x:deleteEverything"),
            ("POST", "/v1beta/models/:generateContent"),
            ("POST", "/"),
            ("POST", ""),
        ] {
            assert_eq!(read(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn replace_key_leaves_no_other_key_on_any_wire() {
        for wire in WIRES {
            let mut headers = HeaderMap::new();
            for name in ["Authorization", "X-Api-Key", "x-goog-api-key", "api-key"] {
                let name = HeaderName::try_from(name).unwrap();
                headers.append(name.clone(), HeaderValue::from_static("Bearer stolen"));
                headers.append(name, HeaderValue::from_static("stolen twice"));
            }
            headers.insert("accept", HeaderValue::from_static("*/*"));
            replace_key(&mut headers, wire.key_header(), Some("real")).unwrap();
            assert!(!headers.values().any(|value| value.to_str().unwrap().contains("stolen")));
            assert_eq!(headers.len(), 2);
            assert_eq!(presented_key(&headers, "/"), Some("real"));
            assert!(replace_key(&mut headers, wire.key_header(), Some("a\nb")).is_err());
            replace_key(&mut headers, wire.key_header(), None).unwrap();
            assert_eq!(headers.len(), 1);
        }
    }

    #[test]
    fn key_in_the_query_is_found_and_taken_off() {
        let path = "/v1beta/models/m:generateContent?alt=sse&key=virtual";
        assert_eq!(presented_key(&HeaderMap::new(), path), Some("virtual"));
        assert_eq!(without_key(path), "/v1beta/models/m:generateContent?alt=sse");
        assert_eq!(without_key("/a?key=1"), "/a");
        assert_eq!(without_key("/a"), "/a");
        assert_eq!(presented_key(&HeaderMap::new(), "/a?monkey=1"), None);
    }
}
