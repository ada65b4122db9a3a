//! The programs with which `cargo xtask bench` and `cargo xtask instructions` measure, in one
//! binary: a bare server as the baseline, a load generator, and an instruction counter.
//!
//! They are separate from `xtask` because they must be fast, and so are built with optimization.
//! They print their results as lines of `name value`.

#![forbid(unsafe_code)]

mod arguments;
mod bare;
#[cfg(feature = "instructions")]
mod fetch;
#[cfg(feature = "instructions")]
mod instructions;
mod load;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::arguments::Arguments;

const USAGE: &str = "\
Usage:
  bench-tools bare --addr IP:PORT --bytes N
  bench-tools load --addr IP:PORT --path PATH --connections N --seconds S
                   [--warm-up S] [--threads N] [--rate PER-SECOND]
  bench-tools load --addr IP:PORT --path PATH --connections N --once
  bench-tools instructions --addr IP:PORT --path PATH --thread NAME --requests N -- SERVER [ARGS]
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(command) = words.next() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&command, Arguments::new(words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tools {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, mut arguments: Arguments) -> Result<()> {
    match command {
        "bare" => bare::serve(&bare::Options::take(&mut arguments)?),
        "load" => load::run(&load::Options::take(&mut arguments)?),
        #[cfg(feature = "instructions")]
        "instructions" => instructions::count(&instructions::Options::take(&mut arguments)?),
        other => bail!("no such command as {other}\n\n{USAGE}"),
    }
}
