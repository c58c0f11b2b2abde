//! How much an upstream gets at once and per minute, shared fairly: trials take turns, so that one that asks much does not
//! make others wait longer than for one request of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::queue::{Next, Queue, Rates};

/// Longest sleep of somebody who waits for a place.
const LONGEST: Duration = Duration::from_secs(60);

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
