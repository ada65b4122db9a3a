//! The thread that detects changes of the certificate files and loads the new certificate.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use super::certificate::{Current, Files, Stamp};

/// The polling interval. A certificate is replaced weeks before it expires; two system calls per
/// poll cost nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The watching thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    /// Nothing is sent: dropping the sender is the signal.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(files: Files, stamp: Stamp, current: Arc<Current>) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let mut follow = Follow::new(files, stamp, current);
        let thread = thread::Builder::new()
            .name("wasgi-tls".into())
            .spawn(move || {
                while stopped.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    follow.look();
                }
            })
            .context("could not start the thread that watches the certificate")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only fail by a panic, which has been reported by then.
            let _ = thread.join();
        }
    }
}

/// Detects new versions of the files.
pub(super) struct Follow {
    files: Files,
    current: Arc<Current>,
    /// The last version that was loaded or failed to load.
    known: Stamp,
    /// The last version seen.
    seen: Stamp,
}

impl Follow {
    pub(super) fn new(files: Files, stamp: Stamp, current: Arc<Current>) -> Self {
        Self {
            files,
            current,
            known: stamp,
            seen: stamp,
        }
    }

    /// Checks the files once. A change takes effect when two successive checks agree: certificate
    /// and key are written one after the other, and don't match in between.
    pub(super) fn look(&mut self) {
        let now = self.files.stamp();
        let settled = std::mem::replace(&mut self.seen, now) == now;
        if !settled || now == self.known {
            return;
        }
        self.known = now;
        match self.files.load() {
            Ok(key) => {
                self.current.replace(key);
                tracing::info!("{}: new certificate in use", self.files.cert.display());
            }
            Err(error) => tracing::error!(
                "the new certificate is invalid, the old one stays in use: {error:#}"
            ),
        }
    }
}
