//! Reserve, settle, release. At every moment what is spent and what is reserved are together within every limit, as long as no
//! request costs more than its reservation; one that does is charged in full, and shown.

use std::collections::BTreeMap;

use super::lines::{Line, Recovered};
use super::{Amounts, Ask, Budgets, LEAST_OUTPUT, Limits, Resource, Scope};

/// What may be done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Granted(Grant),
    /// Ask again when another request is over: what is reserved for those in flight may turn out not to be needed.
    Wait(Scope),
    /// Refuse it, and everything that the trial asks after it.
    Refused(Refusal),
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub id: u64,
    /// The most that it can cost.
    pub reserved: Amounts,
    /// The output cap to set, when it must be set.
    pub output_cap: Option<u64>,
    /// Whose limit lowered it: a length stop is then that budget's, not the model's.
    pub lowered_by: Option<Scope>,
}

/// A limit that is exhausted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose limit.
    pub scope: Scope,
    /// Of what.
    pub resource: Resource,
    /// The limit.
    pub limit: u64,
    /// What was spent of it.
    pub used: u64,
}

impl Refusal {
    /// What the agent is told.
    pub fn message(&self) -> String {
        let (kind, limit, used) = (self.scope.kind(), self.limit, self.used);
        match self.resource {
            Resource::Tokens => {
                format!("the {kind}'s budget of {limit} tokens has no room for this request ({used} used)")
            }
            Resource::Requests => format!("the {kind}'s budget of {limit} requests is exhausted"),
            Resource::Wall => format!("the {kind}'s time of {} s is over", limit / 1000),
            Resource::Price => {
                format!("the {kind} has a budget in money, and the price of this model is unknown")
            }
            Resource::Money => {
                let usd = |nano: u64| nano as f64 / 1e9;
                let (limit, used) = (usd(limit), usd(used));
                format!("the {kind}'s budget of ${limit:.4} has no room for this request (${used:.4} spent)")
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    spent: Amounts,
    estimated: Amounts,
    reserved: Amounts,
    first_ms: Option<u64>,
}

#[derive(Debug, Clone)]
struct Open {
    scopes: [Scope; 4],
    amounts: Amounts,
}

/// All budgets of a run. Whoever holds it writes the lines that it returns, before the request is forwarded or forgotten.
#[derive(Debug)]
pub struct Ledger {
    budgets: Budgets,
    accounts: BTreeMap<Scope, Account>,
    /// What others have spent of the same budgets.
    elsewhere: BTreeMap<Scope, Amounts>,
    open: BTreeMap<u64, Open>,
    stopped: BTreeMap<String, Refusal>,
    /// Limits of single trials, beside those of every trial.
    own: BTreeMap<String, Limits>,
    next_id: u64,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(budgets: Budgets) -> Ledger {
        Ledger {
            budgets,
            accounts: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            open: BTreeMap::new(),
            stopped: BTreeMap::new(),
            own: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// A ledger that goes on where another ended. Time limits begin anew: while nobody ran, no time was spent.
    pub fn recovered(budgets: Budgets, recovered: &Recovered) -> Ledger {
        let mut ledger = Ledger { next_id: recovered.next_id, ..Ledger::new(budgets) };
        for (scope, spent) in &recovered.spent {
            let estimated = recovered.estimated.get(scope).copied().unwrap_or_default();
            ledger.accounts.insert(scope.clone(), Account { spent: *spent, estimated, ..Account::default() });
        }
        ledger
    }

    /// Limits one trial beside what limits every trial: the lower one holds.
    pub fn limit_trial(&mut self, trial: &str, limits: Limits) {
        if limits == Limits::default() {
            self.own.remove(trial);
        } else {
            self.own.insert(trial.to_owned(), limits);
        }
    }

    fn limits(&self, scope: &Scope) -> Limits {
        let limits = *self.budgets.of(scope);
        match scope {
            Scope::Trial(trial) => self.own.get(trial).map_or(limits, |own| limits.and(*own)),
            _ => limits,
        }
    }

    /// Counts what was spent elsewhere, such as by other runs on the same day.
    pub fn charge(&mut self, scope: Scope, amounts: Amounts) {
        let account = self.accounts.entry(scope).or_default();
        account.spent = account.spent.plus(amounts);
    }

    /// Says what others have spent or reserved of a budget by now, in all; it replaces what was said before.
    pub fn set_elsewhere(&mut self, scope: Scope, amounts: Amounts) {
        self.elsewhere.insert(scope, amounts);
    }

    /// Reserves the worst case of a request, with a lower output cap where the limits leave less than it asks for. A trial
    /// that was stopped stays stopped: a smaller request might fit, and what came out would depend on which came first.
    pub fn reserve(&mut self, ask: &Ask) -> (Verdict, Option<Line>) {
        if let Some(refusal) = self.stopped.get(&ask.trial) {
            return (Verdict::Refused(refusal.clone()), None);
        }
        let wanted = ask.output_cap.unwrap_or(ask.max_output);
        let mut granted = wanted;
        let mut lowered_by = None;
        let [of_request, scopes @ ..] = ask.scopes();
        for scope in std::iter::once(&of_request).chain(&scopes) {
            let limits = self.limits(scope);
            // Without a limit there is nothing to look up: most have one or two.
            if limits == Limits::default() {
                continue;
            }
            let mut account = self.accounts.get(scope).copied().unwrap_or_default();
            if let Some(others) = self.elsewhere.get(scope) {
                account.spent = account.spent.plus(*others);
            }
            if let Some(limit) = limits.wall_ms {
                let used = account.first_ms.map_or(0, |first| ask.now_ms.saturating_sub(first));
                if used >= limit {
                    let scope = scope.clone();
                    return self.refuse(ask, Refusal { scope, resource: Resource::Wall, limit, used });
                }
            }
            let now = ask.room(&limits, account.spent.plus(account.reserved));
            if now.is_ok_and(|room| room >= wanted) {
                continue;
            }
            // Whether it is the requests in flight that are in the way.
            let alone = ask.room(&limits, account.spent);
            if account.reserved != Amounts::default() && alone.is_ok() && alone != now {
                return (Verdict::Wait(scope.clone()), None);
            }
            let resource = match now {
                Ok(room) if room >= LEAST_OUTPUT => {
                    if room < granted {
                        granted = room;
                        lowered_by = Some(scope.clone());
                    }
                    continue;
                }
                Ok(_) => scarce(ask, &limits, account.spent),
                Err(resource) => resource,
            };
            let (limit, used) = match resource {
                Resource::Tokens => (limits.tokens, account.spent.tokens),
                Resource::Money | Resource::Price => (limits.nano_usd, account.spent.nano_usd),
                Resource::Requests | Resource::Wall => (limits.requests, account.spent.requests),
            };
            let scope = scope.clone();
            return self.refuse(ask, Refusal { scope, resource, limit: limit.unwrap_or(0), used });
        }
        let id = self.next_id;
        self.next_id += 1;
        let amounts = ask.worst(granted);
        for scope in &scopes {
            let account = self.account(scope);
            account.reserved = account.reserved.plus(amounts);
            account.first_ms.get_or_insert(ask.now_ms);
        }
        self.open.insert(id, Open { scopes, amounts });
        let line = Line::Reserved {
            id,
            trial: ask.trial.clone(),
            variant: ask.variant.clone(),
            day: ask.day.clone(),
            amounts,
        };
        // A request without a cap of its own gets one only where something is limited.
        let output_cap = lowered_by.is_some().then_some(granted);
        (Verdict::Granted(Grant { id, reserved: amounts, output_cap, lowered_by }), Some(line))
    }

    /// The request is over and cost this; `estimated` when nobody but us counted. Returns the line to write; `None` when
    /// there is no such reservation, or no longer.
    pub fn settle(&mut self, id: u64, cost: Amounts, estimated: bool) -> Option<Line> {
        let open = self.open.remove(&id)?;
        let cost = Amounts { requests: 1, ..cost };
        self.close(&open, cost, estimated);
        Some(Line::Settled { id, amounts: cost, estimated })
    }

    /// Nobody knows what the request cost: it is charged what was reserved.
    pub fn settle_unknown(&mut self, id: u64) -> Option<Line> {
        let amounts = self.open.get(&id)?.amounts;
        self.settle(id, amounts, true)
    }

    /// The request was not answered: nothing was spent, but it was made.
    pub fn release(&mut self, id: u64) -> Option<Line> {
        let open = self.open.remove(&id)?;
        self.close(&open, Amounts { requests: 1, ..Amounts::default() }, false);
        Some(Line::Released { id })
    }

    /// What a scope has spent.
    pub fn spent(&self, scope: &Scope) -> Amounts {
        self.accounts.get(scope).map(|account| account.spent).unwrap_or_default()
    }

    /// The part of it that is an estimate.
    pub fn estimated(&self, scope: &Scope) -> Amounts {
        self.accounts.get(scope).map(|account| account.estimated).unwrap_or_default()
    }

    /// What is reserved for requests in flight.
    pub fn reserved(&self, scope: &Scope) -> Amounts {
        self.accounts.get(scope).map(|account| account.reserved).unwrap_or_default()
    }

    /// The limit that stopped a trial, if one did: its own budget means that it is judged on what it had, the run's or the
    /// day's that it does not count.
    pub fn stopped_by(&self, trial: &str) -> Option<&Refusal> {
        self.stopped.get(trial)
    }

    fn refuse(&mut self, ask: &Ask, refusal: Refusal) -> (Verdict, Option<Line>) {
        // One request that is too large, or for a model without a price, says nothing about the next one.
        if refusal.scope != Scope::Request && refusal.resource != Resource::Price {
            self.stopped.entry(ask.trial.clone()).or_insert_with(|| refusal.clone());
        }
        (Verdict::Refused(refusal), None)
    }

    /// The account of a scope; its name is copied only when it is new.
    fn account(&mut self, scope: &Scope) -> &mut Account {
        if !self.accounts.contains_key(scope) {
            self.accounts.insert(scope.clone(), Account::default());
        }
        self.accounts.get_mut(scope).expect("it was just put there")
    }

    fn close(&mut self, open: &Open, cost: Amounts, estimated: bool) {
        for scope in &open.scopes {
            let account = self.account(scope);
            account.reserved = account.reserved.minus(open.amounts);
            account.spent = account.spent.plus(cost);
            if estimated {
                account.estimated = account.estimated.plus(cost);
            }
        }
    }
}

/// Which limit leaves less than the least output.
fn scarce(ask: &Ask, limits: &Limits, used: Amounts) -> Resource {
    let tokens_only = Limits { nano_usd: None, ..*limits };
    if ask.room(&tokens_only, used).is_ok_and(|room| room >= LEAST_OUTPUT) {
        Resource::Money
    } else {
        Resource::Tokens
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::WorstRates;
    use super::*;

    fn ask(trial: &str, input: u64, cap: Option<u64>) -> Ask {
        Ask {
            trial: trial.to_owned(),
            variant: "v".to_owned(),
            day: "2026-11-21".to_owned(),
            now_ms: 1000,
            input,
            output_cap: cap,
            max_output: 8000,
            answers: 1,
            rates: Some(WorstRates { input: 1_000_000_000, output: 10_000_000_000, request: 0 }),
        }
    }

    fn tokens(limit: u64) -> Limits {
        Limits { tokens: Some(limit), ..Limits::default() }
    }

    fn granted(ledger: &mut Ledger, ask: &Ask) -> Grant {
        match ledger.reserve(ask) {
            (Verdict::Granted(grant), Some(_)) => grant,
            other => panic!("{other:?}"),
        }
    }

    fn refused(ledger: &mut Ledger, ask: &Ask) -> Refusal {
        match ledger.reserve(ask) {
            (Verdict::Refused(refusal), None) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn cost(tokens: u64) -> Amounts {
        Amounts { tokens, nano_usd: tokens * 1000, requests: 1 }
    }

    #[test]
    fn reserve_lowers_the_cap_to_what_is_left_and_says_whose_limit_did() {
        let mut ledger = Ledger::new(Budgets { trial: tokens(4000), ..Budgets::default() });
        let grant = granted(&mut ledger, &ask("t", 1000, Some(500)));
        assert_eq!((grant.output_cap, grant.lowered_by, grant.reserved.tokens), (None, None, 1500));
        ledger.settle(grant.id, cost(1200), false).unwrap();
        let grant = granted(&mut ledger, &ask("t", 1000, None));
        assert_eq!(grant.output_cap, Some(1800));
        assert_eq!(grant.lowered_by, Some(Scope::Trial("t".to_owned())));
        ledger.settle(grant.id, cost(2500), false).unwrap();
        // 300 are left: too little for 100 in and 256 out.
        let refusal = refused(&mut ledger, &ask("t", 100, None));
        assert_eq!((refusal.resource, refusal.limit, refusal.used), (Resource::Tokens, 4000, 3700));
        assert_eq!(ledger.stopped_by("t"), Some(&refusal));
        assert!(refusal.message().contains("4000"));
        // It stays stopped, though this would fit.
        assert_eq!(refused(&mut ledger, &ask("t", 100, Some(50))), refusal);
        // Another trial has its own.
        granted(&mut ledger, &ask("other", 1000, Some(100)));
        let grant = granted(&mut ledger, &ask("small", 3900, Some(50)));
        assert_eq!(
            (grant.output_cap, grant.reserved.tokens),
            (None, 3950),
            "who asks for less than the least gets it"
        );
        assert_eq!(ledger.stopped_by("other"), None);
    }

    #[test]
    fn a_trial_with_a_limit_of_its_own_never_spends_more_and_others_are_free() {
        let mut ledger = Ledger::new(Budgets { trial: tokens(100_000), ..Budgets::default() });
        let own = Limits { nano_usd: Some(30_000_000), ..Limits::default() };
        ledger.limit_trial("t", own);
        let scope = Scope::Trial("t".to_owned());
        let refusal = loop {
            match ledger.reserve(&ask("t", 5000, None)).0 {
                Verdict::Granted(grant) => {
                    // Every answer is as long and as dear as it may be.
                    ledger.settle(grant.id, grant.reserved, false).unwrap();
                    assert!(ledger.spent(&scope).nano_usd <= 30_000_000, "{:?}", ledger.spent(&scope));
                }
                Verdict::Refused(refusal) => break refusal,
                Verdict::Wait(_) => panic!("nothing is in flight"),
            }
        };
        assert_eq!(
            (refusal.scope.kind(), refusal.resource, refusal.limit),
            ("trial", Resource::Money, 30_000_000)
        );
        assert_eq!(granted(&mut ledger, &ask("other", 5000, None)).output_cap, None);
    }

    #[test]
    fn reserve_by_money_requests_and_time() {
        let money = Limits { nano_usd: Some(20_000_000), ..Limits::default() };
        let mut ledger = Ledger::new(Budgets { run: money, ..Budgets::default() });
        // $0.02: 10,000 in at $1 leave $0.01, which is 1000 out at $10.
        let grant = granted(&mut ledger, &ask("t", 10_000, None));
        assert_eq!((grant.output_cap, grant.lowered_by), (Some(1000), Some(Scope::Run)));
        assert_eq!(grant.reserved.nano_usd, 20_000_000);
        ledger.settle(grant.id, Amounts { nano_usd: 19_000_000, ..cost(0) }, false).unwrap();
        let refusal = refused(&mut ledger, &ask("t", 10, None));
        assert_eq!((refusal.scope.clone(), refusal.resource), (Scope::Run, Resource::Money));
        assert!(refusal.message().contains("$0.0200"), "{}", refusal.message());

        let mut ledger = Ledger::new(Budgets {
            variant: Limits { requests: Some(1), wall_ms: Some(500), ..Limits::default() },
            ..Budgets::default()
        });
        let first = granted(&mut ledger, &ask("t", 10, None));
        let late = Ask { now_ms: 1500, ..ask("late", 10, None) };
        assert_eq!(refused(&mut ledger, &late).resource, Resource::Wall);
        assert_eq!(ledger.reserve(&ask("t", 10, None)).0, Verdict::Wait(Scope::Variant("v".to_owned())));
        ledger.release(first.id).unwrap();
        assert_eq!(refused(&mut ledger, &ask("t", 10, None)).resource, Resource::Requests);
    }

    #[test]
    fn reserve_waits_for_requests_in_flight_instead_of_stopping_a_trial_for_them() {
        let mut ledger = Ledger::new(Budgets { run: tokens(10_000), ..Budgets::default() });
        let first = granted(&mut ledger, &ask("a", 1000, None));
        assert_eq!(ledger.reserve(&ask("b", 1000, None)).0, Verdict::Wait(Scope::Run));
        assert_eq!(ledger.stopped_by("b"), None);
        ledger.settle(first.id, cost(1500), false).unwrap();
        assert_eq!(granted(&mut ledger, &ask("b", 1000, None)).output_cap, Some(7500));
    }

    #[test]
    fn reserve_refuses_a_model_without_a_price_where_money_is_limited_and_nothing_else() {
        let money = Limits { nano_usd: Some(1_000_000_000), ..Limits::default() };
        let mut ledger = Ledger::new(Budgets { run: money, ..Budgets::default() });
        let unpriced = Ask { rates: None, ..ask("t", 10, Some(10)) };
        assert_eq!(refused(&mut ledger, &unpriced).resource, Resource::Price);
        granted(&mut ledger, &ask("t", 10, Some(10)));
        granted(&mut Ledger::new(Budgets { run: tokens(5000), ..Budgets::default() }), &unpriced);
        let mut ledger = Ledger::new(Budgets { request: tokens(500), ..Budgets::default() });
        assert_eq!(refused(&mut ledger, &ask("t", 1000, Some(10))).scope, Scope::Request);
        granted(&mut ledger, &ask("t", 100, Some(10)));
    }

    #[test]
    fn settle_above_the_reservation_is_charged_and_ends_the_budget() {
        let mut ledger = Ledger::new(Budgets { day: tokens(2000), ..Budgets::default() });
        let grant = granted(&mut ledger, &ask("t", 100, Some(300)));
        ledger.settle(grant.id, cost(5000), false).unwrap();
        let refusal = refused(&mut ledger, &ask("t", 1, Some(1)));
        assert_eq!((refusal.scope.kind(), refusal.used), ("day", 5000));
        assert_eq!(ledger.settle(grant.id, cost(1), false), None);
        assert_eq!(ledger.release(grant.id), None);
    }

    #[test]
    fn reserve_counts_what_others_spend_and_leaves_scripts_out_of_days() {
        let mut ledger = Ledger::new(Budgets { day: tokens(2000), ..Budgets::default() });
        let today = || Scope::Day("2026-11-21".to_owned());
        ledger.set_elsewhere(today(), Amounts { tokens: 1500, ..Amounts::default() });
        let simulated = Ask { day: String::new(), ..ask("script", 1000, Some(5000)) };
        assert_eq!(granted(&mut ledger, &simulated).reserved.tokens, 6000);
        let refusal = refused(&mut ledger, &ask("t", 400, Some(300)));
        assert_eq!((refusal.scope, refusal.used), (today(), 1500));
        // What they settle for less than they had reserved is free again.
        ledger.set_elsewhere(today(), Amounts { tokens: 1000, ..Amounts::default() });
        granted(&mut ledger, &ask("u", 400, Some(300)));
    }

    #[test]
    fn recovery_charges_what_was_in_flight_and_marks_it() {
        let mut ledger = Ledger::new(Budgets::default());
        let mut lines = Vec::new();
        let reserve = |ledger: &mut Ledger, lines: &mut Vec<Line>| {
            let (Verdict::Granted(grant), Some(line)) = ledger.reserve(&ask("t", 1000, Some(1000))) else {
                panic!()
            };
            lines.push(line);
            grant
        };
        let first = reserve(&mut ledger, &mut lines);
        lines.push(ledger.settle(first.id, cost(700), false).unwrap());
        let second = reserve(&mut ledger, &mut lines);
        lines.push(ledger.release(second.id).unwrap());
        reserve(&mut ledger, &mut lines);
        let text: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        let read = Recovered::read(text.iter().map(|line| serde_json::from_str(line).unwrap()));
        assert_eq!(
            read.spent[&Scope::Run],
            Amounts { tokens: 2700, nano_usd: 700_000 + 11_000_000, requests: 3 }
        );
        assert_eq!(read.estimated[&Scope::Trial("t".to_owned())].tokens, 2000);
        assert_eq!(read.settled.len(), 1);
        // What is added makes the next reading the same, with nothing left to add.
        let again = Recovered::read(lines.into_iter().chain(read.settled.clone()));
        assert_eq!((again.spent.clone(), again.settled.len()), (read.spent.clone(), 0));
        let mut ledger = Ledger::recovered(Budgets { run: tokens(4000), ..Budgets::default() }, &read);
        assert_eq!(ledger.estimated(&Scope::Run).tokens, 2000);
        assert_eq!(granted(&mut ledger, &ask("t", 1000, Some(1))).id, 3);
    }

    #[test]
    fn day_that_ends_or_a_clock_that_is_set_charges_each_request_to_the_day_it_was_asked_on() {
        let mut ledger = Ledger::new(Budgets { day: tokens(3000), ..Budgets::default() });
        let on = |day: &str| Ask { day: day.to_owned(), ..ask("t", 1000, Some(1000)) };
        let before = granted(&mut ledger, &on("2026-11-21"));
        // Midnight: the new day is whole, and what is in flight stays the old one's.
        let after = granted(&mut ledger, &on("2026-11-22"));
        ledger.settle(before.id, cost(1900), false).unwrap();
        ledger.settle(after.id, cost(100), false).unwrap();
        let spent = |ledger: &Ledger, day: &str| ledger.spent(&Scope::Day(day.to_owned())).tokens;
        assert_eq!((spent(&ledger, "2026-11-21"), spent(&ledger, "2026-11-22")), (1900, 100));
        // Set back, the clock gives nothing back: the first day has what it had.
        let refusal = refused(&mut ledger, &Ask { trial: "late".to_owned(), ..on("2026-11-21") });
        assert_eq!((refusal.scope.kind(), refusal.used), ("day", 1900));
        // And a time before the first request is no time spent.
        let wall = Limits { wall_ms: Some(500), ..Limits::default() };
        let mut ledger = Ledger::new(Budgets { run: wall, ..Budgets::default() });
        granted(&mut ledger, &Ask { now_ms: 10_000, ..ask("t", 10, None) });
        granted(&mut ledger, &Ask { now_ms: 5, ..ask("t", 10, None) });
        assert_eq!(
            refused(&mut ledger, &Ask { now_ms: 10_500, ..ask("t", 10, None) }).resource,
            Resource::Wall
        );
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve { trial: u8, input: u64, cap: Option<u64>, answers: u64, later: u64 },
        Settle { which: usize, share: u64, estimated: bool },
        Unknown { which: usize },
        Release { which: usize },
        Crash,
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u8, 0..5000_u64, proptest::option::of(0..6000_u64), 0..3_u64, 0..50_u64)
                .prop_map(|(trial, input, cap, answers, later)| Step::Reserve { trial, input, cap, answers, later }),
            3 => (any::<usize>(), 0..=100_u64, any::<bool>())
                .prop_map(|(which, share, estimated)| Step::Settle { which, share, estimated }),
            1 => any::<usize>().prop_map(|which| Step::Unknown { which }),
            1 => any::<usize>().prop_map(|which| Step::Release { which }),
            1 => Just(Step::Crash),
        ]
    }

    fn limits() -> impl Strategy<Value = Limits> {
        let of = |most: u64| proptest::option::of(0..most);
        (of(30_000), of(100_000_000), of(20), of(500))
            .prop_map(|(tokens, nano_usd, requests, wall_ms)| Limits { tokens, nano_usd, requests, wall_ms })
    }

    proptest! {
        #[test]
        fn no_order_of_steps_spends_more_than_any_limit(
            limits in proptest::array::uniform5(limits()), steps in proptest::collection::vec(steps(), 1..60),
        ) {
            let [request, trial, variant, run, day] = limits;
            let budgets = Budgets { request, trial, variant, run, day };
            let mut ledger = Ledger::new(budgets);
            let mut lines: Vec<Line> = Vec::new();
            let mut flying: Vec<Grant> = Vec::new();
            let mut now_ms = 0;
            for step in steps {
                match step {
                    Step::Reserve { trial, input, cap, answers, later } => {
                        now_ms += later;
                        let ask = Ask {
                            variant: format!("v{}", trial % 2),
                            now_ms,
                            answers,
                            ..ask(&format!("t{trial}"), input, cap)
                        };
                        match ledger.reserve(&ask) {
                            (Verdict::Granted(grant), line) => {
                                let cap = grant.output_cap.or(ask.output_cap).unwrap_or(ask.max_output);
                                prop_assert_eq!(grant.reserved, ask.worst(cap));
                                prop_assert!(grant.output_cap.is_none_or(|cap| cap >= LEAST_OUTPUT));
                                prop_assert!(request.tokens.is_none_or(|limit| grant.reserved.tokens <= limit));
                                prop_assert!(request.nano_usd.is_none_or(|limit| grant.reserved.nano_usd <= limit));
                                lines.extend(line);
                                flying.push(grant);
                            }
                            (Verdict::Wait(_), _) => prop_assert!(!flying.is_empty()),
                            (Verdict::Refused(_), _) => {}
                        }
                    }
                    Step::Settle { which, share, estimated } if !flying.is_empty() => {
                        let grant = flying.swap_remove(which % flying.len());
                        let of = |amount: u64| amount * share / 100;
                        let cost = Amounts { tokens: of(grant.reserved.tokens), nano_usd: of(grant.reserved.nano_usd), requests: 1 };
                        lines.extend(ledger.settle(grant.id, cost, estimated));
                    }
                    Step::Unknown { which } if !flying.is_empty() => {
                        let grant = flying.swap_remove(which % flying.len());
                        lines.extend(ledger.settle_unknown(grant.id));
                    }
                    Step::Release { which } if !flying.is_empty() => {
                        let grant = flying.swap_remove(which % flying.len());
                        lines.extend(ledger.release(grant.id));
                    }
                    Step::Crash => {
                        let before = ledger.spent(&Scope::Run).plus(ledger.reserved(&Scope::Run));
                        let recovered = Recovered::read(lines.clone());
                        lines.extend(recovered.settled.clone());
                        flying.clear();
                        ledger = Ledger::recovered(budgets, &recovered);
                        // What was spent, and what may have been, still counts.
                        prop_assert_eq!(ledger.spent(&Scope::Run), before);
                    }
                    _ => {}
                }
                for (scope, account) in &ledger.accounts {
                    let (limits, all) = (budgets.of(scope), account.spent.plus(account.reserved));
                    prop_assert!(limits.tokens.is_none_or(|limit| all.tokens <= limit), "{:?} {:?}", scope, all);
                    prop_assert!(limits.nano_usd.is_none_or(|limit| all.nano_usd <= limit), "{:?} {:?}", scope, all);
                    prop_assert!(limits.requests.is_none_or(|limit| all.requests <= limit), "{:?} {:?}", scope, all);
                }
                let open = ledger.open.values().fold(Amounts::default(), |sum, open| sum.plus(open.amounts));
                prop_assert_eq!(open, ledger.reserved(&Scope::Run));
            }
        }

        #[test]
        fn reserve_of_absurd_numbers_never_wraps(
            input in any::<u64>(), cap in any::<u64>(), answers in any::<u64>(), rate in any::<u64>(), limit in any::<u64>(),
        ) {
            let run = Limits { tokens: Some(limit), nano_usd: Some(limit), ..Limits::default() };
            let mut ledger = Ledger::new(Budgets { run, ..Budgets::default() });
            let rates = Some(WorstRates { input: rate, output: rate, request: rate });
            let ask = Ask { answers, rates, ..ask("t", input, Some(cap)) };
            if let (Verdict::Granted(grant), _) = ledger.reserve(&ask) {
                prop_assert!(grant.reserved.tokens <= limit && grant.reserved.nano_usd <= limit);
            }
        }
    }
}
