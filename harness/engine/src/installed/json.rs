//! Reading what strangers wrote: JSON lines among banners, numbers that may be none.

use serde_json::Value;

/// Longest line that is looked at, in bytes.
const MAX_LINE: usize = 32 << 20;

/// The lines that are JSON objects. What is none, is torn, or is too long, is left out: programs print banners among them.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Value> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= MAX_LINE && line.trim_ascii_start().starts_with(b"{"))
        .filter_map(object)
}

/// One JSON object.
pub(crate) fn object(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok().filter(Value::is_object)
}

/// A count; what is negative or none is unknown.
pub(crate) fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_leaves_out_what_is_no_object() {
        let text = b"banner\n{\"a\":1}\n[1]\n{\"torn\":\n\xff\xfe{\n  {\"b\":-2}\n";
        let found: Vec<Value> = lines(text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((number(&found[0], "a"), number(&found[1], "b")), (Some(1), None));
    }
}
