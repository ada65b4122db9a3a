//! Identifies a process as a worker: the value of a flag that the supervisor adds to its own
//! arguments.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The number of a worker and its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId {
    /// Counted from 1.
    pub number: u16,
    /// The supervisor's process ID.
    pub supervisor: i32,
}

impl WorkerId {
    /// Creates the ID of a worker of this process.
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            supervisor: rustix::process::getpid().as_raw_nonzero().get(),
        }
    }

    /// Returns the arguments of a worker: those of its supervisor, without the program's name, and
    /// the ID. So a process list shows which worker belongs to which supervisor.
    pub(super) fn arguments(self, supervisor: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = supervisor.into_iter().collect();
        // Directly after the command's name: at the end, the flag could follow a `--`.
        let place = arguments.len().min(1);
        arguments.insert(place, OsStr::new(&format!("--worker={self}")).to_owned());
        arguments
    }

    /// Makes this process receive SIGTERM when its supervisor ends for any reason.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor has ended already, or if this process is not its child.
    pub fn follow(self) -> anyhow::Result<()> {
        set_parent_process_death_signal(Some(Signal::TERM))
            .context("can't request a signal for the supervisor's exit")?;
        // Checked after the call above: if the supervisor ended before it, no signal is sent.
        ensure!(
            self.has_supervisor(),
            "worker {} has no supervisor: process {} is not its parent (`--worker` is for \
             supervisors only)",
            self.number,
            self.supervisor
        );
        Ok(())
    }

    /// Reports whether the supervisor runs.
    pub fn has_supervisor(self) -> bool {
        getppid() == Pid::from_raw(self.supervisor)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.supervisor)
    }
}

impl FromStr for WorkerId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, supervisor) = text
            .split_once('/')
            .ok_or("expected a worker's number and its supervisor's process ID")?;
        let number = number.parse().ok().filter(|number| *number > 0);
        let supervisor = supervisor.parse().ok().filter(|pid| *pid > 0);
        Ok(Self {
            number: number.ok_or("expected a worker's number")?,
            supervisor: supervisor.ok_or("expected a process ID")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    const WORKER: WorkerId = WorkerId {
        number: 2,
        supervisor: 4711,
    };

    fn worker(arguments: &[&str]) -> Vec<OsString> {
        WORKER.arguments(arguments.iter().map(OsString::from))
    }

    #[test]
    fn an_id_can_be_written_and_read() {
        assert_eq!(WORKER.to_string(), "2/4711");
        assert_eq!(WORKER.to_string().parse(), Ok(WORKER));
        for nonsense in ["", "2", "/", "2/", "/4711", "0/4711", "2/0", "2/-1", "a/b"] {
            assert!(nonsense.parse::<WorkerId>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_worker_has_its_supervisors_arguments_and_an_id() {
        assert_eq!(
            worker(&["serve", "--processes", "2", "--", "site"]),
            ["serve", "--worker=2/4711", "--processes", "2", "--", "site"]
        );
        assert_eq!(worker(&["serve"]), ["serve", "--worker=2/4711"]);
        assert_eq!(worker(&[]), ["--worker=2/4711"]);
    }

    #[test]
    fn the_command_line_takes_a_workers_arguments() {
        for arguments in [&["serve"][..], &["serve", "--processes=2", "--", "--odd"]] {
            let mut whole = vec![OsString::from("wasgi")];
            whole.extend(worker(arguments));
            let Ok(Command::Serve(serve)) = Cli::try_parse_from(whole).map(|cli| cli.command)
            else {
                panic!("{arguments:?}");
            };
            assert_eq!(serve.worker, Some(WORKER));
        }
    }

    #[test]
    fn a_process_with_another_parent_is_not_a_worker() {
        let own = WorkerId::new(1);
        let error = own.follow().expect_err("nobody is its own parent");
        assert!(error.to_string().contains("no supervisor"), "{error}");
        set_parent_process_death_signal(None).expect("it can be taken back");
    }
}
