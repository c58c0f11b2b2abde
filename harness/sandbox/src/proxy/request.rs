//! The head of a request to the proxy: where it wants to go, and what is passed on.

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Name or address, without brackets.
    pub(super) host: String,
    /// Port.
    pub(super) port: u16,
    /// What to send there first; `None` for a tunnel, which begins with our answer.
    pub(super) head: Option<Vec<u8>>,
    /// What the client shows the proxy of itself.
    pub(super) key: Option<String>,
}

const MOST_HEADERS: usize = 256;
/// About this connection, not for the next.
const HOP: &[&str] = &[
    "connection",
    "proxy-connection",
    "proxy-authorization",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "host",
];

/// Reads a head that ends with an empty line.
///
/// # Errors
/// In a few words, for the client.
pub(super) fn parse(head: &[u8]) -> Result<Request, &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| "the request is no text")?;
    // A line end of half the kind is one line to us, and perhaps two to whom it is passed on.
    if head.split("\r\n").any(|line| line.contains(|letter: char| letter.is_control() && letter != '\t')) {
        return Err("the request holds a control character");
    }
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the first line is not METHOD TARGET VERSION");
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err("only HTTP/1.1 is understood");
    }
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-') {
        return Err("the method is not understood");
    }
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        let key = lines.take(MOST_HEADERS).find_map(shown);
        return Ok(Request { host, port, head: None, key });
    }
    let Some(rest) = strip_scheme(target) else {
        return Err("this is a proxy: the target must be http://HOST/PATH, or CONNECT HOST:PORT");
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, port) = authority(&rest[..end], Some(80))?;
    let path = match &rest[end..] {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let mut passed = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", &rest[..end]);
    let mut key = None;
    for (number, line) in lines.enumerate() {
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or("a header has no colon")?;
        if number >= MOST_HEADERS {
            return Err("too many headers");
        }
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_graphic())
            || value.contains(['\r', '\n', '\0'])
        {
            return Err("a header is not understood");
        }
        key = key.or_else(|| shown(line));
        if !HOP.contains(&name.to_ascii_lowercase().as_str()) {
            passed.push_str(line);
            passed.push_str("\r\n");
        }
    }
    passed.push_str("\r\n");
    Ok(Request { host, port, head: Some(passed.into_bytes()), key })
}

/// The value of a header that shows the proxy who asks.
fn shown(line: &str) -> Option<String> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("proxy-authorization").then(|| value.trim().to_owned())
}

fn strip_scheme(target: &str) -> Option<&str> {
    let scheme = target.get(..7)?;
    scheme.eq_ignore_ascii_case("http://").then(|| &target[7..])
}

/// `host:port`, `[v6]:port`, perhaps without a port.
fn authority(text: &str, default: Option<u16>) -> Result<(String, u16), &'static str> {
    const WRONG: &str = "the host is not HOST:PORT";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(WRONG)?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().map_err(|_| WRONG)?,
        Some(_) => return Err(WRONG),
        None => default.ok_or(WRONG)?,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) || port == 0 {
        return Err(WRONG);
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proxy_request_of_both_kinds() {
        let tunnel = parse(b"CONNECT Example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!((tunnel.host.as_str(), tunnel.port, tunnel.head), ("example.org", 443, None));
        let shown =
            parse(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\nproxy-authorization:  Basic x\r\n\r\n").unwrap();
        assert_eq!(shown.key.as_deref(), Some("Basic x"));
        let six = parse(b"CONNECT [2606:4700::1]:443 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(six.host, "2606:4700::1");
        let plain = parse(
            b"GET http://h:81/a?b HTTP/1.1\r\nHost: other\r\nProxy-Authorization: secret\r\nX: y\r\nConnection: keep-alive\r\n\r\n",
        )
        .unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.key.as_deref()), ("h", 81, Some("secret")));
        let head = String::from_utf8(plain.head.unwrap()).unwrap();
        assert_eq!(head, "GET /a?b HTTP/1.1\r\nHost: h:81\r\nConnection: close\r\nX: y\r\n\r\n");
        assert_eq!(parse(b"GET HTTP://h?q HTTP/1.0\r\n\r\n").unwrap().port, 80);
    }

    #[test]
    fn proxy_request_refuses_what_it_does_not_understand() {
        for head in [
            "",
            "GET / HTTP/1.1",
            "GET https://h/ HTTP/1.1",
            "CONNECT h HTTP/1.1",
            "CONNECT h:0 HTTP/1.1",
            "CONNECT h:99999 HTTP/1.1",
            "CONNECT h:+80 HTTP/1.1",
            "CONNECT a@h:80 HTTP/1.1",
            "GET http:///x HTTP/1.1",
            "GET http://h/ HTTP/2",
            "G\tT http://h/ HTTP/1.1",
            "GET http://h/ x HTTP/1.1",
            "GET http://u:p@h/ HTTP/1.1",
            "GET http://h/ HTTP/1.1\r\nno colon",
            "GET http://h/ HTTP/1.1\r\na b: c",
            "GET http://h/ HTTP/1.1\r\na: b\nc: d",
            "é http://h/ HTTP/1.1",
            "GET httpé://h/ HTTP/1.1",
        ] {
            assert!(parse(format!("{head}\r\n\r\n").as_bytes()).is_err(), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn proxy_request_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn proxy_request_passes_no_line_end_on(target in "[ -~\r\n]{0,40}", header in "[ -~\r\n]{0,40}") {
            if let Ok(Request { head: Some(head), .. }) = parse(format!("GET http://{target} HTTP/1.1\r\n{header}\r\n\r\n").as_bytes()) {
                let text = String::from_utf8(head).unwrap();
                prop_assert!(text.ends_with("\r\n\r\n") && text.matches("\r\n\r\n").count() == 1);
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
            }
        }
    }
}
