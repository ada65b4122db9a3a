//! The command line of a program with a bundle at its end: all commands use that site unless
//! another is named.

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory, Error, FromArgMatches};

use super::Cli;

/// Parses arguments. The default for the site is the program at the path `own`.
pub(super) fn parse(arguments: &[OsString], own: &'static Path) -> Result<Cli, Error> {
    let mut command = Cli::command();
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|command| {
            command
                .get_arguments()
                .any(|argument| argument.get_id() == "site")
        })
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |command| {
            command.mut_arg("site", |site| site.default_value(own.as_os_str()))
        });
    }
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::with_command;
    use crate::cli::Command;

    fn command(arguments: &[&str]) -> Command {
        let arguments = arguments.iter().map(OsString::from).collect();
        let arguments = with_command(arguments);
        parse(&arguments, Path::new("/srv/site"))
            .expect("valid")
            .command
    }

    #[test]
    fn the_site_in_the_program_is_served_unless_another_command_is_named() {
        for arguments in [&["site"][..], &["site", "--addr", "8001"]] {
            let Command::Serve(serve) = command(arguments) else {
                panic!("expected serve");
            };
            assert_eq!(serve.site.place.site, Path::new("/srv/site"));
        }
        let Command::Routes(routes) = command(&["site", "routes", "--json"]) else {
            panic!("expected routes");
        };
        assert_eq!(routes.site.place.site, Path::new("/srv/site"));
        let Command::Check(check) = command(&["site", "check", "hello"]) else {
            panic!("expected check");
        };
        assert_eq!(check.trial.place.site, Path::new("/srv/site"));
        let Command::Serve(serve) = command(&["site", "serve", "other"]) else {
            panic!("expected serve");
        };
        assert_eq!(serve.site.place.site, Path::new("other"));
        assert!(with_command(vec!["site".into(), "--version".into()]).len() == 2);
    }
}
