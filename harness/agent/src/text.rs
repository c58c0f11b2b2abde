//! Cutting texts at letters.

/// The beginning, at most so many bytes.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The end, at most so many bytes.
pub(crate) fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Beginning and end, with how much is missing between them.
pub(crate) fn middle_out(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let (head, tail) = (head(text, bytes / 2), tail(text, bytes / 2));
    format!("{head}\n[… {} bytes left out …]\n{tail}", text.len() - head.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_at_letters() {
        assert_eq!((head("aé", 2), tail("éa", 2), head("ab", 9)), ("a", "a", "ab"));
        assert_eq!(middle_out("éééé", 4), "é\n[… 4 bytes left out …]\né");
    }
}
