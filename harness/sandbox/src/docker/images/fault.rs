//! Whose fault it is when an engine cannot make an image, as far as its words tell: the description's, this machine's or the
//! network's; and which of these may pass.

use std::io;
use std::time::Duration;

use bollard::errors::Error;

use super::super::client::{is_full, is_gone, plain, status};
use crate::SandboxError;

/// Why something could not be had from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PullFault {
    /// There is no such image, or not for this machine: what the task names is wrong.
    Missing,
    /// The registry wants to know who asks.
    Denied,
    /// Too many pulls; how long to wait, where the registry says so.
    RateLimited(Option<Duration>),
    /// The engine's disk is full.
    Full,
    /// The network, the registry or the engine for now: worth another try.
    Passing,
}

/// Reads an engine's words about a pull.
pub(crate) fn of_pull(error: &Error) -> PullFault {
    let text = plain(error).to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if is_full(error) {
        PullFault::Full
    } else if status(error) == Some(429)
        || says(&["toomanyrequests", "too many requests", "rate limit", " 429"])
    {
        PullFault::RateLimited(wait(&text))
    } else if says(&[
        "no matching manifest",
        "no image found in manifest list",
        "manifest unknown",
        "name unknown",
    ]) {
        PullFault::Missing
    } else if says(&["pull access denied", "repository does not exist", "repository name not known"]) {
        // A registry says the same of what is private and of what is not there.
        PullFault::Missing
    } else if says(&[
        "unauthorized",
        "authentication required",
        "no basic auth",
        "denied: ",
        "access forbidden",
    ]) {
        PullFault::Denied
    } else if says(&["manifest for", "invalid reference", "invalid repository name", "invalid tag format"])
        || (status(error) == Some(404) && says(&["not found"]))
    {
        PullFault::Missing
    } else {
        PullFault::Passing
    }
}

/// How long a registry asks to wait: `retry-after: 30`, `retry-after: 2.5ms`, `try again in 3 minutes`.
fn wait(text: &str) -> Option<Duration> {
    let at = ["retry-after", "retry after", "try again in", "retry in"]
        .iter()
        .find_map(|word| text.find(word).map(|at| at + word.len()))?;
    let rest = text[at..].trim_start_matches([':', ' ', '"', '=']);
    let digits = rest.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(rest.len());
    let number: f64 = rest[..digits].parse().ok()?;
    let unit = rest[digits..].trim_start();
    let seconds = if unit.starts_with("ms") || unit.starts_with("milli") {
        number / 1000.0
    } else if unit.starts_with('h') {
        number * 3600.0
    } else if unit.starts_with('m') {
        number * 60.0
    } else {
        number
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// What a build that an engine gave up means.
pub(crate) fn of_build(about: &str, error: &Error, log: String) -> SandboxError {
    let text = plain(error);
    let said = text.to_ascii_lowercase();
    // A command that found no room on the engine's disk says so itself, and the engine only that it failed.
    let full = is_full(error) || log.to_ascii_lowercase().contains("no space left on device");
    if full {
        return host(
            about,
            io::ErrorKind::StorageFull,
            format!("{text}: the engine's disk is full (`harness clean --images` frees what we made there)"),
        );
    }
    if is_gone(error) {
        return host(about, io::ErrorKind::ConnectionAborted, format!("the engine went away: {text}"));
    }
    let passing = [
        "context canceled",
        "code = unavailable",
        "cannot allocate memory",
        "resource temporarily unavailable",
        "too many open files",
        "transport is closing",
    ];
    let registry = [
        "toomanyrequests",
        "tls handshake timeout",
        "i/o timeout",
        "connection refused",
        "failed to do request",
    ];
    if passing.iter().chain(&registry).any(|word| said.contains(word)) {
        return host(about, io::ErrorKind::Other, text);
    }
    SandboxError::Environment { message: format!("{about}: {text}"), log }
}

/// What a pull that was given up means.
pub(crate) fn given_up(name: &str, fault: &PullFault, error: &Error) -> SandboxError {
    let text = plain(error);
    match fault {
        PullFault::Missing => SandboxError::Environment {
            message: format!(
                "the image {name} cannot be had: {text} (is its name right? a private one needs `docker login`)"
            ),
            log: String::new(),
        },
        PullFault::Denied => host(
            name,
            io::ErrorKind::PermissionDenied,
            format!("{text}: the registry asks who we are: `docker login`, then run again"),
        ),
        PullFault::RateLimited(_) => host(
            name,
            io::ErrorKind::QuotaExceeded,
            format!(
                "{text}: the registry limits how often it is asked: wait, `docker login`, or use a mirror"
            ),
        ),
        PullFault::Full => host(
            name,
            io::ErrorKind::StorageFull,
            format!("{text}: the engine's disk is full (`harness clean --images` frees what we made there)"),
        ),
        PullFault::Passing => host(name, io::ErrorKind::Other, text),
    }
}

pub(crate) fn host(about: &str, kind: io::ErrorKind, text: String) -> SandboxError {
    SandboxError::host(format!("cannot make the image for {about}"), io::Error::new(kind, text))
}

/// An error that several callers get: they waited for the same thing.
#[derive(Debug, Clone)]
pub(crate) enum Shared {
    /// [`SandboxError::Environment`].
    Environment(String, String),
    /// [`SandboxError::Host`].
    Host(String, io::ErrorKind, String),
}

impl From<SandboxError> for Shared {
    fn from(error: SandboxError) -> Shared {
        match error {
            SandboxError::Environment { message, log } => Shared::Environment(message, log),
            SandboxError::Host { what, source } => Shared::Host(what, source.kind(), source.to_string()),
            other => Shared::Host(other.to_string(), io::ErrorKind::Other, String::new()),
        }
    }
}

impl From<Shared> for SandboxError {
    fn from(shared: Shared) -> SandboxError {
        match shared {
            Shared::Environment(message, log) => SandboxError::Environment { message, log },
            Shared::Host(what, kind, text) => SandboxError::host(what, io::Error::new(kind, text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_core::Blame;

    fn said(text: &str) -> Error {
        Error::DockerStreamError { error: text.to_owned() }
    }

    #[test]
    fn fault_of_a_pull_is_read_from_real_words() {
        let seconds = |seconds| PullFault::RateLimited(Some(Duration::from_secs_f64(seconds)));
        for (text, expected) in [
            (
                "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit",
                PullFault::RateLimited(None),
            ),
            ("toomanyrequests: retry-after: 2.5ms, allowed: 44000/minute", seconds(0.0025)),
            ("received unexpected HTTP status: 429 Too Many Requests", PullFault::RateLimited(None)),
            ("toomanyrequests: Rate exceeded, try again in 3 minutes", seconds(180.0)),
            ("Too Many Requests (HAP429). Retry-After: 30", seconds(30.0)),
            ("manifest for busybox:nope not found: manifest unknown: manifest unknown", PullFault::Missing),
            (
                "pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                PullFault::Missing,
            ),
            ("no matching manifest for linux/arm64/v8 in the manifest list entries", PullFault::Missing),
            ("Head \"https://x/v2/y/manifests/z\": unauthorized: authentication required", PullFault::Denied),
            (
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                PullFault::Passing,
            ),
            ("Get \"https://x/v2/\": net/http: TLS handshake timeout", PullFault::Passing),
            ("unexpected EOF", PullFault::Passing),
            (
                "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device",
                PullFault::Full,
            ),
            ("received unexpected HTTP status: 503 Service Unavailable", PullFault::Passing),
        ] {
            assert_eq!(of_pull(&said(text)), expected, "{text}");
        }
    }

    #[test]
    fn fault_of_a_build_is_the_tasks_unless_the_machine_failed() {
        for text in [
            "The command '/bin/sh -c false' returned a non-zero code: 1",
            "process \"/bin/sh -c false\" did not complete successfully: exit code: 1",
            "dockerfile parse error line 2: unknown instruction: RNU",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat x: file does not exist",
        ] {
            let error = of_build("Dockerfile", &said(text), "the end".to_owned());
            assert_eq!(error.blame(), Blame::Task, "{text}");
        }
        for (text, log) in [
            ("write /x: no space left on device", ""),
            (
                "The command '/bin/sh -c apt' returned a non-zero code: 100",
                "E: Write error - write (28: No space left on device)",
            ),
            ("context canceled", ""),
            ("rpc error: code = Unavailable desc = transport is closing", ""),
        ] {
            let error = of_build("Dockerfile", &said(text), log.to_owned());
            assert_eq!(error.blame(), Blame::Harness, "{text}");
        }
    }

    #[test]
    fn fault_waits_are_never_made_up() {
        assert_eq!(wait("toomanyrequests"), None);
        assert_eq!(wait("retry-after: soon"), None);
        assert_eq!(wait("retry-after: 1e999"), Some(Duration::from_secs(1)));
    }
}
