//! The epoch: one thread per process ticks while guests are running, so that a computing guest
//! yields its thread at each tick.
//!
//! An idle server has no guests to interrupt, so its ticker sleeps until a reactor has work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};

use anyhow::Context;

use super::meter::TICK;
use crate::engine::Engine;

/// The number of idle ticks after which the ticker sleeps: large enough that steady, infrequent
/// requests don't wake it each time.
const IDLE_TICKS: u32 = 50;

/// The ticking thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the ticker whether a reactor has running guests.
#[derive(Clone, Debug)]
pub struct Working {
    flag: Arc<AtomicBool>,
    shared: Arc<Shared>,
    ticker: Thread,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    asleep: AtomicBool,
    flags: Vec<Arc<AtomicBool>>,
}

impl Ticker {
    /// Starts ticking `engine` for `reactors` reactors.
    ///
    /// # Errors
    ///
    /// Fails if the thread can't be created.
    pub fn start(engine: &Engine, reactors: usize) -> anyhow::Result<Self> {
        let flags = (0..reactors).map(|_| Arc::default()).collect();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            flags,
        });
        let engine = engine.clone();
        let thread = thread::Builder::new()
            .name("wasgi-ticker".into())
            .spawn({
                let shared = shared.clone();
                move || shared.run(&engine)
            })
            .context("could not start the ticker's thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Returns the flag of one reactor, counted from 0.
    pub fn working(&self, reactor: usize) -> Option<Working> {
        Some(Working {
            flag: self.shared.flags.get(reactor)?.clone(),
            shared: self.shared.clone(),
            ticker: self.thread.as_ref()?.thread().clone(),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread can only fail by a panic, which has been reported by then.
            let _ = thread.join();
        }
    }
}

impl Working {
    /// Sets whether this reactor has running guests. Cheap if nothing has changed.
    pub fn set(&self, working: bool) {
        if self.flag.load(Ordering::Relaxed) == working {
            return;
        }
        self.flag.store(working, Ordering::SeqCst);
        if working && self.shared.asleep.load(Ordering::SeqCst) {
            self.ticker.unpark();
        }
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            engine.tick();
            if self.is_working() {
                idle = 0;
            } else {
                idle += 1;
            }
            if idle >= IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
        }
    }

    /// Sleeps until a reactor has work. The ticker sets `asleep` before it checks the flags, and a
    /// reactor sets its flag before it checks `asleep`, so at least one of them sees the other's
    /// change.
    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while !self.is_working() && !self.stop.load(Ordering::SeqCst) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn is_working(&self) -> bool {
        self.flags.iter().any(|flag| flag.load(Ordering::SeqCst))
    }
}
