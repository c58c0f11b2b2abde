//! A thread for the gateway alone. A call waits four times for a socket; on the runtime that runs trials each of those may wake
//! another thread, which on a busy machine costs as much as everything that the gateway does itself.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::{Access, Gateway};

/// A timer that ends sooner than any of a connection's: one that begins while a later one is the next must wake the runtime to
/// be heard of, and there is one for each request.
const BEAT: Duration = Duration::from_millis(500);

/// The thread, with a runtime on which a gateway's listeners are served. Dropped, it ends, and what it serves with it: what was
/// in flight is settled at its reservation by then.
#[derive(Debug)]
pub struct GatewayThread {
    runtime: Handle,
    /// Ends the thread when it goes.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GatewayThread {
    /// Starts it.
    ///
    /// # Errors
    /// The machine has no thread or no file left.
    pub fn start() -> io::Result<GatewayThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
            runtime.block_on(until(stopped));
            // Names that are being looked up are not waited for.
            runtime.shutdown_background();
        })?;
        Ok(GatewayThread { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Its runtime, for other work that uses a gateway's upstreams: their connections are served where they are made.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Serves a listener until what is returned is aborted, or the thread ends.
    ///
    /// # Errors
    /// The listener cannot be waited for.
    pub fn serve(
        &self,
        gateway: &Arc<Gateway>,
        listener: TcpListener,
        access: Access,
    ) -> io::Result<tokio::task::JoinHandle<()>> {
        let _inside = self.runtime.enter();
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(self.runtime.spawn(Arc::clone(gateway).serve(listener, access)))
    }
}

impl Drop for GatewayThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        let thread = self.thread.take();
        // The last to hold it may be one of its own tasks.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A task that panicked ended alone, and there is nothing else in the thread that could.
            let _ended = thread.join();
        }
    }
}

async fn until(mut stopped: oneshot::Receiver<()>) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = beat.tick() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_runs_what_is_given_to_it_and_ends_it_when_it_is_dropped() {
        let thread = GatewayThread::start().unwrap();
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let (told, name) = std::sync::mpsc::channel();
        thread.runtime().spawn(async move {
            told.send(std::thread::current().name().map(str::to_owned)).unwrap();
            std::future::pending::<()>().await;
            drop(held);
        });
        assert_eq!(name.recv().unwrap().as_deref(), Some("gateway"));
        drop(thread);
        assert_eq!(Arc::strong_count(&alive), 1, "the task outlives its thread");
    }
}
