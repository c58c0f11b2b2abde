//! Numbers as people read them. An unknown value is `-`, never a zero.

/// What stands for an unknown value.
pub const UNKNOWN: &str = "-";

/// A time span: `850ms`, `12.3s`, `4m05s`, `2h03m`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        // Up to what would round to a whole minute.
        1_000..59_950 => format!("{:.1}s", ms as f64 / 1e3),
        59_950..3_599_500 => {
            let seconds = (ms + 500) / 1000;
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = ms / 60_000;
            format!("{}h{:02}m", minutes / 60, minutes % 60)
        }
    }
}

/// A count: `999`, `12.3k`, `4.5M`, `6.7G`.
pub fn count(value: u64) -> String {
    let number = value as f64;
    match value {
        0..10_000 => value.to_string(),
        10_000..999_950 => format!("{:.1}k", number / 1e3),
        999_950..999_950_000 => format!("{:.1}M", number / 1e6),
        _ => format!("{:.1}G", number / 1e9),
    }
}

/// Bytes: `999 B`, `12.3 KiB`, `4.5 MiB`, `6.7 GiB`.
pub fn bytes(value: u64) -> String {
    let number = value as f64;
    match value {
        0..1_024 => format!("{value} B"),
        1_024..1_048_000 => format!("{:.1} KiB", number / 1024.0),
        1_048_000..1_073_000_000 => format!("{:.1} MiB", number / 1_048_576.0),
        _ => format!("{:.1} GiB", number / 1_073_741_824.0),
    }
}

/// Dollars: cents from a dollar up, four digits below.
pub fn usd(value: f64) -> String {
    if value.abs() >= 1.0 || value == 0.0 { format!("${value:.2}") } else { format!("${value:.4}") }
}

/// A share of one as per cent without digits that its interval would not bear.
pub fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// `UNKNOWN`, or the value through `show`.
pub fn or_unknown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

/// `1 trial`, `2 trials`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Milliseconds since the epoch as `2026-11-21T14:01:39Z`.
pub fn timestamp(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date of the proleptic Gregorian calendar, with years that begin in March so that leap days come last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_stopwatch() {
        let all = [0, 999, 1_000, 59_949, 59_950, 3_599_499, 3_599_500, 7_380_000].map(duration);
        assert_eq!(all, ["0ms", "999ms", "1.0s", "59.9s", "1m00s", "59m59s", "0h59m", "2h03m"]);
    }

    #[test]
    fn counts_and_money_keep_few_digits() {
        assert_eq!(
            [9_999, 10_000, 999_949, 999_950, 2_000_000_000].map(count),
            ["9999", "10.0k", "999.9k", "1.0M", "2.0G"]
        );
        assert_eq!([0.0, 0.00123, 1.0, 12.345].map(usd), ["$0.00", "$0.0012", "$1.00", "$12.35"]);
    }

    #[test]
    fn timestamps_know_leap_years_and_times_before_the_epoch() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_795_269_699_999), "2026-11-21T14:01:39Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59Z");
    }
}
