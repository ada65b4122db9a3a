//! `bench compare`: compares the server with others, in alternating rounds on separate processors.
//!
//! It starts the servers, sends them requests with `bench load`, and reports ratios. Servers that
//! are not installed or fail are reported, and don't stop the others. `docs/benchmarks.md` explains
//! the results.

mod case;
mod contest;
mod inputs;
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
use std::path::Path;
use std::process::{self, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use processes::step;

use self::case::{CASES, Case, Measurement};
use self::contest::Bench;
use self::inputs::Inputs;
use self::machine::{Cores, Noise, Usage};
use self::options::Options;
use self::peer::Peer;
use self::report::Report;
use self::stage::Stage;
use self::table::Table;
use crate::arguments::Arguments;

/// The fraction of its maximum rate at which a server's latency is measured.
const PACED_PART: f64 = 0.7;

/// The load average above which the machine is not idle.
const LOAD_AVERAGE_LIMIT: f64 = 0.5;

/// The command `compare`.
#[derive(Debug)]
pub(crate) enum Command {
    /// Prints the usage of the options.
    Help,
    /// Only checks the options.
    Check,
    /// Measures.
    Measure(Options, Inputs),
}

impl Command {
    /// Parses the arguments. The options of `cargo xtask bench` follow `--`.
    ///
    /// # Errors
    ///
    /// Fails for an invalid argument, and lists the valid ones.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Self> {
        let words = arguments.rest();
        if words.iter().any(|word| word == "--help" || word == "-h") {
            return Ok(Self::Help);
        }
        let options = Options::parse(&words)?;
        if arguments.flag("--check") {
            arguments.finish()?;
            return Ok(Self::Check);
        }
        let inputs = Inputs::take(arguments)?;
        arguments.finish()?;
        Ok(Self::Measure(options, inputs))
    }

    /// Measures, and writes the report.
    ///
    /// # Errors
    ///
    /// Fails if an input is missing, or the report can't be written.
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Help => println!("{}", options::usage()),
            Self::Check => {}
            Self::Measure(options, inputs) => compare(options, inputs)?,
        }
        Ok(())
    }
}

fn compare(options: &Options, inputs: &Inputs) -> Result<()> {
    let bench = prepare(options, inputs)?;
    let mut report = Report {
        setting: setting(&bench, options),
        cases: Vec::new(),
    };
    for case in CASES.iter().filter(|case| options.includes(case.name)) {
        step(case.title);
        report.cases.push((case, measure(&bench, case)));
    }
    // Servers' messages contain paths; the report shows them relative to the repository.
    let homes = [
        (format!("{}/", inputs.target.display()), "target/"),
        (format!("{}/", inputs.root.display()), ""),
    ];
    let mut text = report.markdown();
    for (home, name) in &homes {
        text = text.replace(home.as_str(), name);
    }
    println!("{text}");
    if options.write {
        report.write(&inputs.root, &text)?;
        step("wrote docs/benchmarks.md and docs/images/benchmarks.svg");
    } else {
        let plot = bench.stage.folder.join("benchmarks.svg");
        report.write_plot(&plot)?;
        step(format!("wrote {}", plot.display()));
    }
    Ok(())
}

fn prepare(options: &Options, inputs: &Inputs) -> Result<Bench> {
    let server = options.server.as_ref().unwrap_or(&inputs.wasgi);
    let wasgi = server.canonicalize();
    let wasgi = wasgi.with_context(|| format!("no server {}", server.display()))?;
    Ok(Bench {
        stage: Stage::set(inputs, wasgi)?,
        cores: Cores::find()?,
        rounds: options.rounds,
        round_time: options.round_time,
    })
}

fn measure(bench: &Bench, case: &Case) -> Table {
    let table = match case.measurement {
        Measurement::Contest {
            answer,
            peers,
            pinned,
        } => {
            let contest = contest::full(bench, answer, peers, pinned);
            Ok(Table::of_contest(contest, bench.stage.length(answer)))
        }
        Measurement::Paced { answer, peers } => {
            let contest = contest::paced(bench, answer, peers, PACED_PART);
            Ok(Table::of_latency(contest))
        }
        Measurement::Start => quietly(|| moments::start(bench)),
        Measurement::Reload => quietly(|| moments::reload(bench)),
        Measurement::Idle => moments::idle(bench),
        Measurement::Sleepers => quietly(|| moments::sleepers(bench)),
    };
    table.unwrap_or_else(|error| Table {
        notes: vec![format!("not measured: {error:#}")],
        ..Table::default()
    })
}

/// Measures, and adds a note if other processes used the machine.
fn quietly(measure: impl FnOnce() -> Result<Table>) -> Result<Table> {
    let (began, usage, own) = (Instant::now(), Usage::now()?, processes::own_seconds());
    let mut table = measure()?;
    // All started processes have ended by now.
    let own = processes::own_seconds() - own;
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
        if let Measurement::Contest { peers, .. } | Measurement::Paced { peers, .. } =
            case.measurement
        {
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
    let output = process::Command::new(program)
        .arg(peer.version_flag())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next()?.trim_start_matches("nginx version: ");
    Some(line.trim().to_owned())
}
