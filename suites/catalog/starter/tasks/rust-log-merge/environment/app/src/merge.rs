//! Puts the records of several logs in order.
use crate::record::Record;

pub fn merge(logs: Vec<Vec<Record>>) -> Vec<Record> {
    let mut merged: Vec<Record> = logs.into_iter().flatten().collect();
    merged.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    merged
}
