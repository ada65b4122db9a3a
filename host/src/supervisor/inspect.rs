//! What the admin listener tells of all workers: asks each of them, and waits for the answers.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::admin::{Inspect, Inspection, Phase};
use crate::metrics::Snapshot;

/// The maximum time to wait for the workers' answers. A worker that doesn't answer in time is shown
/// as it was when it answered last.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// The last known state of the workers, shared by the supervisor and the admin listener.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    workers: BTreeMap<u16, WorkerView>,
    /// The handlers of all workers have been loaded once.
    has_loaded: bool,
    is_draining: bool,
    /// What workers that have ended had counted when they answered last.
    counted_before: Snapshot,
    /// Counts the inspections.
    serial: u64,
}

/// A worker that serves.
#[derive(Debug)]
struct WorkerView {
    pid: u32,
    has_loaded: bool,
    /// An order is on its way, or its answer is.
    is_asked: bool,
    /// The inspection for which it answered last.
    answered: u64,
    inspection: Option<Inspection>,
}

/// The source of the admin listener. `ask` makes the supervisor ask its workers.
pub(super) struct Inspector<E> {
    pub(super) board: Arc<Board>,
    pub(super) ask: Mutex<Sender<E>>,
    pub(super) event: fn() -> E,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            answered: Condvar::new(),
        })
    }

    /// Records that a worker serves.
    pub(super) fn serves(&self, number: u16, pid: u32) {
        let view = WorkerView {
            pid,
            has_loaded: false,
            is_asked: false,
            answered: 0,
            inspection: None,
        };
        self.lock().workers.insert(number, view);
    }

    /// Records that the handlers of a worker are loaded.
    pub(super) fn loaded(&self, pid: u32) {
        self.change(pid, |view, _| view.has_loaded = true);
    }

    /// Records that the handlers of all workers have been loaded.
    pub(super) fn all_loaded(&self) {
        self.lock().has_loaded = true;
    }

    /// Records that all workers stop.
    pub(super) fn drains(&self) {
        self.lock().is_draining = true;
    }

    /// Records that a worker has ended.
    pub(super) fn ended(&self, number: u16) {
        let mut state = self.lock();
        let ended = state.workers.remove(&number);
        if let Some(inspection) = ended.and_then(|view| view.inspection) {
            state.keep(inspection.metrics);
        }
        drop(state);
        self.answered.notify_all();
    }

    /// Returns whether to ask a worker now: it serves, and is not being asked already.
    pub(super) fn asks(&self, pid: u32) -> bool {
        let mut asks = false;
        self.change(pid, |view, _| {
            asks = !std::mem::replace(&mut view.is_asked, true);
        });
        asks
    }

    /// Records the answer of a worker.
    pub(super) fn answers(&self, pid: u32, inspection: Inspection) {
        self.change(pid, |view, serial| {
            view.is_asked = false;
            view.answered = serial;
            view.inspection = Some(inspection);
        });
        self.answered.notify_all();
    }

    fn change(&self, pid: u32, change: impl FnOnce(&mut WorkerView, u64)) {
        let mut state = self.lock();
        let serial = state.serial;
        let mut views = state.workers.values_mut();
        if let Some(view) = views.find(|view| view.pid == pid) {
            change(view, serial);
        }
    }

    /// Locks the state, which is valid after each statement that changes it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps what an ended worker had counted. Forgets handlers that neither it nor another worker
    /// served, so that the counts don't grow with each new name.
    fn keep(&mut self, ended: Snapshot) {
        let workers = self.workers.values();
        let inspections = workers.filter_map(|view| view.inspection.as_ref());
        let served = inspections.map(|inspection| &inspection.metrics);
        self.counted_before.keep_handlers_of(served.chain([&ended]));
        self.counted_before.merge(&ended.into_counts());
    }

    fn is_waiting(&self) -> bool {
        let serial = self.serial;
        self.workers.values().any(|view| view.answered < serial)
    }
}

impl<E: Send + 'static> Inspect for Inspector<E> {
    fn phase(&self) -> Phase {
        let state = self.board.lock();
        let serves = state.workers.values().any(|view| view.has_loaded);
        match (state.is_draining, state.has_loaded && serves) {
            (true, _) => Phase::Draining,
            (false, true) => Phase::Ready,
            (false, false) => Phase::Starting,
        }
    }

    fn inspect(&self) -> Vec<Inspection> {
        self.board.lock().serial += 1;
        let ask = self.ask.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails if the supervisor has ended, and all workers with it.
        let _ = ask.send((self.event)());
        drop(ask);
        let state = self.board.lock();
        let waited = self
            .board
            .answered
            .wait_timeout_while(state, ANSWER_PATIENCE, |state| state.is_waiting());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let views = state.workers.values();
        views.filter_map(|view| view.inspection.clone()).collect()
    }

    fn counted_before(&self) -> Snapshot {
        self.board.lock().counted_before.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;
    use crate::admin::ProcessStatus;

    fn inspection(pid: u32, connections: usize) -> Inspection {
        Inspection {
            process: ProcessStatus {
                pid,
                uptime_seconds: 0.0,
                connections,
                instance_memory_bytes: 0,
            },
            handlers: Vec::new(),
            problems: Vec::new(),
            certificates: Vec::new(),
            failures: Vec::new(),
            metrics: Snapshot::default(),
        }
    }

    fn inspector() -> (Inspector<()>, std::sync::mpsc::Receiver<()>) {
        let (sender, events) = channel();
        let inspector = Inspector {
            board: Board::new(),
            ask: Mutex::new(sender),
            event: || (),
        };
        (inspector, events)
    }

    #[test]
    fn an_inspection_waits_for_each_worker_and_for_none_that_has_ended() {
        let (inspector, events) = inspector();
        let board = inspector.board.clone();
        for number in [1, 2, 3] {
            board.serves(number, 10 + u32::from(number));
        }
        let supervisor = thread::spawn(move || {
            for () in events {
                for pid in [11, 13] {
                    assert!(board.asks(pid));
                    assert!(!board.asks(pid), "it is being asked");
                    board.answers(pid, inspection(pid, 5));
                }
                board.ended(2);
            }
        });
        let pids =
            |all: Vec<Inspection>| -> Vec<u32> { all.iter().map(|one| one.process.pid).collect() };
        assert_eq!(pids(inspector.inspect()), [11, 13]);
        assert_eq!(pids(inspector.inspect()), [11, 13]);
        drop(inspector);
        supervisor.join().expect("no panic");
    }

    #[test]
    fn a_site_is_ready_while_one_worker_is_once_all_have_been() {
        let (inspector, _events) = inspector();
        let board = &inspector.board;
        assert_eq!(inspector.phase(), Phase::Starting);
        board.serves(1, 11);
        board.serves(2, 12);
        board.loaded(11);
        assert_eq!(inspector.phase(), Phase::Starting);
        board.loaded(12);
        board.all_loaded();
        assert_eq!(inspector.phase(), Phase::Ready);
        board.ended(1);
        assert_eq!(inspector.phase(), Phase::Ready);
        board.ended(2);
        assert_eq!(inspector.phase(), Phase::Starting);
        board.serves(2, 14);
        assert_eq!(
            inspector.phase(),
            Phase::Starting,
            "its handlers are loading"
        );
        board.loaded(14);
        assert_eq!(inspector.phase(), Phase::Ready);
        board.drains();
        assert_eq!(inspector.phase(), Phase::Draining);
    }
}
