//! Reads a sheet from standard input, prints its values; see README.md.
mod ast;
mod eval;
mod lexer;
mod parser;
mod schedule;
mod sheet;

use std::io::Read;

fn main() {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("standard input can be read");
    let sheet = sheet::Sheet::read(&String::from_utf8_lossy(&bytes));
    let mut failed = false;
    for (name, value) in schedule::run(&sheet) {
        match value {
            Ok(value) => println!("{name} = {value}"),
            Err(error) => {
                failed = true;
                println!("{name} ! {error}");
            }
        }
    }
    std::process::exit(i32::from(failed));
}
