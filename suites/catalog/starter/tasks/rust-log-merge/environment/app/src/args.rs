//! The command line.

pub struct Args {
    /// Write only so many records, the last ones.
    pub last: Option<usize>,
    pub files: Vec<String>,
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args { last: None, files: Vec::new() };
    while let Some(word) = words.next() {
        if word == "-n" {
            args.last = Some(words.next().unwrap().parse().unwrap());
        } else {
            args.files.push(word);
        }
    }
    Ok(args)
}
