//! `wasgi doctor`: what this machine and this site have, what is missing, and what to do about it.
//!
//! - `kernel`: features of the system that the server uses, each of which it can do without.
//! - `folders`: the site's folders, its cache and its addresses.
//! - `certificates`: those that the server obtains itself.
//! - `tools`: compilers for projects, and runtimes for scripts.

mod certificates;
mod finding;
mod folders;
mod kernel;
mod tools;

use std::io::Write;
use std::process::ExitCode;

use crate::cli;
use crate::printable;
use finding::{Finding, Report};

/// Runs `wasgi doctor`. Returns exit code 1 if there is a problem.
///
/// # Errors
///
/// Never fails: an invalid configuration is one of its findings.
pub fn doctor(arguments: &cli::Doctor) -> anyhow::Result<ExitCode> {
    let mut report = Report(kernel::findings());
    match arguments.site.load() {
        Ok((resolved, overlaps)) => {
            report
                .0
                .extend(folders::findings(&resolved.config, &overlaps));
            report.0.extend(tools::findings(&resolved.config));
        }
        Err(error) => {
            let what = format!("{error:#}");
            let found = Finding::problem("site", "configuration", &what, "correct it");
            report.0.push(found);
        }
    }
    let shown = match arguments.json {
        true => printable::json(&format!("{:#}\n", report.json())).to_string(),
        false => finding::painted(&printable::report(&report.to_string()).to_string()),
    };
    // An error means that the reader has closed the pipe, which is fine.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(match report.has_problems() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}
