//! The end of a reactor: it drains, then stops.

use std::time::Duration;

use super::{ACCEPTS_PER_TURN, Reactor};
use crate::server::bind::BACKLOG;
use crate::server::listener::Listener;

impl Reactor {
    /// Accepts no further connection, and one more request of those that are idle, if it begins
    /// within `idle_time`.
    pub(super) fn drain(&mut self, idle_time: Duration) {
        self.draining = true;
        // Those that the kernel has already connected expect a response. Clients that connect
        // meanwhile don't delay the end: no more are accepted than the kernel's queue can hold.
        self.listeners.iter_mut().for_each(Listener::ready);
        for _ in 0..BACKLOG as usize / ACCEPTS_PER_TURN {
            if self.listeners.iter().any(Listener::is_busy) {
                self.accept();
            }
        }
        for listener in self.listeners.drain(..) {
            listener.close(self.poll.registry());
        }
        let until = self.cx.now + idle_time;
        for place in self.places() {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.drain(until);
                self.drive(place);
            }
        }
    }

    /// Ends the event streams of handlers.
    pub(super) fn end_streams(&mut self) {
        for place in self.places() {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.end_stream(&mut self.cx);
                self.drive(place);
            }
        }
    }

    fn places(&self) -> Vec<usize> {
        self.connections.iter().map(|(place, _)| place).collect()
    }

    /// Aborts everything in progress.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let cut = self
            .connections
            .iter()
            .filter(|(_, one)| one.is_answering())
            .count();
        if cut > 0 {
            tracing::warn!("{cut} requests were cut short");
        }
        for place in self.places() {
            self.drop_connection(place);
        }
        self.cx.calls.clear();
        self.cx.flush_log();
        Ok(())
    }
}
