//! The cases that don't measure a rate: durations of single events, and memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::case::WASGI_THREADS;
use super::contest::Bench;
use super::contest::start_one;
use super::load::{self, Load};
use super::server::{Server, free_address, get};
use super::stage::{Answer, HANDLERS};
use super::table::{Table, median};

/// The number of handlers that sleep at the same time.
const SLEEPERS: u32 = 10_000;

/// How long a server is idle before its memory is measured.
const REST: Duration = Duration::from_secs(1);

/// The time limit for a renamed handler to respond.
const RELOAD_LIMIT: Duration = Duration::from_secs(20);

/// The polling interval, which is longer than a response takes.
const ASK_INTERVAL: Duration = Duration::from_millis(1);

/// The pause between a reload and the next rename, so that reloads don't overlap.
const RELOAD_PAUSE: Duration = Duration::from_millis(100);

/// The rate of requests to the handler that is not replaced.
const NEIGHBOUR_RATE: f64 = 500.0;

/// The versions that alternate in the place of `reload`: about 45 and 140 KiB, with different
/// responses.
const VERSIONS: [&str; 2] = ["hello.wasm", "echo.wasm"];

/// Measures the time from the start of the process to its first good response, with the demo site.
pub(super) fn start(bench: &Bench) -> Result<Table> {
    // The first start compiles, and is not counted.
    let _ = demo_site(bench)?;
    let times: Vec<f64> = (0..2 * bench.rounds)
        .map(|_| Ok(demo_site(bench)?.start_time.as_secs_f64() * 1e3))
        .collect::<Result<_>>()?;
    let row = vec![
        "wasgi".to_owned(),
        format_median(&times),
        format_range(&times),
    ];
    Ok(Table::of_rows(
        &["server", "median ms", "fastest to slowest ms"],
        vec![row],
    ))
}

/// Measures the memory of the demo site when it is idle.
pub(super) fn idle(bench: &Bench) -> Result<Table> {
    let server = demo_site(bench)?;
    let (status, _) = get(server.address, "/")?;
    ensure!(status == 200, "the site's page has status {status}");
    thread::sleep(REST);
    let mib = server.tree().resident_kib() / 1024.0;
    let row = vec!["wasgi".to_owned(), format!("{mib:.1}")];
    Ok(Table::of_rows(&["server", "RSS MiB"], vec![row]))
}

/// Measures the memory while many requests sleep in their handlers, and after all have been
/// answered.
pub(super) fn sleepers(bench: &Bench) -> Result<Table> {
    let server = start_one(bench, Answer::Hello, WASGI_THREADS, false)?;
    let tree = server.tree();
    let (before, mut most) = (tree.resident_kib(), 0.0_f64);
    let load = Load::Once {
        connections: SLEEPERS,
    };
    let (own, all) = (&bench.stage.own, &bench.cores.all);
    let watch = || most = most.max(tree.resident_kib());
    let found = load::run(own, all, server.address, "/sleep?ms=1000", load, watch)?;
    let each = (most - before) / f64::from(SLEEPERS);
    let row = vec![
        "wasgi".to_owned(),
        format!("{}", found.answered),
        format!("{}", found.failed),
        format!("{:.2}", found.seconds),
        format!("{each:.1}"),
    ];
    let columns = [
        "server",
        "answered",
        "failed",
        "all answered after s",
        "KiB each",
    ];
    Ok(Table::of_rows(&columns, vec![row]))
}

/// Measures the time from a handler's rename to its first response, and the latency of another
/// handler meanwhile.
pub(super) fn reload(bench: &Bench) -> Result<Table> {
    let folder = bench.stage.folder.join("reload");
    let built = bench.stage.root.join(HANDLERS);
    fs::copy(built.join("hello.wasm"), folder.join("hello.wasm"))?;
    place(&built.join(VERSIONS[0]), &folder)?;
    let address = free_address()?;
    let mut command = Command::new(&bench.stage.wasgi);
    command.args(["serve", "--no-access-log", "--code-cache", "none", "--root"]);
    command
        .arg(&bench.stage.pages)
        .arg("--handlers")
        .arg(&folder);
    command.args(["--addr", &address.to_string()]);
    let log = bench.stage.folder.join("reload.log");
    let server = Server::start(&mut command, &bench.cores.all, address, "/reload", &log)?;

    let quiet = neighbour(bench, &server)?;
    let mut times = Vec::new();
    let disturbed = thread::scope(|scope| {
        let watching = scope.spawn(|| neighbour(bench, &server));
        let (mut turn, begun) = (0, Instant::now());
        while !watching.is_finished() || turn == 0 {
            turn += 1;
            ensure!(
                begun.elapsed() < 4 * RELOAD_LIMIT,
                "the reloads did not finish in time"
            );
            times.push(replace(&server, &built.join(VERSIONS[turn % 2]), &folder)?);
            thread::sleep(RELOAD_PAUSE);
        }
        watching
            .join()
            .ok()
            .context("the load generator panicked")?
    })?;
    let row = vec![
        "wasgi".to_owned(),
        times.len().to_string(),
        format_median(&times),
        format_range(&times),
        format!("{quiet:.0}"),
        format!("{disturbed:.0}"),
        format!("{:.1}", disturbed / quiet),
    ];
    let columns = [
        "server",
        "reloads",
        "median ms",
        "fastest to slowest ms",
        "other handler's p99 µs before",
        "during",
        "ratio",
    ];
    Ok(Table::of_rows(&columns, vec![row]))
}

/// Returns the 99th percentile of a handler that is not replaced, in µs.
fn neighbour(bench: &Bench, server: &Server) -> Result<f64> {
    let load = Load::Paced {
        time: bench.round_time,
        per_second: NEIGHBOUR_RATE,
    };
    let (own, all) = (&bench.stage.own, &bench.cores.all);
    Ok(load::run(own, all, server.address, "/hello", load, || {})?.p99_us)
}

/// Renames a version into place and waits for its first response. Returns the time in ms.
fn replace(server: &Server, version: &Path, folder: &Path) -> Result<f64> {
    let (_, old) = get(server.address, "/reload")?;
    place(version, folder)?;
    let renamed = Instant::now();
    while get(server.address, "/reload")?.1 == old {
        let name = version.display();
        ensure!(
            renamed.elapsed() < RELOAD_LIMIT,
            "{name}: the new version was not served in time"
        );
        thread::sleep(ASK_INTERVAL);
    }
    Ok(renamed.elapsed().as_secs_f64() * 1e3)
}

fn place(version: &Path, folder: &Path) -> Result<()> {
    let aside = folder.join(".reload.wasm");
    fs::copy(version, &aside).with_context(|| format!("can't copy {}", version.display()))?;
    fs::rename(&aside, folder.join("reload.wasm")).context("can't rename")
}

/// Starts this repository's site on all processors, with cached code.
fn demo_site(bench: &Bench) -> Result<Server> {
    let address = free_address()?;
    let mut command = Command::new(&bench.stage.wasgi);
    command
        .arg("serve")
        .arg(&bench.stage.root)
        .arg("--no-access-log");
    command
        .arg("--code-cache")
        .arg(bench.stage.folder.join("cache"));
    command.args(["--addr", &address.to_string()]);
    let log = bench.stage.folder.join("site.log");
    Server::start(&mut command, &bench.cores.all, address, "/hello", &log)
}

fn format_median(times: &[f64]) -> String {
    median(times).map_or_else(String::new, |time| format!("{time:.1}"))
}

fn format_range(times: &[f64]) -> String {
    let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = times.iter().copied().fold(0.0, f64::max);
    format!("{fastest:.1} to {slowest:.1}")
}
