//! What tells those who may use a proxy from those who were in the sandbox before it: a name and password in the address that only
//! programs of the new phase are started with.

use std::io;

/// A password that nobody inside knows but those who were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

const NAME: &str = "harness";
/// Each stands for five bits.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(crate) fn new() -> io::Result<Key> {
        let mut bytes = [0_u8; 26];
        // SAFETY: the buffer is as long as said.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if got != bytes.len() as isize {
            return Err(io::Error::last_os_error());
        }
        Ok(Key(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()))
    }

    /// How it stands in a proxy's address, before the host.
    pub(crate) fn in_address(&self) -> String {
        format!("{NAME}:{}@", self.0)
    }

    /// How a client shows it.
    #[cfg(test)]
    pub(crate) fn as_header(&self) -> String {
        format!("Basic {}", base64(format!("{NAME}:{}", self.0).as_bytes()))
    }

    /// Whether a request's Proxy-Authorization shows it.
    pub(crate) fn is_shown(&self, header: Option<&str>) -> bool {
        let Some((scheme, shown)) = header.and_then(|header| header.trim().split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("basic")
            && shown.trim() == base64(format!("{NAME}:{}", self.0).as_bytes())
    }
}

/// Base64 of the common kind.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn proxy_key_is_shown_as_clients_show_it() {
        assert_eq!(base64(b"Aladdin:open sesame"), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!((base64(b"a").as_str(), base64(b"abc").as_str()), ("YQ==", "YWJj"));
        let (key, other) = (Key::new().unwrap(), Key::new().unwrap());
        assert_ne!(key, other);
        let shown = format!("Basic {}", base64(key.in_address().trim_end_matches('@').as_bytes()));
        assert!(key.is_shown(Some(&shown)) && !other.is_shown(Some(&shown)));
        for wrong in [None, Some(""), Some("Basic"), Some("Basic "), Some("Digest x"), Some("Bearer abc")] {
            assert!(!key.is_shown(wrong), "{wrong:?}");
        }
    }
}
