//! When a failed try is made again, and for how long: the same for every agent, because agents' own habits differ and are all
//! wrong somewhere.

use std::time::Duration;

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

/// What `retry-after` asks for, in seconds; dates are not read, and wait as if nothing had been said.
pub(super) fn asked(header: Option<&str>) -> Option<Duration> {
    let seconds: f64 = header?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(86_400.0)))
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
        assert_eq!(ms(patience.next(1, Duration::ZERO, asked(Some("7")), 1.0)), Some(7000));
        assert_eq!(patience.next(1, Duration::ZERO, asked(Some("3600")), 1.0), None);
        assert_eq!(patience.next(1, Duration::from_secs(90), None, 1.0), None);
        assert_eq!(asked(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(asked(Some("-1")), None);
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
