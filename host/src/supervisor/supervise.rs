//! The supervisor's loop. It sleeps until it receives a signal, a worker's report or a new
//! configuration, or until a worker is due to restart.

use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGUSR1};
use signal_hook::iterator::Signals;

use super::END_AT_ONCE;
use super::back_off::BackOff;
use super::channel::Report;
use super::inspect::{Board, Inspector};
use super::worker::{Logs, Worker, cause};
use crate::admin::Inspect;
use crate::config::Config;
use crate::log;
use crate::server::Drain;

/// The time that a worker has to exit after the grace period of its requests: mostly to write the
/// last lines of its logs, which takes at most two seconds. Then it is killed.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// The worker processes and their state.
#[derive(Debug)]
pub(crate) struct Supervisor {
    slots: Vec<Slot>,
    phase: Phase,
    /// The workers' configuration, as [`Config::handover`] writes it.
    config: String,
    drain: Drain,
    /// The announcement for when the handlers of all workers are loaded; none once it is printed.
    loaded: Option<String>,
    /// A line for the announcement.
    more: String,
    /// What the admin listener knows.
    board: Arc<Board>,
    logs: Logs,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

/// The slot of a worker.
#[derive(Debug)]
struct Slot {
    /// Counted from 1.
    number: u16,
    state: State,
    back_off: BackOff,
}

#[derive(Debug)]
enum State {
    /// Not started yet, or stopped permanently.
    Empty,
    Running(Worker),
    /// The worker has died and restarts at this time.
    Away(Instant),
}

#[derive(Debug)]
enum Phase {
    /// The first worker starts alone, so that an error that affects all workers is reported once;
    /// then all others start. Holds the first worker's announcement once it serves.
    Starting(Option<String>),
    Serving,
    /// Workers that still run at this time are killed.
    Stopping {
        until: Instant,
        code: ExitCode,
    },
}

#[derive(Debug)]
enum Event {
    Signal(i32),
    /// A report from the worker with this process ID.
    Reported(u32, Report),
    /// The admin listener wants the state of all workers.
    Inspect,
    Reconfigured {
        config: String,
        drain: Drain,
    },
}

/// Sends new configurations to a supervisor. Clones send to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Reconfigure(Sender<Event>);

impl Reconfigure {
    /// Applies `config` to all workers.
    ///
    /// # Errors
    ///
    /// Fails if the configuration can't be serialized; see [`Config::handover`].
    pub(crate) fn to(&self, config: &Config) -> anyhow::Result<()> {
        let event = Event::Reconfigured {
            config: config.handover()?,
            drain: config.server.drain(),
        };
        // If the supervisor has ended, it has no workers left.
        let _ = self.0.send(event);
        Ok(())
    }
}

impl Supervisor {
    /// Creates a supervisor of `config.server.processes` workers, which are not started yet. It
    /// handles `signals`: SIGCHLD, the termination signals, SIGUSR1, and optionally SIGHUP. `more`
    /// is added to the announcement, in whole lines.
    ///
    /// # Errors
    ///
    /// Fails if the configuration can't be serialized, or if the system cannot create a thread.
    pub(crate) fn new(
        config: &Config,
        logs: Logs,
        mut signals: Signals,
        more: String,
    ) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::channel();
        let to_supervisor = sender.clone();
        let listen = move || {
            for signal in signals.forever() {
                if to_supervisor.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new()
            .name("wasgi-signals".into())
            .spawn(listen)
            .context("could not start the thread that waits for signals")?;
        let slot = |number| Slot {
            number,
            state: State::Empty,
            back_off: BackOff::default(),
        };
        Ok(Self {
            slots: (1..=config.server.processes).map(slot).collect(),
            phase: Phase::Starting(None),
            config: config.handover()?,
            drain: config.server.drain(),
            loaded: Some(String::new()),
            more,
            board: Board::new(),
            logs,
            events,
            sender,
        })
    }

    /// Returns a sender of new configurations.
    pub(crate) fn reconfigure(&self) -> Reconfigure {
        Reconfigure(self.sender.clone())
    }

    /// Returns the source of the admin listener.
    pub(crate) fn inspector(&self) -> Arc<dyn Inspect> {
        Arc::new(Inspector {
            board: self.board.clone(),
            ask: Mutex::new(self.sender.clone()),
            event: || Event::Inspect,
        })
    }

    /// Starts the workers and supervises them, until a signal stops them all or one cannot start.
    /// `look` triggers a reread of the configuration file. Must be called on the main thread, since
    /// the workers end when the thread that started them ends.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a process for the first start.
    pub(crate) fn run(mut self, look: impl Fn()) -> anyhow::Result<ExitCode> {
        if let Some(first) = self.slots.first_mut() {
            first.start(&self.config, &self.logs, &self.sender)?;
        }
        loop {
            match self.next_event() {
                Some(Event::Signal(SIGCHLD)) => self.look(),
                Some(Event::Signal(SIGHUP)) => look(),
                Some(Event::Signal(SIGUSR1)) => self.logs.access.reopen(),
                Some(Event::Signal(_)) => self.stop(),
                Some(Event::Reported(pid, Report::Serves(text))) => self.started(pid, text)?,
                Some(Event::Reported(pid, Report::Loaded(text))) => self.loaded(pid, text),
                Some(Event::Reported(pid, Report::Inspected(inspection))) => {
                    self.board.answers(pid, *inspection);
                }
                Some(Event::Inspect) => self.inspect(),
                Some(Event::Reconfigured { config, drain }) => self.send(config, drain),
                None => {}
            }
            self.on_time(Instant::now());
            if let Phase::Stopping { code, .. } = self.phase
                && self.workers().next().is_none()
            {
                return Ok(code);
            }
        }
    }

    /// Waits for the next event. Returns `None` when a deadline is due first.
    fn next_event(&self) -> Option<Event> {
        let deadlines = self.slots.iter().filter_map(|slot| match slot.state {
            State::Away(until) => Some(until),
            State::Empty | State::Running(_) => None,
        });
        let end = match self.phase {
            Phase::Stopping { until, .. } => Some(until),
            Phase::Starting(_) | Phase::Serving => None,
        };
        // The channel always has a sender: this supervisor's own.
        match deadlines.chain(end).min() {
            None => self.events.recv().ok(),
            Some(until) => {
                let wait = until.saturating_duration_since(Instant::now());
                self.events.recv_timeout(wait).ok()
            }
        }
    }

    /// Performs the actions that are due.
    fn on_time(&mut self, now: Instant) {
        if let Phase::Stopping { until, .. } = &mut self.phase
            && *until <= now
        {
            // It takes a moment until the exit of the killed processes is reported.
            *until = now + END_PATIENCE;
            for worker in self.workers() {
                let pid = worker.pid();
                tracing::warn!("process {pid} does not exit: killing it");
                worker.signal(Signal::KILL);
            }
        }
        for slot in &mut self.slots {
            let due = matches!(slot.state, State::Away(until) if until <= now);
            if due && let Err(error) = slot.start(&self.config, &self.logs, &self.sender) {
                let pause = slot.back_off.died(Duration::ZERO);
                let number = slot.number;
                tracing::error!("worker {number}: {error:#}; retrying in {pause:?}");
                slot.state = State::Away(now + pause);
            }
        }
    }

    /// Handles the report that a worker serves.
    fn started(&mut self, pid: u32, text: String) -> anyhow::Result<()> {
        let mut slots = self.slots.iter_mut();
        let Some(slot) = slots.find(|slot| slot.is(pid)) else {
            return Ok(());
        };
        if let State::Running(worker) = &mut slot.state {
            worker.serves = true;
            self.board.serves(slot.number, pid);
        }
        match &mut self.phase {
            Phase::Starting(announcement @ None) => {
                *announcement = Some(text);
                for slot in self.slots.iter_mut().skip(1) {
                    slot.start(&self.config, &self.logs, &self.sender)?;
                }
            }
            Phase::Starting(Some(announcement)) => {
                let announcement = std::mem::take(announcement);
                if self.workers().filter(|worker| worker.serves).count() < self.slots.len() {
                    self.phase = Phase::Starting(Some(announcement));
                } else {
                    self.announce(&announcement);
                    self.phase = Phase::Serving;
                    self.announce_loaded();
                }
            }
            Phase::Serving => tracing::info!("worker {} serves again (process {pid})", slot.number),
            Phase::Stopping { .. } => {}
        }
        Ok(())
    }

    /// Handles the report that a worker's handlers are loaded.
    fn loaded(&mut self, pid: u32, text: String) {
        for slot in &mut self.slots {
            if let State::Running(worker) = &mut slot.state
                && worker.pid() == pid
            {
                worker.has_loaded = true;
                self.board.loaded(pid);
            }
        }
        if let Some(loaded) = &mut self.loaded {
            *loaded = text;
        }
        self.announce_loaded();
    }

    /// Announces, once, that the handlers of all workers are loaded.
    fn announce_loaded(&mut self) {
        let count = self.workers().filter(|worker| worker.has_loaded).count();
        if matches!(self.phase, Phase::Serving)
            && count == self.slots.len()
            && let Some(text) = self.loaded.take()
        {
            self.board.all_loaded();
            log::announce(&self.logs.out, text);
        }
    }

    /// Prints the first worker's announcement on behalf of all workers.
    fn announce(&self, announcement: &str) {
        let pids: Vec<String> = self.workers().map(|one| one.pid().to_string()).collect();
        let (count, pids) = (pids.len(), pids.join(", "));
        let more = &self.more;
        let text = format!("{announcement}{more}served by {count} processes: {pids}\n");
        log::announce(&self.logs.out, text);
    }

    /// Handles the workers that have exited.
    fn look(&mut self) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            let State::Running(worker) = &mut slot.state else {
                continue;
            };
            match worker.look() {
                Ok(Some(status)) => {
                    let (number, pid) = (slot.number, worker.pid());
                    let (lived, serves) = (worker.since.elapsed(), worker.serves);
                    slot.state = State::Empty;
                    self.board.ended(number);
                    let who = format!("worker {number} (process {pid}) {}", cause(status));
                    self.ended(index, &who, status, lived, serves);
                }
                Ok(None) => {}
                Err(error) => tracing::error!("can't inspect a worker: {error}"),
            }
        }
    }

    /// Handles the exit of a worker. `who` describes the worker and how it ended.
    fn ended(
        &mut self,
        index: usize,
        who: &str,
        status: ExitStatus,
        lived: Duration,
        served: bool,
    ) {
        match self.phase {
            Phase::Starting(_) => {
                // A worker that exits with an error status has logged the reason itself.
                if served || status.code().is_none_or(|code| code == 0) {
                    tracing::error!("{who} before all workers had started");
                }
                self.end_all(ExitCode::FAILURE);
            }
            Phase::Serving => {
                let Some(slot) = self.slots.get_mut(index) else {
                    return;
                };
                let pause = slot.back_off.died(lived);
                slot.state = State::Away(Instant::now() + pause);
                let when = match pause {
                    Duration::ZERO => String::new(),
                    pause => format!(" in {pause:?}"),
                };
                if status.success() {
                    tracing::info!("{who}; starting another{when}");
                } else {
                    tracing::error!("{who}; starting another{when}");
                }
            }
            // A worker that did not serve yet may not have installed its signal handlers.
            Phase::Stopping { .. } if status.success() || !served => {}
            Phase::Stopping { .. } => tracing::warn!("{who} before its requests were done"),
        }
    }

    /// Handles a termination signal.
    fn stop(&mut self) {
        if let Phase::Stopping { until, .. } = &mut self.phase {
            tracing::warn!("stopping immediately: received a second signal");
            *until = Instant::now() + END_PATIENCE;
            if let Some(signal) = Signal::from_named_raw(END_AT_ONCE) {
                self.workers().for_each(|worker| worker.signal(signal));
            }
        } else {
            tracing::info!("{}", self.drain.announcement());
            self.end_all(ExitCode::SUCCESS);
        }
    }

    /// Stops all workers gracefully.
    fn end_all(&mut self, code: ExitCode) {
        self.board.drains();
        let until = Instant::now() + self.drain.delay + self.drain.grace + END_PATIENCE;
        self.phase = Phase::Stopping { until, code };
        for slot in &mut self.slots {
            match &slot.state {
                State::Running(worker) => worker.signal(Signal::TERM),
                State::Empty => {}
                State::Away(_) => slot.state = State::Empty,
            }
        }
    }

    /// Asks all workers that serve for their state.
    fn inspect(&mut self) {
        for slot in &mut self.slots {
            if let State::Running(worker) = &mut slot.state
                && self.board.asks(worker.pid())
            {
                worker.inspect();
            }
        }
    }

    /// Applies a new configuration to all workers, including those started later.
    fn send(&mut self, config: String, drain: Drain) {
        for slot in &mut self.slots {
            if let State::Running(worker) = &mut slot.state {
                worker.send(&config, &self.logs);
            }
        }
        self.config = config;
        self.drain = drain;
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Running(worker) => Some(worker),
            State::Empty | State::Away(_) => None,
        })
    }
}

impl Slot {
    fn start(&mut self, config: &str, logs: &Logs, sender: &Sender<Event>) -> anyhow::Result<()> {
        let sender = sender.clone();
        let reported = move |pid, report| {
            // If the supervisor has ended, the report is not needed.
            let _ = sender.send(Event::Reported(pid, report));
        };
        self.state = State::Running(Worker::start(self.number, config, logs, reported)?);
        Ok(())
    }

    /// Reports whether its worker is the process with this ID.
    fn is(&self, pid: u32) -> bool {
        matches!(&self.state, State::Running(worker) if worker.pid() == pid)
    }
}
