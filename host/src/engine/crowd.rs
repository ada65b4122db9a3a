//! Room for thousands of requests at once, made by a thread of its own while others are served
//! already: protecting the stacks of that many takes longer than all else of a start.
//!
//! Whoever finds no seat in the other pools before this one is there is turned away.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use super::cache::CodeCache;
use super::load::{Code, Room};
use super::pool;
use crate::config::Budget;

/// The pool, and the programs that are to be ready in it.
pub(super) struct Crowd {
    room: Arc<OnceLock<Room>>,
    programs: Sender<Weak<Code>>,
    /// Until the thread has it.
    expected: Mutex<Option<Receiver<Weak<Code>>>>,
}

impl Crowd {
    /// Nothing, until it is opened.
    pub(super) fn new() -> Self {
        let (programs, expected) = mpsc::channel();
        Self {
            room: Arc::default(),
            programs,
            expected: Mutex::new(Some(expected)),
        }
    }

    /// Has the pool made, and each program in it that was loaded or will be. The thread ends with
    /// the engine.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no thread.
    pub(super) fn open(&self, budget: Budget, cache: Option<Arc<CodeCache>>) -> io::Result<()> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(programs) = expected.take() else {
            return Ok(());
        };
        let place = self.room.clone();
        thread::Builder::new()
            .name("wasgi-crowd".into())
            .spawn(move || {
                let room = pool::crowd_engine(&budget).map(Room::new);
                let room = match room {
                    Some(Ok(room)) => place.get_or_init(|| room),
                    Some(Err(error)) => return tracing::warn!("{error:#}"),
                    None => return,
                };
                for code in programs {
                    if let Some(code) = code.upgrade() {
                        code.join_crowd(room, cache.as_deref());
                    }
                }
            })
            .map(drop)
    }

    /// Has a program made ready when the pool is there.
    pub(super) fn expect(&self, code: &Arc<Code>) {
        // There is no thread any more where there is no room.
        let _ = self.programs.send(Arc::downgrade(code));
    }

    /// Advances the epoch.
    pub(super) fn tick(&self) {
        if let Some(room) = self.room.get() {
            room.engine.increment_epoch();
        }
    }
}
