//! Programs that are served before their deferred work is done.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Program, Site, Texts, eventually, reload};
use crate::published::Published;
use crate::registry::{Registry, Version};
use crate::reload::options::STOP_PATIENCE;
use crate::reload::{Later, Load, LoadRequest, Reload, ReloadOptions, Renewal, list};

/// A loader that defers work for each program: the work waits while a test holds `gate`.
#[derive(Default)]
struct Keeper {
    texts: Texts,
    gate: Arc<Mutex<()>>,
    has_kept: Arc<AtomicBool>,
    /// The work panics.
    panics: bool,
}

impl Load for Keeper {
    type Program = Program;

    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Program> {
        let (gate, has_kept, panics) = (self.gate.clone(), self.has_kept.clone(), self.panics);
        request.later.put(move || {
            drop(gate.lock());
            assert!(!panics, "work that panics");
            thread::sleep(Duration::from_millis(50));
            has_kept.store(true, Ordering::Relaxed);
            Renewal::Recall
        });
        self.texts.load(request)
    }

    fn recall(&self, _path: &Path, _version: Version) -> Option<Program> {
        let program = || Program {
            text: "recalled.".to_owned(),
            drops: Arc::default(),
        };
        self.has_kept.load(Ordering::Relaxed).then(program)
    }
}

/// Starts to reload a site whose handler `hello` is at its first version, and waits until that is
/// served.
fn serve(loader: &Arc<Keeper>) -> (Site, Reload, Arc<Published<Registry<Program>>>) {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    let scan = list(&site.handlers(), Vec::new(), None);
    let shared = Arc::new(Published::new(scan.registry()));
    let options = ReloadOptions::default();
    let reload = reload(scan, None, loader.clone(), shared.clone(), options);
    eventually("it is served", || is_served(&shared, "one."));
    (site, reload, shared)
}

fn is_served(shared: &Published<Registry<Program>>, text: &str) -> bool {
    let registry = shared.current();
    let hello = registry.handler("hello");
    hello.is_some_and(|hello| hello.program.text == text)
}

/// Waits until a program is renewed, and checks that its version is that of `content`.
#[track_caller]
fn expect_renewal(shared: &Published<Registry<Program>>, content: &[u8]) {
    eventually("it is renewed", || is_served(shared, "recalled."));
    let registry = shared.current();
    let hello = registry.handler("hello").expect("it is there");
    assert_eq!(hello.version, Version::from_content(content));
}

#[test]
fn a_program_is_served_before_what_was_left_for_later_is_done_and_renewed_after() {
    let loader = Arc::new(Keeper::default());
    let gate = loader.gate.lock().expect("no panic");
    let (_site, reload, shared) = serve(&loader);
    assert!(!loader.has_kept.load(Ordering::Relaxed));
    drop(gate);
    expect_renewal(&shared, b"one.");
    drop(reload);
}

#[test]
fn a_version_that_was_replaced_meanwhile_is_not_renewed() {
    let loader = Arc::new(Keeper::default());
    let gate = loader.gate.lock().expect("no panic");
    let (site, reload, shared) = serve(&loader);
    site.replace("handlers/hello.wasm", "two.");
    eventually("the next is served", || is_served(&shared, "two."));
    drop(gate);
    expect_renewal(&shared, b"two.");
    drop(reload);
}

#[test]
fn work_that_panics_costs_its_renewal_and_nothing_else() {
    let loader = Arc::new(Keeper {
        panics: true,
        ..Keeper::default()
    });
    let (site, reload, shared) = serve(&loader);
    site.replace("handlers/hello.wasm", "two.");
    eventually("the next is served", || is_served(&shared, "two."));
    drop(reload);
}

#[test]
fn a_stop_waits_for_what_was_left_for_later() {
    let loader = Arc::new(Keeper::default());
    let gate = loader.gate.lock().expect("no panic");
    let (_site, reload, _shared) = serve(&loader);
    thread::scope(|scope| {
        let stops = scope.spawn(|| drop(reload));
        drop(gate);
        stops.join().expect("it stops");
        assert!(loader.has_kept.load(Ordering::Relaxed));
    });
}

#[test]
fn a_stop_at_once_does_not_wait() {
    let loader = Arc::new(Keeper::default());
    let gate = loader.gate.lock().expect("no panic");
    let (_site, reload, _shared) = serve(&loader);
    reload.hurry();
    let begun = Instant::now();
    drop(reload);
    assert!(begun.elapsed() < STOP_PATIENCE);
    drop(gate);
}

#[test]
fn work_is_done_once() {
    let later = Later::default();
    assert_eq!(later.run(), Renewal::Unneeded);
    later.put(|| Renewal::Recall);
    assert_eq!(later.run(), Renewal::Recall);
    assert_eq!(later.run(), Renewal::Unneeded);
}
