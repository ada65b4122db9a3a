//! The order of loads in simulated time: jobs take as long as the test says.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::bench::{CAPACITY, MS};
use crate::reload::CancelToken;
use crate::reload::load::{Job, Stage};
use crate::reload::queue::{Capacity, Position, Queue, SLICE};
use crate::router::Route;

const SECOND: Duration = Duration::from_secs(1);

impl Job {
    /// Creates a job for tests, for the file `<stem>.wasm`.
    fn example(stem: &str, stage: Stage) -> Job {
        let route = Route::parse(stem).expect("a route");
        Job {
            path: format!("/handlers/{stem}.wasm").into(),
            file: format!("{stem}.wasm"),
            name: stem.to_owned(),
            shape: route.shape(),
            route,
            serving: None,
            failed: None,
            overdue: false,
            stage,
            is_long: false,
            cancel: CancelToken::new(),
            seen_at: Instant::now(),
            looked_up: Duration::ZERO,
        }
    }
}

#[test]
fn loads_that_wait_for_another_one_use_no_permit_and_no_time() {
    let mut queue = Queue::new(Capacity {
        lookups: 1,
        loads: 2,
        long: 1,
    });
    let begun = Instant::now();
    for stem in ["compiles", "a", "b", "c", "other"] {
        queue.push(Job::example(stem, Stage::Load));
    }
    let next = |queue: &mut Queue| queue.next(begun).map(|(job, _)| job);
    let compiles = next(&mut queue).expect("it is first");
    let mut waiting = Vec::new();
    for stem in ["a", "b", "c"] {
        let job = next(&mut queue).expect("the others use no permit");
        assert_eq!(job.name, stem);
        waiting.push((job.cancel.wait_for_another_load(), job));
    }
    let other = next(&mut queue).expect("a permit is left");
    assert_eq!(other.name, "other");
    queue.push(Job::example("late", Stage::Load));
    assert!(next(&mut queue).is_none(), "none is left");
    // Only those that run become long, and only one of them makes way.
    let later = begun + 5 * SLICE;
    assert_eq!(queue.advance(later), [compiles.shape, other.shape]);
    assert!(waiting.iter().all(|(_, job)| !job.cancel.is_cancelled()));
    // After its wait, a load is a short one, for a slice.
    let (waits, job) = waiting.remove(0);
    drop(waits);
    assert!(queue.advance(later + SLICE / 2).is_empty());
    assert_eq!(queue.advance(later + SLICE), [job.shape]);
}

/// A queue, and loads that run on a simulated clock.
struct Simulation {
    queue: Queue,
    begun: Instant,
    now: Instant,
    costs: HashMap<String, Duration>,
    running: Vec<(Job, Instant)>,
    /// The loads that have ended, and when.
    done: Vec<(String, Duration)>,
    /// How often each load was cancelled.
    cancelled: HashMap<String, u32>,
    most_at_once: usize,
}

impl Simulation {
    fn new(capacity: Capacity) -> Simulation {
        let now = Instant::now();
        Simulation {
            queue: Queue::new(capacity),
            begun: now,
            now,
            costs: HashMap::new(),
            running: Vec::new(),
            done: Vec::new(),
            cancelled: HashMap::new(),
            most_at_once: 0,
        }
    }

    /// Queues the load of a file that takes this long.
    fn add(&mut self, stem: &str, cost: Duration) {
        self.costs.insert(stem.to_owned(), cost);
        self.queue.push(Job::example(stem, Stage::Load));
    }

    /// Runs the simulation until this much time has passed since the start.
    fn run_until(&mut self, elapsed: Duration) {
        let end = self.begun + elapsed;
        loop {
            self.happen();
            let ends = self.running.iter().map(|(_, ends)| *ends);
            let due = ends.chain(self.queue.next_due()).min();
            match due {
                Some(due) if due <= end => self.now = due,
                _ => break,
            }
        }
        self.now = end;
    }

    /// Runs the current instant: loads end, others are cancelled, and the next ones start.
    fn happen(&mut self) {
        let now = self.now;
        for (job, _) in self.running.extract_if(.., |(_, ends)| *ends <= now) {
            self.queue.finished(&job.shape);
            self.done.push((job.name, now - self.begun));
        }
        self.queue.advance(now);
        let gave_way = self
            .running
            .extract_if(.., |(job, _)| job.cancel.is_cancelled());
        for (job, _) in gave_way {
            *self.cancelled.entry(job.name.clone()).or_default() += 1;
            self.queue.finished(&job.shape);
            self.queue.push(job.again());
        }
        while let Some((job, _)) = self.queue.next(now) {
            let cost = self.costs[&job.name];
            self.running.push((job, now + cost));
        }
        self.most_at_once = self.most_at_once.max(self.running.len());
    }

    fn ended(&self, stem: &str) -> Option<Duration> {
        let (_, at) = self.done.iter().find(|(name, _)| name == stem)?;
        Some(*at)
    }
}

#[test]
fn two_files_that_compile_for_minutes_hold_up_twenty_others_for_a_slice() {
    let mut loads = Simulation::new(CAPACITY);
    for stem in ["bad1", "bad2"] {
        loads.add(stem, 600 * SECOND);
    }
    for number in 0..20 {
        loads.add(&format!("good{number}"), 300 * MS);
    }
    loads.run_until(3_600 * SECOND);
    for number in 0..20 {
        let ended = loads.ended(&format!("good{number}")).expect("loaded");
        assert!(
            ended <= SLICE + 300 * MS * (number + 1),
            "{number}: {ended:?}"
        );
    }
    // The slow ones make progress as well: one has run all the time.
    assert_eq!(loads.ended("bad1"), Some(600 * SECOND));
    assert_eq!(loads.ended("bad2"), Some(1_200 * SECOND));
    assert_eq!(loads.cancelled, HashMap::from([("bad2".to_owned(), 1)]));
}

#[test]
fn a_load_that_is_long_goes_on_while_nobody_waits() {
    let mut loads = Simulation::new(CAPACITY);
    for stem in ["one", "two"] {
        loads.add(stem, 60 * SECOND);
    }
    loads.run_until(3_600 * SECOND);
    assert_eq!(loads.ended("one"), Some(60 * SECOND));
    assert_eq!(loads.ended("two"), Some(60 * SECOND));
    assert!(loads.cancelled.is_empty());
}

#[test]
fn a_load_that_gave_way_is_not_begun_where_the_next_short_one_would_cancel_it_again() {
    let mut loads = Simulation::new(CAPACITY);
    for stem in ["one", "two"] {
        loads.add(stem, 60 * SECOND);
    }
    for at in 0..50 {
        loads.run_until(SECOND * at);
        loads.add(&format!("short{at}"), 100 * MS);
    }
    loads.run_until(3_600 * SECOND);
    assert_eq!(loads.cancelled, HashMap::from([("two".to_owned(), 1)]));
    assert_eq!(loads.ended("one"), Some(60 * SECOND));
    assert_eq!(loads.ended("two"), Some(120 * SECOND));
}

#[test]
fn long_loads_end_under_short_ones_that_never_end() {
    let mut loads = Simulation::new(CAPACITY);
    loads.add("long", 10 * SECOND);
    // Twice the capacity of all permits.
    for at in 0..1_000 {
        loads.run_until(50 * MS * at);
        for number in 0..2 {
            loads.add(&format!("short{at}x{number}"), 100 * MS);
        }
    }
    assert_eq!(loads.ended("long"), Some(10 * SECOND));
    assert!(loads.cancelled.is_empty());
}

#[test]
fn a_cancelled_load_gives_its_permit_back_when_it_has_ended_and_no_other_is_cancelled_for_it() {
    let mut queue = Queue::new(Capacity {
        lookups: 2,
        loads: 3,
        long: 1,
    });
    let start = Instant::now();
    for stem in ["one", "two", "three"] {
        queue.push(Job::example(stem, Stage::Load));
    }
    let jobs: Vec<Job> = (0..3)
        .map(|_| queue.next(start).expect("a permit").0)
        .collect();
    let cancelled = || {
        jobs.iter()
            .map(|job| job.cancel.is_cancelled())
            .collect::<Vec<_>>()
    };
    queue.push(Job::example("short", Stage::Load));
    queue.advance(start + SLICE - MS);
    assert_eq!(cancelled(), [false, false, false]);
    for later in [SLICE, SLICE + SECOND] {
        let long = queue.advance(start + later);
        assert_eq!(long.len(), if later == SLICE { 3 } else { 0 });
        assert_eq!(cancelled(), [false, false, true]);
        assert!(queue.next(start + later).is_none());
    }
    queue.finished(&jobs[2].shape);
    let (job, _) = queue.next(start + SLICE).expect("a permit");
    assert_eq!(job.name, "short");
}

#[test]
fn with_one_permit_a_long_load_gives_way_to_some_short_ones_and_then_runs_to_its_end() {
    let mut loads = Simulation::new(Capacity::new(1, 1));
    loads.add("long", 10 * SECOND);
    loads.run_until(3 * SECOND);
    // One arrives every two seconds, so the long load never has ten in a row.
    for number in 0..40 {
        let name = format!("short{number}");
        loads.add(&name, SECOND / 2);
        loads.run_until((3 + 2 * (number + 1)) * SECOND);
        if number == 0 {
            assert!(loads.ended(&name).is_some(), "it does not wait");
        }
    }
    let ended = loads.ended("long").expect("it ends");
    assert!(ended < 40 * SECOND, "{ended:?}");
    assert_eq!(loads.cancelled["long"], 8);
    loads.run_until(3_600 * SECOND);
    assert_eq!(loads.done.len(), 41);
}

#[test]
fn no_more_run_at_once_than_there_are_permits() {
    for loads in [1, 2, 3, 8, 64] {
        let permits = Capacity::new(2, loads);
        assert!(permits.long < permits.loads, "{permits:?}");
        assert_eq!(permits.long == 0, loads == 1, "{permits:?}");
        let mut loads = Simulation::new(permits);
        for number in 0..100 {
            loads.add(&format!("h{number}"), SECOND * (number % 7));
        }
        loads.run_until(3_600 * SECOND);
        assert_eq!(loads.done.len(), 100);
        assert_eq!(loads.most_at_once, permits.loads);
    }
}

#[test]
fn what_is_to_be_looked_up_never_waits_for_loads() {
    let mut queue = Queue::new(CAPACITY);
    let now = Instant::now();
    for stem in ["one", "two", "three"] {
        queue.push(Job::example(stem, Stage::Load));
    }
    while queue.next(now).is_some() {}
    for stem in ["cached", "more", "last"] {
        queue.push(Job::example(stem, Stage::LookUp));
    }
    let next = |queue: &mut Queue| queue.next(now).map(|(job, _)| job.name);
    assert_eq!(next(&mut queue).as_deref(), Some("cached"));
    assert_eq!(next(&mut queue).as_deref(), Some("more"));
    assert_eq!(next(&mut queue), None, "as many as there are permits");
    queue.finished(&Job::example("more", Stage::LookUp).shape);
    assert_eq!(next(&mut queue).as_deref(), Some("last"));
}

#[test]
fn the_first_loads_wait_until_it_is_known_how_many_there_are() {
    let mut queue = Queue::new(CAPACITY);
    let now = Instant::now();
    for stem in ["cached", "one", "two"] {
        queue.push(Job::example(stem, Stage::LookUp));
    }
    while let Some((job, position)) = queue.next(now) {
        assert_eq!((job.stage, position), (Stage::LookUp, None));
    }
    for stem in ["cached", "one"] {
        queue.finished(&Job::example(stem, Stage::LookUp).shape);
    }
    queue.push(Job::example("one", Stage::Load));
    let (last, _) = queue.next(now).expect("a look-up");
    assert!(queue.next(now).is_none(), "another may be found");
    queue.finished(&last.shape);
    queue.push(Job::example("two", Stage::Load));
    for number in 1..=2 {
        let (_, position) = queue.next(now).expect("a load");
        assert_eq!(position, Some(Position { number, of: 2 }));
    }
}

#[test]
fn a_look_up_that_takes_long_holds_up_no_load() {
    let mut queue = Queue::new(CAPACITY);
    let now = Instant::now();
    queue.push(Job::example("hangs", Stage::LookUp));
    assert!(queue.next(now).is_some());
    queue.push(Job::example("one", Stage::Load));
    assert!(queue.next(now).is_none());
    let due = queue.next_due().expect("something to wait for");
    let (job, _) = queue.next(due).expect("a load");
    assert_eq!(job.name, "one");
}

#[test]
fn a_route_whose_load_was_long_comes_behind_those_that_may_be_short() {
    let mut queue = Queue::new(CAPACITY);
    let now = Instant::now();
    queue.push(Job {
        is_long: true,
        ..Job::example("one", Stage::Load)
    });
    queue.push(Job {
        is_long: true,
        ..Job::example("two", Stage::Load)
    });
    queue.push(Job::example("short", Stage::Load));
    let mut order = Vec::new();
    while let Some((job, _)) = queue.next(now) {
        order.push(job.name);
    }
    // The permit for long loads is in use; the other one is reserved for short ones.
    assert_eq!(order, ["one", "short"]);
    queue.finished(&Job::example("short", Stage::Load).shape);
    assert!(queue.next(now).is_none());
}
