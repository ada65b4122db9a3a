//! Tests of the reloader: its decisions in simulated time, and the complete reloader on real
//! folders.

mod bench;
mod cancel;
mod later;
mod queue;
mod running;
mod scan;
mod slots;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Load, LoadRequest, Reload, ReloadOptions, ReloadThreads, Scan};
use crate::published::Published;
use crate::registry::Registry;

/// Follows the folders of one site, on threads of its own.
fn reload<L: Load>(
    scan: Scan<L::Program>,
    pages: Option<&Path>,
    loader: Arc<L>,
    shared: Arc<Published<Registry<L::Program>>>,
    options: ReloadOptions,
) -> Reload {
    let threads = ReloadThreads::start(false).expect("threads");
    threads.follow(scan, pages, loader, shared, options)
}

/// A loader that accepts any text as a program, except a truncated one (`…` without its end) or one
/// that says it is broken.
#[derive(Default)]
pub(super) struct Texts {
    /// The handler's name and its text, for each call.
    loads: Mutex<Vec<(String, String)>>,
    /// The threads on which programs were dropped.
    drops: Arc<Mutex<Vec<String>>>,
    /// While this is locked, texts that start with `slow` don't finish.
    slow: Mutex<()>,
}

/// The program that [`Texts`] loads.
#[derive(Debug)]
pub(super) struct Program {
    text: String,
    drops: Arc<Mutex<Vec<String>>>,
}

impl Load for Texts {
    type Program = Program;

    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Program> {
        let text = String::from_utf8(request.bytes.to_vec())?;
        let load = (request.name.to_owned(), text.clone());
        self.loads.lock().expect("no panic").push(load);
        if text.starts_with("slow") {
            drop(self.slow.lock());
        }
        assert!(!text.starts_with("panic"), "a loader's mistake");
        if !text.ends_with('.') {
            bail!("unexpected end at offset {}", text.len());
        }
        Ok(Program {
            text,
            drops: Arc::clone(&self.drops),
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let thread = thread::current().name().unwrap_or_default().to_owned();
        self.drops.lock().expect("no panic").push(thread);
    }
}

impl Texts {
    /// Returns how often a handler was loaded.
    fn count(&self, name: &str) -> usize {
        let loads = self.loads.lock().expect("no panic");
        loads.iter().filter(|(loaded, _)| loaded == name).count()
    }
}

/// A folder for one test.
pub(super) struct Site(tempfile::TempDir);

impl Site {
    /// Creates a site with an empty folder `handlers`.
    fn new() -> Site {
        let site = Site::bare();
        fs::create_dir(site.handlers()).expect("a folder");
        site
    }

    fn bare() -> Site {
        Site(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(file)
    }

    fn handlers(&self) -> PathBuf {
        self.path("handlers")
    }

    /// Writes the file in place, creating its folders.
    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    /// Replaces the file by renaming a new one over it.
    fn replace(&self, file: &str, text: &str) {
        // Outside the watched folder, as a careful editor or deploy script would.
        let new = self.path("new-file");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.path(file)).expect("moved");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("moved");
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).expect("removed");
    }
}

/// Waits until a condition holds. The deadline allows for busy machines; the test measures nothing.
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "not in time: {what}"
        );
        thread::sleep(Duration::from_millis(2));
    }
}
