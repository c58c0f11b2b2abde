//! How much an upstream gets at once and per minute, shared fairly: trials take turns, so that one that asks much does not
//! make others wait longer than for one request of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Longest sleep of somebody who waits for a place.
const LONGEST: Duration = Duration::from_secs(60);

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
struct Bucket {
    /// Per second.
    rate: f64,
    /// What can be saved up: ten seconds of it, because providers look at less than a minute too.
    most: f64,
    left: f64,
    at: Duration,
}

impl Bucket {
    fn new(per_minute: u64) -> Bucket {
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
struct Queue<W> {
    places: usize,
    running: usize,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Nobody starts before this: the upstream said so.
    held_until: Duration,
    waiting: BTreeMap<String, VecDeque<(u64, W)>>,
    /// Trials that wait, the next first.
    turns: VecDeque<String>,
}

/// What can be done now.
#[derive(Debug, PartialEq)]
enum Next<W> {
    Start(W, u64),
    Wait(Duration),
    Nothing,
}

impl<W> Queue<W> {
    fn new(places: usize, rates: Rates) -> Queue<W> {
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
    fn take(&mut self, tokens: u64, now: Duration) -> Option<Duration> {
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

    fn push(&mut self, trial: &str, tokens: u64, waiter: W) {
        let list = self.waiting.entry(trial.to_owned()).or_default();
        if list.is_empty() {
            self.turns.push_back(trial.to_owned());
        }
        list.push_back((tokens, waiter));
    }

    /// The next that may start. `gone` are passed over.
    fn next(&mut self, now: Duration, gone: impl Fn(&W) -> bool) -> Next<W> {
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

/// The flow to one upstream.
#[derive(Debug)]
pub(super) struct Flow {
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    /// Told when those who wait must look at the time again.
    changed: Notify,
    begun: Instant,
}

/// A request's place. Dropped, it is the next one's.
#[derive(Debug)]
pub(super) struct Place {
    flow: Arc<Flow>,
    /// What it was estimated at.
    tokens: u64,
}

impl Place {
    /// What it used in the end.
    pub(super) fn used(&self, tokens: u64) {
        if let Some(bucket) = &mut self.flow.lock().tokens {
            bucket.left = (bucket.left + self.tokens as f64 - tokens as f64).min(bucket.most);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut queue = self.flow.lock();
            queue.running = queue.running.saturating_sub(1);
        }
        // A place is free, but its time has not come: somebody must wait for that.
        if self.flow.start_waiting() < LONGEST {
            self.flow.changed.notify_waiters();
        }
    }
}

impl Flow {
    pub(super) fn new(places: usize, rates: Rates) -> Arc<Flow> {
        Arc::new(Flow {
            queue: Mutex::new(Queue::new(places, rates)),
            changed: Notify::new(),
            begun: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the trial's turn, and for as many tokens.
    pub(super) async fn enter(self: &Arc<Self>, trial: &str, tokens: u64) -> Place {
        let mut turn = {
            let mut queue = self.lock();
            if queue.turns.is_empty() && queue.take(tokens, self.begun.elapsed()).is_none() {
                return Place { flow: Arc::clone(self), tokens };
            }
            let (waiter, turn) = oneshot::channel();
            queue.push(trial, tokens, waiter);
            turn
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Who leaves hands on; only what time alone brings must be looked for.
            let wait = self.start_waiting();
            tokio::select! {
                biased;
                place = &mut turn => match place {
                    Ok(place) => return place,
                    // The queue drops nobody who still waits.
                    Err(_) => return Place { flow: Arc::clone(self), tokens },
                },
                () = &mut changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Lets nobody start for so long: the upstream asked for it.
    pub(super) fn hold(&self, wait: Duration) {
        let until = self.begun.elapsed().saturating_add(wait);
        let mut queue = self.lock();
        queue.held_until = queue.held_until.max(until);
    }

    /// Starts whoever can be started; returns how long until somebody else can, at most a minute.
    fn start_waiting(self: &Arc<Self>) -> Duration {
        loop {
            let next = self.lock().next(self.begun.elapsed(), oneshot::Sender::is_closed);
            match next {
                // Should it have gone in this moment, its place comes back at once.
                Next::Start(waiter, tokens) => drop(waiter.send(Place { flow: Arc::clone(self), tokens })),
                Next::Wait(wait) => return wait.min(LONGEST / 2),
                Next::Nothing => return LONGEST,
            }
        }
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

    #[tokio::test(start_paused = true)]
    async fn flow_waits_by_the_clock_and_corrects_by_what_was_used() {
        let flow = Flow::new(10, Rates { tokens_per_minute: Some(600), requests_per_minute: None });
        let begun = Instant::now();
        let place = flow.enter("a", 100).await;
        // It turned out to be five times as much: the next waits for that.
        place.used(500);
        drop(place);
        let _second = flow.enter("b", 100).await;
        let waited = begun.elapsed();
        assert!(waited >= S * 49 && waited <= S * 52, "{waited:?}");
        flow.hold(S * 30);
        let held = Instant::now();
        let _third = flow.enter("c", 1).await;
        assert!(held.elapsed() >= S * 30);
    }

    #[tokio::test(start_paused = true)]
    async fn flow_of_few_places_and_a_rate_never_stalls() {
        let flow = Flow::new(2, Rates { requests_per_minute: Some(60), tokens_per_minute: None });
        let begun = Instant::now();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..40_u64 {
            let flow = Arc::clone(&flow);
            waiting.spawn(async move {
                let place = flow.enter(&format!("t{}", number % 3), 0).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(place);
            });
        }
        while let Some(done) = waiting.join_next().await {
            done.unwrap();
        }
        let took = begun.elapsed();
        assert!(took >= S * 29 && took < S * 32, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn flow_hands_places_on_and_passes_over_who_left() {
        let flow = Flow::new(1, Rates::default());
        let place = flow.enter("a", 0).await;
        let left = tokio::time::timeout(S, flow.enter("gone", 0)).await;
        assert!(left.is_err());
        let mut waiting = tokio::task::JoinSet::new();
        for trial in ["b", "c", "d"] {
            let flow = Arc::clone(&flow);
            waiting.spawn(async move { drop(flow.enter(trial, 0).await) });
        }
        tokio::time::sleep(S).await;
        drop(place);
        while let Some(done) = waiting.join_next().await {
            done.unwrap();
        }
        assert_eq!(flow.lock().running, 0);
    }
}
