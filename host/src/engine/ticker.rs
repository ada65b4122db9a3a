//! The epoch: one thread per process that ticks while guests are at work, so that a guest which
//! computes gives its thread back at each tick.
//!
//! An idle server has nothing to interrupt, so its ticker sleeps until a reactor has work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use anyhow::Context;

use super::Engine;

/// How long a guest may compute before it yields to the reactor. With ten guests that compute on
/// one thread, another request waits for ten of these.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Ticks without any work after which the ticker goes to sleep: long enough that a steady trickle
/// of requests does not wake it each time.
const IDLE_TICKS: u32 = 50;

/// The ticking thread. It stops when this is dropped.
#[derive(Debug)]
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A reactor's word to the ticker: whether it has guests at work.
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
    /// Fails when the system gives no thread.
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

    /// The word of one reactor, counted from 0.
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
            // The thread's only way to fail is a panic, which has been reported by then.
            let _ = thread.join();
        }
    }
}

impl Working {
    /// Says whether this reactor has guests at work. Cheap when nothing has changed.
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

    /// Sleeps until a reactor has work. `asleep` is set before the flags are looked at and a
    /// reactor sets its flag before it looks at `asleep`, so one of the two sees the other.
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
