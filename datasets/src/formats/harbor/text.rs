//! The instruction: what the agent is told, without marks that are for crawlers and not for it.

/// The text without its leading canary comment lines and the blank lines after them.
///
/// Only comment lines at the head that name a canary go; every other comment is the author's.
pub(super) fn without_canary(text: &str) -> &str {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut canary = true;
    while let Some(line) = rest.split_inclusive('\n').next() {
        canary = canary && is_canary(line.trim());
        if !canary && !line.trim().is_empty() {
            break;
        }
        rest = &rest[line.len()..];
    }
    rest
}

fn is_canary(line: &str) -> bool {
    let comment =
        line.starts_with('#') || (line.starts_with("<!--") && line.ends_with("-->") && line.len() >= 7);
    comment && line.to_ascii_lowercase().contains("canary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_canary_cuts_leading_canary_lines_only() {
        let table = [
            ("<!-- harbor-canary GUID 1 -->\n\nDo it.\n", "Do it.\n"),
            ("# CANARY one\n  # canary two\n\n \nDo it.", "Do it."),
            ("# Title\n# canary\n", "# Title\n# canary\n"),
            ("Do it.\n# canary\n", "Do it.\n# canary\n"),
            ("<!-- canary --> and more\n", "<!-- canary --> and more\n"),
            ("canary\n", "canary\n"),
            ("# canary\n\n# canary\nx", "# canary\nx"),
            ("\u{feff}Do it.", "Do it."),
            ("# canary", ""),
            ("", ""),
        ];
        for (text, told) in table {
            assert_eq!(without_canary(text), told, "{text:?}");
        }
    }
}
