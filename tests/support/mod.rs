//! What the integration tests share: sites to serve, the server's process, and clients that send
//! and see every byte.
//!
//! Nothing in here measures time. Whatever is waited for has [`PATIENCE`], which is long enough for
//! a busy machine and a debug build, and only ends tests that would otherwise never end.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod generator;
pub(crate) mod guests;
pub(crate) mod hostile;
pub(crate) mod output;
pub(crate) mod process;
pub(crate) mod response;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod tls;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything is waited for before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often something that can't be waited for is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// Looks until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::sleep(LOOK);
    }
}
