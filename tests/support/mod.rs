//! Code that the integration tests share: sites to serve, the server's process, and clients that
//! control and inspect every byte.
//!
//! Nothing here measures time. Every wait is limited by [`PATIENCE`], which is long enough for a
//! busy machine and a debug build, and only ends tests that would otherwise hang.

pub(crate) mod acme;
pub(crate) mod attempts;
pub(crate) mod body;
pub(crate) mod bundle;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod console;
pub(crate) mod generator;
pub(crate) mod guests;
pub(crate) mod hostile;
pub(crate) mod oci;
pub(crate) mod otlp;
pub(crate) mod output;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod redis;
pub(crate) mod response;
pub(crate) mod scripts;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod signer;
pub(crate) mod site;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod writers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The time limit for every wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The polling interval for conditions that have no notification.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// Sets a flag on drop, which is also when a test fails: its threads end.
pub(crate) struct SetOnDrop<'f>(pub(crate) &'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls until `condition` holds. Panics after [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::sleep(LOOK);
    }
}
