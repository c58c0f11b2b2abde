//! Dockerfiles: what one says ([`parse`]), what that comes to with its variables replaced ([`steps`]), and the files that it
//! may copy ([`context`]). Nothing here runs anything.

pub(crate) mod context;
pub(crate) mod expand;
pub(crate) mod lines;
pub(crate) mod parse;
pub(crate) mod steps;

/// What is wrong with a Dockerfile, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(crate) struct DockerfileError {
    /// Counted from one; where the instruction begins.
    pub(crate) line: usize,
    /// In a few words, with the way out where there is one.
    pub(crate) message: String,
}

impl DockerfileError {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> DockerfileError {
        DockerfileError { line, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
