//! The only module that knows polars: trials become columns, and each variant's numbers are read off them.
//!
//! Eager frames alone: the lazy engine would triple the build for tables of at most some hundred thousand rows.

use polars::prelude::*;

use crate::measure::{Measure, Q, QUANTITIES};
use crate::results::{OutcomeName, TrialRow};

/// Trials as columns.
pub(crate) struct Frame(DataFrame);

/// The trials of one group, narrowed to those that are asked for.
pub(crate) struct Slice(DataFrame);

const GROUP: &str = "group";
const COUNTS: &str = "counts";
const OUTCOME: &str = "outcome";

impl Frame {
    /// One row a trial; `group_of` says which group it belongs to.
    pub(crate) fn of(trials: &[&TrialRow], group_of: impl Fn(&TrialRow) -> u32) -> Frame {
        let group: Vec<u32> = trials.iter().map(|trial| group_of(trial)).collect();
        let counts: Vec<bool> = trials.iter().map(|trial| trial.verdict.counts()).collect();
        let outcome: Vec<&str> = trials.iter().map(|trial| trial.verdict.outcome.name()).collect();
        let mut columns = vec![
            Column::new(GROUP.into(), group),
            Column::new(COUNTS.into(), counts),
            Column::new(OUTCOME.into(), outcome),
        ];
        columns.extend(QUANTITIES.iter().map(|quantity| {
            let values: Vec<Option<f64>> = trials.iter().map(|trial| (quantity.of)(trial)).collect();
            Column::new(quantity.name.into(), values)
        }));
        Frame(DataFrame::new(trials.len(), columns).expect("every column has one value a trial"))
    }

    /// All trials of one group.
    pub(crate) fn group(&self, group: u32) -> Slice {
        let column = self.0.column(GROUP).and_then(|column| column.u32().cloned());
        let mask = column.expect("the frame has a group column").equal(group);
        Slice(self.0.filter(&mask).expect("the mask is as long as the frame"))
    }
}

impl Slice {
    /// Of these, the trials that count in rates.
    pub(crate) fn counted(&self) -> Slice {
        let column = self.0.column(COUNTS).and_then(|column| column.bool().cloned());
        let mask = column.expect("the frame says what counts");
        Slice(self.0.filter(&mask).expect("the mask is as long as the frame"))
    }

    /// Of these, the trials whose value of one quantity is known.
    pub(crate) fn known(&self, quantity: Q) -> Slice {
        let mask = self.values(quantity).is_not_null();
        Slice(self.0.filter(&mask).expect("the mask is as long as the frame"))
    }

    /// How many trials these are.
    pub(crate) fn len(&self) -> usize {
        self.0.height()
    }

    /// How many of these ended so.
    pub(crate) fn ended(&self, outcome: OutcomeName) -> usize {
        let column = self.0.column(OUTCOME).and_then(|column| column.str().cloned());
        let mask = column.expect("the frame has an outcome column").equal(outcome.name());
        mask.sum().unwrap_or(0) as usize
    }

    /// One quantity over these trials.
    pub(crate) fn measure(&self, quantity: Q) -> Measure {
        let values = self.values(quantity);
        let unknown = values.null_count();
        let known = values.len() - unknown;
        if known == 0 {
            return Measure { unknown, ..Measure::default() };
        }
        let quantile = |at: f64| values.quantile(at, QuantileMethod::Linear).ok().flatten();
        Measure {
            sum: values.sum(),
            mean: values.mean(),
            median: quantile(0.5),
            p95: quantile(0.95),
            known,
            unknown,
        }
    }

    fn values(&self, quantity: Q) -> &Float64Chunked {
        let name = QUANTITIES[quantity as usize].name;
        self.0.column(name).and_then(|column| column.f64()).expect("every quantity is a column of numbers")
    }
}
