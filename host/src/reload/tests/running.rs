//! The complete reloader on real folders, with the kernel's events. Waits for expected results as
//! long as a busy machine needs; measures nothing.

use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Program, Site, Texts, eventually, reload};
use crate::published::Published;
use crate::registry::{ProblemKind, Registry};
use crate::reload::group::Group;
use crate::reload::thread::Reloader;
use crate::reload::watch::{WatchEvent, WatchSource};
use crate::reload::{PagesChange, Reload, ReloadOptions, scan_once};

/// Long enough that no change is found by a periodic listing: the event must report it.
const NEVER: Duration = Duration::from_secs(3_600);

/// A site that is served and watched.
struct Running {
    site: Site,
    loader: Arc<Texts>,
    shared: Arc<Published<Registry<Program>>>,
    pages: Arc<Mutex<Vec<PagesChange>>>,
    reload: Option<Reload>,
}

impl Running {
    fn start(site: Site) -> Running {
        let options = ReloadOptions {
            safety_rescan: NEVER,
            ..ReloadOptions::default()
        };
        Running::start_with(site, options)
    }

    fn start_with(site: Site, mut options: ReloadOptions) -> Running {
        let loader = Arc::new(Texts::default());
        let scan = scan_once(&site.handlers(), Vec::new(), &*loader);
        let shared = Arc::new(Published::new(scan.registry()));
        let pages: Arc<Mutex<Vec<PagesChange>>> = Arc::default();
        let told = Arc::clone(&pages);
        options.on_pages = Some(Box::new(move |change| {
            told.lock().expect("no panic").push(change);
        }));
        let for_reload = (Arc::clone(&loader), Arc::clone(&shared));
        let html = site.path("html");
        let reload = reload(scan, Some(&html), for_reload.0, for_reload.1, options);
        let running = Running {
            reload: Some(reload),
            site,
            loader,
            shared,
            pages,
        };
        running.wait_until_it_watches();
        running
    }

    /// Waits until the watches exist. They are created on the reloader's thread; an earlier change
    /// would be found without an event, by the first look.
    fn wait_until_it_watches(&self) {
        let html = self.site.path("html");
        let probe = html.join("probe");
        if html.is_dir() {
            eventually("pages are watched", || {
                fs::write(&probe, "").expect("written");
                !self.take_pages().is_empty()
            });
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let registry = self.shared.current();
        Some(registry.handler(name)?.program.text.clone())
    }

    #[track_caller]
    fn serves(&self, name: &str, text: &str) {
        eventually(text, || self.text(name).as_deref() == Some(text));
    }

    #[track_caller]
    fn withdraws(&self, name: &str) {
        eventually("withdrawn", || self.text(name).is_none());
    }

    /// Waits until the only problem is with `file`.
    #[track_caller]
    fn complains(&self, file: &str) {
        eventually(file, || {
            let registry = self.shared.current();
            let problems = registry.problems();
            problems.len() == 1 && problems[0].file.ends_with(file)
        });
    }

    fn take_pages(&self) -> Vec<PagesChange> {
        std::mem::take(&mut *self.pages.lock().expect("no panic"))
    }

    /// Waits until the change of a page is reported.
    #[track_caller]
    fn tells(&self, page: &str) {
        let page = PathBuf::from(page);
        let is_told = |change: &PagesChange| match change {
            PagesChange::Paths(paths) => paths.iter().any(|path| page.starts_with(path)),
            PagesChange::Everything | PagesChange::Replaced => false,
        };
        eventually("the page is told", || self.take_pages().iter().any(is_told));
    }
}

/// Returns a watched site with a pages folder and one handler.
fn hello() -> Running {
    let site = Site::new();
    site.write("html/index.html", "");
    site.write("handlers/hello.wasm", "one.");
    Running::start(site)
}

#[test]
fn new_changed_renamed_and_deleted_files_take_effect() {
    let running = hello();
    running.site.write("handlers/api/new.wasm", "new.");
    running.serves("api/new", "new.");
    running.site.write("handlers/hello.wasm", "two.");
    running.serves("hello", "two.");
    running
        .site
        .rename("handlers/hello.wasm", "handlers/moved.wasm");
    running.serves("moved", "two.");
    running.withdraws("hello");
    running.site.remove("handlers/moved.wasm");
    running.withdraws("moved");
    fs::remove_dir_all(running.site.path("handlers/api")).expect("removed");
    running.withdraws("api/new");
    assert_eq!(running.shared.current().problems(), []);
}

#[test]
fn every_way_to_save_is_seen_and_the_route_never_goes_away() {
    let running = hello();
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = thread::spawn({
        let (shared, stop) = (Arc::clone(&running.shared), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                let there = shared.current().handler("hello").is_some();
                assert!(there, "withdrawn while it was saved");
                thread::yield_now();
            }
        }
    });
    let site = &running.site;
    // By rename.
    site.replace("handlers/hello.wasm", "by rename.");
    running.serves("hello", "by rename.");
    // By a rename within the folder.
    site.write("handlers/.hello.new", "by rename within.");
    site.rename("handlers/.hello.new", "handlers/hello.wasm");
    running.serves("hello", "by rename within.");
    // Truncate and write.
    site.write("handlers/hello.wasm", "by writing.");
    running.serves("hello", "by writing.");
    // Move the old file away, create a new one, remove the old one.
    site.write("handlers/4913", "");
    site.remove("handlers/4913");
    site.rename("handlers/hello.wasm", "handlers/hello.wasm~");
    site.write("handlers/hello.wasm", "with a backup.");
    site.remove("handlers/hello.wasm~");
    running.serves("hello", "with a backup.");
    // A hard link to a build output.
    site.write("built", "by a link.");
    fs::hard_link(site.path("built"), site.path("handlers/.link")).expect("a link");
    site.rename("handlers/.link", "handlers/hello.wasm");
    running.serves("hello", "by a link.");
    stop.store(true, Ordering::Relaxed);
    watcher.join().expect("always there");
    assert_eq!(running.shared.current().problems(), []);
}

#[test]
fn a_slow_copy_is_served_when_it_is_whole() {
    let running = hello();
    let path = running.site.path("handlers/hello.wasm");
    let mut file = File::create(path).expect("created");
    for piece in ["a ", "slow ", "copy"] {
        file.write_all(piece.as_bytes()).expect("written");
        // Longer than a write needs to settle, so that the half file may be tried.
        thread::sleep(Duration::from_millis(100));
        assert_eq!(running.text("hello").as_deref(), Some("one."));
    }
    file.write_all(b".").expect("written");
    drop(file);
    running.serves("hello", "a slow copy.");
    eventually("no problem", || {
        running.shared.current().problems().is_empty()
    });
}

#[test]
fn a_broken_file_is_told_once_and_the_old_version_serves() {
    let running = hello();
    running.site.replace("handlers/hello.wasm", "broken");
    running.complains("handlers/hello.wasm");
    let generation = running.shared.generation();
    let loads = running.loader.count("hello");
    // Unchanged bytes, in each way; and another file, to know that the events were handled.
    running.site.replace("handlers/hello.wasm", "broken");
    running.site.write("handlers/hello.wasm", "broken");
    running.site.write("handlers/other.wasm", "other.");
    running.serves("other", "other.");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(running.loader.count("hello"), loads);
    // The other file is published; before that as pending, on a machine that loads it slowly.
    let published = running.shared.generation() - generation;
    assert!((1..=2).contains(&published), "{published} snapshots");
    assert_eq!(running.text("hello").as_deref(), Some("one."));
    running.site.replace("handlers/hello.wasm", "mended.");
    running.serves("hello", "mended.");
    assert_eq!(running.shared.current().problems(), []);
}

#[test]
fn a_hundred_rewrites_are_a_few_loads_and_the_last_one_wins() {
    let running = hello();
    let before = running.loader.count("hello");
    for number in 0..100 {
        let text = format!("rewrite {number}.");
        match number % 2 {
            0 => running.site.write("handlers/hello.wasm", &text),
            _ => running.site.replace("handlers/hello.wasm", &text),
        }
        thread::sleep(Duration::from_millis(10));
    }
    running.serves("hello", "rewrite 99.");
    let loads = running.loader.count("hello") - before;
    // One per hundred milliseconds; a machine that took three seconds for this loop may have
    // thirty.
    assert!(loads < 50, "{loads} loads");
}

#[test]
fn a_request_finishes_on_its_version_and_the_reloader_cleans_up() {
    let running = hello();
    let request = Arc::clone(running.shared.current().handler("hello").expect("hello"));
    running.site.replace("handlers/hello.wasm", "two.");
    running.serves("hello", "two.");
    assert_eq!(request.program.text, "one.");
    drop(request);
    // The next look, for whatever reason, releases the old one.
    running.site.write("handlers/other.wasm", "other.");
    eventually("the program is dropped", || {
        !running.loader.drops.lock().expect("no panic").is_empty()
    });
    let drops = running.loader.drops.lock().expect("no panic");
    assert_eq!(*drops, ["wasgi-reload"]);
}

#[test]
fn a_slow_load_holds_up_nobody_else() {
    let site = Site::new();
    site.write("html/index.html", "");
    let options = ReloadOptions {
        safety_rescan: NEVER,
        workers: NonZeroUsize::new(2).expect("two"),
        ..ReloadOptions::default()
    };
    let running = Running::start_with(site, options);
    let slow = running.loader.slow.lock().expect("no panic");
    running.site.write("handlers/big.wasm", "slow.");
    eventually("the load began", || running.loader.count("big") == 1);
    running.site.write("handlers/hello.wasm", "one.");
    running.serves("hello", "one.");
    running.site.write("handlers/hello.wasm", "two.");
    running.serves("hello", "two.");
    assert_eq!(running.text("big"), None);
    drop(slow);
    running.serves("big", "slow.");
}

#[test]
fn the_folder_itself_can_come_go_and_be_replaced() {
    let site = Site::bare();
    site.write("html/index.html", "");
    let running = Running::start(site);
    running.complains("handlers/");
    // Created after the start, with and without its files.
    running.site.write("handlers/hello.wasm", "made.");
    running.serves("hello", "made.");
    assert_eq!(running.shared.current().problems(), []);
    running.site.write("handlers/hello.wasm", "changed.");
    running.serves("hello", "changed.");
    // Moved away and replaced.
    running.site.write("next/hello.wasm", "moved in.");
    running.site.rename("handlers", "old");
    running.site.rename("next", "handlers");
    running.serves("hello", "moved in.");
    running.site.write("handlers/hello.wasm", "changed again.");
    running.serves("hello", "changed again.");
    // Removed and created again.
    fs::remove_dir_all(running.site.handlers()).expect("removed");
    running.withdraws("hello");
    running.site.write("handlers/hello.wasm", "anew.");
    running.serves("hello", "anew.");
    // Replaced by a link, as deploy scripts do.
    running.site.write("releases/1/hello.wasm", "release one.");
    running.site.write("releases/2/hello.wasm", "release two.");
    running.site.rename("handlers", "older");
    symlink("releases/1", running.site.handlers()).expect("a link");
    running.serves("hello", "release one.");
    symlink("releases/2", running.site.path("link")).expect("a link");
    running.site.rename("link", "handlers");
    running.serves("hello", "release two.");
    running
        .site
        .write("releases/2/hello.wasm", "release two, mended.");
    running.serves("hello", "release two, mended.");
}

#[test]
fn a_folder_that_moves_to_and_fro_is_watched_again() {
    let running = hello();
    let site = &running.site;
    site.write("handlers/api/x.wasm", "x.");
    running.serves("api/x", "x.");
    for folder in ["handlers/api", "handlers", "html"] {
        site.rename(folder, "elsewhere");
        site.rename("elsewhere", folder);
    }
    // Wait until the moves are handled: their own events could reveal the change.
    thread::sleep(Duration::from_millis(300));
    site.write("handlers/hello.wasm", "changed.");
    running.serves("hello", "changed.");
    site.write("handlers/api/x.wasm", "changed too.");
    running.serves("api/x", "changed too.");
    running.take_pages();
    site.write("html/index.html", "changed");
    running.tells("index.html");
}

#[test]
fn a_folder_that_appears_with_its_parents() {
    let site = Site::bare();
    site.write("html/index.html", "");
    let loader = Arc::new(Texts::default());
    let scan = scan_once(&site.path("srv/site/handlers"), Vec::new(), &*loader);
    let shared = Arc::new(Published::new(scan.registry()));
    let options = ReloadOptions {
        safety_rescan: NEVER,
        ..ReloadOptions::default()
    };
    let reload = reload(scan, None, loader, Arc::clone(&shared), options);
    site.write("srv/site/handlers/hello.wasm", "one.");
    eventually("served", || shared.current().handler("hello").is_some());
    drop(reload);
}

#[test]
fn folders_below_are_watched_however_they_come() {
    let running = hello();
    running.site.write("handlers/a/b/deep.wasm", "deep.");
    running.serves("a/b/deep", "deep.");
    running.site.write("handlers/a/b/deep.wasm", "deeper.");
    running.serves("a/b/deep", "deeper.");
    running.site.write("outside/c/x.wasm", "outside.");
    running.site.rename("outside", "handlers/inside");
    running.serves("inside/c/x", "outside.");
    running.site.write("handlers/inside/c/x.wasm", "inside.");
    running.serves("inside/c/x", "inside.");
    running.site.rename("handlers/inside", "handlers/renamed");
    running.serves("renamed/c/x", "inside.");
    running.withdraws("inside/c/x");
    running.site.write("handlers/renamed/c/x.wasm", "renamed.");
    running.serves("renamed/c/x", "renamed.");
    // It becomes a folder of sources.
    running.site.write("handlers/renamed/Cargo.toml", "");
    running.withdraws("renamed/c/x");
}

#[test]
fn what_is_no_handler_is_told_and_what_is_a_fifo_holds_up_nothing() {
    let running = hello();
    let fifo = running.site.path("handlers/x.wasm");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("a FIFO");
    running.complains("handlers/x.wasm");
    fs::remove_file(fifo).expect("removed");
    eventually("forgiven", || {
        running.shared.current().problems().is_empty()
    });
    running.site.write("handlers/notes.txt", "");
    running.complains("handlers/notes.txt");
    let registry = running.shared.current();
    assert_eq!(registry.problems()[0].kind, ProblemKind::NotAHandler);
}

#[test]
fn without_events_looking_finds_everything() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    let options = ReloadOptions {
        safety_rescan: Duration::from_millis(20),
        events: false,
        ..ReloadOptions::default()
    };
    let running = Running::start_with(site, options);
    running.site.write("handlers/hello.wasm", "two.");
    running.serves("hello", "two.");
    running.site.write("handlers/a/new.wasm", "new.");
    running.serves("a/new", "new.");
    running.site.remove("handlers/hello.wasm");
    running.withdraws("hello");
    running.site.write("html/index.html", "");
    eventually("the pages have come", || {
        running.take_pages().contains(&PagesChange::Replaced)
    });
}

#[test]
fn lost_events_are_made_up_for() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    let loader = Arc::new(Texts::default());
    let scan = scan_once(&site.handlers(), Vec::new(), &*loader);
    let shared = Arc::new(Published::new(scan.registry()));
    let options = ReloadOptions {
        safety_rescan: NEVER,
        events: false,
        ..ReloadOptions::default()
    };
    let group = Group::start("reload", 0, WatchSource::for_few()).expect("a thread");
    let (ready, _is_ready) = sync_channel(1);
    let mut tell = None;
    let reloader = group.join(|to_self| {
        let shared = Arc::clone(&shared);
        let (reloader, _) = Reloader::new(scan, loader, shared, options, ready, to_self);
        tell = Some(reloader.teller());
        reloader
    });
    let tell = tell.expect("it was created");
    let text = || {
        let registry = shared.current();
        let hello = registry.handler("hello").expect("hello");
        hello.program.text.clone()
    };
    for wanted in ["two.", "three."] {
        site.write("handlers/hello.wasm", wanted);
        // More than the inbox holds.
        for _ in 0..10_000 {
            tell(WatchEvent::Lost);
        }
        eventually(wanted, || text() == wanted);
    }
    drop(reloader);
}

#[test]
fn changes_of_pages_are_reported() {
    let running = hello();
    let site = &running.site;
    site.write("html/index.html", "changed");
    running.tells("index.html");
    site.write("html/a/b/new.html", "new");
    running.tells("a/b/new.html");
    site.write("html/a/b/new.html", "changed");
    running.tells("a/b/new.html");
    site.remove("html/a/b/new.html");
    running.tells("a/b/new.html");
    site.rename("html", "old");
    site.write("next/index.html", "another");
    site.rename("next", "html");
    eventually("the folder is another one", || {
        running.take_pages().contains(&PagesChange::Replaced)
    });
    eventually("and it is watched", || {
        site.write("html/index.html", "changed");
        !running.take_pages().is_empty()
    });
}

#[test]
fn folders_of_pages_that_come_and_go_hold_up_no_handler() {
    const FOLDERS: usize = 1_500;
    let running = hello();
    let site = &running.site;
    let folder = |name: &str, number: usize| site.path(format!("html/{name}{number}"));
    let mut version = 0;
    let mut reload = |number: usize| {
        if number.is_multiple_of(FOLDERS / 3) {
            version += 1;
            let text = format!("version {version}.");
            site.replace("handlers/hello.wasm", &text);
            running.serves("hello", &text);
        }
    };
    for number in 0..FOLDERS {
        fs::create_dir(folder("new", number)).expect("a folder");
        reload(number);
    }
    for number in 0..FOLDERS {
        fs::rename(folder("new", number), folder("old", number)).expect("moved");
        reload(number);
    }
    for number in 0..FOLDERS {
        fs::remove_dir(folder("old", number)).expect("removed");
        reload(number);
    }
    running.take_pages();
    eventually("pages are told still", || {
        site.write("html/index.html", "changed");
        !running.take_pages().is_empty()
    });
}

#[test]
fn reading_is_no_change() {
    let running = hello();
    let site = &running.site;
    let generation = running.shared.generation();
    for _ in 0..1_000 {
        fs::read(site.path("html/index.html")).expect("read");
        fs::read(site.path("handlers/hello.wasm")).expect("read");
        fs::read_dir(site.path("html")).expect("read").count();
    }
    // Further changes, to know that the events of the reading were handled.
    site.write("handlers/other.wasm", "other.");
    running.serves("other", "other.");
    site.write("html/last.html", "");
    let mut changes = Vec::new();
    eventually("the last page is told", || {
        changes.extend(running.take_pages());
        format!("{changes:?}").contains("last.html")
    });
    assert!(
        !format!("{changes:?}").contains("index.html"),
        "{changes:?}"
    );
    // The other handler: pending, if that takes long, and served.
    let generations = running.shared.generation() - generation;
    assert!((1..=2).contains(&generations), "{generations}");
    assert_eq!(running.loader.count("hello"), 1);
}

#[test]
fn dropping_it_stops_it() {
    let mut running = hello();
    drop(running.reload.take());
    // Only the test holds the loader and the registry: the thread has ended.
    eventually("the workers are gone", || {
        Arc::strong_count(&running.loader) == 1
    });
    assert_eq!(Arc::strong_count(&running.shared), 1);
    running.site.write("handlers/hello.wasm", "two.");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(running.text("hello").as_deref(), Some("one."));
}
