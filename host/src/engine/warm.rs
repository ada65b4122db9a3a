//! Instances that wait for their next request, where a handler's policy lets one serve several.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use wasmtime::Store;

use super::application::Application;
use super::state::State;

/// Instances that wait, for one program. As many as were at work at a time are enough, and a
/// handler that computes has one on each thread; more than this have been waiting for the network,
/// and are made anew when they are needed.
const IDLE: usize = 64;

/// An instance that has served, and may go on.
pub(super) struct Warm {
    pub(super) store: Store<State>,
    pub(super) instance: Application,
    /// How many requests it has served.
    pub(super) served: u32,
}

/// The instances of one program that wait. They go when the program does.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Warm>>);

impl Idle {
    /// The one that was used last, whose memory is still in the processor's cache.
    pub(super) fn take(&self) -> Option<Warm> {
        self.lock().pop()
    }

    /// Has an instance wait. One too many is dropped.
    pub(super) fn put(&self, warm: Warm) {
        let mut idle = self.lock();
        if idle.len() < IDLE {
            idle.push(warm);
        }
    }

    /// A panic while the lock is held leaves a list that is whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Warm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle")
            .field("count", &self.lock().len())
            .finish()
    }
}
