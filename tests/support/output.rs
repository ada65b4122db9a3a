//! Collects a process's output line by line in a separate thread, so that the process never blocks
//! on a full pipe.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::PATIENCE;

/// The lines of one output stream so far.
#[derive(Debug)]
pub(crate) struct Output {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    /// Starts to collect lines from `source`.
    pub(crate) fn new(source: impl Read + Send + 'static) -> Output {
        let shared = Arc::new(Shared::default());
        let reader = thread::spawn({
            let shared = shared.clone();
            move || shared.gather(source)
        });
        Output {
            shared,
            reader: Some(reader),
        }
    }

    /// Returns all lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    /// Waits for the first line that `wanted` accepts. Returns none if the output ends first.
    #[track_caller]
    pub(crate) fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        let mut looked_at = 0;
        loop {
            let found = state.lines[looked_at..].iter().find(|line| wanted(line));
            if let Some(line) = found {
                return Some(line.clone());
            }
            looked_at = state.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for a line that contains all `parts`.
    #[track_caller]
    pub(crate) fn expect(&self, parts: &[&str]) -> String {
        let wanted = |line: &str| parts.iter().all(|part| line.contains(part));
        match self.find(wanted) {
            Some(line) => line,
            None => panic!("no line with {parts:?} in:\n{}", self.lines().join("\n")),
        }
    }

    /// Waits for the output to end, and returns all its lines.
    pub(crate) fn finish(mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reading thread does not panic");
        }
        self.lines()
    }
}

impl Shared {
    fn gather(&self, source: impl Read) {
        for line in BufReader::new(source).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lock().lines.push(line);
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
