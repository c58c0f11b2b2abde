//! Just enough calendar for prices that start on a day or hold for hours of it: UTC, without a date library.

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// Whole days since 1970-01-01 of a moment in milliseconds since then.
pub(crate) fn day_of(at_ms: u64) -> i64 {
    i64::try_from(at_ms / DAY_MS).unwrap_or(i64::MAX)
}

/// Minutes since midnight UTC.
pub(crate) fn minute_of_day(at_ms: u64) -> u16 {
    u16::try_from(at_ms % DAY_MS / 60_000).unwrap_or(0)
}

/// `YYYY-MM-DD` as days since 1970-01-01.
pub(crate) fn parse_day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |part: &[u8]| -> Option<i64> {
        part.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let (year, month, day) = (number(&bytes[..4])?, number(&bytes[5..7])?, number(&bytes[8..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    // Howard Hinnant's days_from_civil, for years that are not negative.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted / 400;
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// `HH:MM` as minutes since midnight.
pub(crate) fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2
        || minute.len() != 2
        || !(hour.bytes().chain(minute.bytes())).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_day_knows_leap_years_and_refuses_what_is_no_day() {
        assert_eq!(parse_day("1970-01-01"), Some(0));
        assert_eq!(parse_day("2026-11-21"), Some(20_778));
        assert_eq!(parse_day("2024-02-29"), Some(19_782));
        for wrong in ["2025-02-29", "2026-13-01", "2026-1-1", "1969-12-31", "2026-11-2x", ""] {
            assert_eq!(parse_day(wrong), None, "{wrong}");
        }
        assert_eq!(day_of(20_778 * DAY_MS + 5), 20_778);
    }

    #[test]
    fn parse_minute_wants_two_digits_each() {
        assert_eq!(parse_minute("16:30"), Some(990));
        for wrong in ["24:00", "1:00", "01:60", "+1:00", "01"] {
            assert_eq!(parse_minute(wrong), None, "{wrong}");
        }
    }
}
