//! One file a command.

mod check;
mod clean;
mod compare;
mod doctor;
mod gateway;
mod images;
mod list;
mod list_models;
mod new;
mod reference;
mod report;
mod resume;
mod run;
mod sandbox;
mod select;
mod show;
mod trajectory;

use crate::args::{Check, Cli, Command, New, Run};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// What every command gets.
pub struct Context {
    /// All settings, flags included.
    pub settings: Settings,
    /// `--format`, where it was given.
    pub format: Option<String>,
}

impl Context {
    /// `table` or `json`, for commands that know no other.
    pub fn table_or_json(&self) -> Result<bool, Failure> {
        match self.format.as_deref() {
            None | Some("table") => Ok(false),
            Some("json") => Ok(true),
            Some(other) => Err(Failure::new(Exit::Usage, format!("this command has no format {other:?}"))
                .hint("use --format table or --format json")),
        }
    }
}

/// Runs a command.
pub fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let mut settings = Settings::load()?;
    settings.flag("runs_dir", cli.global.runs_dir.as_ref().map(|dir| dir.display().to_string()));
    let context = Context { settings, format: cli.global.format };
    match cli.command {
        Command::Run(Run::Suite { suite, options }) => run::run(context, vec![suite], options),
        Command::Run(Run::Task { tasks, options }) => run::run(context, tasks, options),
        Command::Resume(options) => resume::resume(context, options),
        Command::Check(Check::Suite(options)) => check::suite(context, options),
        Command::Report(options) => report::report(&context, &options),
        Command::Compare(options) => compare::compare(&context, &options),
        Command::Gateway(options) => gateway::gateway(context, &options),
        Command::List(what) => list::list(&context, what),
        Command::Show(what) => show::show(&context, what),
        Command::New(New::Task { dir, repo, commit }) => new::task(&dir, repo, commit),
        Command::Doctor(options) => doctor::doctor(&context, &options),
        Command::Clean(options) => clean::clean(&context, &options),
        Command::Completions { shell } => reference::completions(shell),
        Command::Reference => reference::print(),
    }
}

/// The runtime of commands that wait: two threads more than nothing, because trials wait for others.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of(Exit::Unexpected, &error))
}
