//! The project's benchmark program, which `cargo xtask bench` and `cargo xtask instructions` build
//! and run.
//!
//! `compare` compares servers, and `instructions` counts the instructions of a request. Both start
//! this program again for the parts that are measured with: the bare loop, the load generator, and
//! the counter, which print their results as one JSON object.

#![forbid(unsafe_code)]

mod arguments;
mod bare;
mod compare;
#[cfg(feature = "instructions")]
mod count;
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
  bench compare --root DIR --target DIR --wasgi FILE --wasi-http FILE -- [OPTIONS]
  bench compare --check -- [OPTIONS]
  bench instructions --root DIR --target DIR --handler FILE --wasgi FILE [--write]
  bench bare --addr IP:PORT --bytes N
  bench load --addr IP:PORT --path PATH --connections N --seconds S
             [--warm-up S] [--threads N] [--rate PER-SECOND]
  bench load --addr IP:PORT --path PATH --connections N --once
  bench count --addr IP:PORT --path PATH --thread NAME --requests N -- SERVER [ARGS]
";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(command) = words.next() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let command = command.to_string_lossy();
    match Arguments::new(words).and_then(|arguments| run(&command, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, mut arguments: Arguments) -> Result<()> {
    match command {
        "compare" => compare::Command::take(&mut arguments)?.run(),
        "bare" => bare::serve(&bare::Options::take(&mut arguments)?),
        "load" => load::run(&load::Options::take(&mut arguments)?),
        #[cfg(feature = "instructions")]
        "instructions" => instructions::run(&instructions::Options::take(&mut arguments)?),
        #[cfg(feature = "instructions")]
        "count" => count::run(&count::Options::take(&mut arguments)?),
        other => bail!("unknown command {other}\n\n{USAGE}"),
    }
}
