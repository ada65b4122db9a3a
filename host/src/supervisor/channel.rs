//! What a supervisor and a worker say to each other: a socket pair, the worker's end of which is
//! its standard input.
//!
//! Each side sends JSON objects, one per line. The supervisor sends orders: the configuration
//! first, and again whenever it has changed. The worker sends reports: one when it serves, one when
//! all its handlers are loaded, and then ends its side.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The longest order, in bytes: as JSON, some times the longest configuration file.
const MAX_ORDER_BYTES: u64 = 8 << 20;

/// The longest report, in bytes: a hundred for each of a hundred thousand routes, as JSON.
const MAX_REPORT_BYTES: u64 = 16 << 20;

/// How long a worker may take nothing of an order, and its supervisor of an announcement: each has
/// a thread that does nothing but read, so more than this means that something is badly wrong.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a worker is told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    /// The configuration, as [`Config::handover`] writes it.
    config: String,
    /// Whether the error log may be coloured.
    colours: bool,
}

/// What a worker says. The texts are whole lines.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It serves, and its start has this to say.
    Serves(String),
    /// The handlers that were there at its start are loaded, of which this is to be said.
    Loaded(String),
}

/// A supervisor's end.
#[derive(Debug)]
pub(super) struct ToWorker(UnixStream);

/// A worker's end.
#[derive(Debug)]
pub struct ToSupervisor {
    orders: BufReader<UnixStream>,
}

/// Where a worker sends its reports.
#[derive(Debug)]
pub struct Reporter(UnixStream);

/// Makes a channel. The second end is a worker's standard input.
pub(super) fn pair() -> anyhow::Result<(ToWorker, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().context("could not make a channel to a worker")?;
    ours.set_write_timeout(Some(PATIENCE))?;
    Ok((ToWorker(ours), theirs))
}

impl ToWorker {
    /// Sends a configuration, as [`Config::handover`] writes it.
    pub(super) fn send(&mut self, config: &str, colours: bool) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&Order {
            config: config.into(),
            colours,
        })?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(())
    }

    /// Calls `reported` with each report of the worker, on a thread of its own, until the worker
    /// ends its side or dies.
    pub(super) fn listen(
        &self,
        mut reported: impl FnMut(Report) + Send + 'static,
    ) -> anyhow::Result<()> {
        let mut reports = BufReader::new(self.0.try_clone()?);
        let listen = move || {
            while let Ok(Some(report)) = read_report(&mut reports) {
                reported(report);
            }
        };
        thread::Builder::new()
            .name("wasgi-worker".into())
            .spawn(listen)
            .context("could not start a thread that listens to a worker")?;
        Ok(())
    }
}

/// The next report, if there is one.
fn read_report(reports: &mut impl BufRead) -> anyhow::Result<Option<Report>> {
    let mut line = Vec::new();
    reports
        .take(MAX_REPORT_BYTES)
        .read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

impl ToSupervisor {
    /// The channel that this process was given as its standard input.
    ///
    /// # Errors
    ///
    /// The standard input is something else.
    pub fn stdin() -> anyhow::Result<Self> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
        let stream = UnixStream::from(stdin);
        stream
            .set_write_timeout(Some(PATIENCE))
            .context("the standard input is no channel to a supervisor")?;
        let orders = BufReader::new(stream);
        Ok(Self { orders })
    }

    /// Waits for the next configuration, and whether the error log may be coloured.
    ///
    /// # Errors
    ///
    /// The supervisor is gone, or says something else.
    pub fn config(&mut self) -> anyhow::Result<(Config, bool)> {
        let mut line = Vec::new();
        (&mut self.orders)
            .take(MAX_ORDER_BYTES)
            .read_until(b'\n', &mut line)
            .context("could not hear the supervisor")?;
        ensure!(line.ends_with(b"\n"), "the supervisor is gone");
        let order: Order =
            serde_json::from_slice(&line).context("could not understand the supervisor")?;
        let config = Config::from_handover(&order.config)?;
        Ok((config, order.colours))
    }

    /// What reports to the supervisor.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn reporter(&self) -> anyhow::Result<Reporter> {
        Ok(Reporter(self.orders.get_ref().try_clone()?))
    }

    /// Calls `apply` with each configuration to come, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no thread.
    pub fn follow(
        mut self,
        apply: impl Fn(&Config) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let follow = move || {
            // Ends with the supervisor, whose end this process learns by a signal.
            while let Ok((config, _)) = self.config() {
                if let Err(error) = apply(&config) {
                    tracing::error!("{error:#} (the settings stay as they were)");
                }
            }
        };
        thread::Builder::new()
            .name("wasgi-config".into())
            .spawn(follow)
            .context("could not start the thread that listens to the supervisor")?;
        Ok(())
    }
}

impl Reporter {
    /// Sends a report. [`Report::Loaded`] is the last one: the supervisor hears no other after it.
    ///
    /// # Errors
    ///
    /// The supervisor is gone.
    pub fn send(&self, report: &Report) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        let mut stream = &self.0;
        stream
            .write_all(&line)
            .and_then(|()| match report {
                Report::Serves(_) => Ok(()),
                Report::Loaded(_) => stream.shutdown(Shutdown::Write),
            })
            .context("could not tell the supervisor")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn channel() -> (ToWorker, ToSupervisor) {
        let (ours, theirs) = pair().expect("a channel");
        let orders = BufReader::new(theirs);
        (ours, ToSupervisor { orders })
    }

    #[test]
    fn configurations_arrive_in_order() {
        let (mut worker, mut supervisor) = channel();
        let mut config = Config::default();
        for (count, colours) in [(1, true), (2, false)] {
            config.limits.connections_count = count;
            let text = config.handover().expect("it can be written");
            worker.send(&text, colours).expect("there is room");
        }
        for expected in [(1, true), (2, false)] {
            let (config, colours) = supervisor.config().expect("it was sent");
            assert_eq!((config.limits.connections_count, colours), expected);
        }
        drop(worker);
        let error = supervisor.config().expect_err("the other end is gone");
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[test]
    fn reports_arrive_whole_and_a_death_is_none() {
        let (worker, supervisor) = channel();
        let (heard, reports) = mpsc::channel();
        worker
            .listen(move |report| heard.send(report).expect("somebody waits"))
            .expect("a thread");
        let reporter = supervisor.reporter().expect("a descriptor");
        for make in [Report::Serves, Report::Loaded] {
            let report = || make("one\ntwo\n".to_owned());
            reporter.send(&report()).expect("there is room");
            assert_eq!(reports.recv(), Ok(report()));
        }
        assert!(reports.recv().is_err(), "the worker has ended its side");

        let (worker, supervisor) = channel();
        let (heard, reports) = mpsc::channel();
        worker
            .listen(move |report| heard.send(report).expect("somebody waits"))
            .expect("a thread");
        drop(supervisor);
        assert!(reports.recv().is_err());
    }
}
