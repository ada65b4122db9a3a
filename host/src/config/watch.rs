//! Detects changes of the file, and of the files of granted secrets.
//!
//! Files are polled four times a second rather than watched: a `stat` detects a file that was
//! written, replaced, linked elsewhere or mounted over, on every file system, and regardless of
//! whether the kernel has watches left.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;

use crate::file_stamp::FileStamp;

/// The polling interval. Changed files are read once they have stayed the same for one interval: an
/// editor may write one in several steps.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Files that are being watched. Dropping this stops watching.
#[derive(Debug)]
#[must_use = "dropping it stops it"]
pub struct Watch {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// Read the files as if they had changed.
    Look,
}

/// The states of several files.
pub type Stamps = Vec<Option<FileStamp>>;

/// The owner of files that are watched.
pub trait Watched: Send + 'static {
    /// Returns the files' current states. The files may be others at each call.
    fn stamps(&self) -> Stamps;

    /// Reads the files again, which have changed or may have.
    fn changed(&mut self);
}

impl Watch {
    /// Calls [`Watched::changed`], on a new thread, whenever the files have changed since `first`
    /// was taken and are stable again.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub fn start(first: Stamps, watched: impl Watched) -> anyhow::Result<Watch> {
        let (orders, received) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("wasgi-config".into())
            .spawn(move || run(first, &received, watched))
            .context("could not start the thread that watches the configuration")?;
        Ok(Watch {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Triggers a read of the files now, whether they changed or not.
    pub fn look(&self) {
        if let Some(orders) = &self.orders {
            // The thread runs as long as `self` exists.
            let _ = orders.send(Order::Look);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // The thread can only fail by a panic, which was already reported.
            let _ = thread.join();
        }
    }
}

fn run(first: Stamps, orders: &mpsc::Receiver<Order>, mut watched: impl Watched) {
    let (mut told, mut seen) = (first.clone(), first);
    loop {
        let ordered = match orders.recv_timeout(LOOK_INTERVAL) {
            Ok(Order::Look) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let stamps = watched.stamps();
        let at_rest = stamps == seen;
        seen = stamps;
        if ordered || (at_rest && seen != told) {
            told = seen.clone();
            watched.changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc::channel;

    use super::*;

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
        let watch = Watch::start(vec![None], watched).expect("a thread");
        assert!(
            changes.recv_timeout(3 * LOOK_INTERVAL).is_err(),
            "nothing is there"
        );
        std::fs::write(&file, "a").expect("written");
        changes.recv_timeout(PATIENCE).expect("it came");
        assert!(
            changes.recv_timeout(3 * LOOK_INTERVAL).is_err(),
            "only once"
        );
        std::fs::remove_file(&file).expect("removed");
        changes.recv_timeout(PATIENCE).expect("it went");
        watch.look();
        changes.recv_timeout(PATIENCE).expect("it was ordered");
        drop(watch);
        assert!(changes.recv().is_err(), "the thread is gone");
    }
}
