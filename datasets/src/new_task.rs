//! A skeleton to fill in.
