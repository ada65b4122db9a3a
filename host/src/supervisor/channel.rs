//! The channel between a supervisor and a worker: a socket pair, with the worker's end as its
//! standard input.
//!
//! Each side sends JSON objects, one per line. The supervisor sends orders: the configuration, at
//! the start and after each change, and questions of the admin listener. The worker sends two
//! reports, one when it serves and one when all its handlers are loaded, and an answer to each
//! question.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::admin::Inspection;
use crate::config::Config;

/// The maximum length of an order, in bytes: several times the longest configuration file, for its
/// encoding as JSON.
const MAX_ORDER_BYTES: u64 = 8 << 20;

/// The maximum length of a report, in bytes: a hundred thousand routes of a hundred bytes, encoded
/// as JSON.
const MAX_REPORT_BYTES: u64 = 16 << 20;

/// The timeout for writing an order or an announcement. Each side has a dedicated reader thread, so
/// a longer delay means a serious fault.
const PATIENCE: Duration = Duration::from_secs(2);

/// An order to a worker.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Order {
    /// Apply a configuration.
    Configure {
        /// The configuration, as [`Config::handover`] writes it.
        config: String,
        /// Whether the error log may be coloured.
        colours: bool,
    },
    /// Answer with [`Report::Inspected`].
    Inspect,
}

/// A report from a worker. The texts are whole lines.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The worker serves; the text is its startup announcement.
    Serves(String),
    /// The handlers that existed at startup are loaded; the text describes the result.
    Loaded(String),
    /// The state of the worker.
    Inspected(Box<Inspection>),
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct ToWorker(UnixStream);

/// The worker's end.
#[derive(Debug)]
pub(crate) struct ToSupervisor {
    orders: BufReader<UnixStream>,
}

/// Sends a worker's reports.
#[derive(Debug)]
pub(crate) struct Reporter(Mutex<UnixStream>);

/// Creates a channel. The second end becomes a worker's standard input.
pub(super) fn pair() -> anyhow::Result<(ToWorker, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().context("could not make a channel to a worker")?;
    ours.set_write_timeout(Some(PATIENCE))?;
    Ok((ToWorker(ours), theirs))
}

impl ToWorker {
    /// Sends a configuration, as [`Config::handover`] writes it.
    pub(super) fn send(&mut self, config: &str, colours: bool) -> anyhow::Result<()> {
        let config = config.into();
        self.order(&Order::Configure { config, colours })
    }

    /// Asks for the state of the worker.
    pub(super) fn inspect(&mut self) -> anyhow::Result<()> {
        self.order(&Order::Inspect)
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(())
    }

    /// Calls `reported` with each report of the worker, on a new thread, until the worker shuts
    /// down its side or exits.
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

/// Reads the next report. Returns `None` if the channel is closed.
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
    /// Returns the channel that this process has as its standard input.
    ///
    /// # Errors
    ///
    /// Fails if the standard input is not such a channel.
    pub(crate) fn stdin() -> anyhow::Result<Self> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
        let stream = UnixStream::from(stdin);
        stream
            .set_write_timeout(Some(PATIENCE))
            .context("the standard input is no channel to a supervisor")?;
        let orders = BufReader::new(stream);
        Ok(Self { orders })
    }

    /// Waits for the next configuration. Also returns whether the error log may be coloured.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor has exited, or if its message is invalid.
    pub(crate) fn config(&mut self) -> anyhow::Result<(Config, bool)> {
        loop {
            if let Order::Configure { config, colours } = self.order()? {
                return Ok((Config::from_handover(&config)?, colours));
            }
        }
    }

    fn order(&mut self) -> anyhow::Result<Order> {
        let mut line = Vec::new();
        (&mut self.orders)
            .take(MAX_ORDER_BYTES)
            .read_until(b'\n', &mut line)
            .context("can't read from the supervisor")?;
        ensure!(line.ends_with(b"\n"), "the supervisor has exited");
        serde_json::from_slice(&line).context("can't parse the supervisor's message")
    }

    /// Returns a sender of reports to the supervisor.
    ///
    /// # Errors
    ///
    /// Fails if the process has no file descriptor left.
    pub(crate) fn reporter(&self) -> anyhow::Result<Reporter> {
        Ok(Reporter(Mutex::new(self.orders.get_ref().try_clone()?)))
    }

    /// Calls `apply` with each further configuration, and answers questions with the result of
    /// `inspect`, on a new thread.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn follow(
        mut self,
        apply: impl Fn(&Config) -> anyhow::Result<()> + Send + 'static,
        reporter: Arc<Reporter>,
        inspect: impl Fn() -> Inspection + Send + 'static,
    ) -> anyhow::Result<()> {
        let follow = move || {
            // Ends when the supervisor exits; the process receives a signal for that.
            while let Ok(order) = self.order() {
                match order {
                    Order::Configure { config, .. } => {
                        let config = Config::from_handover(&config);
                        if let Err(error) = config.and_then(|config| apply(&config)) {
                            tracing::error!("{error:#} (the settings are unchanged)");
                        }
                    }
                    Order::Inspect => {
                        // Fails if the supervisor has exited.
                        let _ = reporter.send(&Report::Inspected(Box::new(inspect())));
                    }
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
    /// Sends a report. A report that is too long for the channel is not sent.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor has exited, or if the report is too long.
    pub(crate) fn send(&self, report: &Report) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        ensure!(
            line.len() as u64 <= MAX_REPORT_BYTES,
            "a report to the supervisor is too long"
        );
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream
            .write_all(&line)
            .context("can't write to the supervisor")
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
        assert!(error.to_string().contains("exited"), "{error}");
    }

    #[test]
    fn reports_arrive_whole_and_a_closed_channel_ends_them() {
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
        drop((supervisor, reporter));
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
