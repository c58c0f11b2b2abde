//! When a failed try is made again, and for how long: the same for every agent, because agents' own habits differ and are all
//! wrong somewhere.

use std::time::{Duration, SystemTime};

/// How long an upstream's failures are waited out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// An outage is waited for this long in all, not per try.
    pub outage: Duration,
    /// The first wait; it doubles each time.
    pub first: Duration,
    /// The longest wait between two tries.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            outage: Duration::from_secs(90),
            first: Duration::from_millis(500),
            longest: Duration::from_secs(20),
        }
    }
}

impl Patience {
    /// How long to wait before the next try; `None` when the outage has lasted too long. `waited` is how long it has lasted,
    /// `asked` what the upstream wants, and `luck` a number of 0 to 1 that spreads the tries of many callers.
    pub fn next(&self, tries: u32, waited: Duration, asked: Option<Duration>, luck: f64) -> Option<Duration> {
        let doubled = self.first.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(self.longest);
        // Half of it is fixed, so that a wait is never nothing.
        let own = doubled.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0);
        // To come back before an upstream wants it only makes it worse; to wait longer than our patience is to give up now.
        let wait = asked.map_or(own, |asked| asked.max(own));
        (waited.saturating_add(wait) <= self.outage).then_some(wait)
    }
}

/// Whether a status is worth another try. A 429 may be an exhausted quota, which never helps: its body says so.
pub(super) fn is_passing(status: u16, body: &[u8]) -> bool {
    match status {
        429 => !["insufficient_quota", "billing_hard_limit", "quota_exceeded", "PerDay"]
            .iter()
            .any(|word| memchr::memmem::find(body, word.as_bytes()).is_some()),
        408 | 409 | 500 | 502 | 503 | 504 | 520..=529 => true,
        _ => false,
    }
}

/// Longest wait that is taken from a header: beyond a day it is all the same.
const LONGEST_ASKED: Duration = Duration::from_secs(86_400);

/// What `retry-after` asks for at this moment, in seconds or as a date; one that is past, or that cannot be read, is no more
/// than nothing to wait for, or nothing said.
pub(super) fn asked(header: Option<&str>, now: SystemTime) -> Option<Duration> {
    let header = header?.trim();
    let asked = match header.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(LONGEST_ASKED.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => httpdate::parse_http_date(header).ok()?.duration_since(now).unwrap_or(Duration::ZERO),
    };
    Some(asked.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_doubles_honours_what_is_asked_and_ends() {
        let patience = Patience::default();
        let ms = |wait: Option<Duration>| wait.map(|wait| wait.as_millis());
        assert_eq!(ms(patience.next(1, Duration::ZERO, None, 1.0)), Some(500));
        assert_eq!(ms(patience.next(3, Duration::ZERO, None, 0.0)), Some(1000));
        assert_eq!(ms(patience.next(99, Duration::ZERO, None, 1.0)), Some(20_000));
        let asked = |header| asked(Some(header), SystemTime::UNIX_EPOCH);
        assert_eq!(ms(patience.next(1, Duration::ZERO, asked("7"), 1.0)), Some(7000));
        assert_eq!(patience.next(1, Duration::ZERO, asked("3600"), 1.0), None);
        assert_eq!(patience.next(1, Duration::from_secs(90), None, 1.0), None);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_in_every_form_of_a_date() {
        // 1994-11-06 08:49:00 UTC.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_740);
        let seconds = |header| asked(Some(header), now).map(|wait| wait.as_secs_f64());
        for (header, wait) in [
            ("7", Some(7.0)),
            (" 0.5 ", Some(0.5)),
            ("1e9", Some(86_400.0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37.0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37.0)),
            ("Sun Nov  6 08:49:37 1994", Some(37.0)),
            // Past by a clock that differs from ours: at once.
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0.0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400.0)),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
            ("soon", None),
            ("Wed, 99 Foo 2026 07:28:00 GMT", None),
        ] {
            assert_eq!(seconds(header), wait, "{header}");
        }
        assert_eq!(asked(None, now), None);
    }

    #[test]
    fn exhausted_quota_is_not_waited_for() {
        assert!(is_passing(429, b"{\"error\":{\"code\":\"rate_limit_exceeded\"}}"));
        assert!(!is_passing(429, b"{\"error\":{\"code\":\"insufficient_quota\"}}"));
        assert!(is_passing(529, b"") && is_passing(503, b""));
        for status in [400, 401, 402, 403, 404, 413, 422] {
            assert!(!is_passing(status, b""));
        }
    }
}
