//! A process's handle on the store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::bucket::BucketId;
use super::operation::{Failure, Operation, Reply, Request};
use super::options::{Limits, StateOptions};
use super::queue::{Job, Queue};
use super::{embedded, redis};
use crate::metrics::Counter;
use crate::published::Published;

/// A handle on the store of a site. Clones share it. Nothing is opened before the first operation.
///
/// Operations wait in a bounded queue for the store's threads, so that only requests that use the
/// store wait for its disk or network.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    place: Place,
    limits: Published<Limits>,
    queue: Arc<Queue>,
    thread: Mutex<Thread>,
}

enum Thread {
    NotStarted,
    Running(JoinHandle<()>),
    Closed,
}

/// Where the buckets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a database in this folder.
    Folder(PathBuf),
    /// In a Redis server.
    Redis {
        url: String,
        /// The front of all of its keys.
        prefix: String,
    },
}

impl Place {
    pub(super) fn new(options: &StateOptions) -> Self {
        match &options.url {
            Some(url) => Self::Redis {
                url: url.clone(),
                prefix: options.prefix.clone(),
            },
            None => Self::Folder(options.folder().to_owned()),
        }
    }
}

/// Checks that the URL is one that can be used.
///
/// # Errors
///
/// Fails with the reason, without the URL, which may contain a password.
pub fn check_options(options: &StateOptions) -> Result<(), String> {
    match &options.url {
        Some(url) => redis::check_url(url),
        None => Ok(()),
    }
}

/// Returns the TCP port of the store that the options name, if it is on a network.
pub fn port(options: &StateOptions) -> Option<u16> {
    redis::port(options.url.as_deref()?)
}

/// Creates the folder of the embedded store if it doesn't exist. Other users can't read it.
///
/// # Errors
///
/// Fails if the folder can't be created.
pub fn create_folder(folder: &Path) -> std::io::Result<()> {
    embedded::create_folder(folder)
}

impl Store {
    /// Creates a handle. Opens nothing yet.
    pub fn new(options: &StateOptions, limits: Limits) -> Self {
        Self(Arc::new(Shared {
            place: Place::new(options),
            limits: Published::new(limits),
            queue: Arc::default(),
            thread: Mutex::new(Thread::NotStarted),
        }))
    }

    /// Changes the limits for further operations.
    pub fn set_limits(&self, limits: Limits) {
        self.0.limits.publish(limits);
    }

    /// Returns the name of the system that stores the buckets.
    pub fn system(&self) -> &'static str {
        match self.0.place {
            Place::Folder(_) => "redb",
            Place::Redis { .. } => "redis",
        }
    }

    /// Executes an operation in a bucket. The future can be polled on any thread, and dropping it
    /// abandons the result, not the operation.
    ///
    /// # Errors
    ///
    /// Fails if a limit is exceeded, the store is not available, too many operations are waiting,
    /// or the value is not a number. A write that has failed because the store has ended may have
    /// been executed.
    pub async fn call(&self, bucket: BucketId, operation: Operation) -> Result<Reply, Failure> {
        let result = self.execute(bucket, operation).await;
        match result {
            Ok(_) => Counter::StateOperations.increment(),
            Err(_) => Counter::FailedStateOperations.increment(),
        }
        result
    }

    async fn execute(&self, bucket: BucketId, operation: Operation) -> Result<Reply, Failure> {
        let limits = *self.0.limits.current();
        operation.check(&limits)?;
        let request = Request {
            bucket,
            keys_count: limits.keys_count,
            bucket_bytes: limits.bucket_bytes,
            total_bytes: limits.total_bytes,
            operation,
        };
        let (sender, result) = oneshot::channel();
        let sink = move |result| {
            // The request may have ended.
            let _ = sender.send(result);
        };
        self.0.start()?;
        self.0.queue.push(Job::new(request, Box::new(sink)))?;
        let ended = || Failure::new("the store has ended during the operation");
        result.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Opens an embedded store that exists, or connects to the process that has it open. Otherwise,
    /// that happens with the first operation. Doesn't wait.
    pub fn open(&self) {
        if let Place::Folder(folder) = &self.0.place
            && embedded::exists(folder)
        {
            // The first operation reports the failure.
            let _ = self.0.start();
        }
    }

    /// Lets another process open an embedded store. Operations continue there.
    pub fn release(&self) {
        self.0.queue.release();
    }

    /// Executes the operations that wait, and closes the store. Blocks until that is done.
    pub fn close(&self) {
        self.0.queue.close();
        // Not under the lock: a request that begins now must not wait.
        let thread = {
            let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *thread, Thread::Closed)
        };
        if let Thread::Running(thread) = thread {
            // It can only fail by a panic, which has been reported by then.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Starts the store's thread, unless it runs.
    fn start(&self) -> Result<(), Failure> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*thread, Thread::NotStarted) {
            return Ok(());
        }
        let (place, queue) = (self.place.clone(), self.queue.clone());
        let run = move || match place {
            Place::Folder(folder) => embedded::run(&folder, &queue),
            Place::Redis { url, prefix } => redis::run(&url, &prefix, &queue),
        };
        let started = std::thread::Builder::new()
            .name("wasgi-state".into())
            .spawn(run);
        let started =
            started.map_err(|error| Failure(format!("no thread for the store: {error}")))?;
        *thread = Thread::Running(started);
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Thread::Running(thread) = std::mem::replace(thread, Thread::Closed) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Store {
    /// Omits the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
