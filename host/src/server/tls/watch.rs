//! The thread that notices when the certificate's files change, and has the new one used.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use super::certificate::{Current, Files, Stamp};

/// How often the files are looked at. A certificate is replaced weeks before it ends; two system
/// calls each time cost nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The watching thread. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Watch {
    /// Nothing is ever sent: that it is gone is the signal.
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
            // Its only way to fail is a panic, which has been reported by then.
            let _ = thread.join();
        }
    }
}

/// Follows the files from one state to the next.
pub(super) struct Follow {
    files: Files,
    current: Arc<Current>,
    /// The state that was loaded last, or could not be.
    known: Stamp,
    /// The state that was seen last.
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

    /// Looks at the files once. A change counts when it is the same the next time: certificate and
    /// key are written one after the other, and in between they don't fit.
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
                "the new certificate is no good, the old one stays in use: {error:#}"
            ),
        }
    }
}
