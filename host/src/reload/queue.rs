//! Decides which job runs next, and which load is preempted.
//!
//! A job has two stages. Its *look-up* hashes the file and asks the loader for an already known
//! program: milliseconds, mostly for reading. Its *load* compiles: from milliseconds to minutes of
//! processor time. Each stage has its own permits, so cached handlers never wait for those that
//! compile.
//!
//! The duration of a load is unknown in advance, so it is treated as in a multi-level feedback
//! queue: first as a short load, and after it has run for [`SLICE`], as a long one.
//!
//! - Each stage is first in, first out, and a route has at most one job: a file that changes all
//!   the time goes to the end of the queue each time.
//! - A few permits are for long loads. Short loads have all others, however many long ones there
//!   are; each group can use permits that the other leaves free.
//! - A load that becomes long continues while no load waits. When a short one waits for a permit,
//!   the most recently started long load is cancelled, unless long loads use only their own
//!   permits. It is queued again, as a long one, and starts from the beginning when a permit is
//!   free for it.
//! - A route whose last load was long starts as a long one the next time.
//! - A load that waits for the result of another one, such as a language's compiled runtime, uses
//!   no permit, and the time of its wait doesn't count.
//!
//! So a short load waits at most [`SLICE`] for each full set of loads of unknown length before it,
//! and long ones always make progress. This module uses no clock and no thread: `now` is a
//! parameter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::cancel::CancelToken;
use super::load::{Job, Stage};
use crate::router::Shape;

/// The time for which a load counts as short. A handler in Rust or C compiles in 0.05 to 0.5 s, one
/// with an interpreter in 2 to 10 s; a load preempted at this point loses at most this much work.
pub(super) const SLICE: Duration = Duration::from_secs(2);

/// The maximum time that the first loads wait for a look-up in progress, so that the number of
/// files to compile is known by then. Reading a file of 30 MB from a disk takes that long.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(100);

/// With a single permit for loads: the maximum number of short loads that start while a long one
/// waits. The long one then goes first and runs to its end. The short ones take at most sixteen
/// seconds together.
const MAX_PASSED: usize = 8;

/// The maximum number of loads that wait for the result of another one and use no permit. Each has
/// a thread; further ones use permits.
const MAX_WAITING: usize = 64;

/// The numbers of concurrent jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) lookups: usize,
    pub(super) loads: usize,
    /// The number of loads reserved for long ones; 0 if there is a single permit.
    pub(super) long: usize,
}

/// The waiting and running jobs.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: Capacity,
    lookups: VecDeque<Job>,
    short: VecDeque<Job>,
    long: VecDeque<Job>,
    running: Vec<Running>,
    /// The files that existed at startup are being looked up: loads wait for that.
    starting: bool,
    /// The number of short loads started since there were none.
    begun: usize,
    /// The number of short loads started while a long one waited.
    passed: usize,
}

/// The position of a load among those that are queued together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Starts at 1.
    pub(super) number: usize,
    pub(super) of: usize,
}

#[derive(Debug)]
struct Running {
    shape: Shape,
    stage: Stage,
    since: Instant,
    /// A load that has run for longer than a slice, now or the last time.
    is_long: bool,
    cancel: CancelToken,
}

impl Capacity {
    /// Returns the capacity for a machine with this many cores, and a loader that supports `loads`
    /// concurrent loads: a load with a permit never waits for another one.
    pub(super) fn new(cores: usize, loads: usize) -> Capacity {
        Capacity {
            // Two per core: one reads while the other hashes.
            lookups: 2 * cores,
            loads,
            long: loads / 2,
        }
    }
}

impl Queue {
    /// Creates an empty queue. Loads wait until all jobs pushed before the first `next` are looked
    /// up.
    pub(super) fn new(capacity: Capacity) -> Queue {
        Queue {
            capacity,
            lookups: VecDeque::new(),
            short: VecDeque::new(),
            long: VecDeque::new(),
            running: Vec::new(),
            starting: true,
            begun: 0,
            passed: 0,
        }
    }

    /// Adds a job for its stage. Its route must not have another one.
    pub(super) fn push(&mut self, job: Job) {
        match job.stage {
            Stage::LookUp => self.lookups.push_back(job),
            Stage::Load if job.is_long => self.long.push_back(job),
            Stage::Load => self.short.push_back(job),
        }
    }

    /// Removes and returns the next job that may run now; it counts as running until it is
    /// [finished](Self::finished). For a load that starts for the first time, also returns its
    /// position.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Job, Option<Position>)> {
        if self.count(Stage::LookUp) < self.capacity.lookups
            && let Some(job) = self.lookups.pop_front()
        {
            self.run(&job, now);
            return Some((job, None));
        }
        let job = self.next_load(now)?;
        self.run(&job, now);
        if job.is_long {
            return Some((job, None));
        }
        self.begun += 1;
        let position = Position {
            number: self.begun,
            of: self.begun + self.short.len(),
        };
        Some((job, Some(position)))
    }

    fn next_load(&mut self, now: Instant) -> Option<Job> {
        if self.starting {
            let is_looked_for = |running: &Running| {
                running.stage == Stage::LookUp && now < running.since + LOOKUP_PATIENCE
            };
            if self.running.iter().any(is_looked_for) {
                return None;
            }
            self.starting = false;
        }
        let running = self.permits();
        if running >= self.capacity.loads {
            return None;
        }
        let long = |one: &&Running| one.is_long && !one.cancel.is_waiting();
        let long_running = self.running.iter().filter(long).count();
        if (long_running < self.capacity.long || self.is_long_due())
            && let Some(job) = self.long.pop_front()
        {
            return Some(job);
        }
        if let Some(job) = self.short.pop_front() {
            self.passed += usize::from(!self.long.is_empty());
            return Some(job);
        }
        // Keep one permit for the next short load, which then need not cancel this one, unless it
        // is the only one.
        if running + 1 < self.capacity.loads || self.capacity.loads == 1 {
            return self.long.pop_front();
        }
        None
    }

    /// Returns whether long loads, which have no reserved permit, have waited for enough short
    /// ones.
    fn is_long_due(&self) -> bool {
        self.capacity.long == 0 && self.passed >= MAX_PASSED
    }

    fn run(&mut self, job: &Job, now: Instant) {
        self.running.push(Running {
            shape: job.shape.clone(),
            stage: job.stage,
            since: now,
            is_long: job.is_long && job.stage == Stage::Load,
            cancel: job.cancel.clone(),
        });
    }

    /// Records that the job of this route has ended. Returns whether it was a long load.
    pub(super) fn finished(&mut self, shape: &Shape) -> bool {
        let at = self.running.iter().position(|one| one.shape == *shape);
        let ended = at.map(|at| self.running.swap_remove(at));
        let was_long = ended.as_ref().is_some_and(|one| one.is_long);
        if ended.is_some_and(|one| one.is_long && !one.cancel.is_cancelled()) {
            self.passed = 0;
        }
        if self.count(Stage::Load) + self.short.len() + self.long.len() == 0 {
            self.begun = 0;
        }
        was_long
    }

    /// Marks the loads that have run for a slice as long and returns their routes. Cancels loads
    /// that must be preempted.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<Shape> {
        let mut long = Vec::new();
        for one in &mut self.running {
            if one.cancel.is_waiting() {
                one.since = now;
            }
            if one.stage == Stage::Load && !one.is_long && one.since + SLICE <= now {
                one.is_long = true;
                long.push(one.shape.clone());
            }
        }
        self.make_way();
        long
    }

    /// Cancels long loads that use permits for which short ones wait.
    fn make_way(&mut self) {
        let loads = || self.running.iter().filter(|one| one.stage == Stage::Load);
        let ending = loads().filter(|one| one.cancel.is_cancelled()).count();
        let free = self.capacity.loads.saturating_sub(self.permits());
        let wanted = self.short.len().saturating_sub(free + ending);
        let mut long: Vec<&Running> = loads()
            .filter(|one| one.is_long && !one.cancel.is_cancelled() && !one.cancel.is_waiting())
            .collect();
        long.sort_by_key(|one| one.since);
        let own = self.capacity.long + usize::from(self.is_long_due());
        let spare = long.into_iter().skip(own);
        spare.rev().take(wanted).for_each(|one| one.cancel.cancel());
    }

    /// Returns when to [advance](Self::advance), or to request the [next](Self::next) job, if
    /// nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |one: &Running| match one.stage {
            Stage::LookUp if self.starting => Some(one.since + LOOKUP_PATIENCE),
            Stage::Load if !one.is_long && !one.cancel.is_waiting() => Some(one.since + SLICE),
            Stage::LookUp | Stage::Load => None,
        };
        self.running.iter().filter_map(due).min()
    }

    /// Cancels the route's load if one is running. Returns whether it did: false also if it is
    /// already cancelled.
    pub(super) fn cancel(&self, shape: &Shape) -> bool {
        let is_it = |one: &&Running| {
            one.shape == *shape && one.stage == Stage::Load && !one.cancel.is_cancelled()
        };
        let load = self.running.iter().find(is_it);
        load.inspect(|load| load.cancel.cancel()).is_some()
    }

    /// Removes the route's job if it is waiting. Returns whether it did.
    pub(super) fn remove(&mut self, shape: &Shape) -> bool {
        let mut removed = false;
        for jobs in [&mut self.lookups, &mut self.short, &mut self.long] {
            let before = jobs.len();
            jobs.retain(|job| job.shape != *shape);
            removed |= jobs.len() < before;
        }
        removed
    }

    /// Removes all waiting jobs.
    pub(super) fn take_all(&mut self) -> Vec<Job> {
        let jobs = [&mut self.lookups, &mut self.short, &mut self.long];
        jobs.into_iter().flat_map(std::mem::take).collect()
    }

    /// Changes the numbers of concurrent jobs.
    pub(super) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// Cancels all running jobs.
    pub(super) fn cancel_all(&self) {
        self.running.iter().for_each(|one| one.cancel.cancel());
    }

    /// Returns the number of waiting jobs.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lookups.len() + self.short.len() + self.long.len()
    }

    /// Returns the number of permits that loads use.
    fn permits(&self) -> usize {
        let waits = |one: &&Running| one.stage == Stage::Load && one.cancel.is_waiting();
        let waiting = self.running.iter().filter(waits).count();
        self.count(Stage::Load) - waiting.min(MAX_WAITING)
    }

    fn count(&self, stage: Stage) -> usize {
        self.running.iter().filter(|one| one.stage == stage).count()
    }
}
