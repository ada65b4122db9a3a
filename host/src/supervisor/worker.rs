//! A worker as its supervisor sees it: a child process, the channel to it, and its output.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::channel::{self, Report, Start, ToWorker};
use super::relay;
use super::worker_id::WorkerId;
use crate::bundle::process_arguments;
use crate::log::{AccessLog, Log};
use crate::published::Reader;
use crate::upgrade::without_internal_flags;

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
    /// Whether it has reported that its reactors run since it was asked.
    pub(super) is_alive: bool,
    /// Whether it has reported that it waits for permission to serve.
    pub(super) is_prepared: bool,
    /// Whether it has reported that its handlers are loaded.
    pub(super) has_loaded: bool,
}

impl Worker {
    /// Starts a worker. Calls `reported` with its process ID and each of its reports.
    ///
    /// Must be called on the main thread: a worker ends when the thread that started it ends.
    pub(super) fn start(
        number: u16,
        start: &Start<'_>,
        logs: &Logs,
        mut reported: impl FnMut(u32, Report) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (channel, stdin) = channel::pair()?;
        let mut arguments = process_arguments().into_iter();
        let name = arguments.next().unwrap_or_else(|| "wasgi".into());
        let arguments = without_internal_flags(arguments);
        let mut command = Command::new(THIS_PROGRAM);
        command
            .arg0(name)
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
            is_alive: true,
            is_prepared: false,
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
        if let Err(error) = worker.channel.start(start, logs.colours) {
            worker.tell_unsent(&error);
        }
        Ok(worker)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a configuration. A worker that cannot receive it is about to exit.
    pub(super) fn send(&mut self, config: &str) {
        if let Err(error) = self.channel.send(config) {
            self.tell_unsent(&error);
        }
    }

    /// Permits a held worker to serve.
    pub(super) fn serve(&mut self) {
        if let Err(error) = self.channel.serve() {
            self.tell_unsent(&error);
        }
    }

    /// Makes it leave its sockets to other processes. One that the order doesn't reach exits by a
    /// signal.
    pub(super) fn leave(&mut self) {
        if self.channel.leave().is_err() {
            self.signal(Signal::TERM);
        }
    }

    fn tell_unsent(&self, error: &anyhow::Error) {
        let pid = self.pid();
        tracing::warn!("process {pid} did not accept its configuration: {error:#}");
    }

    /// Asks whether its reactors run. A worker that can't receive it is about to exit.
    pub(super) fn pulse(&mut self) {
        let _ = self.channel.pulse();
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
