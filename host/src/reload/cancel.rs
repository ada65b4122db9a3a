//! Cancels a load that is in progress, and reports that it waits for another one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Tells a load that its result is no longer wanted. Clones share the token.
///
/// A loader calls [`is_cancelled`](Self::is_cancelled) between steps. With
/// [`on_cancel`](Self::on_cancel) it registers a callback that ends a step early, for example by
/// killing a child process.
#[derive(Clone, Default)]
pub(crate) struct CancelToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_cancelled: AtomicBool,
    /// The load waits for the result of another load.
    is_waiting: AtomicBool,
    /// Called when that begins and when it ends.
    on_wait: OnceLock<Box<dyn Fn() + Send + Sync>>,
    callbacks: Mutex<Callbacks>,
}

#[derive(Default)]
struct Callbacks {
    next_id: u64,
    waiting: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

/// A load's wait for the result of another load. Dropping it ends the wait.
#[must_use = "dropping it ends the wait"]
pub(crate) struct Waiting(CancelToken);

/// A callback registered with a [`CancelToken`]. Dropping it removes the callback: after the drop,
/// it is not running and never runs.
#[must_use = "dropping it removes the callback"]
pub(crate) struct OnCancel {
    token: CancelToken,
    id: u64,
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    pub(crate) fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Returns whether the result is no longer wanted.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Acquire)
    }

    /// Cancels: runs each registered callback once, on this thread. A second call has no effect.
    pub(crate) fn cancel(&self) {
        let mut callbacks = self.lock();
        self.0.is_cancelled.store(true, Ordering::Release);
        // Under the lock, so that removing a callback in the meantime waits for it.
        for (_, callback) in callbacks.waiting.drain(..) {
            callback();
        }
    }

    /// Reports that the load waits for the result of another load: until the return value is
    /// dropped, it uses no processor time, and its time doesn't count.
    pub(crate) fn wait_for_another_load(&self) -> Waiting {
        self.set_waiting(true);
        Waiting(self.clone())
    }

    /// Returns whether the load waits for the result of another load.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.is_waiting.load(Ordering::Acquire)
    }

    /// Sets what is called when a wait begins and when it ends. Later calls have no effect.
    pub(super) fn on_wait(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.0.on_wait.get_or_init(|| Box::new(callback));
    }

    fn set_waiting(&self, is_waiting: bool) {
        self.0.is_waiting.store(is_waiting, Ordering::Release);
        if let Some(callback) = self.0.on_wait.get() {
            callback();
        }
    }

    /// Registers `callback` to be called once when the token is cancelled, on the cancelling
    /// thread. If the token is already cancelled, calls it now, on this thread. The callback must
    /// be short, must not panic, and must not use the token.
    pub(crate) fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> OnCancel {
        let mut callbacks = self.lock();
        let id = callbacks.next_id;
        callbacks.next_id += 1;
        if self.is_cancelled() {
            callback();
        } else {
            callbacks.waiting.push((id, Box::new(callback)));
        }
        drop(callbacks);
        OnCancel {
            token: self.clone(),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Callbacks> {
        let callbacks = self.0.callbacks.lock();
        callbacks.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set_waiting(false);
    }
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        let id = self.id;
        self.token.lock().waiting.retain(|(other, _)| *other != id);
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OnCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnCancel").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn counter() -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        (count, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_callback_runs_once_when_the_token_is_cancelled() {
        let token = CancelToken::new();
        let (count, callback) = counter();
        let registered = token.clone().on_cancel(callback);
        assert!(!token.is_cancelled());
        assert_eq!(count.load(Ordering::Relaxed), 0);
        token.cancel();
        token.cancel();
        assert!(token.is_cancelled());
        assert_eq!(count.load(Ordering::Relaxed), 1);
        drop(registered);
    }

    #[test]
    fn a_callback_that_comes_after_the_cancel_runs_at_once() {
        let token = CancelToken::new();
        token.cancel();
        let (count, callback) = counter();
        let _registered = token.on_cancel(callback);
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_callback_that_is_removed_never_runs() {
        let token = CancelToken::new();
        let (removed, callback) = counter();
        drop(token.on_cancel(callback));
        let (kept, callback) = counter();
        let _registered = token.on_cancel(callback);
        token.cancel();
        assert_eq!(removed.load(Ordering::Relaxed), 0);
        assert_eq!(kept.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn removing_a_callback_waits_for_it_while_it_runs() {
        let token = CancelToken::new();
        let (began, begun) = std::sync::mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let registered = token.on_cancel({
            let ended = Arc::clone(&ended);
            move || {
                let _ = began.send(());
                thread::sleep(Duration::from_millis(50));
                ended.store(true, Ordering::Relaxed);
            }
        });
        let canceller = thread::spawn(move || token.cancel());
        begun.recv().expect("it runs");
        drop(registered);
        assert!(ended.load(Ordering::Relaxed));
        canceller.join().expect("cancelled");
    }
}
