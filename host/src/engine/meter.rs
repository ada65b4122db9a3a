//! How long a request has computed: CPU time of its thread while its fiber ran.
//!
//! Asking the kernel for a thread's CPU time costs a system call, so nobody asks until a request
//! has been at it for a whole tick. Most are done long before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ticker::TICK;

/// The CPU time of one request. Shared by the request's store, which checks it at each tick, and
/// the call, which stops it while the fiber rests.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Nanoseconds that were used up to the start of this slice.
    used: AtomicU64,
    /// The thread's CPU time at the start of this slice, in nanoseconds; 0 while nobody measures.
    slice: AtomicU64,
}

impl Meter {
    /// Called at a tick, inside of the fiber: how long the request has computed so far.
    pub(super) fn tick(&self) -> Duration {
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

    /// How long the request had computed when its fiber last rested: 0 if that was within a tick.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Called before the fiber runs.
    pub(super) fn resume(&self) {
        if self.slice.load(Ordering::Relaxed) != 0 {
            self.slice.store(thread_cpu_time(), Ordering::Relaxed);
        }
    }

    /// Called when the fiber rests.
    pub(super) fn pause(&self) {
        let slice = self.slice.load(Ordering::Relaxed);
        if slice != 0 {
            self.used
                .fetch_add(thread_cpu_time().saturating_sub(slice), Ordering::Relaxed);
        }
    }
}

/// Nanoseconds of CPU time that this thread has used; never 0.
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
