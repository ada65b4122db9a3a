//! The embedded store: a database file that one process has open, the owner.
//!
//! There is no election: a process that finds the file's lock free is the owner. It executes the
//! operations of its own queue and those that other processes send through a Unix socket in the
//! same folder. The others notice at once when it ends, and the first that gets the lock is the
//! next owner. An operation that was sent to an owner that has ended is repeated if it only reads;
//! a write fails, because it may have been executed.

mod client;
mod copy;
mod database;
mod folder;
mod owner;
mod socket;

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::operation::Failure;
use super::queue::Queue;
use client::greet;
pub use copy::CopyTarget;
pub(super) use database::{Database, OpenError, failed};
pub(super) use folder::create_folder;

/// The pause before the store is tried again: shorter than a person notices, long enough for a
/// process that has the lock to bind its socket.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// The maximum pause, when the disk fails repeatedly.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long an operation may wait while no process has the database open: longer than a large
/// database takes to open.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a process that has released the database doesn't open it itself: its successor, which
/// is connected to it, tries at once.
const YIELD_TIME: Duration = Duration::from_secs(1);

/// The maximum pause while another process has the lock.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The failure of operations that have waited for too long.
const NOT_OPENED: &str = "no process has opened the store's database in time";

/// Serves a queue until it is closed.
pub(super) fn run(folder: &Path, queue: &Queue) {
    let mut pause = MIN_PAUSE;
    let mut last = String::new();
    let mut why = NOT_OPENED.to_owned();
    let mut yields_until: Option<Instant> = None;
    loop {
        if queue.take_release() {
            yields_until = Instant::now().checked_add(YIELD_TIME);
        }
        let yields = yields_until.is_some_and(|until| Instant::now() < until);
        // A panic, in a damaged database for instance, must not leave requests without an answer.
        let served = catch_unwind(AssertUnwindSafe(|| serve(folder, queue, yields)));
        let served = served.unwrap_or_else(|_| Err("the store's thread has panicked".into()));
        match served {
            Ok(Served::Ended) => {
                pause = MIN_PAUSE;
                last.clear();
                NOT_OPENED.clone_into(&mut why);
            }
            Ok(Served::Busy) => pause = (pause * 2).min(BUSY_PAUSE),
            Ok(Served::Foreign(reason)) => {
                pause = (pause * 2).min(BUSY_PAUSE);
                if why != reason {
                    tracing::info!("state: {reason}: waiting for it to end");
                }
                why = reason;
            }
            Err(why) => {
                pause = (pause * 2).min(MAX_PAUSE);
                if why != last {
                    tracing::error!("state: {why}");
                    last.clone_from(&why);
                }
                queue.fail_older_than(Duration::ZERO, &Failure::unavailable());
            }
        }
        if queue.is_closed() {
            break;
        }
        queue.fail_older_than(PATIENCE, &Failure(why.clone()));
        std::thread::sleep(pause);
    }
    queue.fail_older_than(Duration::ZERO, &super::queue::stopping());
}

/// How serving ended.
enum Served {
    /// The queue is closed, the owner has ended, or the database must be opened again.
    Ended,
    /// Another process has the lock, and doesn't listen yet or no longer.
    Busy,
    /// Another process has the lock, and can't be used. It may be one that is about to be replaced
    /// by another version.
    Foreign(String),
}

/// Serves a queue, as the owner or as a client of the owner; not as the owner if `yields`.
fn serve(folder: &Path, queue: &Queue, yields: bool) -> Result<Served, String> {
    let opened = match yields {
        true => Err(OpenError::Locked),
        false => Database::open(folder),
    };
    match opened {
        Ok(database) => owner::run(&database, folder, queue).map(|()| Served::Ended),
        Err(OpenError::Failed(why)) => Err(why),
        Err(OpenError::Locked) => match socket::connect(folder) {
            Ok(stream) => Ok(match client::run(&stream, queue) {
                Ok(()) => Served::Ended,
                Err(why) => Served::Foreign(why),
            }),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(Served::Busy)
            }
            Err(error) => Err(format!(
                "{}: {error}",
                folder.join(socket::SOCKET_NAME).display()
            )),
        },
    }
}

/// Connects to the owner of a folder's database, for a single client. Returns `None` if it has
/// ended, or doesn't listen yet.
///
/// # Errors
///
/// Fails with one line if the owner is of another version.
pub(super) fn connect(folder: &Path) -> Result<Option<UnixStream>, String> {
    match socket::connect(folder) {
        Ok(stream) => Ok(greet(&stream)?.then_some(stream)),
        Err(_) => Ok(None),
    }
}

/// Reports whether a folder has a database.
pub(super) fn exists(folder: &Path) -> bool {
    folder.join(socket::FILE_NAME).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::bucket::BucketId;
    use crate::state::operation::{Operation, Request};
    use crate::state::queue::Job;

    #[test]
    fn a_database_that_is_opened_again_knows_the_size_of_all_buckets() {
        let folder = tempfile::tempdir().expect("a folder");
        let set = |handler: &str, bytes: usize| {
            let database = Database::open(folder.path()).expect("opened");
            let request = Request {
                bucket: BucketId::of_handler(handler, "default"),
                keys_count: 10,
                bucket_bytes: 100,
                total_bytes: 100,
                operation: Operation::Set("key".into(), vec![0; bytes]),
            };
            let (sender, result) = std::sync::mpsc::channel();
            let sink = move |result| sender.send(result).expect("awaited");
            let job = Job::new(request, Box::new(sink));
            database.write(vec![job]).expect("written");
            result.recv().expect("a result").is_ok()
        };
        assert!(set("one", 57));
        assert!(!set("other", 38), "a byte too many");
        assert!(set("other", 37));
        assert!(!set("other", 38), "a byte too many");
    }
}
