//! The channel between a supervisor and a worker: a socket pair, with the worker's end as its
//! standard input.
//!
//! Each side sends JSON objects, one per line. The supervisor sends orders: the configuration and
//! the sockets at the start, the configuration after each change, and questions of the admin
//! listener. The worker sends two reports, one when it serves and one when all its handlers are
//! loaded, and an answer to each question.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::admin::Inspection;
use crate::config::Config;
use crate::descriptors::{self, Receiver};
use crate::server::tls::Tickets;
use crate::server::{GivenSockets, Sockets};

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
    /// The first order: start. The sockets come with it, first those of the site.
    Start(Box<StartOrder>),
    /// Apply a configuration, as [`Config::handover`] writes it.
    Configure { config: String },
    /// Listen: for a worker that has reported [`Report::Prepared`].
    Serve,
    /// Finish the requests in flight and exit: other processes serve the sockets.
    Leave,
    /// Answer with [`Report::Alive`], if all reactors have run since the last time.
    Pulse,
    /// Answer with [`Report::Inspected`].
    Inspect,
}

/// What a worker starts with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StartOrder {
    /// The configuration, as [`Config::handover`] writes it.
    config: String,
    /// Whether the error log may be coloured.
    colours: bool,
    /// The number of sockets for the site.
    site_count: usize,
    /// The keys of session tickets.
    tickets: Option<String>,
    /// Whether to load everything first, because connections wait at the sockets.
    loads_first: bool,
    /// Whether to load everything first, and wait for [`Order::Serve`].
    is_held: bool,
}

/// What a worker starts with, as its supervisor knows it.
#[derive(Debug)]
pub(super) struct Start<'s> {
    /// The configuration, as [`Config::handover`] writes it.
    pub(super) config: &'s str,
    pub(super) sockets: Sockets,
    pub(super) tickets: Option<&'s Tickets>,
    /// Whether to load everything first, because connections wait at the sockets.
    pub(super) loads_first: bool,
    /// Whether to load everything first, and wait for permission to serve.
    pub(super) is_held: bool,
}

/// What a worker starts with, as it knows it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) config: Config,
    pub(crate) colours: bool,
    pub(crate) sockets: Sockets,
    pub(crate) tickets: Option<Tickets>,
    pub(crate) loads_first: bool,
    pub(crate) is_held: bool,
}

/// A report from a worker. The texts are whole lines.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The worker has loaded everything, and waits for permission to serve.
    Prepared,
    /// The worker serves; the text is its startup announcement.
    Serves(String),
    /// The handlers that existed at startup are loaded; the text describes the result.
    Loaded(String),
    /// All reactors run.
    Alive,
    /// The state of the worker.
    Inspected(Box<Inspection>),
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct ToWorker(UnixStream);

/// The worker's end.
#[derive(Debug)]
pub(crate) struct ToSupervisor {
    orders: Receiver,
    /// The last configuration that came while the worker waited for permission to serve.
    late_config: Option<String>,
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
    /// Sends the first order.
    pub(super) fn start(&mut self, start: &Start<'_>, colours: bool) -> anyhow::Result<()> {
        let [site, redirect] = start.sockets.files();
        let order = Order::Start(Box::new(StartOrder {
            config: start.config.into(),
            colours,
            site_count: site.len(),
            tickets: start.tickets.map(Tickets::export),
            loads_first: start.loads_first,
            is_held: start.is_held,
        }));
        self.order(&order, &[site, redirect].concat())
    }

    /// Sends a configuration, as [`Config::handover`] writes it.
    pub(super) fn send(&mut self, config: &str) -> anyhow::Result<()> {
        let config = config.into();
        self.order(&Order::Configure { config }, &[])
    }

    /// Permits a held worker to serve.
    pub(super) fn serve(&mut self) -> anyhow::Result<()> {
        self.order(&Order::Serve, &[])
    }

    /// Makes the worker leave the sockets to other processes.
    pub(super) fn leave(&mut self) -> anyhow::Result<()> {
        self.order(&Order::Leave, &[])
    }

    /// Asks whether all reactors run.
    pub(super) fn pulse(&mut self) -> anyhow::Result<()> {
        self.order(&Order::Pulse, &[])
    }

    /// Asks for the state of the worker.
    pub(super) fn inspect(&mut self) -> anyhow::Result<()> {
        self.order(&Order::Inspect, &[])
    }

    fn order(&mut self, order: &Order, files: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
        let line = serde_json::to_vec(order)?;
        descriptors::send_line(&mut self.0, &line, files)?;
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
        let orders = Receiver::new(stream);
        Ok(Self {
            orders,
            late_config: None,
        })
    }

    /// Waits for the first order.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor has exited, or if its message is invalid.
    pub(crate) fn start(&mut self) -> anyhow::Result<Started> {
        let Order::Start(start) = self.order()? else {
            bail!("the supervisor's first message is not the first order");
        };
        let mut site = self.orders.take_files();
        ensure!(
            start.site_count <= site.len(),
            "the supervisor has sent too few sockets"
        );
        let redirect = site.split_off(start.site_count);
        Ok(Started {
            config: Config::from_handover(&start.config)?,
            colours: start.colours,
            sockets: Sockets::from_supervisor(GivenSockets { site, redirect })?,
            tickets: start.tickets.as_deref().map(Tickets::import).transpose()?,
            loads_first: start.loads_first,
            is_held: start.is_held,
        })
    }

    /// Waits for permission to serve.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor has exited, or stops.
    pub(crate) fn wait_for_permission(&mut self) -> anyhow::Result<()> {
        loop {
            match self.order()? {
                Order::Serve => return Ok(()),
                Order::Leave => bail!("the supervisor stops"),
                Order::Configure { config } => self.late_config = Some(config),
                Order::Start(_) | Order::Inspect | Order::Pulse => {}
            }
        }
    }

    fn order(&mut self) -> anyhow::Result<Order> {
        let line = self.orders.line(MAX_ORDER_BYTES);
        let line = line.context("can't read from the supervisor")?;
        let line = line.context("the supervisor has exited")?;
        serde_json::from_slice(&line).context("can't parse the supervisor's message")
    }

    /// Returns a sender of reports to the supervisor.
    ///
    /// # Errors
    ///
    /// Fails if the process has no file descriptor left.
    pub(crate) fn reporter(&self) -> anyhow::Result<Reporter> {
        Ok(Reporter(Mutex::new(self.orders.stream().try_clone()?)))
    }

    /// Follows orders on a new thread: calls `apply` with each further configuration, `leave` when
    /// the worker must leave, and answers questions with the results of `inspect` and `is_alive`.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn follow(
        mut self,
        apply: impl Fn(&Config) -> anyhow::Result<()> + Send + 'static,
        reporter: Arc<Reporter>,
        inspect: impl Fn() -> Inspection + Send + 'static,
        is_alive: impl Fn() -> bool + Send + 'static,
        leave: impl Fn() + Send + 'static,
    ) -> anyhow::Result<()> {
        let apply = move |config: &str| {
            let config = Config::from_handover(config);
            if let Err(error) = config.and_then(|config| apply(&config)) {
                tracing::error!("{error:#} (the settings are unchanged)");
            }
        };
        let follow = move || {
            if let Some(config) = self.late_config.take() {
                apply(&config);
            }
            // Ends when the supervisor exits; the process receives a signal for that.
            while let Ok(order) = self.order() {
                match order {
                    Order::Configure { config } => apply(&config),
                    Order::Leave => leave(),
                    Order::Pulse if is_alive() => {
                        // Fails if the supervisor has exited.
                        let _ = reporter.send(&Report::Alive);
                    }
                    Order::Pulse => {}
                    Order::Start(_) | Order::Serve => {}
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
        let orders = Receiver::new(theirs);
        let late_config = None;
        (
            ours,
            ToSupervisor {
                orders,
                late_config,
            },
        )
    }

    #[test]
    fn a_worker_starts_with_its_configuration_sockets_and_keys() {
        let (mut worker, mut supervisor) = channel();
        let mut config = Config::default();
        config.server.addr = ([127, 0, 0, 1], 0).into();
        config.server.threads = Some(3);
        let given = GivenSockets::default();
        let sockets = Sockets::open(given, &config.server, &config.tls).expect("a free port");
        let addr = sockets.addr().expect("an address");
        let tickets = Tickets::new().expect("random numbers");
        let text = config.handover().expect("it can be written");
        let start = Start {
            config: &text,
            sockets,
            tickets: Some(&tickets),
            loads_first: false,
            is_held: true,
        };
        worker.start(&start, true).expect("there is room");
        let started = supervisor.start().expect("it was sent");
        assert_eq!(started.config, config);
        assert!(started.colours && started.is_held);
        assert_eq!(started.sockets.addr().expect("an address"), addr);
        assert_eq!(started.sockets.files()[0].len(), 3);
        let keys = started.tickets.map(|tickets| tickets.export());
        assert_eq!(keys, Some(tickets.export()));
        worker.send("late").expect("there is room");
        worker.serve().expect("there is room");
        supervisor.wait_for_permission().expect("it was sent");
        assert_eq!(supervisor.late_config.as_deref(), Some("late"));
        drop(worker);
        let error = supervisor.start().expect_err("the other end is gone");
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
