//! What the ledger writes down, one line each, and how it is read again after a crash: a reservation that nothing followed is
//! charged in full, because the request may have been answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Amounts, Scope};

/// One line of the ledger's file. `reserved` is written before a request is forwarded, without waiting for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ledger", rename_all = "snake_case")]
pub enum Line {
    /// A request is about to be forwarded.
    Reserved {
        /// Its number in this ledger.
        id: u64,
        /// Whose it is.
        trial: String,
        /// Of which variant.
        variant: String,
        /// On which day.
        day: String,
        /// The most that it can cost.
        amounts: Amounts,
    },
    /// It is over.
    Settled {
        /// Its number.
        id: u64,
        /// What it cost.
        amounts: Amounts,
        /// Whether that is an estimate of ours.
        estimated: bool,
    },
    /// It was not answered, and costs nothing but the request.
    Released {
        /// Its number.
        id: u64,
    },
}

/// What a ledger's lines amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What each scope has spent.
    pub spent: BTreeMap<Scope, Amounts>,
    /// The part of it that is an estimate.
    pub estimated: BTreeMap<Scope, Amounts>,
    /// Lines to add, so that the next reader finds every reservation settled.
    pub settled: Vec<Line>,
    /// The first number that is free.
    pub next_id: u64,
}

impl Recovered {
    /// Reads the lines in their order. Lines that settle what nobody reserved are left out.
    pub fn read(lines: impl IntoIterator<Item = Line>) -> Recovered {
        let mut recovered = Recovered::default();
        let mut open: BTreeMap<u64, ([Scope; 4], Amounts)> = BTreeMap::new();
        for line in lines {
            match line {
                Line::Reserved { id, trial, variant, day, amounts } => {
                    let scopes = [Scope::Trial(trial), Scope::Variant(variant), Scope::Run, Scope::Day(day)];
                    recovered.next_id = recovered.next_id.max(id.saturating_add(1));
                    open.insert(id, (scopes, amounts));
                }
                Line::Settled { id, amounts, estimated } => {
                    if let Some((scopes, _)) = open.remove(&id) {
                        recovered.charge(&scopes, amounts, estimated);
                    }
                }
                Line::Released { id } => {
                    if let Some((scopes, _)) = open.remove(&id) {
                        recovered.charge(&scopes, Amounts { requests: 1, ..Amounts::default() }, false);
                    }
                }
            }
        }
        for (id, (scopes, amounts)) in open {
            recovered.charge(&scopes, amounts, true);
            recovered.settled.push(Line::Settled { id, amounts, estimated: true });
        }
        recovered
    }

    fn charge(&mut self, scopes: &[Scope], amounts: Amounts, estimated: bool) {
        for scope in scopes {
            let spent = self.spent.entry(scope.clone()).or_default();
            *spent = spent.plus(amounts);
            if estimated {
                let part = self.estimated.entry(scope.clone()).or_default();
                *part = part.plus(amounts);
            }
        }
    }
}
