//! The suite that every backend passes, or declares beforehand that it cannot: about eighty promises, one case each.
//!
//! Inside, the cases need a POSIX shell and core utilities (or busybox), nothing else. [`sabotage`] breaks each promise on
//! purpose, so that the suite is known to bite.

mod context;
mod deadline;
mod exec;
mod faults;
mod files_in;
mod files_out;
mod life;
mod limits;
mod network;
mod orphan;
mod output;
mod processes;
mod protection;
mod runner;
pub mod sabotage;
mod state;
mod terminal;
mod view;

use std::future::Future;
use std::pin::Pin;

pub use self::context::{Ctx, Failure};
pub use self::faults::{FAULT_CASES, FaultCase, be_ready};
pub use self::orphan::{OrphanFuture, OrphanMaker, be_an_orphan_if_asked};
pub use self::runner::{CaseResult, Setup, Verdict, run, run_case};

/// One promise.
pub struct Case {
    /// How it is declared and filtered by.
    pub name: &'static str,
    /// The promise, in one line.
    pub about: &'static str,
    /// Counts things of the whole machine or process, so nothing else may run meanwhile.
    pub alone: bool,
    /// Checks it.
    pub run: for<'a> fn(&'a Ctx) -> CaseFuture<'a>,
}

/// A check that is under way.
pub type CaseFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// All cases, by theme.
pub const GROUPS: &[&[Case]] = &[
    exec::CASES,
    output::CASES,
    deadline::CASES,
    processes::CASES,
    terminal::CASES,
    files_in::CASES,
    files_out::CASES,
    state::CASES,
    limits::CASES,
    network::CASES,
    life::CASES,
    protection::CASES,
    view::CASES,
];

/// All cases in order.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().flat_map(|group| group.iter())
}

/// An entry of a group: name, promise, check.
macro_rules! case {
    ($name:literal, $about:literal, $check:path) => {
        crate::conformance::Case {
            name: $name,
            about: $about,
            alone: false,
            run: |ctx| Box::pin($check(ctx)),
        }
    };
    (alone $name:literal, $about:literal, $check:path) => {
        crate::conformance::Case { name: $name, about: $about, alone: true, run: |ctx| Box::pin($check(ctx)) }
    };
}

/// Ends the case with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        // By `match`, because a negated comparison of numbers that need not be comparable reads badly.
        match $condition {
            true => {}
            false => return Err(crate::conformance::Failure(format!($($message)+))),
        }
    };
}

/// Ends the case unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) if left == right => {}
            (left, right) => {
                let message = format!($($message)+);
                return Err(crate::conformance::Failure(format!("{message}: got {left:?}, expected {right:?}")));
            }
        }
    };
}

pub(crate) use {case, ensure, ensure_eq};
