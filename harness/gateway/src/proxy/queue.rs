//! Who may send to an upstream next: places, rates per minute and turns, without a clock of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What an upstream allows per minute; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests, our own further tries included.
    pub requests_per_minute: Option<u64>,
    /// Tokens, input and output: taken by our estimate of the input before, corrected by what was used after.
    pub tokens_per_minute: Option<u64>,
}

/// What is left of one rate. It may be in debt: what an answer costs is known when it is over.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Per second.
    rate: f64,
    /// What can be saved up: ten seconds of it, because providers look at less than a minute too.
    pub(super) most: f64,
    pub(super) left: f64,
    at: Duration,
}

impl Bucket {
    pub(super) fn new(per_minute: u64) -> Bucket {
        let rate = (per_minute.max(1)) as f64 / 60.0;
        let most = (rate * 10.0).max(1.0);
        Bucket { rate, most, left: most, at: Duration::ZERO }
    }

    /// How long until there is so much; something larger than can be saved up waits for a full bucket.
    fn wait(&mut self, amount: f64, now: Duration) -> Duration {
        self.left = (self.left + self.rate * now.saturating_sub(self.at).as_secs_f64()).min(self.most);
        self.at = self.at.max(now);
        let missing = amount.min(self.most) - self.left;
        // Rounded up: a timer must not find a hair missing.
        if missing <= 1e-9 { Duration::ZERO } else { Duration::from_secs_f64(missing / self.rate + 1e-3) }
    }
}

/// What waits, what runs and what is left. Without a clock: each call says when it is.
#[derive(Debug)]
pub(super) struct Queue<W> {
    places: usize,
    pub(super) running: usize,
    requests: Option<Bucket>,
    pub(super) tokens: Option<Bucket>,
    /// Nobody starts before this: the upstream said so.
    pub(super) held_until: Duration,
    pub(super) waiting: BTreeMap<String, VecDeque<(u64, W)>>,
    /// Trials that wait, the next first.
    pub(super) turns: VecDeque<String>,
}

/// What can be done now.
#[derive(Debug, PartialEq)]
pub(super) enum Next<W> {
    Start(W, u64),
    Wait(Duration),
    Nothing,
}

impl<W> Queue<W> {
    pub(super) fn new(places: usize, rates: Rates) -> Queue<W> {
        Queue {
            places: places.max(1),
            running: 0,
            requests: rates.requests_per_minute.map(Bucket::new),
            tokens: rates.tokens_per_minute.map(Bucket::new),
            held_until: Duration::ZERO,
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Takes a place for a request of so many tokens, or says how long none can be had.
    pub(super) fn take(&mut self, tokens: u64, now: Duration) -> Option<Duration> {
        if self.running >= self.places {
            return Some(Duration::MAX);
        }
        let mut wait = self.held_until.saturating_sub(now);
        if let Some(bucket) = &mut self.requests {
            wait = wait.max(bucket.wait(1.0, now));
        }
        if let Some(bucket) = &mut self.tokens {
            wait = wait.max(bucket.wait(tokens as f64, now));
        }
        if !wait.is_zero() {
            return Some(wait);
        }
        if let Some(bucket) = &mut self.requests {
            bucket.left -= 1.0;
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.left -= tokens as f64;
        }
        self.running += 1;
        None
    }

    pub(super) fn push(&mut self, trial: &str, tokens: u64, waiter: W) {
        let list = self.waiting.entry(trial.to_owned()).or_default();
        if list.is_empty() {
            self.turns.push_back(trial.to_owned());
        }
        list.push_back((tokens, waiter));
    }

    /// The next that may start. `gone` are passed over.
    pub(super) fn next(&mut self, now: Duration, gone: impl Fn(&W) -> bool) -> Next<W> {
        while let Some(trial) = self.turns.front() {
            let Some(list) = self.waiting.get_mut(trial) else {
                self.turns.pop_front();
                continue;
            };
            while list.front().is_some_and(|(_, waiter)| gone(waiter)) {
                list.pop_front();
            }
            let Some((tokens, _)) = list.front() else {
                self.waiting.remove(trial);
                self.turns.pop_front();
                continue;
            };
            let tokens = *tokens;
            match self.take(tokens, now) {
                Some(Duration::MAX) => return Next::Nothing,
                Some(wait) => return Next::Wait(wait),
                None => {}
            }
            let Some(trial) = self.turns.pop_front() else { break };
            let Some(list) = self.waiting.get_mut(&trial) else { continue };
            let Some((tokens, waiter)) = list.pop_front() else { continue };
            if list.is_empty() {
                self.waiting.remove(&trial);
            } else {
                self.turns.push_back(trial);
            }
            return Next::Start(waiter, tokens);
        }
        Next::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn started(queue: &mut Queue<&'static str>, now: Duration) -> Vec<&'static str> {
        let mut all = Vec::new();
        while let Next::Start(waiter, _) = queue.next(now, |waiter| *waiter == "gone") {
            all.push(waiter);
        }
        all
    }

    #[test]
    fn queue_lets_trials_take_turns_however_much_one_asks() {
        let mut queue = Queue::new(1, Rates::default());
        assert_eq!(queue.take(0, S), None);
        for name in ["a1", "a2", "a3", "gone", "a4"] {
            queue.push("a", 0, name);
        }
        queue.push("b", 0, "b1");
        queue.push("c", 0, "c1");
        queue.push("b", 0, "b2");
        let mut order = Vec::new();
        for _ in 0..7 {
            queue.running -= 1;
            let now = started(&mut queue, S);
            assert_eq!(now.len(), 1, "one place");
            order.extend(now);
        }
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
        queue.running -= 1;
        assert!(started(&mut queue, S).is_empty() && queue.waiting.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn queue_keeps_to_the_rates_over_any_minute_and_says_how_long_to_wait() {
        let rates = Rates { requests_per_minute: Some(60), tokens_per_minute: Some(6000) };
        let mut queue: Queue<()> = Queue::new(1000, rates);
        let mut at = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..200 {
            while let Some(wait) = queue.take(50, now) {
                assert!(wait < S * 60);
                now += wait;
            }
            at.push(now);
        }
        for (first, begun) in at.iter().enumerate() {
            let in_minute = at[first..].iter().take_while(|later| **later < *begun + S * 60).count();
            assert!(in_minute <= 71, "{in_minute} requests in the minute after {begun:?}");
        }
        // One a second, after the ten that were saved up.
        assert!(now > S * 188 && now < S * 195, "{now:?}");
        // What is larger than can be saved up starts all the same, and those after it wait for what it took.
        let wait = queue.take(5000, now + S * 60);
        assert_eq!(wait, None);
        assert!(queue.take(1000, now + S * 60).unwrap() > S * 45);
    }
}
