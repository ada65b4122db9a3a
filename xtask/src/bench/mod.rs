//! `cargo xtask bench`: compares the server with others, in alternating rounds on separate
//! processors.
//!
//! It builds the programs, starts the servers, sends them requests with `bench-tools`, and reports
//! ratios. Servers that are not installed or fail are reported, and don't stop the others.
//! `docs/benchmarks.md` explains the results.

mod case;
mod contest;
mod load;
mod machine;
mod moments;
mod options;
mod peer;
mod plot;
mod report;
mod server;
mod stage;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;

use self::case::{CASES, Case, Kind};
use self::contest::Bench;
pub(crate) use self::machine::Tree;
use self::machine::{Cores, Noise, Usage};
use self::options::Options;
use self::peer::Peer;
use self::report::Report;
use self::stage::Stage;
use self::table::Table;
use crate::guest_toolchain::GuestToolchain;
use crate::guests;
use crate::process::{run, step};
use crate::workspace::Workspace;

/// The fraction of its maximum rate at which a server's latency is measured.
const PACED_PART: f64 = 0.7;

/// The load average above which the machine is not idle.
const LOAD_AVERAGE_LIMIT: f64 = 0.5;

/// The package with the bare loop, the load generator and the instruction counter.
pub(crate) const TOOLS: &str = "bench-tools";

/// The component for `wasmtime serve`.
const WASI_HTTP: &str = "wasi-http-hello";

/// Measures, and writes the report.
///
/// # Errors
///
/// Fails if an argument is invalid, something of this repository does not build, or the report
/// can't be written.
pub(crate) fn bench(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let bench = prepare(workspace, &options)?;
    let mut report = Report {
        setting: setting(&bench, &options),
        cases: Vec::new(),
    };
    for case in CASES.iter().filter(|case| options.includes(case.name)) {
        step(case.title);
        report.cases.push((case, measure(&bench, case)));
    }
    // Servers' messages contain paths; the report shows them relative to the repository.
    let homes = [
        (format!("{}/", workspace.target.display()), "target/"),
        (format!("{}/", workspace.root.display()), ""),
    ];
    let mut text = report.markdown();
    for (home, name) in &homes {
        text = text.replace(home.as_str(), name);
    }
    println!("{text}");
    if options.write {
        report.write(&workspace.root, &text)?;
        step("wrote docs/benchmarks.md and docs/images/benchmarks.svg");
    } else {
        let plot = bench.stage.folder.join("benchmarks.svg");
        report.write_plot(&plot)?;
        step(format!("wrote {}", plot.display()));
    }
    Ok(())
}

/// Builds the benchmark's own programs, and returns the path of the binary.
pub(crate) fn build_tools(workspace: &Workspace) -> Result<PathBuf> {
    step("building the bench's own programs");
    run(workspace
        .cargo("build")
        .args(["--release", "--package", TOOLS, "--all-features"]))?;
    Ok(workspace.target.join("release").join(TOOLS))
}

fn prepare(workspace: &Workspace, options: &Options) -> Result<Bench> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    crate::build_handlers(workspace, &[])?;
    let wasi_http = guests::build_package(workspace, &toolchain, WASI_HTTP)?;
    let tools = build_tools(workspace)?;
    let wasgi = match &options.server {
        Some(server) => server.canonicalize()?,
        None => crate::build_server(workspace)?,
    };
    Ok(Bench {
        stage: Stage::set(workspace, wasgi, tools, &wasi_http)?,
        cores: Cores::find()?,
        rounds: options.rounds,
        round_time: options.round_time,
    })
}

fn measure(bench: &Bench, case: &Case) -> Table {
    let table = match case.kind {
        Kind::Contest {
            answer,
            peers,
            pinned,
        } => {
            let contest = contest::full(bench, answer, peers, pinned);
            Ok(Table::of_contest(contest, bench.stage.length(answer)))
        }
        Kind::Paced { answer, peers } => {
            let contest = contest::paced(bench, answer, peers, PACED_PART);
            Ok(Table::of_latency(contest))
        }
        Kind::Start => quietly(|| moments::start(bench)),
        Kind::Reload => quietly(|| moments::reload(bench)),
        Kind::Idle => moments::idle(bench),
        Kind::Sleepers => quietly(|| moments::sleepers(bench)),
    };
    table.unwrap_or_else(|error| Table {
        notes: vec![format!("not measured: {error:#}")],
        ..Table::default()
    })
}

/// Measures, and adds a note if other processes used the machine.
fn quietly(measure: impl FnOnce() -> Result<Table>) -> Result<Table> {
    let (began, usage, own) = (Instant::now(), Usage::now()?, machine::own_seconds());
    let mut table = measure()?;
    // All started processes have ended by now.
    let own = machine::own_seconds() - own;
    let noise = Noise::between(usage, Usage::now()?, own, began.elapsed().as_secs_f64());
    table.notes.extend(noise.note());
    Ok(table)
}

/// Returns the lines that precede the report's first figure.
fn setting(bench: &Bench, options: &Options) -> Vec<String> {
    let mut lines = vec![machine::describe(&bench.cores)];
    let seconds = bench.round_time.as_secs_f64();
    lines.push(format!(
        "medians of {} rounds of {seconds} s; {} connections, {} for 10 MiB",
        bench.rounds,
        load::CONNECTIONS,
        load::CONNECTIONS_FOR_LARGE
    ));
    let mut warn = |line: String| {
        step(format!("warning: {line}"));
        lines.push(format!("**{line}**"));
    };
    if options.quick {
        warn("a quick run to check that everything works: the figures mean nothing".to_owned());
    }
    if bench.cores.count < 2 {
        warn("one processor, shared by servers and load generator".to_owned());
    }
    let load = machine::load_average();
    if load > LOAD_AVERAGE_LIMIT {
        warn(format!(
            "the machine was not idle at the start: load average {load:.1}"
        ));
    }
    let (there, missing) = peers(bench, options);
    lines.extend(there);
    for line in missing {
        step(&line);
        lines.push(line);
    }
    lines
}

/// Returns the third-party servers: the installed ones with their versions, and the others with the
/// commands that install them.
fn peers(bench: &Bench, options: &Options) -> (Vec<String>, Vec<String>) {
    let mut strangers = BTreeMap::new();
    for case in CASES.iter().filter(|case| options.includes(case.name)) {
        if let Kind::Contest { peers, .. } | Kind::Paced { peers, .. } = case.kind {
            let named = peers
                .iter()
                .filter_map(|&peer| Some((peer.program()?, peer)));
            strangers.extend(named);
        }
    }
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (name, peer) in strangers {
        match bench.stage.program(peer) {
            Some(program) => there.push(version(&program, peer).unwrap_or(name.to_owned())),
            None => missing.push(format!("not installed: {name} (`{}`)", peer.install())),
        }
    }
    (there, missing)
}

/// Returns the first line of a program's version.
fn version(program: &Path, peer: Peer) -> Option<String> {
    let output = Command::new(program)
        .arg(peer.version_flag())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next()?.trim_start_matches("nginx version: ");
    Some(line.trim().to_owned())
}
