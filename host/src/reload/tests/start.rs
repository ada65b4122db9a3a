//! A startup that doesn't wait for compilation.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use super::bench::Bench;
use super::{Program, Site, Texts, eventually, reload};
use crate::published::Published;
use crate::registry::{Claim, Describe, Registry, RowState};
use crate::reload::settle::Hint;
use crate::reload::{Reload, ReloadOptions, Started, list};

/// A server's startup with a site.
struct Start {
    loader: Arc<Texts>,
    shared: Arc<Published<Registry<Program>>>,
    reload: Reload,
    started: Receiver<Started>,
}

impl Start {
    /// Starts with a loader that can be slow.
    fn on(site: &Site, loader: Arc<Texts>, start_budget: Duration) -> Start {
        let scan = list(&site.handlers(), Vec::new(), None);
        let shared = Arc::new(Published::new(scan.registry()));
        let (tell, started) = channel();
        let options = ReloadOptions {
            workers: NonZeroUsize::new(2).expect("two"),
            start_budget,
            on_started: Some(Box::new(move |how| tell.send(how).expect("somebody waits"))),
            ..ReloadOptions::default()
        };
        let reload = reload(scan, None, loader.clone(), shared.clone(), options);
        Start {
            loader,
            shared,
            reload,
            started,
        }
    }

    fn is_served(&self, name: &str) -> bool {
        self.shared.current().handler(name).is_some()
    }
}

impl Describe for Program {
    fn kind(&self) -> &str {
        "text"
    }

    fn imports(&self) -> Vec<String> {
        Vec::new()
    }
}

fn pending(registry: &Registry<Program>) -> Vec<(&str, Claim)> {
    let pending = registry.pending().iter();
    pending.map(|one| (one.name.as_str(), one.claim)).collect()
}

#[test]
fn a_start_waits_for_what_loads_in_time_and_for_nothing_else() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    site.write("handlers/slow.wasm", "slow.");
    let loader = Arc::new(Texts::default());
    let slow = loader.slow.lock().expect("no panic");
    // Returns without the slow one.
    let start = Start::on(&site, loader.clone(), Duration::from_millis(1));
    eventually("the other one is served", || start.is_served("hello"));
    assert_eq!(pending(&start.shared.current()), [("slow", Claim::Route)]);
    drop(slow);
    eventually("the slow one is served", || start.is_served("slow"));
    assert_eq!(pending(&start.shared.current()), []);
    drop(start);

    // With unlimited time, everything is loaded when it returns.
    let start = Start::on(&site, loader, Duration::from_secs(3_600));
    assert!(start.is_served("hello") && start.is_served("slow"));
    assert_eq!(start.loader.count("hello"), 2);
}

#[test]
fn that_all_are_loaded_is_told_once_and_after_the_announcement() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    site.write("handlers/broken.wasm", "brok");
    site.write("handlers/slow.wasm", "slow.");
    let loader = Arc::new(Texts::default());
    let slow = loader.slow.lock().expect("no panic");
    let start = Start::on(&site, loader.clone(), Duration::ZERO);
    start.reload.announced(Vec::new());
    eventually("what can be loaded is", || {
        let registry = start.shared.current();
        registry.handlers().len() == 1 && registry.problems().len() == 1
    });
    assert_eq!(start.started.try_recv(), Err(TryRecvError::Empty));
    drop(slow);
    let told = start.started.recv();
    assert_eq!(told, Ok(Started { failed: 1 }));
    site.replace("handlers/hello.wasm", "two.");
    eventually("it is reloaded", || start.loader.count("hello") == 2);
    assert_eq!(
        start.started.recv(),
        Err(std::sync::mpsc::RecvError),
        "once"
    );
}

#[test]
fn a_site_without_handlers_has_loaded_them_all() {
    let site = Site::bare();
    let start = Start::on(&site, Arc::default(), Duration::from_secs(3_600));
    assert_eq!(start.started.try_recv(), Err(TryRecvError::Empty));
    start.reload.announced(Vec::new());
    let told = start.started.recv();
    assert_eq!(told, Ok(Started { failed: 1 }), "there is no such folder");
}

#[test]
fn a_handler_of_the_start_claims_its_route_until_something_has_become_of_it() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    site.write("handlers/broken.wasm", "brok");
    let scan = list::<Program>(&site.handlers(), Vec::new(), None);
    let registry = scan.registry();
    let claims = [("broken", Claim::Route), ("hello", Claim::Route)];
    assert_eq!(pending(&registry), claims);
    let mut bench = Bench::at(site, scan.slots);
    bench.work();
    bench.assert_hello(
        Some("one."),
        &["handlers/broken.wasm: unexpected end at offset 4; /broken is not served"],
    );
    assert_eq!(pending(&bench.slots.registry()), []);
    assert!(bench.slots.has_started());
}

#[test]
fn a_new_file_has_what_is_left_of_its_route_while_it_is_loaded() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.replace("handlers/new.wasm", "new");
    bench.hint("new.wasm", Hint::Moved);
    bench.wait(5);
    let job = bench.look_for_job();
    assert_eq!(pending(&bench.slots.registry()), [("new", Claim::Rest)]);
    bench.finish(job);
    assert_eq!(pending(&bench.slots.registry()), [], "it is broken");

    // After a repair, it may soon be available.
    bench.site.replace("handlers/new.wasm", "new.");
    bench.hint("new.wasm", Hint::Moved);
    bench.wait(200);
    let job = bench.look_for_job();
    assert_eq!(pending(&bench.slots.registry()), [], "it may be the same");
    let done = job.done(&bench.loader);
    bench.slots.finish(done, bench.now);
    assert_eq!(pending(&bench.slots.registry()), [("new", Claim::Rest)]);
    bench.work();
    assert_eq!(pending(&bench.slots.registry()), []);
    assert_eq!(bench.text("new").as_deref(), Some("new."));
}

#[test]
fn a_version_that_serves_is_never_pending() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    bench.site.replace("handlers/hello.wasm", "two.");
    bench.hint("hello.wasm", Hint::Moved);
    bench.wait(5);
    let job = bench.look_for_job();
    let done = job.done(&bench.loader);
    bench.slots.finish(done, bench.now);
    assert_eq!(pending(&bench.slots.registry()), []);
    bench.assert_hello(Some("one."), &[]);
}

#[test]
fn the_start_says_what_is_being_compiled_and_how_long_it_took() {
    let site = Site::new();
    for file in ["admin", "shop"] {
        site.write(&format!("handlers/{file}.wasm"), "text.");
    }
    let slots = list(&site.handlers(), Vec::new(), None).slots;
    let mut bench = Bench::at(site, slots);
    // Like the thread: one stage at a time.
    while let Some(job) = bench.next_job() {
        let done = job.done(&bench.loader);
        bench.slots.finish(done, bench.now);
    }
    let changes = std::mem::take(&mut bench.slots.changes);
    let [first, second, loaded @ ..] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(first, "compiling admin.wasm (1 of 2) …");
    assert!(
        second.starts_with("admin: loaded, serves /admin ("),
        "{second}"
    );
    assert_eq!(loaded[0], "compiling shop.wasm (2 of 2) …");
    assert!(
        loaded[1].starts_with("shop: loaded, serves /shop ("),
        "{}",
        loaded[1]
    );
    assert!(loaded[1].ends_with(" ms)"), "{}", loaded[1]);

    // Later, a load is one line.
    bench.site.replace("handlers/shop.wasm", "another text.");
    bench.settle();
    let changes = &bench.slots.changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].starts_with("shop: reloaded ("), "{changes:?}");
}

#[test]
fn a_load_that_takes_long_says_so_once() {
    let mut bench = Bench::new(&[("hello.wasm", "one.")]);
    for file in ["hello", "new"] {
        bench.site.replace(&format!("handlers/{file}.wasm"), "two.");
        bench.hint(&format!("{file}.wasm"), Hint::Moved);
    }
    bench.wait(5);
    bench.look();
    let jobs = [bench.next_load(), bench.next_load()];
    bench.slots.changes.clear();
    for _ in 0..3 {
        bench.wait(2_000);
        assert!(bench.next_job().is_none());
    }
    let folder = bench.site.handlers().display().to_string();
    let mut told: Vec<String> = bench.slots.changes.drain(..).collect();
    told.sort();
    let line = |file, meanwhile| {
        format!("{folder}/{file}.wasm: still compiling after 2 s; until then {meanwhile}")
    };
    let hello = line("hello", "the previous version serves /hello");
    assert_eq!(told, [hello, line("new", "/new answers 503")]);
    for job in jobs {
        bench.finish(job);
    }
    assert_eq!(bench.text("new").as_deref(), Some("two."));
}

#[test]
fn the_route_table_says_what_is_not_loaded_yet() {
    let site = Site::new();
    site.write("handlers/shop.wasm", "one.");
    let table = list::<Program>(&site.handlers(), Vec::new(), None)
        .registry()
        .route_table();
    assert_eq!(table.rows[0].state, RowState::Loading);
    assert!(
        table
            .to_string()
            .ends_with("shop.wasm  -  not loaded yet\n"),
        "{table}"
    );
    assert_eq!(table.json()["routes"][0]["state"], "loading");
}
