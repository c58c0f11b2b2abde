//! "Did you mean …?": the known word nearest to what was typed.

/// The candidate with the fewest edits to `word`, when it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody types so long a key by mistake, and the table grows with the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (edits(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| {
            *edits <= (candidate.chars().count().max(word.chars().count()) / 3).max(1)
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The same as a hint: `did you mean "…"?`.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|found| format!("did you mean {found:?}?"))
}

/// The distance, where forgetting the end of a word ("timeout" for "timeout_sec") counts as one slip.
fn edits(word: &str, candidate: &str) -> usize {
    if word.len() >= 4 && candidate.starts_with(word) { 1 } else { distance(word, candidate) }
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_what_was_meant_and_leaves_strangers_alone() {
        let keys = ["timeout_sec", "user", "network_mode", "env"];
        let table = [
            ("timeout_secs", Some("timeout_sec")),
            ("timeuot_sec", Some("timeout_sec")),
            ("timeout", Some("timeout_sec")),
            ("User", Some("user")),
            ("networkmode", Some("network_mode")),
            ("evn", Some("env")),
            ("colour", None),
            ("", None),
        ];
        for (typed, meant) in table {
            assert_eq!(nearest(typed, keys), meant, "{typed:?}");
        }
        assert_eq!(nearest(&"x".repeat(1000), keys), None);
    }
}
