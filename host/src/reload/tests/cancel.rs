//! Loads that are cancelled because their file has changed, in simulated time.

use std::time::Duration;

use super::bench::Bench;
use crate::reload::load::{Done, Job, Outcome, Stage};
use crate::reload::settle::Hint;

impl Bench {
    /// Replaces `hello` with a new version, and waits until that is noticed.
    fn replace_hello(&mut self, text: &str) {
        self.site.replace("handlers/hello.wasm", text);
        self.hint("hello.wasm", Hint::Moved);
        self.wait(5);
        self.look();
    }

    /// Returns the next load. Files that are looked up before are unknown.
    pub(super) fn next_load(&mut self) -> Job {
        loop {
            let job = self.next_job().expect("a job");
            if job.stage == Stage::Load {
                return job;
            }
            let done = job.done(&self.loader);
            assert!(matches!(done.outcome, Outcome::Unknown));
            self.slots.finish(done, self.now);
        }
    }

    fn end_cancelled(&mut self, job: Job) {
        assert!(job.cancel.is_cancelled());
        let outcome = Outcome::Cancelled;
        self.slots.finish(Done::unread(job, outcome), self.now);
    }
}

#[test]
fn a_newer_version_cancels_the_load_under_way() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.replace_hello("two.");
    let job = bench.next_load();
    assert!(!job.cancel.is_cancelled());
    bench.replace_hello("three.");
    bench.end_cancelled(job);
    bench.settle();
    bench.assert_hello(Some("three."), &[]);
    assert_eq!(bench.loader.count("hello"), 2, "two. was never loaded");
}

#[test]
fn a_load_that_ends_before_it_hears_of_the_cancel_is_served() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.replace_hello("two.");
    let job = bench.next_load();
    let done = job.done(&bench.loader);
    bench.replace_hello("three.");
    assert!(done.job.cancel.is_cancelled());
    bench.slots.finish(done, bench.now);
    bench.assert_hello(Some("two."), &[]);
    bench.settle();
    bench.assert_hello(Some("three."), &[]);
}

#[test]
fn a_touch_that_changes_nothing_cancels_nothing() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.replace_hello("two.");
    let job = bench.next_load();
    bench.hint("hello.wasm", Hint::Written);
    bench.wait(20);
    bench.look();
    bench.slots.doubt_everything();
    bench.look();
    bench.wait(60);
    bench.look();
    assert!(!job.cancel.is_cancelled());
    bench.finish(job);
    bench.settle();
    bench.assert_hello(Some("two."), &[]);
}

#[test]
fn a_file_that_goes_away_cancels_its_load_or_leaves_the_queue() {
    let mut bench = Bench::new(&[]);
    bench.replace_hello("one.");
    let job = bench.next_load();
    bench.site.remove("handlers/hello.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.wait(60);
    bench.look();
    bench.end_cancelled(job);
    bench.settle();
    bench.assert_hello(None, &[]);
    assert!(bench.slots.registry().pending().is_empty());

    bench.replace_hello("one.");
    assert_eq!(bench.slots.registry().pending().len(), 1);
    bench.site.remove("handlers/hello.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.wait(60);
    bench.look();
    assert!(!bench.has_jobs());
    assert!(bench.slots.registry().pending().is_empty());
    assert_eq!(bench.loader.count("hello"), 0);
}

#[test]
fn a_file_that_is_rewritten_faster_than_it_compiles_is_served() {
    const COMPILES_MS: u32 = 1_000;
    let mut bench = Bench::new(&[]);
    let mut load: Option<(Job, u32)> = None;
    let mut served = Vec::new();
    let mut cancelled = 0;
    // A minute, in steps of 10 ms; a new version every 150 ms.
    for step in 0..6_000 {
        let now_ms = step * 10;
        if now_ms % 150 == 0 {
            let text = format!("version of {now_ms} ms.");
            bench.site.replace("handlers/hello.wasm", &text);
            bench.hint("hello.wasm", Hint::Moved);
        }
        bench.wait(10);
        bench.look();
        if let Some((job, _)) = load.take_if(|(job, _)| job.cancel.is_cancelled()) {
            cancelled += 1;
            bench.end_cancelled(job);
        }
        if let Some((job, _)) = load.take_if(|(_, ends_ms)| *ends_ms <= now_ms) {
            bench.finish(job);
            served.extend(bench.text("hello"));
        }
        while let Some(job) = bench.next_job() {
            match job.stage {
                Stage::LookUp => {
                    let done = job.done(&bench.loader);
                    bench.slots.finish(done, bench.now);
                }
                Stage::Load => load = Some((job, now_ms + COMPILES_MS)),
            }
        }
    }
    // Three that are cancelled after 150 ms each, and one that completes: some 1.6 s.
    assert!((30..=40).contains(&served.len()), "{}", served.len());
    assert!(cancelled <= 3 * (served.len() + 1), "{cancelled}");
    served.dedup();
    assert!(served.len() >= 30, "each is a newer one");
}

#[test]
fn a_load_that_gave_way_is_loaded_again_from_the_file_as_it_is_then() {
    let mut bench = Bench::new(&[]);
    for file in ["hello", "other", "third"] {
        bench.site.write(&format!("handlers/{file}.wasm"), "text.");
        bench.hint(&format!("{file}.wasm"), Hint::Moved);
    }
    bench.wait(5);
    bench.look();
    let mut running = vec![bench.next_load(), bench.next_load()];
    bench.now += Duration::from_secs(2);
    assert!(
        bench
            .next_job()
            .is_none_or(|job| job.stage == Stage::LookUp)
    );
    bench.slots.advance(bench.now);
    let at = running.iter().position(|job| job.cancel.is_cancelled());
    let job = running.swap_remove(at.expect("one gives way"));
    let name = job.name.clone();
    bench
        .site
        .write(&format!("handlers/{name}.wasm"), "later text.");
    bench.end_cancelled(job);
    for job in running {
        bench.finish(job);
    }
    bench.work();
    bench.settle();
    assert_eq!(bench.text(&name).as_deref(), Some("later text."));
    assert_eq!(bench.slots.registry().handlers().len(), 3);
    assert_eq!(bench.problems(), [""; 0]);
}
