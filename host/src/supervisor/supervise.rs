//! The supervisor's loop. It sleeps until it receives a signal, a worker's report or a new
//! configuration, or until a worker is due to restart.

mod handover;
mod stop;

use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::back_off::BackOff;
use super::channel::{Report, Start};
use super::inspect::{Board, Inspector};
use super::worker::{Logs, Worker};
pub(crate) use handover::Operator;

use crate::admin::Inspect;
use crate::config::Config;
use crate::exit_cause::exit_cause;
use crate::log;
use crate::server::tls::Tickets;
use crate::server::{Drain, Sockets};
use crate::upgrade::Successor;

/// The time that a worker has to exit after the grace period of its requests: mostly to write the
/// last lines of its logs, which takes at most two seconds. Then it is killed.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// The delay of a restart from which on the kernel gives the connections of a worker to others, and
/// resets those that wait for it. A shorter delay is not noticed by a client.
const SOCKETS_PAUSE: Duration = Duration::from_secs(1);

/// The worker processes and their state.
#[derive(Debug)]
pub(crate) struct Supervisor {
    slots: Vec<Slot>,
    phase: Phase,
    /// The workers' configuration, as [`Config::handover`] writes it.
    config: String,
    /// None while the workers drain: then no process listens.
    sockets: Option<Sockets>,
    /// The keys of session tickets, with TLS.
    tickets: Option<Arc<Tickets>>,
    /// The workers wait for permission to serve before they listen.
    is_held: bool,
    /// Another server still has the place of this one.
    is_successor: bool,
    /// Connections wait at the sockets already.
    loads_first: bool,
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
    Stopping {
        /// Workers that still run at this time are killed.
        until: Instant,
        code: ExitCode,
        /// A signal has asked for it. Otherwise the cause is another: a successor, or a worker that
        /// could not start.
        is_signalled: bool,
    },
}

#[derive(Debug)]
enum Event {
    Signal(i32),
    /// A report from the worker with this process ID.
    Reported(u32, Report),
    /// The watchdog asks whether all workers are alive.
    Pulse(Sender<bool>),
    /// The admin listener wants the state of all workers.
    Inspect,
    Reconfigured {
        config: String,
        drain: Drain,
    },
    /// The successor of this server is ready, or has failed.
    Upgraded(Result<Successor, String>),
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
        sockets: Sockets,
        tickets: Option<Arc<Tickets>>,
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
            sockets: Some(sockets),
            tickets,
            is_held: false,
            is_successor: false,
            loads_first: false,
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

    /// Returns a function that asks whether the supervisor and all workers that serve are alive. It
    /// waits for the supervisor.
    pub(crate) fn watch(&self) -> impl FnMut() -> bool + Send + use<> {
        let sender = self.sender.clone();
        move || {
            let (answer, answered) = mpsc::channel();
            let sent = sender.send(Event::Pulse(answer));
            sent.is_ok() && answered.recv().unwrap_or(false)
        }
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
    /// Must be called on the main thread, since the workers end when the thread that started them
    /// ends.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a process for the first start.
    pub(crate) fn run(mut self, operator: &mut dyn Operator) -> anyhow::Result<ExitCode> {
        self.is_successor = operator.is_successor();
        self.is_held = self.is_successor;
        self.loads_first = operator.is_activated();
        self.start(0)?;
        loop {
            match self.next_event() {
                Some(Event::Signal(SIGCHLD)) => self.look(),
                Some(Event::Signal(SIGHUP)) => operator.look(),
                Some(Event::Signal(SIGUSR1)) => self.logs.access.reopen(),
                Some(Event::Signal(SIGUSR2)) => self.begin_upgrade(operator),
                Some(Event::Signal(_)) => self.stop(operator),
                Some(Event::Reported(pid, Report::Prepared)) => self.prepared(pid)?,
                Some(Event::Reported(pid, Report::Serves(text))) => {
                    self.started(pid, text, operator)?;
                }
                Some(Event::Reported(pid, Report::Loaded(text))) => {
                    self.loaded(pid, text, operator);
                }
                Some(Event::Reported(pid, Report::Inspected(inspection))) => {
                    self.board.answers(pid, *inspection);
                }
                Some(Event::Reported(pid, Report::Alive)) => self.is_alive(pid),
                Some(Event::Pulse(answer)) => self.pulse(&answer),
                Some(Event::Inspect) => self.inspect(),
                Some(Event::Reconfigured { config, drain }) => self.send(config, drain),
                Some(Event::Upgraded(result)) => self.upgraded(result, operator),
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

    /// Starts the worker of a slot.
    fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let (Some(slot), Some(sockets)) = (self.slots.get(index), &self.sockets) else {
            return Ok(());
        };
        let part = sockets.part(index, self.slots.len());
        let start = Start {
            config: &self.config,
            sockets: part.context("can't pass the sockets to a worker")?,
            tickets: self.tickets.as_deref(),
            loads_first: self.loads_first || matches!(self.phase, Phase::Serving),
            is_held: self.is_held,
        };
        let sender = self.sender.clone();
        let reported = move |pid, report| {
            // If the supervisor has ended, the report is not needed.
            let _ = sender.send(Event::Reported(pid, report));
        };
        let worker = Worker::start(slot.number, &start, &self.logs, reported)?;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.state = State::Running(worker);
        }
        Ok(())
    }

    /// Starts all workers that were never started.
    fn start_others(&mut self) -> anyhow::Result<()> {
        for index in 0..self.slots.len() {
            let slot = self.slots.get(index);
            if slot.is_some_and(|slot| matches!(slot.state, State::Empty)) {
                self.start(index)?;
            }
        }
        Ok(())
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
        for index in 0..self.slots.len() {
            let due = |slot: &Slot| matches!(slot.state, State::Away(until) if until <= now);
            if self.slots.get(index).is_some_and(due)
                && let Err(error) = self.start(index)
                && let Some(slot) = self.slots.get_mut(index)
            {
                let pause = slot.back_off.died(Duration::ZERO);
                let number = slot.number;
                tracing::error!("worker {number}: {error:#}; retrying in {pause:?}");
                slot.state = State::Away(now + pause);
            }
        }
    }

    /// Handles the report that a worker serves.
    fn started(
        &mut self,
        pid: u32,
        text: String,
        operator: &mut dyn Operator,
    ) -> anyhow::Result<()> {
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
                self.start_others()?;
            }
            Phase::Starting(Some(announcement)) => {
                let announcement = std::mem::take(announcement);
                if self.workers().filter(|worker| worker.serves).count() < self.slots.len() {
                    self.phase = Phase::Starting(Some(announcement));
                } else {
                    self.announce(&announcement);
                    self.phase = Phase::Serving;
                    // A successor is ready from the beginning, as its predecessor has been.
                    if !self.is_successor {
                        operator.serves();
                    }
                    self.announce_loaded(operator);
                }
            }
            Phase::Serving => tracing::info!("worker {} serves again (process {pid})", slot.number),
            Phase::Stopping { .. } => {}
        }
        Ok(())
    }

    /// Handles the report that a worker's handlers are loaded.
    fn loaded(&mut self, pid: u32, text: String, operator: &mut dyn Operator) {
        if let Some(worker) = self.worker(pid) {
            worker.has_loaded = true;
            self.board.loaded(pid);
        }
        if let Some(loaded) = &mut self.loaded {
            *loaded = text;
        }
        self.announce_loaded(operator);
    }

    /// Announces, once, that the handlers of all workers are loaded.
    fn announce_loaded(&mut self, operator: &mut dyn Operator) {
        let count = self.workers().filter(|worker| worker.has_loaded).count();
        if matches!(self.phase, Phase::Serving)
            && count == self.slots.len()
            && let Some(text) = self.loaded.take()
        {
            self.board.all_loaded();
            log::announce(&self.logs.out, text);
            if std::mem::take(&mut self.is_successor) {
                operator.serves();
            }
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
                    let who = format!("worker {number} (process {pid}) {}", exit_cause(status));
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
                self.end_all(ExitCode::FAILURE, false);
            }
            Phase::Serving => {
                let Some(slot) = self.slots.get_mut(index) else {
                    return;
                };
                let pause = slot.back_off.died(lived);
                slot.state = State::Away(Instant::now() + pause);
                if pause >= SOCKETS_PAUSE {
                    self.pause_sockets(index);
                }
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

    /// Gives the connections of a worker that restarts later to the others.
    fn pause_sockets(&self, index: usize) {
        let Some(sockets) = &self.sockets else { return };
        let [site, _] = sockets.files();
        // Not a socket that it shares with others.
        let is_own = self.slots.len() > 1 && site.len() >= self.slots.len();
        if is_own && let Ok(part) = sockets.part(index, self.slots.len()) {
            part.pause();
        }
    }

    /// Answers whether all workers that serve have been alive since the last time, and asks them
    /// again. One that has died is replaced, which is another matter.
    fn pulse(&mut self, answer: &Sender<bool>) {
        let mut are_alive = true;
        for slot in &mut self.slots {
            if let State::Running(worker) = &mut slot.state
                && worker.serves
            {
                are_alive &= std::mem::take(&mut worker.is_alive);
                worker.pulse();
            }
        }
        // Fails if the watchdog has ended.
        let _ = answer.send(are_alive);
    }

    /// Handles the report that the reactors of a worker run.
    fn is_alive(&mut self, pid: u32) {
        if let Some(worker) = self.worker(pid) {
            worker.is_alive = true;
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
                worker.send(&config);
            }
        }
        self.config = config;
        self.drain = drain;
    }

    /// Returns the worker that is the process with this ID.
    fn worker(&mut self, pid: u32) -> Option<&mut Worker> {
        let mut slots = self.slots.iter_mut();
        slots.find_map(|slot| match &mut slot.state {
            State::Running(worker) if worker.pid() == pid => Some(worker),
            _ => None,
        })
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Running(worker) => Some(worker),
            State::Empty | State::Away(_) => None,
        })
    }
}

impl Slot {
    /// Reports whether its worker is the process with this ID.
    fn is(&self, pid: u32) -> bool {
        matches!(&self.state, State::Running(worker) if worker.pid() == pid)
    }
}
