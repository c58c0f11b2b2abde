//! What people and scripts meet: the program itself, run in sealed rooms. Each file is one part of its behaviour.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![expect(unreachable_pub, reason = "a test has no outside: pub means used by other modules")]

mod disk;
mod errors;
mod experiments;
mod handed_over;
mod help;
mod kills;
mod lists;
mod live;
mod model_budgets;
mod model_limits;
mod model_outage;
mod model_replay;
mod models;

mod native;
mod networks;
mod report;
mod resume;
mod room;
mod run;
mod screen;
mod settings;
mod show;
