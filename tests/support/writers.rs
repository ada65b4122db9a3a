//! Clients that write while a test kills processes or copies data, and that count their writes.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{SetOnDrop, eventually};

/// Clients that write at the same time, each to a place of its own.
#[derive(Debug)]
pub(crate) struct Writers(Vec<Counts>);

/// The number of writes of one client.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    attempted: AtomicU64,
}

impl Writers {
    /// Lets `count` clients write until `meanwhile` returns.
    ///
    /// `write` sends one write of the client with this number. It returns how many writes of this
    /// client are stored, or `None` if the server didn't acknowledge the write.
    #[track_caller]
    pub(crate) fn run(
        count: usize,
        write: impl Fn(usize) -> Option<u64> + Sync,
        meanwhile: impl FnOnce(&Writers),
    ) -> Writers {
        let writers = Writers((0..count).map(|_| Counts::default()).collect());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for (client, counts) in writers.0.iter().enumerate() {
                let (write, done) = (&write, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        counts.add(|| write(client));
                    }
                });
            }
            // Also if `meanwhile` panics: the clients would keep the test from ending.
            let _stop = SetOnDrop(&done);
            meanwhile(&writers);
        });
        writers
    }

    /// Calls `kill` with the number of each round, at different times after all clients have
    /// written.
    #[track_caller]
    pub(crate) fn kill_in_rounds(&self, mut kill: impl FnMut(usize)) {
        for round in 0..kill_rounds() {
            thread::sleep(Duration::from_millis(20 + round as u64 * 37 % 200));
            kill(round);
            self.wait_for_another_write();
        }
    }

    /// Waits until each client has had another write acknowledged.
    #[track_caller]
    pub(crate) fn wait_for_another_write(&self) {
        let read = || self.0.iter().map(Counts::acknowledged);
        let before: Vec<u64> = read().collect();
        eventually("all clients go on", || {
            read().zip(&before).all(|(now, before)| now > *before)
        });
    }

    /// Returns the numbers of writes that can be stored for each client now: all that were
    /// acknowledged, and at most all that were attempted.
    pub(crate) fn possible(&self) -> Vec<RangeInclusive<u64>> {
        let counts = self.0.iter();
        counts
            .map(|counts| counts.acknowledged()..=counts.attempted.load(Ordering::Relaxed))
            .collect()
    }

    /// Checks the number of writes that are stored for each client, once they have ended.
    #[track_caller]
    pub(crate) fn expect_stored(&self, stored: impl Fn(usize) -> u64) {
        for (client, possible) in self.possible().into_iter().enumerate() {
            let stored = stored(client);
            println!("client {client}: {stored} stored; acknowledged and attempted: {possible:?}");
            assert!(possible.contains(&stored), "{stored} stored: {possible:?}");
        }
    }
}

impl Counts {
    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn add(&self, write: impl FnOnce() -> Option<u64>) {
        let attempted = self.attempted.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(stored) = write() else {
            return;
        };
        let before = self.acknowledged.fetch_add(1, Ordering::Relaxed);
        assert!(
            (before + 1..=attempted).contains(&stored),
            "{stored} stored; {before} acknowledged before, {attempted} attempted"
        );
    }
}

/// Returns how often a process is killed in a test. A hundred rounds can find rarer faults:
/// `WASGI_TEST_KILLS=100`.
fn kill_rounds() -> usize {
    const ROUNDS: usize = 4;
    let rounds = std::env::var("WASGI_TEST_KILLS");
    rounds.map_or(ROUNDS, |count| count.parse().expect("a number"))
}
