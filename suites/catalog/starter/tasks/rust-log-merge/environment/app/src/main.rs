//! Merges sorted log files; see README.md.
mod args;
mod merge;
mod record;

use std::io::{Read, Write};
use std::process::exit;

fn main() {
    let args = args::parse(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("logmerge: {message}");
        exit(2);
    });
    let mut logs = Vec::new();
    for file in &args.files {
        let text = read(file).unwrap_or_else(|error| {
            eprintln!("logmerge: {file}: {error}");
            exit(1);
        });
        logs.push(record::records(&text));
    }
    let merged = merge::merge(logs);
    let skip = merged.len() - args.last.unwrap_or(merged.len());
    for record in &merged[skip..] {
        for line in &record.lines {
            writeln!(std::io::stdout(), "{line}").unwrap();
        }
    }
}

fn read(file: &str) -> std::io::Result<String> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?.read_to_string(&mut text)?;
    }
    Ok(text)
}
