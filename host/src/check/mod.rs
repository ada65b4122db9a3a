//! `wasgi check`: what a handler does wrong, in plain words, as `wsgiref.validate` tells it of a
//! Python application.
//!
//! 1. `file`: the file is loaded. What does not load is explained, import by import.
//! 2. `plan`: the handler gets a set of requests, through `drive`, and its steps are recorded.
//! 3. `rules`: each answer is looked at, by rules that `docs/contract.md` numbers. Whatever the
//!    gateway refused was refused by the gateway itself: there is no second set of checks in here.
//! 4. `report`: what was found, once each, with the requests that showed it.

mod file;
mod finding;
mod plan;
mod report;
mod rules;

pub(crate) use file::load;
pub use finding::{Finding, Level};
pub use report::{FileReport, Report};

use std::path::Path;

use crate::drive::{BadRequest, Driver, Mount};
use crate::engine::{Engine, Program};
use crate::registry::label;

/// Checks one handler's file: loads it, and sends the requests of the plan to `target`, or to
/// where the site has it whose handlers are in `folder`.
///
/// # Errors
///
/// Fails when `target` is no path that can be requested.
pub fn check(
    engine: &Engine,
    driver: &Driver,
    path: &Path,
    folder: &Path,
    target: Option<&str>,
) -> Result<FileReport, BadRequest> {
    let mut report = FileReport::new(label(Path::new(""), path));
    match load(engine, path) {
        Ok(program) => {
            report.kind = Some(program.kind().to_string());
            let mount = Mount::of(path, folder);
            drive(driver, &program, &mount, target, &mut report)?;
        }
        Err(findings) => report.add("", findings),
    }
    Ok(report)
}

fn drive(
    driver: &Driver,
    program: &Program,
    mount: &Mount,
    target: Option<&str>,
    report: &mut FileReport,
) -> Result<(), BadRequest> {
    let policy = driver.policy(program, mount);
    // An instance that serves several requests is to serve them here, too: one after the other.
    let most_at_once = match policy.reuse {
        0 | 1 => policy.budget.concurrent_requests.max(1),
        _ => 1,
    };
    let mut plans = plan::plans(target.unwrap_or(mount.example())).into_iter();
    // The first one goes alone: what never ends would never end for any of them.
    let mut results = run_probes(driver, program, mount, plans.by_ref().take(1))?;
    while plans.len() > 0 {
        if results.iter().any(plan::ProbeResult::is_hopeless) {
            report.is_cut_short = true;
            break;
        }
        results.extend(run_probes(
            driver,
            program,
            mount,
            plans.by_ref().take(most_at_once),
        )?);
    }
    report.requests_count = results.len();
    for probe in &results {
        report.add(probe.name, rules::of_answer(probe));
    }
    report.add("HEAD", rules::of_pair(&results));
    Ok(())
}

fn run_probes(
    driver: &Driver,
    program: &Program,
    mount: &Mount,
    plans: impl Iterator<Item = plan::Plan>,
) -> Result<Vec<plan::ProbeResult>, BadRequest> {
    let plans: Vec<plan::Plan> = plans.collect();
    let requests = plans
        .iter()
        .map(|plan| (plan.request.clone(), plan::ProbeClient::new(plan.leaves)));
    let ended = driver.send(program, mount, requests, true)?;
    Ok(plans
        .iter()
        .zip(ended)
        .map(|(plan, ended)| plan::ProbeResult::new(plan, program.kind(), ended))
        .collect())
}
