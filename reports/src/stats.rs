//! Statistics of one variant: the interval of a resolved rate, and pass@k.
//!
//! The estimand is "tasks like these": attempts at one task are not independent, so they are not counted as if they
//! were more tasks.

use serde::{Deserialize, Serialize};

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Attempts at one task that count, and how many of them resolved it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskTally {
    /// Attempts that count.
    pub attempts: u32,
    /// Of these, resolved.
    pub resolved: u32,
}

/// A rate with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Resolved ÷ n.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Of the interval.
    pub confidence: f64,
    /// `wilson`; `wilson_n_eff` where tasks have several attempts, which then count for less than as many tasks.
    pub method: String,
    /// The sample size that the interval stands on.
    pub n_effective: f64,
    /// What the interval is about.
    pub estimand: String,
}

/// The resolved rate with a 95 % Wilson interval; `None` without an attempt that counts.
///
/// With several attempts a task, the sample size is `p(1-p) / SE²` of the standard error clustered by task, held
/// between the number of tasks and the number of attempts.
pub fn rate(tallies: &[TaskTally]) -> Option<Rate> {
    let tasks = tallies.iter().filter(|tally| tally.attempts > 0);
    let (mut n, mut resolved, mut count) = (0.0, 0.0, 0.0);
    for tally in tasks.clone() {
        n += f64::from(tally.attempts);
        resolved += f64::from(tally.resolved);
        count += 1.0;
    }
    if n == 0.0 {
        return None;
    }
    let value: f64 = resolved / n;
    let spread: f64 =
        tasks.map(|tally| (f64::from(tally.resolved) - value * f64::from(tally.attempts)).powi(2)).sum();
    let variance = spread / (n * n) * if count > 1.0 { count / (count - 1.0) } else { 1.0 };
    let n_effective = match value * (1.0 - value) {
        // All or none resolved: nothing tells how alike attempts are, so the tasks alone count.
        0.0 => count,
        // All tasks equally well: attempts are as good as independent.
        _ if variance == 0.0 => n,
        binomial => (binomial / variance).clamp(count, n),
    };
    let (low, high) = wilson(value, n_effective);
    let method = if n == count { "wilson" } else { "wilson_n_eff" };
    let estimand = "tasks like these".to_owned();
    Some(Rate { value, low, high, confidence: 0.95, method: method.to_owned(), n_effective, estimand })
}

/// The 95 % Wilson score interval of a share `p` seen in `n`.
pub fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At the edges the formula gives the edge but for rounding.
    let low = if p == 0.0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if p == 1.0 { 1.0 } else { (middle + half).min(1.0) };
    (low, high)
}

/// The unbiased estimate of pass@k for one task: `1 - C(n-c, k) / C(n, k)`; `None` with fewer than `k` attempts.
pub fn pass_at_k(tally: TaskTally, k: u32) -> Option<f64> {
    let (n, c) = (tally.attempts, tally.resolved);
    if k == 0 || k > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    let none: f64 = (n - c + 1..=n).map(|i| 1.0 - f64::from(k) / f64::from(i)).product();
    Some(1.0 - none)
}

/// Mean pass@k over the tasks that have at least `k` attempts, and how many those are.
pub fn mean_pass_at_k(tallies: &[TaskTally], k: u32) -> Option<(f64, u32)> {
    let all: Vec<f64> = tallies.iter().filter_map(|tally| pass_at_k(*tally, k)).collect();
    let count = u32::try_from(all.len()).ok().filter(|count| *count > 0)?;
    Some((all.iter().sum::<f64>() / f64::from(count), count))
}

/// The `k` worth showing for up to `attempts`: all to five, then powers of two and multiples of five below a hundred.
pub fn shown_ks(attempts: u32) -> Vec<u32> {
    let worth = |k: &u32| *k <= 5 || k.is_power_of_two() || (*k <= 100 && k.is_multiple_of(5));
    (1..=attempts.min(1024)).filter(worth).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64, by: f64) {
        assert!((a - b).abs() < by, "{a} is not {b}");
    }

    fn singles(resolved: u32, n: u32) -> Vec<TaskTally> {
        (0..n).map(|i| TaskTally { attempts: 1, resolved: u32::from(i < resolved) }).collect()
    }

    /// Published and statsmodels values.
    #[test]
    fn wilson_meets_the_reference_values() {
        // statsmodels 0.15 proportion_confint(method="wilson"), six digits.
        let (low, high) = wilson(296.0 / 445.0, 445.0);
        close(low, 0.620_072, 5e-7);
        close(high, 0.707_437, 5e-7);
        let (low, high) = wilson(0.0, 30.0);
        assert_eq!(low, 0.0);
        close(high, 0.113_513, 5e-7);
        // Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
        for (r, n, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let found = wilson(r / n, n);
            close(found.0, low, 5e-5);
            close(found.1, high, 5e-5);
        }
    }

    #[test]
    fn rate_of_single_attempts_is_plain_wilson() {
        let rate = rate(&singles(296, 445)).unwrap();
        assert_eq!((rate.method.as_str(), rate.n_effective), ("wilson", 445.0));
        close(rate.low, 0.620_072, 5e-7);
    }

    #[test]
    fn rate_of_repeated_attempts_does_not_count_them_as_tasks() {
        // Ten tasks, five always and five never: fifty attempts know no more than ten.
        let tallies: Vec<_> =
            (0..10).map(|i| TaskTally { attempts: 5, resolved: if i < 5 { 5 } else { 0 } }).collect();
        let rate = rate(&tallies).unwrap();
        assert_eq!((rate.method.as_str(), rate.n_effective), ("wilson_n_eff", 10.0));
        // All tasks at one half: attempts are as good as independent.
        let even: Vec<_> = (0..10).map(|_| TaskTally { attempts: 4, resolved: 2 }).collect();
        assert_eq!(super::rate(&even).unwrap().n_effective, 40.0);
        assert_eq!(super::rate(&[TaskTally { attempts: 5, resolved: 5 }]).unwrap().n_effective, 1.0);
        assert_eq!(super::rate(&[TaskTally::default()]), None);
    }

    #[test]
    fn pass_at_k_meets_the_reference_values() {
        let of = |n, c, k| pass_at_k(TaskTally { attempts: n, resolved: c }, k);
        close(of(5, 2, 3).unwrap(), 0.9, 1e-12);
        close(of(8, 7, 4).unwrap(), 1.0, 1e-12);
        close(of(10, 3, 5).unwrap(), 0.916_667, 5e-7);
        assert_eq!(of(3, 1, 4), None);
        assert_eq!(of(3, 0, 2), Some(0.0));
        assert_eq!(shown_ks(17), [1, 2, 3, 4, 5, 8, 10, 15, 16]);
    }

    proptest! {
        #[test]
        fn pass_at_k_is_the_share_of_all_subsets_that_hold_a_success(n in 1u32..9, c in 0u32..9, k in 1u32..9) {
            let c = c.min(n);
            let subsets = (0u32..1 << n).filter(|set| set.count_ones() == k);
            let (mut all, mut with) = (0, 0);
            for set in subsets {
                all += 1;
                with += u32::from(set & ((1 << c) - 1) != 0);
            }
            let naive = (all > 0).then(|| f64::from(with) / f64::from(all));
            let found = pass_at_k(TaskTally { attempts: n, resolved: c }, k);
            prop_assert_eq!(found.is_some(), naive.is_some());
            if let (Some(found), Some(naive)) = (found, naive) {
                prop_assert!((found - naive).abs() < 1e-12);
            }
        }

        #[test]
        fn an_interval_holds_its_rate_and_stays_within_nought_and_one(
            tallies in proptest::collection::vec((0u32..6, 0u32..6), 1..40)
        ) {
            let tallies: Vec<_> =
                tallies.into_iter().map(|(n, c)| TaskTally { attempts: n, resolved: c.min(n) }).collect();
            if let Some(rate) = rate(&tallies) {
                prop_assert!(0.0 <= rate.low && rate.low <= rate.value + 1e-12);
                prop_assert!(rate.value <= rate.high + 1e-12 && rate.high <= 1.0);
            }
        }
    }
}
