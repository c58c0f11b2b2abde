//! Attributes in three notations: labels of metrics, log lines and header parameters.
pub mod header;
pub mod labels;
pub mod logfmt;
