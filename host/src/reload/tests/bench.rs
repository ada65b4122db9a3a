//! A handlers folder, its state, and a clock that the test controls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Program, Site, Texts};
use crate::registry::Handler;
use crate::reload::load::Job;
use crate::reload::queue::Capacity;
use crate::reload::settle::Hint;
use crate::reload::slots::{Slots, Trust};

/// The capacity of a machine with two cores.
pub(super) const CAPACITY: Capacity = Capacity {
    lookups: 2,
    loads: 2,
    long: 1,
};

pub(super) const MS: Duration = Duration::from_millis(1);

/// A handlers folder, its state, and a clock.
pub(super) struct Bench {
    pub(super) site: Site,
    pub(super) loader: Texts,
    pub(super) slots: Slots<Program>,
    pub(super) now: Instant,
}

impl Bench {
    /// Creates a folder with these files, and loads them.
    pub(super) fn new(files: &[(&str, &str)]) -> Bench {
        let site = Site::new();
        for (file, text) in files {
            site.write(&format!("handlers/{file}"), text);
        }
        let slots = Slots::new(&site.handlers(), CAPACITY);
        let mut bench = Bench::at(site, slots);
        bench.slots.look(Trust::AtOnce, bench.now, &mut |_| {});
        bench.work();
        // Longer than the spacing of loads.
        bench.wait(1_000);
        bench
    }

    /// Continues from the state of a site.
    pub(super) fn at(site: Site, mut slots: Slots<Program>) -> Bench {
        slots.queue.set_capacity(CAPACITY);
        Bench {
            site,
            loader: Texts::default(),
            slots,
            now: Instant::now(),
        }
    }

    pub(super) fn wait(&mut self, ms: u32) {
        self.now += MS * ms;
    }

    pub(super) fn hint(&mut self, file: &str, hint: Hint) {
        let path = self.site.handlers().join(file);
        self.slots.note(&path, hint, self.now);
    }

    pub(super) fn look(&mut self) {
        self.slots.look(Trust::AfterAWhile, self.now, &mut |_| {});
    }

    /// Lists the folder and returns the only resulting job.
    pub(super) fn look_for_job(&mut self) -> Job {
        self.look();
        let job = self.next_job().expect("a job");
        assert!(!self.has_jobs());
        job
    }

    /// Returns the next job to run now.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        self.slots.advance(self.now);
        self.slots.next_job(self.now)
    }

    pub(super) fn has_jobs(&self) -> bool {
        self.slots.queue.waiting() > 0
    }

    /// Runs a job to its end.
    pub(super) fn finish(&mut self, job: Job) {
        let done = job.done_to_end(&self.loader);
        self.slots.finish(done, self.now);
    }

    /// Runs all jobs.
    pub(super) fn work(&mut self) {
        while let Some(job) = self.next_job() {
            self.finish(job);
        }
    }

    /// Lists and loads whenever something is due, until nothing is.
    pub(super) fn settle(&mut self) {
        self.look();
        self.work();
        for _ in 0..100 {
            let Some(due) = self.slots.next_due() else {
                return;
            };
            self.now = self.now.max(due);
            self.look();
            self.work();
        }
        panic!("it never comes to rest");
    }

    pub(super) fn served(&self, name: &str) -> Option<Arc<Handler<Program>>> {
        self.slots.registry().handler(name).cloned()
    }

    /// Returns the text of a handler's program.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        Some(self.served(name)?.program.text.clone())
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let registry = self.slots.registry();
        let folder = self.site.handlers().display().to_string();
        let lines = registry.problems().iter();
        lines
            .map(|problem| problem.to_string().replace(&folder, "handlers"))
            .collect()
    }

    /// Asserts the text of `hello` and the problems, which most tests check.
    #[track_caller]
    pub(super) fn assert_hello(&self, text: Option<&str>, problems: &[&str]) {
        assert_eq!(self.text("hello").as_deref(), text);
        assert_eq!(self.problems(), problems);
    }
}
