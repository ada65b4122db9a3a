//! Drops hundreds of hostile files into a running server, and restarts it with all of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use builder::Workspace;
use processes::step;

use crate::client::Client;
use crate::drops::{Dropped, Drops};
use crate::load::{Load, Task};
use crate::options::Options;
use crate::server::{Server, Site};

/// The interval between requests for a page.
const PAGE_INTERVAL: Duration = Duration::from_millis(5);

/// The interval between requests to a good handler.
const HANDLER_INTERVAL: Duration = Duration::from_millis(20);

/// The time limit, for each file, until all are loaded or rejected: the maximum for loading one
/// here, with a margin.
const SETTLE_LIMIT_EACH: Duration = Duration::from_secs(25);

/// The time limit for the first page of a restarted server, independent of the files in the folder.
const RESTART_LIMIT: Duration = Duration::from_secs(5);

/// The time for which the restarted server is observed.
const RESTART_TIME: Duration = Duration::from_secs(5);

/// Drops hostile files into a running server.
///
/// # Errors
///
/// Fails if something does not build, or the server fails: it ends, another request fails, or a
/// page takes too long.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let site = Site::make(workspace, options, "hostile")?;
    let mut server = Server::start(&site, options)?;
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
    let responses = settle(&mut server, &dropped)?;
    let (page, handler) = (page.finish()?, handler.finish()?);
    let kinds = Drops::kinds();
    println!("files: {} of {kinds} kinds; {responses}", dropped.len());
    println!("pages: {page}");
    println!("handler: {handler}");
    server.stop()?;
    for has_cache in [true, false] {
        restart(&site, options, has_cache)?;
    }
    ensure!(
        page.failed + handler.failed == 0,
        "requests to the page or the good handler failed"
    );
    ensure!(
        page.longest <= options.within,
        "a page took {} ms, more than {} ms",
        page.longest.as_millis(),
        options.within.as_millis()
    );
    Ok(())
}

/// Requests each file's route until none is pending, and counts the responses.
fn settle(server: &mut Server, dropped: &[Dropped]) -> Result<Responses> {
    let limit = SETTLE_LIMIT_EACH * u32::try_from(dropped.len()).unwrap_or(u32::MAX);
    let until = Instant::now() + limit;
    let mut responses = Responses::default();
    let mut client = Client::new(server.address);
    for file in dropped {
        loop {
            server.expect_alive()?;
            // A hostile handler may cut its response, or send none.
            let status = client
                .get(&file.target)
                .map_or(0, |response| response.status);
            if status == 503 && Instant::now() < until {
                thread::sleep(Duration::from_millis(100));
                continue;
            }
            responses.count(status);
            break;
        }
    }
    Ok(responses)
}

/// Restarts the server with all files in place.
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
        "restarted with {cache} cache: first page after {} ms; pages: {page}",
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

/// The number of responses of each kind.
#[derive(Debug, Default)]
struct Responses {
    good: usize,
    absent: usize,
    failed: usize,
    late: usize,
    none: usize,
}

impl Responses {
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

impl std::fmt::Display for Responses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "their routes respond: 404 {}, 5xx {}, still 503 {}, other {}, cut {}",
            self.absent, self.failed, self.late, self.good, self.none
        )
    }
}
