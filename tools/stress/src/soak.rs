//! Keeps a server busy for minutes while hostile files are dropped.

use std::collections::VecDeque;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use builder::Workspace;
use processes::step;

use crate::client::Client;
use crate::drops::{Dropped, Drops};
use crate::load::{Load, Outcome, Task};
use crate::options::Options;
use crate::server::{Server, Site};

/// The requests and their intervals: about three hundred requests per second, which leaves both
/// processors of a small machine time for compiling.
const LOADS: [(Task, Duration); 5] = [
    (Task::Page, Duration::from_millis(10)),
    (Task::Page, Duration::from_millis(10)),
    (Task::Handler, Duration::from_millis(20)),
    (Task::Handler, Duration::from_millis(20)),
    (Task::Upload, Duration::from_millis(100)),
];

/// The interval between two hostile files.
const DROP_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of hostile files in the folder. Each new file replaces the oldest: a folder
/// with six hundred invalid files is tested by `cargo xtask hostile`.
const MAX_FILES: usize = 30;

/// The fraction of the time after which the memory is first measured: by then, caches and pools are
/// filled.
const WARM_UP_SHARE: u32 = 10;

/// The maximum growth of the memory, in bytes.
const MAX_GROWTH_BYTES: u64 = 20 * 1024 * 1024;

/// The number of samples, one per second, of which a memory figure is the median.
const SAMPLES: usize = 9;

const MIB: f64 = 1024.0 * 1024.0;

/// Keeps a server busy while hostile files are dropped.
///
/// # Errors
///
/// Fails if something does not build, or the server fails: it ends, another request fails, or its
/// memory grows.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let site = Site::make(workspace, options, "soak")?;
    let mut server = Server::start(&site, options)?;
    let loads = LOADS.map(|(task, interval)| (task, Load::start(server.address, task, interval)));
    step(format!("{} s of load", options.time.as_secs()));
    let memory = attack(&mut server, &site, options)?;
    let mut failed = 0;
    for (task, load) in loads {
        let outcome: Outcome = load.finish()?;
        println!("{task:?}: {outcome}");
        failed += outcome.failed;
    }
    let (begin, end) = (median(&memory.begin), median(&memory.end));
    println!(
        "hostile files: {}; memory: {:.1} MiB at the start, {:.1} at the end, {:.1} maximum; \
         its children {:.1} maximum",
        memory.files,
        begin as f64 / MIB,
        end as f64 / MIB,
        memory.max as f64 / MIB,
        memory.children_max as f64 / MIB
    );
    server.stop()?;
    ensure!(
        failed == 0,
        "{failed} requests to the page or the good handlers failed"
    );
    ensure!(
        end <= begin + MAX_GROWTH_BYTES,
        "memory has grown by {:.1} MiB",
        (end - begin) as f64 / MIB
    );
    Ok(())
}

/// Samples of the server's memory, in bytes.
#[derive(Debug, Default)]
struct Memory {
    begin: Vec<u64>,
    end: VecDeque<u64>,
    max: u64,
    children_max: u64,
    files: usize,
}

/// Drops a file every second, requests the previous one, and measures the server's memory.
fn attack(server: &mut Server, site: &Site, options: &Options) -> Result<Memory> {
    let begin = Instant::now();
    let warm = begin + options.time / WARM_UP_SHARE;
    let mut drops = Drops::new(site, options.seed)?;
    let mut dropped: VecDeque<Dropped> = VecDeque::new();
    let mut memory = Memory::default();
    while begin.elapsed() < options.time {
        let due = Instant::now() + DROP_INTERVAL;
        server.expect_alive()?;
        if let Some(last) = dropped.back() {
            call(server, &last.target);
        }
        dropped.push_back(drops.next().context("there are always more")??);
        memory.files += 1;
        if dropped.len() > MAX_FILES
            && let Some(oldest) = dropped.pop_front()
        {
            fs::remove_file(&oldest.path).context("can't remove a file")?;
        }
        let (own, children) = server.resident_bytes();
        memory.note(own, children, Instant::now() >= warm);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    if memory.begin.len() < SAMPLES {
        bail!(
            "{} s of load are too short to compare the memory",
            options.time.as_secs()
        );
    }
    Ok(memory)
}

/// Calls a hostile handler, if it is one. Its response is ignored.
fn call(server: &Server, target: &str) {
    let (address, target) = (server.address, target.to_owned());
    // In a separate thread, since it may take as long as its budget permits.
    thread::spawn(move || Client::new(address).get(&target).map(drop));
}

impl Memory {
    fn note(&mut self, own: u64, children: u64, is_warm: bool) {
        self.max = self.max.max(own);
        self.children_max = self.children_max.max(children);
        if !is_warm {
            return;
        }
        if self.begin.len() < SAMPLES {
            self.begin.push(own);
        }
        self.end.push_back(own);
        if self.end.len() > SAMPLES {
            self.end.pop_front();
        }
    }
}

fn median<'s>(samples: impl IntoIterator<Item = &'s u64>) -> u64 {
    let mut samples: Vec<u64> = samples.into_iter().copied().collect();
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}
