//! What a run with real models may cost, said before it begins: by what trials alike cost lately, and at most what limits allow.

use harness_core::NanoUsd;
use harness_core::plan::Planned;
use harness_engine::history::{self, Spent};
use harness_engine::journal_writer::now_ms;
use harness_engine::{Cell, ModelsSpec};
use harness_gateway::budget::{Limits, WorstRates};
use harness_prices::{Served, ServiceTier};

use crate::printer;
use crate::settings::Settings;

/// The lines of the estimate; none where no variant spends money.
pub fn lines(settings: &Settings, cells: &[Cell], trials: &[Planned], models: &ModelsSpec) -> Vec<String> {
    if models
        .replay
        .as_ref()
        .is_some_and(|replay| replay.mode != harness_gateway::recording::Mode::Passthrough)
    {
        return Vec::new();
    }
    let known = history::costs(&settings.path("runs_dir"));
    let mut lines = Vec::new();
    let mut all = Some(Estimate::default());
    for cell in cells {
        let Some(model) = &cell.variant.model else { continue };
        let mut routes = models.routes.iter().filter(|((variant, _), _)| *variant == cell.variant.name);
        let Some((_, route)) = routes.find(|(_, route)| !route.is_simulated()) else { continue };
        let count = trials.iter().filter(|trial| trial.id.variant == cell.variant.name).count() as u64;
        let earlier = known.get(&(cell.variant.agent.clone(), model.clone())).copied();
        let limits = models.budgets.trial.and(cell.agent.limits());
        let provider = route.upstreams.values().next().map(|upstream| upstream.price_provider().to_owned());
        let at_ms = u64::try_from(now_ms()).unwrap_or(0);
        let served =
            Served { provider: provider.as_deref(), model: &route.name, tier: ServiceTier::Standard, at_ms };
        let rates = models.prices.rates(&served, 1).map(|rates| WorstRates::of(&rates, true));
        let estimate = Estimate::of(count, earlier, &limits, rates);
        let trials = printer::plural(usize::try_from(count).unwrap_or(usize::MAX), "trial");
        lines.push(format!("  {}: {trials}, {}", cell.variant.name, estimate.told(earlier, rates)));
        all = all.map(|all| all.plus(&estimate));
    }
    if lines.is_empty() {
        return lines;
    }
    lines.insert(0, "what this may cost, in real money:".to_owned());
    let most = all.as_ref().and_then(|all| all.most);
    let run = models.budgets.run.nano_usd;
    let bound = match (most, run) {
        (Some(most), Some(run)) => Some(most.min(run)),
        (most, run) => most.or(run),
    };
    let about = all
        .as_ref()
        .and_then(|all| all.about)
        .map(|about| format!("about {}, ", usd(about.min(bound.unwrap_or(u64::MAX)))));
    let bound = match bound {
        Some(bound) if run == Some(bound) => format!("at most {} (the run's budget)", usd(bound)),
        Some(bound) => format!("at most {}", usd(bound)),
        None => "without a limit: --budget-usd sets one for the run, --max-cost for each trial".to_owned(),
    };
    lines.push(format!("  in all: {}{bound}", about.unwrap_or_default()));
    lines
}

/// Nano-dollars; `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Estimate {
    about: Option<u64>,
    most: Option<u64>,
}

impl Default for Estimate {
    fn default() -> Estimate {
        Estimate { about: Some(0), most: Some(0) }
    }
}

impl Estimate {
    fn of(trials: u64, earlier: Option<Spent>, limits: &Limits, rates: Option<WorstRates>) -> Estimate {
        let mean = |spent: Spent| u64::try_from(spent.sum.0).unwrap_or(0) / spent.trials.max(1);
        // Tokens at their dearest, where they are what is limited.
        let by_tokens = limits.tokens.zip(rates).map(|(tokens, rates)| {
            let dearest = u128::from(rates.input.max(rates.output));
            u64::try_from(u128::from(tokens) * dearest / 1_000_000).unwrap_or(u64::MAX)
        });
        let each = limits.nano_usd.into_iter().chain(by_tokens).min();
        Estimate {
            about: earlier.map(|spent| mean(spent).min(each.unwrap_or(u64::MAX)).saturating_mul(trials)),
            most: each.map(|each| each.saturating_mul(trials)),
        }
    }

    fn plus(self, other: &Estimate) -> Estimate {
        let add = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        Estimate { about: add(self.about, other.about), most: add(self.most, other.most) }
    }

    fn told(self, earlier: Option<Spent>, rates: Option<WorstRates>) -> String {
        let mut parts = Vec::new();
        if let (Some(about), Some(spent)) = (self.about, earlier) {
            let before =
                printer::plural(usize::try_from(spent.trials).unwrap_or(usize::MAX), "earlier trial");
            parts.push(format!("about {} by {before}", usd(about)));
        }
        if let Some(most) = self.most {
            parts.push(format!("at most {}", usd(most)));
        }
        if rates.is_none() {
            parts.push("the model's price is unknown, and so is what it costs".to_owned());
        } else if parts.is_empty() {
            let rates = rates.map(|rates| (usd(rates.input), usd(rates.output)));
            let (input, output) = rates.unwrap_or_default();
            parts.push(format!(
                "unknown: no earlier trial and no limit says; a million tokens cost up to {input} in, {output} out"
            ));
        }
        parts.join(", ")
    }
}

fn usd(nano: u64) -> String {
    NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: WorstRates = WorstRates { input: 1_000_000_000, output: 10_000_000_000, request: 0 };

    #[test]
    fn estimate_is_bounded_by_the_lower_limit_and_unknown_stays_unknown() {
        let limits = Limits { nano_usd: Some(500_000_000), tokens: Some(10_000), ..Limits::default() };
        let spent = Spent { trials: 4, sum: NanoUsd(1_000_000_000) };
        // 10,000 tokens at $10 a million are $0.10.
        let estimate = Estimate::of(20, Some(spent), &limits, Some(RATES));
        assert_eq!(estimate, Estimate { about: Some(2_000_000_000), most: Some(2_000_000_000) });
        assert_eq!(estimate.told(Some(spent), Some(RATES)), "about $2.00 by 4 earlier trials, at most $2.00");
        let free = Estimate::of(20, None, &Limits::default(), Some(RATES));
        assert_eq!(free, Estimate { about: None, most: None });
        assert!(free.told(None, Some(RATES)).ends_with("cost up to $1.00 in, $10.00 out"));
        assert_eq!(free.told(None, None), "the model's price is unknown, and so is what it costs");
        assert_eq!(Estimate::default().plus(&estimate).plus(&free), free);
    }
}
