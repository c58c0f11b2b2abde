//! Readers of what streams by: JSON, server-sent events, packed bodies. Each can be cut at every byte, and none grows with
//! what it reads.

pub mod decode;
pub mod edit;
pub mod skim;
pub mod sse;
