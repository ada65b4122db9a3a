//! The queue between those who ask a store and the threads that serve it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::operation::{Failure, Reply, Request};

/// The maximum number of waiting operations: a guest has one, so that is the number of requests
/// that can wait.
const MAX_JOBS_COUNT: usize = 16_384;

/// The maximum size of waiting operations together, in bytes: sixteen of the largest batches.
const MAX_JOBS_BYTES: usize = 64 << 20;

/// The maximum number of operations that are taken together. One write to the disk covers them.
const MAX_TAKEN_COUNT: usize = 1024;

/// The maximum size of operations that are taken together, in bytes, after which no more are added.
const MAX_TAKEN_BYTES: usize = 8 << 20;

/// Receives the result of an operation.
pub(super) type Sink = Box<dyn FnOnce(Result<Reply, Failure>) + Send>;

/// An operation that waits for its result. If it is dropped, so is the sink, without a result.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) sink: Sink,
    queued: Instant,
}

impl Job {
    pub(super) fn new(request: Request, sink: Sink) -> Self {
        Self {
            request,
            sink,
            queued: Instant::now(),
        }
    }

    fn bytes(&self) -> usize {
        self.request.operation.bytes()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// Which operations a thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Reads,
    Writes,
    All,
}

/// A bounded queue of operations.
#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    /// Signalled when a thread may have something to do.
    work: Condvar,
    /// Signalled when there is room.
    room: Condvar,
    /// This process must not keep the database open.
    is_released: AtomicBool,
}

#[derive(Debug, Default)]
struct Jobs {
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    bytes: usize,
    is_closed: bool,
}

impl Jobs {
    fn is_full(&self) -> bool {
        self.reads.len() + self.writes.len() >= MAX_JOBS_COUNT || self.bytes >= MAX_JOBS_BYTES
    }

    fn add(&mut self, job: Job) {
        self.bytes += job.bytes();
        match job.request.operation.is_read() {
            true => self.reads.push_back(job),
            false => self.writes.push_back(job),
        }
    }

    fn take(&mut self, which: Which) -> Vec<Job> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < MAX_TAKEN_COUNT && bytes < MAX_TAKEN_BYTES {
            let job = match which {
                Which::Reads => self.reads.pop_front(),
                Which::Writes => self.writes.pop_front(),
                Which::All => self.reads.pop_front().or_else(|| self.writes.pop_front()),
            };
            let Some(job) = job else {
                break;
            };
            bytes += job.bytes();
            taken.push(job);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }
}

impl Queue {
    /// Adds an operation.
    ///
    /// # Errors
    ///
    /// Fails if the queue is full or closed.
    pub(super) fn push(&self, job: Job) -> Result<(), Failure> {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return Err(stopping());
        }
        if jobs.is_full() {
            return Err(Failure::new(
                "the store is busy: too many operations are waiting",
            ));
        }
        jobs.add(job);
        drop(jobs);
        self.work.notify_all();
        Ok(())
    }

    /// Adds an operation that another process has sent. Waits for room.
    pub(super) fn push_waiting(&self, job: Job) {
        let mut jobs = self.lock();
        while jobs.is_full() {
            jobs = self.room.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        jobs.add(job);
        drop(jobs);
        self.work.notify_all();
    }

    /// Puts operations back that were taken and not begun.
    pub(super) fn put_back(&self, returned: impl IntoIterator<Item = Job>) {
        let mut jobs = self.lock();
        for job in returned {
            jobs.add(job);
        }
        drop(jobs);
        self.work.notify_all();
    }

    /// Waits for operations and takes them. Returns none once `until` is true, which is called with
    /// whether the queue is closed, or after `patience` if there is one.
    pub(super) fn take(
        &self,
        which: Which,
        patience: Option<Duration>,
        until: impl Fn(bool) -> bool,
    ) -> Vec<Job> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut jobs = self.lock();
        loop {
            let taken = jobs.take(which);
            if !taken.is_empty() {
                drop(jobs);
                self.room.notify_all();
                return taken;
            }
            if until(jobs.is_closed) {
                return taken;
            }
            jobs = match deadline {
                None => self.work.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let rest = deadline.saturating_duration_since(Instant::now());
                    if rest.is_zero() {
                        return taken;
                    }
                    let waited = self.work.wait_timeout(jobs, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Fails operations that have waited for this long.
    pub(super) fn fail_older_than(&self, patience: Duration, failure: &Failure) {
        let mut jobs = self.lock();
        let jobs = &mut *jobs;
        for queue in [&mut jobs.reads, &mut jobs.writes] {
            while let Some(job) = queue.pop_front_if(|job| job.queued.elapsed() >= patience) {
                jobs.bytes = jobs.bytes.saturating_sub(job.bytes());
                (job.sink)(Err(failure.clone()));
            }
        }
        self.room.notify_all();
    }

    /// Rejects further operations of this process.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Asks the threads that serve this queue to let another process open the database.
    pub(super) fn release(&self) {
        self.is_released.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    /// Reports whether to let another process open the database, once.
    pub(super) fn take_release(&self) -> bool {
        self.is_released.swap(false, Ordering::AcqRel)
    }

    /// Makes waiting threads look at their conditions.
    pub(super) fn wake(&self) {
        // Under the lock: a thread that has looked and doesn't wait yet would miss it.
        drop(self.lock());
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure of an operation that comes too late.
pub(super) fn stopping() -> Failure {
    Failure::new("the server is stopping")
}
