//! `cargo xtask bench`: the server beside others, in alternating rounds on processors of their own.
//!
//! It builds what it needs, starts the servers, has `bench-tools` ask them, and reports ratios.
//! What is not installed, or fails, is reported and does not stop the rest. How to read the result
//! is in `docs/benchmarks.md`.

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

/// The part of its peak rate at which a server's latency is looked at.
const PACED_PART: f64 = 0.7;

/// Above this many programs that want a processor, the machine is not idle.
const LOAD_AVERAGE_LIMIT: f64 = 0.5;

/// The package with the bare loop, the load generator and the counter.
pub(crate) const TOOLS: &str = "bench-tools";

/// The component that `wasmtime serve` is given.
const WASI_HTTP: &str = "wasi-http-hello";

/// Measures, and writes what was found.
///
/// # Errors
///
/// When an argument means nothing, something of this repository does not build, or the report can't
/// be written.
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
    // What servers say names their files; where this machine keeps them is nobody's business.
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

/// Builds the programs beside the server; says where they are.
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

/// Measures, and notes when others used the machine meanwhile.
fn quietly(measure: impl FnOnce() -> Result<Table>) -> Result<Table> {
    let (began, usage, own) = (Instant::now(), Usage::now()?, machine::own_seconds());
    let mut table = measure()?;
    // By now all that was started has ended.
    let own = machine::own_seconds() - own;
    let noise = Noise::between(usage, Usage::now()?, own, began.elapsed().as_secs_f64());
    table.notes.extend(noise.note());
    Ok(table)
}

/// What the report says before its first figure.
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

/// The strangers among the servers: those that are there, with their versions; those that are not,
/// with the line that installs them.
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

/// The first line that a program says of its version.
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
