//! Work that is done where it is asked for, and elsewhere when nobody waits for it any more: an agent that goes away does not
//! end what was forwarded for it. A task of its own for each request would cost a wake-up of another thread each time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// The work. Its result is `None` when it panicked.
pub(super) struct Detached<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Handle,
}

impl<T: Send + 'static> Detached<T> {
    /// Begins when it is first waited for. To be made inside a runtime.
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Detached<T> {
        Detached { work: Some(Box::pin(work)), runtime: Handle::current() }
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        // A panic ends this work alone, as it would in a task; what it held is dropped and never looked at again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => {
                self.work = None;
                Poll::Ready(Some(done))
            }
            Err(_) => {
                self.work = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn detached_goes_on_when_nobody_waits_and_a_panic_ends_it_alone() {
        let done = Arc::new(AtomicU32::new(0));
        let work = |done: Arc<AtomicU32>| async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            done.fetch_add(1, Ordering::SeqCst);
        };
        assert_eq!(Detached::new(work(Arc::clone(&done))).await, Some(()));
        let waited =
            tokio::time::timeout(Duration::from_millis(5), Detached::new(work(Arc::clone(&done)))).await;
        assert!(waited.is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(Detached::new(async { panic!("on purpose") }).await, None::<()>);
    }
}
