//! The record of what happened, for open pages and the dashboard: bounded in number and in bytes.
//! Readers keep only the number of their last event, so a reader that falls behind costs nothing:
//! it gets `missed`, and reloads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::Serialize;

/// The maximum number of events that are kept: more than a checkout of another branch causes.
const MAX_EVENTS: usize = 1_024;

/// The maximum size of the events that are kept, in bytes.
const MAX_BYTES: usize = 2 << 20;

/// The maximum number of lines of handlers that are kept as events. A handler that writes more must
/// not displace the other events.
const MAX_LOG_EVENTS: usize = 256;

/// One event, as it is sent to a page.
#[derive(Debug)]
pub(crate) struct Event {
    number: u64,
    /// The event in the format of an event stream (WHATWG HTML, section 9.2).
    text: Arc<str>,
    is_log: bool,
}

/// The position of a reader: the number of the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(u64);

/// The last events, and a way to wake their readers.
pub(crate) struct Events {
    /// Identifies this run of the server: numbers of other runs mean nothing.
    run: String,
    record: Mutex<Record>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Debug)]
struct Record {
    events: VecDeque<Event>,
    bytes: usize,
    logs: usize,
    /// The number of the next event.
    next: u64,
    /// The number of the oldest event from which on nothing but log lines was dropped.
    whole_from: u64,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Creates an empty record for the run of this name, which has no `-`.
    pub(super) fn new(run: String) -> Self {
        Self {
            run,
            record: Mutex::new(Record {
                events: VecDeque::new(),
                bytes: 0,
                logs: 0,
                next: 1,
                whole_from: 1,
            }),
            wake: OnceLock::new(),
        }
    }

    /// Returns the name of this run of the server.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Sets the function that is called after each event. It must not block. Only the first call
    /// has an effect.
    pub(crate) fn on_event(&self, wake: impl Fn() + Send + Sync + 'static) {
        // Fails if it was set before.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Records an event. `name` is a word.
    pub(super) fn publish(&self, name: &str, data: &impl Serialize) {
        self.add(name, data, false);
    }

    /// Records a line of a handler. Old lines are dropped before other events.
    pub(super) fn publish_log(&self, data: &impl Serialize) {
        self.add("log", data, true);
    }

    fn add(&self, name: &str, data: &impl Serialize, is_log: bool) {
        // JSON has no line ends, so it is a single data line. Strings with texts always serialize.
        let Ok(json) = serde_json::to_string(data) else {
            return;
        };
        {
            let mut record = self.lock();
            let number = record.next;
            record.next += 1;
            let text = frame(&self.mark(number), name, &json).into();
            record.push(Event {
                number,
                text,
                is_log,
            });
        }
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Returns the position after the last event, as a text for a page: see [`since`](Self::since).
    pub(crate) fn now(&self) -> String {
        self.mark(self.lock().next - 1)
    }

    /// Returns the position after the event with this mark, from an earlier event of this run.
    /// `None` if it is of another run, malformed, or so old that events are missing.
    pub(crate) fn since(&self, mark: &str) -> Option<Position> {
        let (run, number) = mark.rsplit_once('-')?;
        let number: u64 = number.parse().ok()?;
        let record = self.lock();
        let next = number.checked_add(1)?;
        (run == self.run && next >= record.whole_from && next <= record.next)
            .then_some(Position(next))
    }

    /// Returns the position after the last event.
    pub(crate) fn end(&self) -> Position {
        Position(self.lock().next)
    }

    /// Appends the events from `position` on, at most `max_bytes` of them but at least one, and
    /// returns the next position. `None` if events are missing because the reader is too slow.
    pub(crate) fn read(
        &self,
        position: Position,
        max_bytes: usize,
        into: &mut Vec<u8>,
    ) -> Option<Position> {
        let record = self.lock();
        if position.0 < record.whole_from {
            return None;
        }
        let first = record
            .events
            .partition_point(|event| event.number < position.0);
        let mut next = position.0;
        for event in record.events.range(first..) {
            if !into.is_empty() && into.len() + event.text.len() > max_bytes {
                return Some(Position(next));
            }
            into.extend_from_slice(event.text.as_bytes());
            next = event.number + 1;
        }
        Some(Position(record.next.max(next)))
    }

    fn mark(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn push(&mut self, event: Event) {
        self.bytes += event.text.len();
        self.logs += usize::from(event.is_log);
        self.events.push_back(event);
        while self.logs > MAX_LOG_EVENTS {
            let Some(oldest) = self.events.iter().position(|event| event.is_log) else {
                break;
            };
            self.remove(oldest);
        }
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES && self.events.len() > 1 {
            if let Some(event) = self.remove(0)
                && !event.is_log
            {
                self.whole_from = event.number + 1;
            }
        }
    }

    fn remove(&mut self, index: usize) -> Option<Event> {
        let event = self.events.remove(index)?;
        self.bytes -= event.text.len();
        self.logs -= usize::from(event.is_log);
        Some(event)
    }
}

fn frame(mark: &str, name: &str, json: &str) -> String {
    format!("id: {mark}\nevent: {name}\ndata: {json}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Events {
        Events::new("run".to_owned())
    }

    fn all(events: &Events, position: Position) -> Option<String> {
        let mut text = Vec::new();
        events.read(position, usize::MAX, &mut text)?;
        Some(String::from_utf8(text).expect("UTF-8"))
    }

    #[test]
    fn an_event_is_one_data_line_whatever_it_contains() {
        let events = events();
        let start = events.end();
        events.publish("log", &"a\nb\r\0\u{1b}[31m</script>\u{2028}\n\nevent: x");
        let text = all(&events, start).expect("nothing is missing");
        assert_eq!(text.matches('\n').count(), 4, "{text}");
        assert!(text.starts_with("id: run-1\nevent: log\ndata: \"a\\nb\\r\\u0000"));
        assert!(!text.contains(['\0', '\u{1b}', '\r']));
    }

    #[test]
    fn the_record_stays_within_its_limits_and_says_what_is_missing() {
        let events = events();
        let start = events.end();
        for _ in 0..2 * MAX_EVENTS {
            events.publish("changed", &1);
        }
        assert_eq!(events.lock().events.len(), MAX_EVENTS);
        assert!(all(&events, start).is_none());
        assert!(events.since("run-1").is_none());
        let large = "x".repeat(MAX_BYTES / 4);
        for _ in 0..100 {
            events.publish("failed", &large);
        }
        assert!(events.lock().bytes <= MAX_BYTES);
        // A single event beyond the limit is kept, so that its readers get it.
        events.publish("failed", &"x".repeat(MAX_BYTES));
        assert_eq!(events.lock().events.len(), 1);
    }

    #[test]
    fn lines_of_handlers_displace_nothing_else() {
        let events = events();
        let start = events.end();
        events.publish("loaded", &"hello");
        for line in 0..10 * MAX_EVENTS {
            events.publish_log(&line);
        }
        let text = all(&events, start).expect("only lines are missing");
        assert!(text.contains("event: loaded"));
        assert_eq!(text.matches("event: log").count(), MAX_LOG_EVENTS);
    }

    #[test]
    fn a_reader_gets_each_event_once_in_pieces_of_a_limited_size() {
        let events = events();
        let mut position = events.since("run-0").expect("the start");
        for number in 0..100 {
            events.publish("changed", &number);
        }
        let mut read = Vec::new();
        while position != events.end() {
            let mut piece = Vec::new();
            position = events.read(position, 200, &mut piece).expect("no loss");
            assert!(!piece.is_empty() && piece.len() <= 200);
            read.extend(piece);
        }
        let text = String::from_utf8(read).expect("UTF-8");
        assert_eq!(text.matches("event: changed").count(), 100);
    }

    #[test]
    fn positions_of_other_runs_and_of_the_future_are_unknown() {
        let events = events();
        assert!(events.since(&events.now()).is_some());
        for mark in [
            "",
            "run",
            "run-",
            "other-0",
            "run-1",
            "run-99999999999999999999999",
            "-0",
        ] {
            assert!(events.since(mark).is_none(), "{mark}");
        }
    }

    #[test]
    fn each_event_wakes_the_readers() {
        let events = events();
        let (sender, woken) = std::sync::mpsc::channel();
        events.on_event(move || sender.send(()).expect("the test waits"));
        events.publish("changed", &1);
        woken.recv().expect("woken");
    }
}
