//! `harness`: arguments, settings, the live view and exit codes. Everything else is in the libraries; only this crate prints.

#![cfg_attr(test, allow(clippy::unwrap_used))]
#![expect(unreachable_pub, reason = "a program has no outside: pub means used by other modules")]

mod args;
mod commands;
mod estimate;
mod exit;
mod live;
mod models;
mod plan;
mod printer;
mod providers;
mod settings;
mod signals;
mod variants;

use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = args::Cli::parse();
    let code = match commands::dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            printer::error(&error);
            error.code
        }
    };
    code.into()
}
