//! An error that says what was tried.

use std::fmt;
use std::io;

/// What was tried, and what the kernel said.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    pub(crate) source: io::Error,
}

impl Trouble {
    pub(crate) fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(libc::EIO)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

/// Adds what was tried to an error of the kernel's.
pub(crate) trait Tried<T> {
    fn tried(self, what: &str) -> Result<T, Trouble>;
    fn tried_with(self, what: impl FnOnce() -> String) -> Result<T, Trouble>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: &str) -> Result<T, Trouble> {
        self.map_err(|source| Trouble { what: what.to_owned(), source })
    }

    fn tried_with(self, what: impl FnOnce() -> String) -> Result<T, Trouble> {
        self.map_err(|source| Trouble { what: what(), source })
    }
}
