//! Limits and accounts that the kernel keeps for a group of processes, on both versions of its interface. What cannot be had
//! here is a value ([`Support`]), not an error.

pub(crate) mod find;
mod foreign;
pub(crate) mod group;

#[cfg(test)]
mod tests;
