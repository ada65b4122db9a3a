//! The connections of one handler to other hosts.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::{Notify, Semaphore};

use super::error::Limit;
use super::pool::{Idle, Pool};
use super::runtime::LOOKUP_THREADS_COUNT;
use crate::descriptor_limits::{DescriptorLimits, DescriptorPermit, Descriptors};
use crate::grants::Grants;
use crate::permits::{Permit, Permits};

/// The maximum number of connections of all handlers of a process together, idle ones included: a
/// few kilobytes each, and a quarter of the descriptors that a process usually may have.
const MAX_CONNECTIONS_COUNT: usize = 4096;

/// The connections of each handler that has or had some.
static HANDLERS: LazyLock<Mutex<HashMap<String, Arc<Connections>>>> = LazyLock::new(Mutex::default);

/// The maximum number of look-ups of one handler at a time. A handler that may look up all names
/// below one can make each of them slow.
const MAX_HANDLER_LOOKUPS_COUNT: usize = LOOKUP_THREADS_COUNT / 4;

/// The number of handlers in the map above which those without connections are removed.
const MANY_HANDLERS_COUNT: usize = 256;

/// The connections of all handlers.
static ALL: LazyLock<Arc<Counted>> = LazyLock::new(Arc::default);

/// The connections of one handler, over all its versions.
#[derive(Debug)]
pub(crate) struct Connections {
    own: Arc<Counted>,
    /// Its idle connections.
    pub(super) idle: Pool,
    /// Permits for looking up names.
    pub(super) lookups: Semaphore,
    descriptors: Descriptors,
}

/// The handler that sends a request.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// Its connections.
    pub(crate) connections: Arc<Connections>,
    /// The hosts that it may connect to.
    pub(crate) grants: Arc<Grants>,
}

/// Counts connections, and wakes a task that waits for one to be closed.
#[derive(Debug, Default)]
struct Counted {
    permits: Arc<Permits>,
    released: Notify,
}

/// The permit for one connection, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Released first: a request that waits for the others needs one as well.
    _descriptor: DescriptorPermit,
    _own: CountedPermit,
    _all: CountedPermit,
}

#[derive(Debug)]
struct CountedPermit {
    permit: Option<Permit>,
    counted: Arc<Counted>,
}

impl Connections {
    /// Returns the connections of a handler.
    pub(crate) fn for_handler(handler: &str) -> Arc<Self> {
        let mut handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = handlers.get(handler) {
            return Arc::clone(found);
        }
        if handlers.len() >= MANY_HANDLERS_COUNT {
            handlers.retain(|_, it| Arc::strong_count(it) > 1 || it.count() > 0);
        }
        let new = Arc::new(Self {
            own: Arc::default(),
            idle: Pool::default(),
            lookups: Semaphore::new(MAX_HANDLER_LOOKUPS_COUNT),
            descriptors: Descriptors::for_handler(handler),
        });
        handlers.insert(handler.to_owned(), Arc::clone(&new));
        new
    }

    /// Returns the permit for a further connection, unless the handler has `limit` or all handlers
    /// have too many. An idle connection is closed for it if necessary; then the permit is
    /// available a moment later.
    ///
    /// # Errors
    ///
    /// Fails with the limit that is reached.
    pub(crate) fn try_take(&self, limit: usize) -> Result<Connection, Limit> {
        let permit = self.try_permit(limit, DescriptorLimits::current());
        if permit.is_err() {
            self.idle.close_one();
        }
        permit
    }

    fn try_permit(&self, limit: usize, descriptors: DescriptorLimits) -> Result<Connection, Limit> {
        // A permit that is released here must wake no request: it would try without end.
        let own = Permits::try_acquire(&self.own.permits, limit);
        let own = own.ok_or(Limit::Connections)?;
        let all = Permits::try_acquire(&ALL.permits, MAX_CONNECTIONS_COUNT);
        let all = all.ok_or(Limit::Connections)?;
        let descriptor = self.descriptors.try_take(descriptors);
        Ok(Connection {
            _descriptor: descriptor.ok_or(Limit::Descriptors(descriptors))?,
            _own: CountedPermit::new(own, &self.own),
            _all: CountedPermit::new(all, &ALL),
        })
    }

    /// Keeps an idle connection. Returns whether the caller must [`sweep`](Pool::sweep) from now
    /// on.
    pub(super) fn keep(&self, idle: Idle) -> bool {
        let must_sweep = self.idle.put(idle);
        self.own.released.notify_one();
        must_sweep
    }

    /// Waits until a connection is closed or becomes idle. A change after this call, and before the
    /// first poll of the future, counts.
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        let (own, all) = (self.own.released.notified(), ALL.released.notified());
        async move {
            let (mut own, mut all) = (pin!(own), pin!(all));
            poll_fn(|context| {
                let own = own.as_mut().poll(context).is_ready();
                match own || all.as_mut().poll(context).is_ready() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
    }

    /// Returns the number of connections now.
    fn count(&self) -> usize {
        // Each permit has a reference.
        Arc::strong_count(&self.own) - 1
    }
}

impl CountedPermit {
    fn new(permit: Permit, counted: &Arc<Counted>) -> Self {
        Self {
            permit: Some(permit),
            counted: Arc::clone(counted),
        }
    }
}

impl Drop for CountedPermit {
    fn drop(&mut self) {
        self.permit = None;
        self.counted.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_handler_has_no_more_connections_than_its_limit() {
        let (one, other) = (
            Connections::for_handler("limit-one"),
            Connections::for_handler("limit-other"),
        );
        let first = one.try_take(2).expect("one of two");
        let _second = one.try_take(2).expect("two of two");
        assert!(one.try_take(2).is_err());
        assert!(other.try_take(2).is_ok());
        assert_eq!(Connections::for_handler("limit-one").count(), 2);
        drop(first);
        assert!(one.try_take(2).is_ok());
    }

    #[test]
    fn a_connection_needs_a_descriptor_and_one_that_has_none_wakes_nobody() {
        let connections = Connections::for_handler("limit-descriptors");
        let limits = DescriptorLimits::new(1, usize::MAX);
        let first = connections.try_permit(9, limits).expect("one of one");
        let changed = connections.changed();
        let second = connections.try_permit(9, limits);
        assert!(matches!(second, Err(Limit::Descriptors(_))), "{second:?}");
        let mut context = Context::from_waker(Waker::noop());
        let mut changed = pin!(changed);
        let woken = changed.as_mut().poll(&mut context);
        assert!(woken.is_pending(), "it would try without end");
        drop(first);
        assert!(changed.poll(&mut context).is_ready());
        assert!(connections.try_permit(9, limits).is_ok());
    }

    #[test]
    fn each_of_those_who_wait_for_a_connection_gets_one() {
        let connections = Connections::for_handler("limit-wait");
        let take = |connections: Arc<Connections>| async move {
            loop {
                let changed = connections.changed();
                match connections.try_take(1) {
                    Ok(permit) => return permit,
                    Err(_) => changed.await,
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            let first = take(Arc::clone(&connections)).await;
            let spawn = |_| {
                let taken = take(Arc::clone(&connections));
                tokio::spawn(async move { drop(taken.await) })
            };
            let waiting: Vec<_> = (0..10).map(spawn).collect();
            tokio::task::yield_now().await;
            assert_eq!(connections.count(), 1);
            drop(first);
            for one in waiting {
                one.await.expect("no panic");
            }
        });
        assert_eq!(connections.count(), 0);
    }
}
