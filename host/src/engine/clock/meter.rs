//! Measures how long a request has computed: the CPU time of its thread while its fiber ran.
//!
//! Reading a thread's CPU time costs a system call, so it is not read until a request has computed
//! for a whole tick. Most requests end long before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The maximum time that a guest computes before it yields to the reactor. With ten computing
/// guests on one thread, another request waits for ten ticks.
pub(in crate::engine) const TICK: Duration = Duration::from_millis(1);

/// The CPU time of one request. Shared by the request's store, which checks it at each tick, and
/// the call, which stops it while the fiber is suspended.
#[derive(Debug, Default)]
pub(in crate::engine) struct Meter {
    /// The CPU time before this slice, in nanoseconds.
    used: AtomicU64,
    /// The thread's CPU time at the start of this slice, in nanoseconds; 0 while not measuring.
    slice: AtomicU64,
    /// Whether the fiber was suspended by a tick, and not because the guest waits.
    is_interrupted: AtomicBool,
}

impl Meter {
    /// Returns how long the request has computed so far. Called at a tick, inside the fiber, which
    /// is suspended then.
    pub(in crate::engine) fn tick(&self) -> Duration {
        self.is_interrupted.store(true, Ordering::Relaxed);
        let now = thread_cpu_time();
        let slice = self.slice.swap(now, Ordering::Relaxed);
        // The first slice began somewhere within the tick that ends now.
        let spent = if slice == 0 {
            TICK.as_nanos() as u64
        } else {
            now.saturating_sub(slice)
        };
        Duration::from_nanos(self.used.fetch_add(spent, Ordering::Relaxed) + spent)
    }

    /// Returns how long the request had computed when its fiber was last suspended: 0 if that was
    /// within a tick.
    pub(in crate::engine) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Returns whether the request has computed for a whole tick.
    pub(in crate::engine) fn has_ticked(&self) -> bool {
        self.slice.load(Ordering::Relaxed) != 0
    }

    /// Returns whether a tick has suspended the fiber since the last call.
    pub(in crate::engine) fn take_interruption(&self) -> bool {
        self.is_interrupted.swap(false, Ordering::Relaxed)
    }

    /// Must be called before the fiber runs.
    pub(in crate::engine) fn resume(&self) {
        if self.slice.load(Ordering::Relaxed) != 0 {
            self.slice.store(thread_cpu_time(), Ordering::Relaxed);
        }
    }

    /// Must be called when the fiber is suspended.
    pub(in crate::engine) fn pause(&self) {
        let slice = self.slice.load(Ordering::Relaxed);
        if slice != 0 {
            self.used
                .fetch_add(thread_cpu_time().saturating_sub(slice), Ordering::Relaxed);
        }
    }
}

/// Returns the CPU time of this thread in nanoseconds; never 0.
fn thread_cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    (seconds * 1_000_000_000 + nanos).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_are_not_counted() {
        let meter = Meter::default();
        assert_eq!(meter.tick(), TICK);
        meter.pause();
        burn();
        meter.resume();
        let resumed = meter.tick();
        let before = thread_cpu_time();
        burn();
        let burnt = Duration::from_nanos(thread_cpu_time() - before);
        assert!(
            meter.tick() >= resumed + burnt,
            "what was computed since is counted"
        );
    }

    fn burn() {
        std::hint::black_box((0..200_000u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
    }
}
