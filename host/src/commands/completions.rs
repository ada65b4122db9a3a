//! `wasgi completions` and `wasgi man`: the command line, for shells and for `man`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{self, Cli};

/// The program's name, which a shell completes the arguments of.
const PROGRAM: &str = "wasgi";

/// Runs `wasgi completions`: prints a script that completes the arguments of `wasgi` in a shell.
///
/// # Errors
///
/// Fails if the output can't be written.
pub fn completions(arguments: &cli::Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    // The scripts also offer hidden commands.
    let command = Cli::command();
    let shown = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut command = clap::Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(shown.cloned());
    clap_complete::generate(arguments.shell, &mut command, PROGRAM, &mut script);
    print(&script)
}

/// Runs `wasgi man`: prints the manual page, with a section for each command.
///
/// # Errors
///
/// Fails if the output can't be written.
pub fn man() -> anyhow::Result<ExitCode> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for subcommand in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        // A second title line would begin a second page.
        let name = subcommand.get_name().to_uppercase();
        writeln!(page, ".SH \"WASGI {name}\"")?;
        let section = clap_mangen::Man::new(subcommand.clone());
        section.render_synopsis_section(&mut page)?;
        section.render_description_section(&mut page)?;
        section.render_options_section(&mut page)?;
    }
    print(&page)
}

/// Writes to standard output. That the reader has closed the pipe is not an error.
fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
