//! `cargo xtask hostile` and `cargo xtask soak`: a server that is given hostile files, and has to
//! go on for everybody else.
//!
//! - `hostile` drops hundreds of them into a running server, asks for each, starts the server again
//!   with all of them in the folder, and tells how long a page took at the most.
//! - `soak` keeps the server busy with pages, handlers and uploads for minutes while one file is
//!   dropped in every second, and tells what failed and how its memory has grown.
//!
//! The files come from `tests/support/generator/mod.rs`, where the test suite has its own from.

mod client;
mod drops;
mod load;
mod options;
mod server;
mod soak;

#[path = "../../../tests/support/generator/mod.rs"]
mod generator;

use std::ffi::OsString;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::client::Client;
use self::drops::{Dropped, Drops};
use self::load::{Load, Task};
use self::options::Options;
use self::server::{Server, Site};
use crate::process::step;
use crate::workspace::Workspace;

pub(crate) use self::soak::soak;

/// How often a page is asked for.
const PAGE_INTERVAL: Duration = Duration::from_millis(5);

/// How often a good handler is asked.
const HANDLER_INTERVAL: Duration = Duration::from_millis(20);

/// How long it may take until all files are loaded or turned down, for each of them: the most that
/// loading one may take here, and some.
const SETTLE_LIMIT_EACH: Duration = Duration::from_secs(25);

/// How long a server that was started again may take to its first page, whatever is in the folder.
const RESTART_LIMIT: Duration = Duration::from_secs(5);

/// How long it is watched then.
const RESTART_TIME: Duration = Duration::from_secs(5);

/// Drops hostile files into a running server.
///
/// # Errors
///
/// When an argument means nothing, something does not build, or the server does not hold: it ends,
/// a request to something else fails, or a page takes too long.
pub(crate) fn hostile(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let site = Site::make(workspace, &options, "hostile")?;
    let mut server = Server::start(&site, &options)?;
    let page = Load::start(server.address, Task::Page, PAGE_INTERVAL);
    let handler = Load::start(server.address, Task::Handler, HANDLER_INTERVAL);
    step(format!("dropping {} files in", options.count));
    let drops = Drops::new(&site, options.seed)?;
    let mut dropped = Vec::new();
    for file in drops.take(options.count) {
        dropped.push(file?);
        thread::sleep(options.interval);
        server.expect_alive()?;
    }
    let answers = settle(&mut server, &dropped)?;
    let (page, handler) = (page.finish()?, handler.finish()?);
    let kinds = generator::Generator::kinds();
    println!("files: {} of {kinds} kinds; {answers}", dropped.len());
    println!("pages: {page}");
    println!("handler: {handler}");
    server.stop()?;
    for has_cache in [true, false] {
        restart(&site, &options, has_cache)?;
    }
    ensure!(
        page.failed + handler.failed == 0,
        "requests that were not to the hostile handlers failed"
    );
    ensure!(
        page.longest <= options.within,
        "a page took {} ms, more than {} ms",
        page.longest.as_millis(),
        options.within.as_millis()
    );
    Ok(())
}

/// Asks for each file's route until none is on its way any more, and tells what they answer.
fn settle(server: &mut Server, dropped: &[Dropped]) -> Result<Answers> {
    let limit = SETTLE_LIMIT_EACH * u32::try_from(dropped.len()).unwrap_or(u32::MAX);
    let until = Instant::now() + limit;
    let mut answers = Answers::default();
    let mut client = Client::new(server.address);
    for file in dropped {
        loop {
            server.expect_alive()?;
            // Cut, or none: a hostile handler's own affair.
            let status = client.get(&file.target).map_or(0, |answer| answer.status);
            if status == 503 && Instant::now() < until {
                thread::sleep(Duration::from_millis(100));
                continue;
            }
            answers.count(status);
            break;
        }
    }
    Ok(answers)
}

/// Starts the server again with all files where they are.
fn restart(site: &Site, options: &Options, has_cache: bool) -> Result<()> {
    let cache = if has_cache { "its" } else { "an empty" };
    if !has_cache {
        site.empty_cache()?;
    }
    let mut server = Server::start(site, options)?;
    let page = Load::start(server.address, Task::Page, PAGE_INTERVAL);
    let until = Instant::now() + RESTART_TIME;
    while Instant::now() < until {
        server.expect_alive()?;
        thread::sleep(Duration::from_millis(50));
    }
    let page = page.finish()?;
    println!(
        "started again with {cache} cache: first page after {} ms; pages: {page}",
        server.start_time.as_millis()
    );
    ensure!(page.failed == 0, "pages failed after a restart");
    ensure!(
        server.start_time <= RESTART_LIMIT,
        "the first page took {} ms",
        server.start_time.as_millis()
    );
    server.stop()
}

/// How many answers of which kind.
#[derive(Debug, Default)]
struct Answers {
    good: usize,
    absent: usize,
    failed: usize,
    late: usize,
    none: usize,
}

impl Answers {
    fn count(&mut self, status: u16) {
        match status {
            0 => self.none += 1,
            404 => self.absent += 1,
            503 => self.late += 1,
            500.. => self.failed += 1,
            _ => self.good += 1,
        }
    }
}

impl std::fmt::Display for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "their routes answer: 404 {}, 5xx {}, still 503 {}, other {}, cut {}",
            self.absent, self.failed, self.late, self.good, self.none
        )
    }
}
