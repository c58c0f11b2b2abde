//! The README's promise, for real: the bundled suite in the native sandbox, from an empty folder.
