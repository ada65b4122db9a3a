//! Detects changes of a few files: those of the configuration, of granted secrets, and of the
//! certificate.
//!
//! Files are polled rather than watched: a `stat` detects a file that was written, replaced, linked
//! elsewhere or mounted over, on every file system, and regardless of whether the kernel has
//! watches left.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::file_stamp::FileStamp;

/// Files that are being watched. Dropping this stops watching.
#[derive(Debug)]
#[must_use = "dropping it stops it"]
pub(crate) struct FileWatch {
    orders: Option<Sender<Order>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// Read the files as if they had changed.
    Look,
}

/// The states of several files.
pub(crate) type Stamps = Vec<Option<FileStamp>>;

/// The owner of files that are watched.
pub(crate) trait Watched: Send + 'static {
    /// Returns the files' current states. The files may be others at each call.
    fn stamps(&self) -> Stamps;

    /// Reads the files again, which have changed or may have.
    fn changed(&mut self);

    /// Called first, with a flag that is set when watching stops: a long
    /// [`changed`](Self::changed) ends then.
    fn begin(&mut self, _is_stopping: Arc<AtomicBool>) {}
}

/// What was seen of the files.
pub(crate) struct Poll<W> {
    watched: W,
    /// The states at the last report.
    told: Stamps,
    /// The states at the last poll.
    seen: Stamps,
}

impl FileWatch {
    /// Calls [`Watched::changed`], on a new thread of this name, whenever the files have changed
    /// since `first` was taken and are stable again: for one `interval`, in which they are polled.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn start(
        thread: &str,
        interval: Duration,
        first: Stamps,
        mut watched: impl Watched,
    ) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let is_stopping = Arc::<AtomicBool>::default();
        watched.begin(Arc::clone(&is_stopping));
        let mut poll = Poll::new(first, watched);
        let thread = thread::Builder::new()
            .name(thread.to_owned())
            .spawn(move || {
                loop {
                    match received.recv_timeout(interval) {
                        Ok(Order::Look) => poll.look(true),
                        Err(RecvTimeoutError::Timeout) => poll.look(false),
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            is_stopping,
            thread: Some(thread),
        })
    }

    /// Triggers a read of the files now, whether they changed or not.
    pub(crate) fn look(&self) {
        if let Some(orders) = &self.orders {
            // The thread runs as long as `self` exists.
            let _ = orders.send(Order::Look);
        }
    }
}

impl<W: Watched> Poll<W> {
    pub(crate) fn new(first: Stamps, watched: W) -> Self {
        Self {
            watched,
            told: first.clone(),
            seen: first,
        }
    }

    /// Polls the files once. A change is reported when two successive polls agree, because several
    /// files, or one file in several steps, are written one after the other. An ordered report
    /// doesn't wait for that.
    pub(crate) fn look(&mut self, is_ordered: bool) {
        let stamps = self.watched.stamps();
        let is_at_rest = stamps == self.seen;
        self.seen = stamps;
        if is_ordered || (is_at_rest && self.seen != self.told) {
            self.told.clone_from(&self.seen);
            self.watched.changed();
        }
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread can only fail by a panic, which was already reported.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc::channel;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    struct OneFile {
        file: PathBuf,
        told: Sender<()>,
    }

    impl Watched for OneFile {
        fn stamps(&self) -> Stamps {
            vec![FileStamp::of_path(&self.file)]
        }

        fn changed(&mut self) {
            self.told.send(()).expect("the test is there");
        }
    }

    /// Far longer than a poll takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_change_is_reported_once_and_an_order_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wasgi.toml");
        let (told, changes) = channel();
        let watched = OneFile {
            file: file.clone(),
            told,
        };
        let watch = FileWatch::start("test", INTERVAL, vec![None], watched).expect("a thread");
        assert!(
            changes.recv_timeout(3 * INTERVAL).is_err(),
            "nothing is there"
        );
        std::fs::write(&file, "a").expect("written");
        changes.recv_timeout(PATIENCE).expect("it came");
        assert!(changes.recv_timeout(3 * INTERVAL).is_err(), "only once");
        std::fs::remove_file(&file).expect("removed");
        changes.recv_timeout(PATIENCE).expect("it went");
        watch.look();
        changes.recv_timeout(PATIENCE).expect("it was ordered");
        drop(watch);
        assert!(changes.recv().is_err(), "the thread is gone");
    }
}
