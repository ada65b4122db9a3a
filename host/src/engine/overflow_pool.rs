//! A pool for thousands of requests at once, made by a thread of its own when it is needed: it
//! takes some megabytes, and longer than all else of a start, as the stacks of that many are
//! protected one by one. A server that never has hundreds of requests in work has neither.
//!
//! A request that finds no permit in the other pools waits until it is there, some hundredths of a
//! second.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread;

use super::kind::Pre;
use super::load::{Code, InstancePool};
use super::pool;
use crate::config::Budget;

/// The pool, and the programs that are to be ready in it.
pub(super) struct OverflowPool {
    shared: Arc<Shared>,
    programs: Sender<Weak<Code>>,
    offer: Mutex<Offer>,
    /// Whether asking for it may change anything.
    is_offered: AtomicBool,
}

/// What the pool's thread shares with those that wait for it.
#[derive(Default)]
struct Shared {
    /// Nothing in it: the system has no memory for one.
    pool: OnceLock<Option<InstancePool>>,
    waiting: Mutex<Vec<Waker>>,
}

/// Whether the pool is made when somebody asks for it.
enum Offer {
    /// Not yet, or not at all.
    None(Receiver<Weak<Code>>),
    /// Yes, like this.
    Open(Receiver<Weak<Code>>, Budget),
    /// Somebody has asked.
    Taken,
}

impl OverflowPool {
    /// Nothing, until it is offered.
    pub(super) fn new() -> Self {
        let (programs, expected) = mpsc::channel();
        Self {
            shared: Arc::default(),
            programs,
            offer: Mutex::new(Offer::None(expected)),
            is_offered: AtomicBool::new(false),
        }
    }

    /// From now on the pool is made when it is asked for.
    pub(super) fn offer(&self, budget: Budget) {
        let mut offer = lock(&self.offer);
        *offer = match std::mem::replace(&mut *offer, Offer::Taken) {
            Offer::None(expected) => Offer::Open(expected, budget),
            other => other,
        };
        self.is_offered.store(true, Ordering::Release);
    }

    /// Has the pool made, and each program in it that was loaded or will be, if that is offered and
    /// nobody has asked before. The thread ends with the engine.
    pub(super) fn ask(&self) {
        if !self.is_offered.load(Ordering::Acquire) {
            return;
        }
        let mut offer = lock(&self.offer);
        let (expected, budget) = match std::mem::replace(&mut *offer, Offer::Taken) {
            Offer::Open(expected, budget) => (expected, budget),
            other => return *offer = other,
        };
        self.is_offered.store(false, Ordering::Release);
        if let Err(error) = self.shared.clone().open(expected, budget) {
            tracing::warn!("no thread to make room for many requests: {error}");
            self.shared.close();
        }
    }

    /// Has a program made ready when the pool is there.
    pub(super) fn expect(&self, code: &Arc<Code>) {
        // Nobody takes it where no pool is made.
        let _ = self.programs.send(Arc::downgrade(code));
    }

    /// The program in the pool, as soon as it is there. None where no pool is to come.
    pub(super) async fn join<'code>(&self, code: &'code Code) -> Option<&'code Pre> {
        self.ask();
        poll_fn(|context| {
            if let Some(ready) = self.ready(code) {
                return Poll::Ready(ready);
            }
            lock(&self.shared.waiting).push(context.waker().clone());
            // It may have come meanwhile, and nobody would have been told.
            self.ready(code).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The program in the pool, or that it does not come; nothing while that is open.
    fn ready<'code>(&self, code: &'code Code) -> Option<Option<&'code Pre>> {
        if let Some(pre) = code.in_overflow.get() {
            return Some(pre.as_ref());
        }
        let is_refused = matches!(self.shared.pool.get(), Some(None));
        let is_coming = matches!(*lock(&self.offer), Offer::Taken);
        (is_refused || !is_coming).then_some(None)
    }

    /// Advances the epoch.
    pub(super) fn tick(&self) {
        if let Some(Some(pool)) = self.shared.pool.get() {
            pool.engine.increment_epoch();
        }
    }
}

impl Shared {
    /// Starts the thread.
    fn open(self: Arc<Self>, programs: Receiver<Weak<Code>>, budget: Budget) -> io::Result<()> {
        thread::Builder::new()
            .name("wasgi-overflow".into())
            .spawn(move || {
                let pool = match pool::overflow_engine(&budget).map(InstancePool::new) {
                    Some(Ok(pool)) => pool,
                    Some(Err(error)) => {
                        tracing::warn!("{error:#}");
                        return self.close();
                    }
                    None => return self.close(),
                };
                let Some(pool) = self.pool.get_or_init(|| Some(pool)) else {
                    return;
                };
                while let Ok(first) = programs.recv() {
                    // All that are there, before anybody who waits for one of them is told.
                    for code in std::iter::once(first).chain(programs.try_iter()) {
                        if let Some(code) = code.upgrade() {
                            code.prepare_in_overflow(pool);
                        }
                    }
                    self.wake();
                }
            })
            .map(drop)
    }

    /// There is no pool, and none will come.
    fn close(&self) {
        let _ = self.pool.set(None);
        self.wake();
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A panic while one of these is held leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
