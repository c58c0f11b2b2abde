//! Read-only layers by content: how they are kept ([`store`]), how an archive becomes one ([`unpack`]), how a Dockerfile's steps
//! become some ([`build`]).

pub(crate) mod build;
pub(crate) mod store;
pub(crate) mod unpack;

#[cfg(test)]
mod build_tests;
#[cfg(test)]
mod tests;
