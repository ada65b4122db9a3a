//! A pool for thousands of concurrent requests. A separate thread creates it on demand: it takes
//! some megabytes, and longer than the rest of the startup, because that many stacks are protected
//! one by one. A server that never has hundreds of concurrent requests doesn't create it.
//!
//! A request that finds no permit in the other pools waits for this pool, some hundredths of a
//! second.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread;

use super::instances::InstancePool;
use super::settings;
use crate::engine::error::LoadError;
use crate::engine::shared_code::ProgramFiles;
use crate::engine::worlds::kind::HandlerKind;
use crate::engine::worlds::pre::Pre;
use crate::policy::Budget;

/// The pool, and the programs to prepare in it.
pub(in crate::engine) struct OverflowPool {
    shared: Arc<Shared>,
    offer: Mutex<Offer>,
    /// Whether requesting it can have an effect.
    is_offered: AtomicBool,
}

/// A program that is prepared in the pool as soon as that exists.
pub(in crate::engine) struct InOverflow {
    kind: HandlerKind,
    /// Its compiled code, for each pool that it is prepared in.
    pub(in crate::engine) files: ProgramFiles,
    /// `None` in the cell: it is not available there.
    pre: OnceLock<Option<Pre>>,
}

/// The state shared by the pool's thread and the requests that wait for it.
#[derive(Default)]
struct Shared {
    /// `None` in the cell: the system has no memory for the pool.
    pool: OnceLock<Option<InstancePool>>,
    waiting: Mutex<Vec<Waker>>,
}

/// Whether the pool is created on demand, with the programs to prepare in it.
enum Offer {
    /// Not yet, or never.
    None(Programs),
    /// Yes, with this budget.
    Open(Programs, Budget),
    /// It has been requested. Its thread receives the programs.
    Taken(Sender<Weak<InOverflow>>),
}

/// The programs that are loaded, as long as nothing prepares them.
#[derive(Default)]
struct Programs(Vec<Weak<InOverflow>>);

impl OverflowPool {
    /// Creates a disabled pool.
    pub(in crate::engine) fn new() -> Self {
        Self {
            shared: Arc::default(),
            offer: Mutex::new(Offer::None(Programs::default())),
            is_offered: AtomicBool::new(false),
        }
    }

    /// Enables the creation on demand.
    pub(in crate::engine) fn offer(&self, budget: Budget) {
        let mut offer = lock(&self.offer);
        if let Offer::None(programs) = &mut *offer {
            *offer = Offer::Open(std::mem::take(programs), budget);
        }
        self.is_offered.store(true, Ordering::Release);
    }

    /// Starts to create the pool, with each program that was or will be loaded, if that is enabled
    /// and was not requested before. The thread ends with the engine.
    pub(in crate::engine) fn ask(&self) {
        if !self.is_offered.load(Ordering::Acquire) {
            return;
        }
        let mut offer = lock(&self.offer);
        let Offer::Open(programs, budget) = &mut *offer else {
            return;
        };
        let (programs, budget) = (std::mem::take(programs), *budget);
        let (sender, receiver) = mpsc::channel();
        for program in programs.0 {
            // Can't fail: the receiver is here.
            let _ = sender.send(program);
        }
        *offer = Offer::Taken(sender);
        self.is_offered.store(false, Ordering::Release);
        if let Err(error) = self.shared.clone().open(receiver, budget) {
            tracing::warn!("can't start the thread that creates the overflow pool: {error}");
            self.shared.close();
        }
    }

    /// Prepares a program as soon as the pool exists.
    pub(in crate::engine) fn expect(
        &self,
        kind: HandlerKind,
        files: ProgramFiles,
    ) -> Arc<InOverflow> {
        let program = Arc::new(InOverflow {
            kind,
            files,
            pre: OnceLock::new(),
        });
        let weak = Arc::downgrade(&program);
        match &mut *lock(&self.offer) {
            Offer::None(programs) | Offer::Open(programs, _) => programs.add(weak),
            // Fails if there is no pool.
            Offer::Taken(sender) => drop(sender.send(weak)),
        }
        program
    }

    /// Waits for the program in the pool. Returns `None` if there will be no pool.
    pub(in crate::engine) async fn join<'p>(&self, program: &'p InOverflow) -> Option<&'p Pre> {
        self.ask();
        poll_fn(|context| {
            if let Some(ready) = self.ready(program) {
                return Poll::Ready(ready);
            }
            lock(&self.shared.waiting).push(context.waker().clone());
            // It may have become ready in the meantime, without a wake-up.
            self.ready(program).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Returns the program in the pool, or `Some(None)` if there will be none; `None` while that is
    /// undecided.
    fn ready<'p>(&self, program: &'p InOverflow) -> Option<Option<&'p Pre>> {
        if let Some(pre) = program.pre.get() {
            return Some(pre.as_ref());
        }
        let is_refused = matches!(self.shared.pool.get(), Some(None));
        let is_coming = matches!(*lock(&self.offer), Offer::Taken(_));
        (is_refused || !is_coming).then_some(None)
    }

    /// Advances the epoch.
    pub(in crate::engine) fn tick(&self) {
        if let Some(Some(pool)) = self.shared.pool.get() {
            pool.engine.increment_epoch();
        }
    }
}

impl Programs {
    /// Adds a program. Forgets those that are no longer loaded: what remains of one is as large as
    /// it was, and a handler can be replaced each second for years.
    fn add(&mut self, program: Weak<InOverflow>) {
        self.0.retain(|known| known.strong_count() > 0);
        self.0.push(program);
    }
}

impl InOverflow {
    fn prepare(&self, pool: &InstancePool) {
        let compiled = self.files.map(&pool.engine);
        let compiled = compiled.map_err(LoadError::unprepared);
        match compiled.and_then(|compiled| pool.prepare(&compiled, self.kind)) {
            Ok(pre) => drop(self.pre.set(Some(pre))),
            Err(error) => {
                tracing::warn!(
                    "the memory limit of a handler is lower than configured: it \
                                {error}"
                );
                drop(self.pre.set(None));
            }
        }
    }
}

impl Shared {
    /// Starts the thread.
    fn open(
        self: Arc<Self>,
        programs: Receiver<Weak<InOverflow>>,
        budget: Budget,
    ) -> io::Result<()> {
        thread::Builder::new()
            .name("wasgi-overflow".into())
            .spawn(move || {
                let pool = match settings::overflow_engine(&budget).map(InstancePool::new) {
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
                    // Prepare all queued programs before waking the requests that wait for them.
                    for program in std::iter::once(first).chain(programs.try_iter()) {
                        if let Some(program) = program.upgrade() {
                            program.prepare(pool);
                        }
                    }
                    self.wake();
                }
            })
            .map(drop)
    }

    /// Records that there will be no pool.
    fn close(&self) {
        let _ = self.pool.set(None);
        self.wake();
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Locks a mutex. A panic while the lock is held can't leave the value inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::code_file::CodeFile;

    fn load(pool: &OverflowPool) -> Arc<InOverflow> {
        let file = CodeFile::memory_file().expect("a descriptor");
        let file = CodeFile::seal(file).expect("a new file");
        pool.expect(HandlerKind::Gateway, file.into())
    }

    #[test]
    fn a_program_that_was_replaced_is_not_kept_for_a_pool_that_nobody_needs() {
        let count = |pool: &OverflowPool| match &*lock(&pool.offer) {
            Offer::None(programs) | Offer::Open(programs, _) => programs.0.len(),
            Offer::Taken(_) => panic!("nobody has requested it"),
        };
        let pool = OverflowPool::new();
        let served = [load(&pool), load(&pool)];
        for _ in 0..100 {
            drop(load(&pool));
        }
        assert_eq!(count(&pool), served.len() + 1);
        pool.offer(Budget::default());
        for _ in 0..100 {
            drop(load(&pool));
        }
        assert_eq!(count(&pool), served.len() + 1);
    }
}
