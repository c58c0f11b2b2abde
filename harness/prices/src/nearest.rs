//! The names nearest to one that was not found, for the warning that says so.

/// How many names a warning offers.
const OFFERED: usize = 3;
/// Names less alike than this are no help.
const ALIKE: f64 = 0.8;
/// A name longer than this is nobody's model, and comparing costs the product of the lengths.
const LONGEST: usize = 200;

/// The known names most like the wanted one, best first; none when nothing is alike. Each name is offered once.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    if wanted.len() > LONGEST {
        return Vec::new();
    }
    let wanted = wanted.to_lowercase();
    let bare = wanted.rsplit('/').next().unwrap_or(&wanted);
    let mut scored: Vec<(f64, &str)> = known
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (strsim::jaro_winkler(bare, name.rsplit('/').next().unwrap_or(name)), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    scored.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| a.1.len().cmp(&b.1.len())).then_with(|| a.1.cmp(b.1))
    });
    let mut offered: Vec<String> = Vec::new();
    for (_, name) in scored {
        if !offered.iter().any(|had| had == name) {
            offered.push(name.to_owned());
        }
        if offered.len() == OFFERED {
            break;
        }
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_offers_what_is_alike_once_and_nothing_else() {
        let known = ["gpt-5", "gpt-5-mini", "gpt-5", "claude-opus-4-5", "qwen/qwen3-coder"];
        assert_eq!(nearest("openai/gpt-5-mimi", known.into_iter())[0], "gpt-5-mini");
        assert!(nearest("zzzzzz", known.into_iter()).is_empty());
        assert!(nearest(&"x".repeat(5000), known.into_iter()).is_empty());
        let offered = nearest("gpt-5", known.into_iter());
        assert_eq!(offered.iter().filter(|name| *name == "gpt-5").count(), 1);
    }
}
