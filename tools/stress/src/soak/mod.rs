//! Keeps a server busy for minutes with pages and handlers of all kinds, while handlers are
//! replaced, hostile files are dropped, handlers fail and clients are slow, and compares its
//! memory, descriptors and latencies at the end with those at the begin.
//!
//! The loads run for a warm-up before they are measured: by its end, the folder has as many hostile
//! files as it will have, each handler was replaced several times, and caches and pools are filled.
//! It takes a minute, or a tenth of a shorter time.

mod disturbance;
mod handlers;
mod loads;
mod plot;
mod report;
mod sample;

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use builder::Workspace;
use processes::step;

use self::disturbance::Disturbance;
use self::handlers::Handlers;
use self::loads::{Kind, Load};
use self::report::{Figures, Record, Requests, compare, windows};
use self::sample::Sample;
use crate::client::Client;
use crate::drops::{Dropped, Drops};
use crate::options::Options;
use crate::server::{Server, Site};

/// The interval between two hostile files, two replaced handlers, and two samples.
const STEP: Duration = Duration::from_secs(1);

/// The maximum number of hostile files in the folder. Each new file replaces the oldest: a folder
/// with six hundred invalid files is tested by `cargo xtask hostile`.
const MAX_FILES: usize = 30;

/// The maximum length of the warm-up, and the share of the time that it takes at most.
const WARM_UP: Duration = Duration::from_secs(60);
const WARM_UP_SHARE: u32 = 10;

/// The length of the first and the last window, which are compared; half of a shorter time.
const WINDOW: Duration = Duration::from_secs(300);

/// The number of parts of the time that the plot shows.
const PARTS: u32 = 60;

/// The time limit until all good handlers respond, the runtimes of scripts being compiled.
const COMPILE_LIMIT: Duration = Duration::from_secs(600);

/// How many versions of handlers may be written after the one that responds: those of a minute.
const MAX_VERSION_LAG: u64 = 60;

/// The plot in the documentation.
const PLOT: &str = "docs/images/soak.svg";

/// Keeps a server busy, and writes what was measured to the site's folder.
///
/// # Errors
///
/// Fails if something does not build, or the server fails: it ends, a request fails, a new version
/// is not served, or a figure has grown by more than a tenth.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let site = Site::make(workspace, options, "soak")?;
    let mut handlers = Handlers::install(workspace, &site)?;
    compile(&site, &handlers, options)?;
    let mut server = start(&site, &handlers, options)?;
    let warm_up = WARM_UP.min(options.time / WARM_UP_SHARE);
    let measured = warm_up..warm_up + options.time;
    step(format!(
        "{} s of load, and {} s before, to warm up",
        options.time.as_secs(),
        warm_up.as_secs()
    ));
    let (begin, ends) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let kinds = Kind::available(&handlers.targets());
    let loads = Load::start_all(server.address, &kinds, begin, &ends)?;
    let disturbances = Disturbance::start_all(server.address, &ends);
    let mut attack = Attack::new(&site, options)?;
    let mut record = Record::default();
    while begin.elapsed() < measured.end {
        let due = Instant::now() + STEP;
        server.expect_alive()?;
        attack.drop_next(&server)?;
        thread::sleep(STEP / 2);
        handlers.replace_next()?;
        record.samples.push(Sample::read(server.id(), begin));
        report_minute(&record, &loads, begin);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    ends.store(true, Ordering::Relaxed);
    let (mut failed, mut unexpected) = (0, 0);
    for load in loads {
        let is_reference = load.is_reference();
        let (kind, results) = load.wait()?;
        failed += results.failed;
        report_load(&kind, &results, &handlers)?;
        record.loads.push(Requests {
            name: kind.name,
            times: results.times,
            is_reference,
        });
    }
    for disturbance in disturbances {
        unexpected += disturbance.wait()?;
    }
    server.stop()?;
    println!(
        "hostile files: {}; new versions of good handlers: {}",
        attack.files, handlers.written
    );
    let grown = write(&record, &measured, workspace, &site, options)?;
    ensure!(failed == 0, "{failed} measured requests failed");
    ensure!(
        unexpected == 0,
        "{unexpected} failures or slow exchanges did not end as expected"
    );
    ensure!(grown.is_empty(), "{}", grown.join("; "));
    Ok(())
}

/// Lets a server compile the good handlers and the runtimes of scripts, without the limits of the
/// soak, and stops it: the code cache has them then.
fn compile(site: &Site, handlers: &Handlers, options: &Options) -> Result<()> {
    step("compiling the good handlers");
    start(site, handlers, options)?.stop()?;
    handlers.limit(site)
}

fn start(site: &Site, handlers: &Handlers, options: &Options) -> Result<Server> {
    let mut server = Server::start(site, options)?;
    for target in handlers.targets() {
        server.await_good(target, Instant::now() + COMPILE_LIMIT)?;
    }
    Ok(server)
}

/// The hostile files.
struct Attack {
    drops: Drops,
    dropped: VecDeque<Dropped>,
    files: usize,
}

impl Attack {
    fn new(site: &Site, options: &Options) -> Result<Self> {
        Ok(Self {
            drops: Drops::new(site, options.seed)?,
            dropped: VecDeque::new(),
            files: 0,
        })
    }

    /// Requests the last file, drops another one, and removes the oldest.
    fn drop_next(&mut self, server: &Server) -> Result<()> {
        if let Some(last) = self.dropped.back() {
            call(server, &last.target);
        }
        let next = self.drops.next().context("there are always more")??;
        self.dropped.push_back(next);
        self.files += 1;
        if self.dropped.len() > MAX_FILES
            && let Some(oldest) = self.dropped.pop_front()
        {
            fs::remove_file(&oldest.path).context("can't remove a file")?;
        }
        Ok(())
    }
}

/// Calls a hostile handler, if it is one. Its response is ignored.
fn call(server: &Server, target: &str) {
    let (address, target) = (server.address, target.to_owned());
    // In a separate thread, since it may take as long as its budget permits.
    thread::spawn(move || Client::new(address).get(&target).map(drop));
}

/// Prints the figures of each minute that has ended.
fn report_minute(record: &Record, loads: &[Load], begin: Instant) {
    let steps_per_minute = 60 / STEP.as_secs() as usize;
    if !record.samples.len().is_multiple_of(steps_per_minute) {
        return;
    }
    let now = begin.elapsed();
    let window = now.saturating_sub(Duration::from_secs(60))..now;
    let requests = |load: &Load| {
        let results = load.results();
        let last = results.times.iter().rev();
        let last = last.take_while(|timed| timed.at >= window.start);
        Requests {
            name: load.kind.name,
            times: last.copied().collect(),
            is_reference: load.is_reference(),
        }
    };
    let minute = Record {
        samples: record.samples.clone(),
        loads: loads.iter().map(requests).collect(),
    };
    let figures = minute.figures(&window);
    step(format!(
        "{:.1} min: {}",
        now.as_secs_f64() / 60.0,
        figures.line()
    ));
}

/// Prints the outcome of a load, and checks that new versions of its handler were served.
fn report_load(kind: &Kind, results: &loads::Results, handlers: &Handlers) -> Result<()> {
    let version = match results.version {
        0 => String::new(),
        version => format!(", version {version} at last"),
    };
    println!(
        "{}: {} answered, {} failed{version}",
        kind.name,
        results.times.len(),
        results.failed
    );
    ensure!(
        results.version == 0 || results.version + MAX_VERSION_LAG >= handlers.written,
        "{}: version {} responds, {} were written",
        kind.name,
        results.version,
        handlers.written
    );
    Ok(())
}

/// Writes the samples, the figures and the plot, and prints the comparison. Returns a line for each
/// figure that has grown.
fn write(
    record: &Record,
    measured: &Range<Duration>,
    workspace: &Workspace,
    site: &Site,
    options: &Options,
) -> Result<Vec<String>> {
    let mut samples = Sample::CSV_HEADER.to_owned();
    samples.extend(record.samples.iter().map(Sample::csv));
    let length = WINDOW.min(options.time / 2);
    let mut lines = Figures::CSV_HEADER.to_owned();
    let windows_of_time = windows(measured, length);
    for window in &windows_of_time {
        lines += &record.figures(window).csv(window);
    }
    let parts: Vec<Figures> = windows(measured, options.time / PARTS)
        .iter()
        .map(|part| record.figures(part))
        .collect();
    let plot = plot::svg(&parts, options.time.as_secs_f64() / 60.0);
    let first = measured.start..measured.start + length;
    let last = measured.end - length..measured.end;
    let (table, grown) = compare(&record.figures(&first), &record.figures(&last));
    println!("windows of {} s:\n{table}", length.as_secs());
    let folder = site.folder();
    for (name, text) in [
        ("samples.csv", &samples),
        ("windows.csv", &lines),
        ("soak.md", &table),
        ("soak.svg", &plot),
    ] {
        save(&folder.join(name), text)?;
    }
    if options.write {
        save(&workspace.root.join(PLOT), &plot)?;
    }
    Ok(grown)
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
    step(format!("wrote {}", path.display()));
    Ok(())
}
