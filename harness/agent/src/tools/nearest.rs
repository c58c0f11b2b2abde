//! The part of a file that is most like a text which is not in it.

use std::collections::HashMap;

/// Most lines of a file that are compared; a longer one is compared up to there.
const MOST_LINES: usize = 50_000;
/// Longest text that is looked for.
const MOST_SOUGHT: usize = 200;
/// Least likeness that is worth showing, in hundredths.
const WORTH: usize = 50;

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Near {
    /// First line, from 1.
    pub(super) first: usize,
    /// Last line.
    pub(super) last: usize,
    /// The lines.
    pub(super) text: String,
    /// Whether nothing but spaces differs.
    pub(super) only_spaces: bool,
}

/// The lines most like `sought`; `None` when none are.
pub(super) fn nearest(text: &str, sought: &str) -> Option<Near> {
    let lines: Vec<&str> = text.lines().take(MOST_LINES).collect();
    let wanted: Vec<&str> = sought.trim_matches('\n').lines().take(MOST_SOUGHT).collect();
    if wanted.is_empty() || lines.is_empty() {
        return None;
    }
    // Windows of as many lines as are sought, by how many letters pairs of them share.
    let profiles: Vec<Profile> = wanted.iter().map(|line| Profile::of(line)).collect();
    let weight: usize = profiles.iter().map(|profile| profile.size.max(1)).sum();
    let known: Vec<Profile> = lines.iter().map(|line| Profile::of(line)).collect();
    let height = wanted.len().min(lines.len());
    let best = (0..=lines.len() - height)
        .map(|from| {
            let alike: usize = profiles
                .iter()
                .zip(&known[from..from + height])
                .map(|(sought, line)| sought.likeness(line) * sought.size.max(1))
                .sum();
            (alike / weight, from)
        })
        .max_by_key(|(alike, from)| (*alike, usize::MAX - from))?;
    let (alike, from) = best;
    if alike < WORTH {
        return None;
    }
    let part = &lines[from..from + height];
    let bare = |lines: &[&str]| -> String { lines.iter().flat_map(|line| line.split_whitespace()).collect() };
    Some(Near {
        first: from + 1,
        last: from + height,
        text: part.join("\n"),
        only_spaces: bare(part) == bare(&wanted),
    })
}

/// Pairs of letters of a line, spaces aside.
struct Profile {
    pairs: HashMap<(char, char), usize>,
    size: usize,
}

impl Profile {
    fn of(line: &str) -> Profile {
        let letters: Vec<char> = line.chars().filter(|letter| !letter.is_whitespace()).take(400).collect();
        let mut pairs = HashMap::new();
        for pair in letters.windows(2) {
            *pairs.entry((pair[0], pair[1])).or_insert(0) += 1;
        }
        Profile { pairs, size: letters.len() }
    }

    /// 0 to 100.
    fn likeness(&self, other: &Profile) -> usize {
        let (mine, theirs): (usize, usize) = (self.pairs.values().sum(), other.pairs.values().sum());
        if mine + theirs == 0 {
            return if self.size == other.size { 100 } else { 0 };
        }
        let shared: usize =
            self.pairs.iter().map(|(pair, count)| *count.min(other.pairs.get(pair).unwrap_or(&0))).sum();
        200 * shared / (mine + theirs)
    }
}
