//! Reloads a handler while thousands of folders of pages are created, renamed and removed.
//!
//! Quiet phases alternate with phases in which another thread creates, renames and removes folders
//! of pages without a pause, at normal priority, as `mkdir`, `mv` and `rm -r` in a loop would. The
//! pages are in memory (`/dev/shm`), because a disk limits the speed, and differently each time. In
//! both phases a handler is replaced each second, by two kinds of bytes in turn: bytes that the
//! server has not seen, which are compiled, and bytes that it has, whose code is in its cache. A
//! reload is measured from the rename that replaces the file to the first response of the new
//! version.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use builder::Workspace;
use processes::step;
use rustix::process::setpriority_process;

use crate::client::Client;
use crate::load::{PRIORITY, percentile};
use crate::options::Options;
use crate::server::{HELLO, Server, Site};
use crate::usage::Usage;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// The number of quiet phases, and of phases with churn. They alternate, so that a change of the
/// machine's speed affects both.
const ROUNDS: u32 = 4;

/// The interval between two requests while a new version is awaited. It limits the precision.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The time limit for one reload.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// The time after a phase in which the server handles the last events.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// The maximum p99 of a reload during churn, as a multiple of its quiet p99.
const MAX_RATIO: f64 = 2.0;

/// The text in the handler's page that is replaced to make another version, and in its response.
const MARK: &str = "Hello!";

/// The number of versions whose code is in the server's cache before the measurement.
const KNOWN_VERSIONS: usize = 2;

/// Returns the default options, which differ from those of the other tests.
pub(crate) fn defaults() -> Options {
    Options {
        count: 6_000,
        interval: Duration::from_secs(1),
        time: Duration::from_secs(240),
        ..Options::default()
    }
}

/// Measures reloads with and without churn.
///
/// # Errors
///
/// Fails if something does not build, the server ends, a reload doesn't arrive in time, or a p99
/// during churn is more than [`MAX_RATIO`] times the quiet one.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let site = Site::make(workspace, options, "churn")?;
    let memory = tempfile::tempdir_in(MEMORY).with_context(|| format!("can't use {MEMORY}"))?;
    site.move_pages(memory.path())?;
    let mut server = Server::start(&site, options)?;
    let mut versions = Versions::new(&site)?;
    // Only root may do so. The server has been started with the normal priority.
    let _ = setpriority_process(None, PRIORITY);
    for version in 0..KNOWN_VERSIONS {
        versions.reload(&mut server, version)?;
    }
    step(format!(
        "{} s, a reload every {} ms, {} folders of pages",
        options.time.as_secs(),
        options.interval.as_millis(),
        options.count
    ));
    let (mut quiet, mut busy) = (Phase::default(), Phase::default());
    for _ in 0..ROUNDS {
        quiet.run(&mut server, &mut versions, options)?;
        let churner = Churner::start(&site.pages(), options.count);
        busy.run(&mut server, &mut versions, options)?;
        busy.passes += churner.finish()?;
        thread::sleep(SETTLE_TIME);
    }
    println!("quiet: {quiet}");
    println!("churn: {busy}");
    println!("passes of all folders: {:.1}", busy.passes);
    server.stop()?;
    let mut worst: f64 = 0.0;
    for (kind, quiet, busy) in [
        ("new bytes", &quiet.new, &busy.new),
        ("known bytes", &quiet.known, &busy.known),
    ] {
        let ratio = |percent| {
            percentile(busy, percent).as_secs_f64() / percentile(quiet, percent).as_secs_f64()
        };
        println!("{kind}: p50 × {:.2}, p99 × {:.2}", ratio(50), ratio(99));
        worst = worst.max(ratio(99));
    }
    ensure!(
        worst <= MAX_RATIO,
        "the p99 of a reload during churn is {worst:.2} times the quiet one"
    );
    Ok(())
}

/// The results of phases of one kind.
#[derive(Debug, Default)]
struct Phase {
    /// The times of reloads with bytes that are compiled.
    new: Vec<Duration>,
    /// The times of reloads with bytes whose code is cached.
    known: Vec<Duration>,
    time: Duration,
    usage: Usage,
    /// The number of times that all folders were created, renamed and removed.
    passes: f64,
}

impl Phase {
    /// Replaces the handler in each interval.
    fn run(
        &mut self,
        server: &mut Server,
        versions: &mut Versions,
        options: &Options,
    ) -> Result<()> {
        let begin = Instant::now();
        let before = Usage::from_process(server.id());
        let mut due = begin;
        while begin.elapsed() < options.time / (2 * ROUNDS) {
            due += options.interval;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.new.len() <= self.known.len() {
                self.new.push(versions.reload_new(server)?);
            } else {
                self.known.push(versions.reload_known(server)?);
            }
        }
        self.time += begin.elapsed();
        self.usage
            .add(&Usage::from_process(server.id()).since(&before));
        Ok(())
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (kind, times) in [("new", &self.new), ("known", &self.known)] {
            let ms = |percent| percentile(times, percent).as_secs_f64() * 1e3;
            write!(
                f,
                "{kind} bytes: {} reloads, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; ",
                times.len(),
                ms(50),
                ms(99),
                ms(100)
            )?;
        }
        write!(f, "CPU: {}", self.usage.per(self.time))
    }
}

/// Versions of one handler, each with another text.
struct Versions {
    bytes: Vec<u8>,
    /// The positions of [`MARK`] in `bytes`.
    marks: Vec<usize>,
    /// The number of the next version that was not served before.
    next: usize,
    /// The cached version that was served last.
    known: usize,
    path: PathBuf,
    aside: PathBuf,
}

impl Versions {
    fn new(site: &Site) -> Result<Self> {
        let bytes = fs::read(site.originals.join("hello.wasm")).context("can't read a handler")?;
        let is_mark = |&at: &usize| bytes[at..].starts_with(MARK.as_bytes());
        let marks: Vec<usize> = (0..bytes.len()).filter(is_mark).collect();
        ensure!(!marks.is_empty(), "hello.wasm contains no {MARK:?}");
        Ok(Self {
            marks,
            bytes,
            next: KNOWN_VERSIONS,
            known: KNOWN_VERSIONS - 1,
            path: site.handlers().join("hello.wasm"),
            aside: site.aside(),
        })
    }

    fn reload_new(&mut self, server: &mut Server) -> Result<Duration> {
        self.next += 1;
        self.reload(server, self.next - 1)
    }

    fn reload_known(&mut self, server: &mut Server) -> Result<Duration> {
        self.known = (self.known + 1) % KNOWN_VERSIONS;
        self.reload(server, self.known)
    }

    /// Replaces the handler, and returns the time until the first response of this version.
    fn reload(&self, server: &mut Server, version: usize) -> Result<Duration> {
        // As long as the mark.
        let text = format!("V{version:05}");
        let mut bytes = self.bytes.clone();
        for &at in &self.marks {
            bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        fs::write(&self.aside, bytes).context("can't write a file")?;
        fs::rename(&self.aside, &self.path).context("can't replace the handler")?;
        let begin = Instant::now();
        let mut client = Client::new(server.address);
        loop {
            let response = client.get(HELLO)?;
            let took = begin.elapsed();
            ensure!(
                response.status == 200,
                "status {} during a reload",
                response.status
            );
            if String::from_utf8_lossy(&response.body).contains(&text) {
                return Ok(took);
            }
            server.expect_alive()?;
            if took > RELOAD_LIMIT {
                bail!("version {version} is not served after {} s", took.as_secs());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Creates, renames and removes folders of pages on a separate thread, until
/// [`Churner::finish`] is called.
struct Churner {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<f64>>,
}

impl Churner {
    fn start(pages: &Path, folders: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (ends, pages) = (ends.clone(), pages.to_owned());
            move || {
                // A thread inherits the priority of the one that starts it.
                let _ = setpriority_process(None, 0);
                change(&pages, folders, &ends)
            }
        });
        Self { ends, thread }
    }

    /// Stops, and returns how many times all folders were created, renamed and removed.
    fn finish(self) -> Result<f64> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread with the changes panicked"))?
    }
}

/// Creates, renames and removes all folders repeatedly until `ends` is set. Returns how many times,
/// which may be a fraction.
fn change(pages: &Path, folders: usize, ends: &AtomicBool) -> Result<f64> {
    let root = pages.join("churn");
    let path = |kind: &str, number: usize| root.join(format!("{kind}-{number}"));
    let mut steps = 0;
    let mut goes_on = || {
        steps += 1;
        !ends.load(Ordering::Relaxed)
    };
    'all: loop {
        fs::create_dir_all(&root)?;
        for number in 0..folders {
            let folder = path("new", number);
            fs::create_dir(&folder)?;
            fs::write(folder.join("index.html"), "A page")?;
            if !goes_on() {
                break 'all;
            }
        }
        for number in 0..folders {
            fs::rename(path("new", number), path("old", number))?;
            if !goes_on() {
                break 'all;
            }
        }
        for number in 0..folders {
            fs::remove_dir_all(path("old", number))?;
            if !goes_on() {
                break 'all;
            }
        }
    }
    fs::remove_dir_all(&root).context("can't remove the folders")?;
    Ok(f64::from(steps) / (3.0 * folders as f64))
}
