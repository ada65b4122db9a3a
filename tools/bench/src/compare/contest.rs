//! A contest: the servers of a case are measured in turns, round after round.
//!
//! Each round measures each server once, so that changes of the machine affect all of them; only
//! figures of the same round are compared.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use processes::step;

use super::load::{self, Found, Load};
use super::machine::{Cores, Noise, Usage};
use super::peer::Peer;
use super::server::{Server, free_address};
use super::stage::{Answer, Stage};

/// The data that all cases need.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) stage: Stage,
    pub(super) cores: Cores,
    pub(super) rounds: usize,
    pub(super) round_time: Duration,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) rate: f64,
    /// The server's CPU time per request, in µs.
    pub(super) cpu_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The 99th percentile of the load generator's own delay, in µs.
    pub(super) late_p99_us: f64,
    pub(super) resident_kib: f64,
    pub(super) noise: Noise,
}

/// The measurements of a server, one per round.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) peer: Peer,
    pub(super) samples: Vec<Sample>,
}

/// The results of a case, and notes about failures.
#[derive(Debug, Default)]
pub(super) struct Contest {
    pub(super) series: Vec<Series>,
    pub(super) notes: Vec<String>,
}

/// A server in a contest.
struct Contender {
    server: Server,
    series: Series,
}

/// Starts all available peers, and notes those that can't be started.
fn start(
    bench: &Bench,
    answer: Answer,
    peers: &[Peer],
    pinned: bool,
    notes: &mut Vec<String>,
) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for &peer in peers {
        match start_one(bench, answer, peer, pinned) {
            Ok(server) => contenders.push(Contender {
                server,
                series: Series {
                    peer,
                    samples: Vec::new(),
                },
            }),
            Err(error) => notes.push(format!("{}: {error:#}", peer.title())),
        }
    }
    contenders
}

/// Starts one peer.
///
/// # Errors
///
/// Fails if it is not installed, or does not respond.
pub(super) fn start_one(bench: &Bench, answer: Answer, peer: Peer, pinned: bool) -> Result<Server> {
    let stage = &bench.stage;
    let program = stage.program(peer).context("not installed")?;
    let address = free_address()?;
    if peer == Peer::Nginx {
        stage.configure_nginx(address)?;
    }
    let mut command = peer.command(program, stage, address, answer);
    let cores = &bench.cores;
    let cpus = if pinned { &cores.server } else { &cores.all };
    let log = stage
        .folder
        .join(format!("{}.log", peer.title().replace(' ', "-")));
    Server::start(&mut command, cpus, address, &stage.path(answer), &log)
}

/// Measures peers at full load, in alternating rounds.
pub(super) fn full(bench: &Bench, answer: Answer, peers: &[Peer], pinned: bool) -> Contest {
    let mut notes = Vec::new();
    let mut contenders = start(bench, answer, peers, pinned, &mut notes);
    let threads = if pinned { 1 } else { 2 };
    let load = Load::Full {
        time: bench.round_time,
        threads,
        connections: load::connections(bench.stage.length(answer)),
    };
    for round in 1..=bench.rounds {
        step(format!("  round {round} of {}", bench.rounds));
        measure_all(bench, answer, &mut contenders, |_| load, pinned, &mut notes);
    }
    let series = contenders.into_iter().map(|contender| contender.series);
    Contest {
        series: series.collect(),
        notes,
    }
}

/// Measures peers at a fraction of their maximum rates, in alternating rounds.
pub(super) fn paced(bench: &Bench, answer: Answer, peers: &[Peer], part: f64) -> Contest {
    let mut notes = Vec::new();
    let mut contenders = start(bench, answer, peers, true, &mut notes);
    let full = Load::Full {
        time: bench.round_time,
        threads: 1,
        connections: load::CONNECTIONS,
    };
    for round in 1..=bench.rounds {
        step(format!("  round {round} of {}", bench.rounds));
        // The maximum rate is determined again in each round, because it changes with the machine.
        measure_all(bench, answer, &mut contenders, |_| full, true, &mut notes);
        let peaks: Vec<Series> = contenders.iter().map(|c| c.series.clone()).collect();
        let load = |peer: Peer| {
            let series = peaks.iter().find(|series| series.peer == peer);
            let peak = series.and_then(|series| series.samples.last());
            Load::Paced {
                time: bench.round_time,
                per_second: part * peak.map_or(1.0, |sample| sample.rate),
            }
        };
        measure_all(bench, answer, &mut contenders, load, true, &mut notes);
    }
    let series = contenders.into_iter().map(|contender| {
        let mut series = contender.series;
        // Every other sample is a maximum rate.
        let mut index = 0;
        series.samples.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        series
    });
    Contest {
        series: series.collect(),
        notes,
    }
}

/// Measures each server once. A server that fails is noted and removed.
fn measure_all(
    bench: &Bench,
    answer: Answer,
    contenders: &mut Vec<Contender>,
    load: impl Fn(Peer) -> Load,
    pinned: bool,
    notes: &mut Vec<String>,
) {
    let mut failed = BTreeSet::new();
    for (index, contender) in contenders.iter_mut().enumerate() {
        let peer = contender.series.peer;
        match measure(bench, answer, &contender.server, load(peer), pinned) {
            Ok(sample) => contender.series.samples.push(sample),
            Err(error) => {
                notes.push(format!("{}: {error:#}", peer.title()));
                failed.insert(index);
            }
        }
    }
    let mut index = 0;
    contenders.retain(|_| {
        index += 1;
        !failed.contains(&(index - 1))
    });
}

fn measure(
    bench: &Bench,
    answer: Answer,
    server: &Server,
    load: Load,
    pinned: bool,
) -> Result<Sample> {
    let cores = &bench.cores;
    let cpus = if pinned { &cores.load } else { &cores.all };
    let tree = server.tree();
    let (began, cpu, usage) = (Instant::now(), tree.cpu_seconds(), Usage::now()?);
    let path = bench.stage.path(answer);
    let found = load::run(&bench.stage.own, cpus, server.address, &path, load, || {})?;
    let used = tree.cpu_seconds() - cpu;
    let own = used + found.cpu_seconds;
    let noise = Noise::between(usage, Usage::now()?, own, seconds_since(began));
    check(&found)?;
    Ok(Sample {
        rate: found.rate(),
        cpu_us: used * 1e6 / found.all,
        p50_us: found.p50_us,
        p99_us: found.p99_us,
        late_p99_us: found.late_p99_us,
        resident_kib: tree.resident_kib(),
        noise,
    })
}

/// Rejects the figures of a server that doesn't respond correctly.
fn check(found: &Found) -> Result<()> {
    ensure!(found.answered > 0.0, "no request was answered");
    ensure!(
        found.failed == 0.0,
        "{} requests failed, {} were answered",
        found.failed,
        found.all
    );
    Ok(())
}

fn seconds_since(began: Instant) -> f64 {
    began.elapsed().max(Duration::from_millis(1)).as_secs_f64()
}
