//! Cuts a log into records.

#[derive(Debug, Clone)]
pub struct Record {
    pub key: String,
    pub lines: Vec<String>,
}

pub fn records(text: &str) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for line in text.split('\n') {
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with(' ') {
            records.last_mut().unwrap().lines.push(line.to_string());
        } else {
            let key = line.split(' ').next().unwrap().to_string();
            records.push(Record { key, lines: vec![line.to_string()] });
        }
    }
    records
}
