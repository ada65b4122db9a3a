//! Idle connections to other hosts (RFC 9112 section 9.3).

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::target::Target;

/// An error of any type.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body of any type, for connections that are used again.
pub(super) type BoxedBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long a connection stays open without a request: shorter than most servers keep theirs, so
/// that a request seldom meets a connection that is being closed.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(15);

/// The maximum number of idle connections of one handler.
const MAX_IDLE_COUNT: usize = 64;

/// The idle connections of one handler. The one that was used last is used first.
#[derive(Default)]
pub(super) struct Pool(Mutex<Connections>);

#[derive(Default)]
struct Connections {
    idle: VecDeque<Idle>,
    /// A task closes those that are idle for too long.
    has_sweeper: bool,
}

/// A connection without a request.
pub(super) struct Idle {
    pub(super) target: Target,
    /// The address that it is connected to.
    pub(super) address: IpAddr,
    pub(super) sender: SendRequest<BoxedBody>,
    pub(super) since: Instant,
}

impl Pool {
    /// Takes an open connection to a host, at an address that `is_allowed` accepts.
    pub(super) fn take(
        &self,
        target: &Target,
        is_allowed: impl Fn(IpAddr) -> bool,
    ) -> Option<Idle> {
        let idle = &mut self.lock().idle;
        idle.retain(Idle::is_open);
        let found = idle.iter().rposition(|one| one.target == *target)?;
        // One that is no longer allowed is closed.
        let one = idle.remove(found)?;
        is_allowed(one.address).then_some(one)
    }

    /// Keeps a connection. Returns whether the caller must [`sweep`](Self::sweep) from now on.
    pub(super) fn put(&self, one: Idle) -> bool {
        let mut connections = self.lock();
        if connections.idle.len() >= MAX_IDLE_COUNT {
            connections.idle.pop_front();
        }
        connections.idle.push_back(one);
        !std::mem::replace(&mut connections.has_sweeper, true)
    }

    /// Closes the connection that has been idle for longest.
    pub(super) fn close_one(&self) {
        self.lock().idle.pop_front();
    }

    /// Closes connections that are closed by their peers or have been idle for too long, until no
    /// connection is left.
    pub(super) async fn sweep(&self) {
        loop {
            tokio::time::sleep(IDLE_TIME).await;
            let mut connections = self.lock();
            connections.idle.retain(Idle::is_open);
            if connections.idle.is_empty() {
                connections.has_sweeper = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_open(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE_TIME
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
