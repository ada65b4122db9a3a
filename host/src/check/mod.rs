//! `wasgi check`: reports what a handler does wrong, as `wsgiref.validate` does for a Python
//! application.
//!
//! 1. `file` loads the file, or explains each missing import of a file that does not load.
//! 2. `plan` lists the requests. `drive` sends them to the handler and records its steps.
//! 3. `rules` examines each response by the rules that `docs/contract.md` numbers. The gateway
//!    itself detects invalid output; this module does not duplicate its checks.
//! 4. `report` lists each finding once, with the requests that triggered it.

mod file;
mod finding;
mod plan;
mod report;
mod rules;

pub(crate) use file::load;
pub(crate) use report::{FileReport, Report};

use std::path::Path;

use crate::drive::{BadRequest, Driver, Mount};
use crate::engine::{Engine, Program};
use crate::registry::label;

/// Checks one handler's file: loads it and sends the requests of the plan to `target`. Without a
/// `target`, it uses the handler's route.
///
/// # Errors
///
/// Fails if `target` is not a valid request-target.
pub(crate) fn check(
    engine: &Engine,
    driver: &Driver,
    path: &Path,
    mount: &Mount,
    target: Option<&str>,
) -> Result<FileReport, BadRequest> {
    let mut report = FileReport::new(label(Path::new(""), path));
    match load(engine, mount.name(), path) {
        Ok(program) => {
            report.kind = Some(program.kind().to_string());
            drive(driver, &program, mount, target, &mut report)?;
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
    // If instances serve several requests, the requests are sent one after the other, so that one
    // instance serves them here too.
    let most_at_once = match policy.reuse {
        0 | 1 => policy.budget.concurrent_requests.max(1),
        _ => 1,
    };
    let mut plans = plan::plans(target.unwrap_or(mount.example())).into_iter();
    // Send the first request alone: a handler that never finishes would not finish the others
    // either.
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
