//! Polls futures in tests, and counts how often they are woken.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

/// Counts how often a waiting future was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Polls a future once. To poll a future again, pass it as a pinned reference.
pub(crate) fn poll<T>(future: impl Future<Output = T>, wakes: &Arc<Wakes>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(&wakes.clone().into()))
}
