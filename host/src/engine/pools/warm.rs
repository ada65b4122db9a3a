//! Idle instances that wait for their next request, if a handler's policy lets one serve several.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use wasmtime::Store;

use crate::engine::call::state::HostState;
use crate::engine::worlds::gateway::application::Application;

/// The maximum number of idle instances of one program. As many as run at a time are enough, and a
/// handler that computes has one on each thread; more were needed only while waiting for the
/// network, and are created again on demand.
const IDLE: usize = 64;

/// An instance that has served a request and may serve another.
pub(in crate::engine) struct Warm {
    pub(in crate::engine) store: Store<HostState>,
    pub(in crate::engine) instance: Application,
    /// The number of requests it has served.
    pub(in crate::engine) served: u32,
}

/// The idle instances of one program. They are dropped with the program.
#[derive(Default)]
pub(in crate::engine) struct Idle(Mutex<Vec<Warm>>);

impl Idle {
    /// Takes the instance that was used last, whose memory is still in the processor's cache.
    pub(in crate::engine) fn take(&self) -> Option<Warm> {
        self.lock().pop()
    }

    /// Stores an idle instance. Drops it if there are too many.
    pub(in crate::engine) fn put(&self, warm: Warm) {
        let mut idle = self.lock();
        if idle.len() < IDLE {
            idle.push(warm);
        }
    }

    /// Locks the list. A panic while the lock is held can't leave it inconsistent.
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
