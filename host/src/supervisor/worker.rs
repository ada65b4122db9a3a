//! A worker as its supervisor sees it: a child process, the channel to it, and its output.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::channel::{self, Report, ToWorker};
use super::relay;
use super::worker_id::WorkerId;
use crate::bundle::process_arguments;
use crate::log::{AccessLog, Log};
use crate::published::Reader;

/// This program, even if its file was replaced or removed since the start: workers of two versions
/// could not communicate.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The destinations of the workers' output.
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    /// Receives the supervisor's announcements.
    pub out: Log,
    /// Receives the workers' standard output, which has the lines of the access log.
    pub access: AccessLog,
    /// Receives their standard error.
    pub errors: Log,
    /// Whether `errors` may be coloured.
    pub colours: bool,
}

/// A process that is running, or whose exit has not been collected yet. Dropping it kills the
/// process.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    channel: ToWorker,
    relays: Vec<JoinHandle<()>>,
    /// When the process was started.
    pub(super) since: Instant,
    /// Whether it has reported that it serves.
    pub(super) serves: bool,
    /// Whether it has reported that its handlers are loaded.
    pub(super) has_loaded: bool,
}

impl Worker {
    /// Starts a worker with a configuration, as `Config::handover` writes it. Calls `reported` with
    /// its process ID and each of its reports.
    ///
    /// Must be called on the main thread: a worker ends when the thread that started it ends.
    pub(super) fn start(
        number: u16,
        config: &str,
        logs: &Logs,
        mut reported: impl FnMut(u32, Report) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (channel, stdin) = channel::pair()?;
        let mut arguments = process_arguments().into_iter();
        let mut command = Command::new(THIS_PROGRAM);
        command
            .arg0(arguments.next().unwrap_or_else(|| "wasgi".into()))
            .args(WorkerId::new(number).arguments(arguments))
            .stdin(OwnedFd::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("could not start worker {number}"))?;
        // From here on, any failure drops the worker, which kills the process.
        let mut worker = Self {
            child,
            channel,
            relays: Vec::new(),
            since: Instant::now(),
            serves: false,
            has_loaded: false,
        };
        if let Some(out) = worker.child.stdout.take() {
            let relay = {
                let mut log = Reader::new(logs.access.current());
                relay::start("out", number.into(), out, move |source, lines| {
                    log.current().send_when_room(source, lines);
                })?
            };
            worker.relays.push(relay);
        }
        if let Some(errors) = worker.child.stderr.take() {
            let relay = {
                let log = logs.errors.clone();
                relay::start("errors", number.into(), errors, move |source, lines| {
                    log.send_when_room(source, lines);
                })?
            };
            worker.relays.push(relay);
        }
        let pid = worker.pid();
        worker.channel.listen(move |report| reported(pid, report))?;
        worker.send(config, logs);
        Ok(worker)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a configuration. A worker that cannot receive it is about to exit.
    pub(super) fn send(&mut self, config: &str, logs: &Logs) {
        if let Err(error) = self.channel.send(config, logs.colours) {
            let pid = self.pid();
            tracing::warn!("process {pid} did not accept its configuration: {error:#}");
        }
    }

    /// Asks for its state. A worker that can't receive it is about to exit.
    pub(super) fn inspect(&mut self) {
        if let Err(error) = self.channel.inspect() {
            tracing::debug!("process {} was not asked: {error:#}", self.pid());
        }
    }

    /// Sends a signal. The process ID cannot belong to another process: it stays reserved until the
    /// exit is collected.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process(Pid::from_child(&self.child), signal) {
            tracing::warn!("could not send a signal to process {}: {error}", self.pid());
        }
    }

    /// Returns the exit status if the process has exited. All of its output is in the log by then.
    pub(super) fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            for relay in self.relays.drain(..) {
                // A relay that panicked has already printed a message.
                let _ = relay.join();
            }
        }
        Ok(status)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both do nothing if the exit was already collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Describes how a process ended.
pub(super) fn cause(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("ended with exit status {}", status.code().unwrap_or(0));
    };
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("of no name");
    let core = if status.core_dumped() {
        ", and left a core dump"
    } else {
        ""
    };
    format!("was killed by signal {signal} ({name}){core}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_names_status_or_signal() {
        // Encoded as by `wait`: a status in the second byte, a signal in the first (wait(2)).
        for (raw, expected) in [
            (0, "ended with exit status 0"),
            (1 << 8, "ended with exit status 1"),
            (9, "was killed by signal 9 (SIGKILL)"),
            (
                6 | 0x80,
                "was killed by signal 6 (SIGABRT), and left a core dump",
            ),
        ] {
            assert_eq!(cause(ExitStatus::from_raw(raw)), expected);
        }
    }
}
