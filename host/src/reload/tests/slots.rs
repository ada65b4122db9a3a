//! The decisions of the reloader in simulated time: no threads, watches or waiting.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::bench::Bench;
use super::{Site, Texts};
use crate::reload::load::{Done, Outcome};
use crate::reload::scan_once;
use crate::reload::settle::Hint;
use crate::reload::slots::{Difference, Trust};

#[test]
fn a_file_that_is_moved_in_is_loaded_when_it_has_settled() {
    let mut bench = Bench::new(&[]);
    bench.site.replace("handlers/hello.wasm", "one.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.look();
    assert!(!bench.has_jobs(), "too early");
    bench.wait(5);
    let job = bench.look_for_job();
    bench.finish(job);
    bench.assert_hello(Some("one."), &[]);
    assert_eq!(bench.slots.next_due(), None);
}

#[test]
fn a_change_that_nothing_announced_must_look_the_same_twice() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.write("handlers/hello.wasm", "tw");
    bench.look();
    bench.wait(60);
    // In the meantime the rest was written, again without an event.
    bench.site.write("handlers/hello.wasm", "two, longer.");
    bench.look();
    assert!(!bench.has_jobs());
    bench.wait(60);
    let job = bench.look_for_job();
    bench.finish(job);
    bench.assert_hello(Some("two, longer."), &[]);
    assert_eq!(bench.loader.count("hello"), 2);
}

#[test]
fn an_announced_change_is_read_even_if_the_file_looks_the_same() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.hint("hello.wasm", Hint::Written);
    bench.settle();
    // Read and found to be the same: not loaded.
    assert_eq!(bench.loader.count("hello"), 1);
    bench.assert_hello(Some("one."), &[]);
}

#[test]
fn an_editor_that_removes_and_creates_never_withdraws_the_route() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.remove("handlers/hello.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.wait(30);
    bench.look();
    bench.assert_hello(Some("one."), &[]);
    bench.site.write("handlers/hello.wasm", "two.");
    bench.hint("hello.wasm", Hint::Touched);
    bench.hint("hello.wasm", Hint::Written);
    bench.settle();
    bench.assert_hello(Some("two."), &[]);
}

#[test]
fn a_file_that_stays_away_is_withdrawn_and_its_program_let_go_after_the_last_request() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    let request = bench.served("hello").expect("hello");
    bench.site.remove("handlers/hello.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.settle();
    bench.assert_hello(None, &[]);
    assert_eq!(request.program.text, "one.");
    let drops = Arc::clone(&bench.loader.drops);
    drop(request);
    assert!(drops.lock().expect("no panic").is_empty(), "on a reactor");
    bench.look();
    assert_eq!(drops.lock().expect("no panic").len(), 1);
}

#[test]
fn a_removal_that_nothing_announced_is_noticed_too() {
    let mut bench = Bench::new(&[("hello.wasm", "one."), ("other.wasm", "other.")]);
    bench.site.remove("handlers/hello.wasm");
    bench.look();
    bench.assert_hello(Some("one."), &[]);
    bench.settle();
    bench.assert_hello(None, &[]);
    assert!(bench.served("other").is_some());
}

#[test]
fn a_broken_file_keeps_the_last_good_version() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    let broken = "handlers/hello.wasm: unexpected end at offset 3; the previous version still \
                  serves /hello";
    bench.site.replace("handlers/hello.wasm", "two");
    bench.hint("hello.wasm", Hint::Moved);
    bench.settle();
    bench.assert_hello(Some("one."), &[broken]);

    // Unchanged bytes: not tried, and the problem is unchanged.
    let before = bench.slots.registry();
    bench.site.replace("handlers/hello.wasm", "two");
    bench.hint("hello.wasm", Hint::Moved);
    bench.settle();
    assert_eq!(bench.loader.count("hello"), 2);
    assert_eq!(bench.slots.difference(&before), Difference::None);

    // Other bytes with the same mistake: a new problem with the same text.
    bench.site.replace("handlers/hello.wasm", "owt");
    bench.hint("hello.wasm", Hint::Moved);
    bench.settle();
    bench.assert_hello(Some("one."), &[broken]);
    assert_eq!(bench.slots.difference(&before), Difference::Served);

    // Back to the served version: not loaded again.
    bench.site.replace("handlers/hello.wasm", "one.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.settle();
    bench.assert_hello(Some("one."), &[]);
    assert_eq!(bench.loader.count("hello"), 3);

    bench.site.replace("handlers/hello.wasm", "three.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.settle();
    bench.assert_hello(Some("three."), &[]);
}

#[test]
fn a_file_that_never_loaded_is_a_problem_until_it_is_gone() {
    let mut bench = Bench::new(&[("hello.wasm", "on")]);
    let broken = "handlers/hello.wasm: unexpected end at offset 2; /hello is not served";
    bench.assert_hello(None, &[broken]);
    bench.site.remove("handlers/hello.wasm");
    bench.settle();
    bench.assert_hello(None, &[]);
}

#[test]
fn a_loader_that_panics_has_failed() {
    let bench = Bench::new(&[("hello.wasm", "panic.")]);
    let broken = "handlers/hello.wasm: loading it made the loader panic; /hello is not served";
    bench.assert_hello(None, &[broken]);
}

#[test]
fn a_file_that_changes_while_it_is_loaded_is_loaded_again() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.replace("handlers/hello.wasm", "half");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    let job = bench.look_for_job();
    let done = job.done_to_end(&bench.loader);
    bench.site.replace("handlers/hello.wasm", "half and half.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    bench.look();
    assert!(!bench.has_jobs(), "two jobs for one slot");
    bench.slots.finish(done, bench.now);
    // The failed load of half a file is not reported.
    bench.assert_hello(Some("one."), &[]);
    bench.settle();
    bench.assert_hello(Some("half and half."), &[]);
}

#[test]
fn a_file_that_goes_away_while_it_is_loaded_is_withdrawn_afterwards() {
    let mut bench = Bench::new(&[]);
    bench.site.write("handlers/hello.wasm", "one.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    let job = bench.look_for_job();
    let done = job.done_to_end(&bench.loader);
    bench.site.remove("handlers/hello.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.wait(60);
    bench.look();
    bench.slots.finish(done, bench.now);
    bench.settle();
    bench.assert_hello(None, &[]);
}

#[test]
fn a_torn_read_is_repeated_after_settling() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.replace("handlers/hello.wasm", "two.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    let job = bench.look_for_job();
    let outcome = Outcome::Torn;
    bench.slots.finish(Done::unread(job, outcome), bench.now);
    bench.look();
    assert!(!bench.has_jobs(), "too early");
    bench.assert_hello(Some("one."), &[]);
    bench.settle();
    bench.assert_hello(Some("two."), &[]);
}

#[test]
fn a_file_that_never_rests_is_tried_as_it_is_and_nothing_is_said() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    let mut jobs = 0;
    for _ in 0..500 {
        bench.site.write("handlers/hello.wasm", "more and mor");
        bench.hint("hello.wasm", Hint::Touched);
        bench.wait(10);
        bench.look();
        if let Some(job) = bench.next_job() {
            assert!(job.overdue);
            jobs += 1;
            let done = job.done_to_end(&bench.loader);
            bench.hint("hello.wasm", Hint::Touched);
            bench.slots.finish(done, bench.now);
        }
        bench.assert_hello(Some("one."), &[]);
    }
    // Five seconds, with a maximum wait of two.
    assert_eq!(jobs, 2);
}

#[test]
fn loads_of_one_route_keep_a_distance() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    for number in 0..100 {
        let text = format!("number {number}.");
        bench.site.replace("handlers/hello.wasm", &text);
        bench.hint("hello.wasm", Hint::Moved);
        bench.wait(10);
        bench.look();
        bench.work();
    }
    // A second of renames, each of which settles: one load at first, and ten after the spacing.
    let loads = bench.loader.count("hello");
    assert!((10..=12).contains(&loads), "{loads}");
    bench.settle();
    bench.assert_hello(Some("number 99."), &[]);
}

#[test]
fn a_route_outlives_the_name_of_its_file() {
    let mut bench = Bench::new(&[("hello.wat", "text."), ("users/[id].wasm", "users.")]);
    bench
        .site
        .rename("handlers/hello.wat", "handlers/hello.wasm");
    bench.hint("hello.wat", Hint::Gone);
    bench.hint("hello.wasm", Hint::Moved);
    bench
        .site
        .rename("handlers/users/[id].wasm", "handlers/users/[name].wasm");
    bench.hint("users/[id].wasm", Hint::Gone);
    bench.hint("users/[name].wasm", Hint::Moved);
    bench.wait(200);
    bench.look();
    // The old versions serve until the new ones are loaded.
    assert_eq!(bench.served("hello").expect("hello").file, "hello.wat");
    assert!(bench.served("users/[id]").is_some());
    bench.settle();
    assert_eq!(bench.served("hello").expect("hello").file, "hello.wasm");
    assert!(bench.served("users/[id]").is_none());
    assert!(bench.served("users/[name]").is_some());
    assert_eq!(bench.problems(), [""; 0]);
}

#[test]
fn a_renamed_file_moves_its_route() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench
        .site
        .rename("handlers/hello.wasm", "handlers/moved.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.hint("moved.wasm", Hint::Moved);
    bench.settle();
    bench.assert_hello(None, &[]);
    assert_eq!(bench.text("moved").as_deref(), Some("one."));
}

#[test]
fn the_loser_of_a_conflict_takes_over_when_the_winner_goes() {
    let mut bench = Bench::new(&[("hello.wat", "text."), ("hello.wasm", "binary.")]);
    let conflict = "handlers/hello.wat: handlers/hello.wasm already serves /hello: rename or \
                    remove one of the two";
    bench.assert_hello(Some("binary."), &[conflict]);
    assert_eq!(bench.loader.count("hello"), 1);
    bench.site.remove("handlers/hello.wasm");
    bench.hint("hello.wasm", Hint::Gone);
    bench.wait(60);
    bench.look();
    bench.assert_hello(Some("binary."), &[]);
    bench.settle();
    bench.assert_hello(Some("text."), &[]);
}

#[test]
fn a_gate_outlives_its_version_and_its_file() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    let first = bench.served("hello").expect("hello");
    let inside = first.enter(1).expect("room");
    bench.site.replace("handlers/hello.wasm", "two.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.settle();
    let second = bench.served("hello").expect("hello");
    assert_eq!(second.program.text, "two.");
    assert!(second.enter(1).is_none(), "the old request does not count");

    bench.site.remove("handlers/hello.wasm");
    bench.settle();
    drop((first, second));
    bench.look();
    bench.site.write("handlers/hello.wasm", "three.");
    bench.settle();
    let third = bench.served("hello").expect("hello");
    assert!(third.enter(1).is_none(), "the old request does not count");
    drop(inside);
    assert!(third.enter(1).is_some());
}

#[test]
fn a_file_that_cant_be_read_is_tried_again_quietly() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.replace("handlers/hello.wasm", "two.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    let job = bench.look_for_job();
    let outcome = Outcome::Unreadable(anyhow::anyhow!("permission denied"));
    bench.slots.finish(Done::unread(job, outcome), bench.now);
    let unreadable = "handlers/hello.wasm: permission denied";
    bench.assert_hello(Some("one."), &[unreadable]);
    bench.settle();
    bench.assert_hello(Some("one."), &[unreadable]);
    // The periodic listing.
    bench.slots.doubt_the_unreadable(bench.now);
    bench.settle();
    bench.assert_hello(Some("two."), &[]);
}

#[test]
fn what_the_system_had_too_little_for_is_tried_again_after_pauses() {
    let mut bench = Bench::new(&[]);
    bench.site.write("handlers/hello.wasm", "one.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    let mut job = bench.look_for_job();
    for pause in [1_000, 2_000, 4_000] {
        let outcome = Outcome::Short(anyhow::anyhow!("no process"));
        bench.slots.finish(Done::unread(job, outcome), bench.now);
        bench.assert_hello(None, &["handlers/hello.wasm: no process: retrying later"]);
        let registry = bench.slots.registry();
        assert_eq!(registry.pending().len(), 1, "it answers 503");
        assert!(bench.slots.has_started());
        bench.wait(pause - 100);
        bench.slots.doubt_the_unreadable(bench.now);
        bench.look();
        assert!(!bench.has_jobs() && bench.slots.next_due().is_none());
        bench.wait(100);
        bench.slots.doubt_the_unreadable(bench.now);
        bench.look();
        // It must look the same a little later.
        bench.wait(60);
        job = bench.look_for_job();
    }
    bench.finish(job);
    bench.assert_hello(Some("one."), &[]);
    assert_eq!(bench.slots.registry().pending().len(), 0);
}

#[test]
fn what_was_missed_is_found_by_reading_everything() {
    let mut bench = Bench::new(&[("hello.wasm", "one."), ("other.wasm", "other.")]);
    bench.site.write("handlers/hello.wasm", "two.");
    bench.slots.doubt_everything();
    bench.settle();
    bench.assert_hello(Some("two."), &[]);
    assert_eq!(bench.loader.count("other"), 1, "its content is the same");
}

#[test]
fn a_folder_that_cant_be_listed_keeps_what_is_known_of_it() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.rename("handlers", "away");
    // A file in the folder's place differs from no folder at all.
    bench.site.write("handlers", "");
    bench.settle();
    bench.wait(10_000);
    bench.look();
    assert_eq!(bench.text("hello").as_deref(), Some("one."));
    assert_eq!(bench.problems().len(), 1);
    bench.site.remove("handlers");
    bench.settle();
    assert_eq!(bench.text("hello"), None);
}

#[test]
fn a_stray_file_is_told_when_it_has_settled_and_stays_told() {
    let mut bench = Bench::new(&[]);
    let stray = "handlers/notes.txt: not a handler (.wasm, .wat, .py or .js): move it out or start its name \
                 with '_'";
    bench.site.write("handlers/notes.txt", "");
    bench.hint("notes.txt", Hint::Touched);
    bench.look();
    bench.assert_hello(None, &[]);
    bench.settle();
    bench.assert_hello(None, &[stray]);
    // It is edited: the problem must not disappear and return.
    bench.hint("notes.txt", Hint::Touched);
    bench.look();
    bench.assert_hello(None, &[stray]);
}

#[test]
fn files_of_editors_ask_for_no_look() {
    let mut bench = Bench::new(&[]);
    for name in [
        ".hello.wasm.swp",
        "4913",
        "hello.wasm~",
        "_off.wasm",
        "x.tmp",
    ] {
        bench.hint(name, Hint::Touched);
        bench.hint(name, Hint::Written);
    }
    assert_eq!(bench.slots.next_due(), None);
    // A moved hidden name can be part of a link's path.
    bench.hint("..data", Hint::Moved);
    assert!(bench.slots.next_due().is_some());
}

#[test]
fn only_what_concerns_the_folder_is_noted() {
    let mut bench = Bench::new(&[]);
    let elsewhere = bench.site.path("html/index.html");
    bench.slots.note(&elsewhere, Hint::Written, bench.now);
    assert_eq!(bench.slots.next_due(), None);
    let site = bench.site.path("");
    bench.slots.note(&site, Hint::Moved, bench.now);
    assert!(bench.slots.next_due().is_some());
}

#[test]
fn a_link_that_is_turned_is_a_new_version() {
    let mut bench = Bench::new(&[]);
    bench.site.write("releases/1/hello.wasm", "one.");
    bench.site.write("releases/2/hello.wasm", "two.");
    let link = bench.site.path("handlers/..data");
    symlink(bench.site.path("releases/1"), &link).expect("a link");
    symlink("..data/hello.wasm", bench.site.path("handlers/hello.wasm")).expect("a link");
    bench.settle();
    bench.assert_hello(Some("one."), &[]);
    symlink(bench.site.path("releases/2"), bench.site.path("new")).expect("a link");
    bench.site.rename("new", "handlers/..data");
    bench.hint("..data", Hint::Moved);
    bench.settle();
    bench.assert_hello(Some("two."), &[]);
}

#[test]
fn going_on_from_a_scan_loads_only_what_has_changed() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "hello.");
    site.write("handlers/other.wasm", "other.");
    site.write("handlers/broken.wasm", "brok");
    site.write("handlers/notes.txt", "");
    let loader = Texts::default();
    let scan = scan_once(&site.handlers(), Vec::new(), &loader);
    let registry = scan.registry();
    assert_eq!(registry.handlers().len(), 2);
    assert_eq!(registry.problems().len(), 2);
    site.replace("handlers/other.wasm", "another.");

    let mut bench = Bench {
        slots: scan.slots,
        loader,
        // Longer than the spacing of loads.
        now: Instant::now() + Duration::from_secs(1),
        site,
    };
    bench.slots.look(Trust::AtOnce, bench.now, &mut |_| {});
    let before_anything_is_loaded = bench.slots.difference(&registry);
    assert_eq!(before_anything_is_loaded, Difference::None);
    bench.work();
    assert_eq!(bench.loader.count("hello"), 1);
    assert_eq!(bench.loader.count("broken"), 1);
    assert_eq!(bench.text("other").as_deref(), Some("another."));
    assert_eq!(bench.slots.registry().problems(), registry.problems());
}

#[test]
fn a_file_is_not_read_again_if_its_times_tell_enough() {
    let mut bench = Bench::new(&[("hello.wasm", "one."), ("broken.wasm", "brok")]);
    let an_hour = Duration::from_secs(3_600);
    let jobs = |bench: &mut Bench| {
        bench.slots.look(Trust::AtOnce, bench.now, &mut |_| {});
        let jobs = bench.slots.queue.waiting();
        bench.work();
        jobs
    };
    bench.slots.doubt_the_fresh(SystemTime::now() + an_hour);
    assert_eq!(jobs(&mut bench), 0);
    // They were changed a moment ago, or by another clock.
    for clock in [SystemTime::now(), SystemTime::now() - an_hour] {
        bench.slots.doubt_the_fresh(clock);
        assert_eq!(jobs(&mut bench), 2);
        bench.wait(1_000);
    }
    assert_eq!(bench.loader.count("hello"), 1);
    assert_eq!(bench.loader.count("broken"), 1);
}
