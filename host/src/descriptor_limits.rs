//! The file descriptors that the process has for handlers: files and folders that they use, and
//! connections to other hosts. They are limited for each handler and for all together, because the
//! server needs one for each connection of a client.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};

use crate::permits::{Permit, Permits};

/// The share of the process's descriptors that all handlers together may take: the others are for
/// connections of clients, and for pages.
const ALL_SHARE: u64 = 2;

/// The share of the process's descriptors that one handler may take: a quarter of those of all
/// handlers, so that several have some next to one that takes as many as it can.
const HANDLER_SHARE: u64 = 8;

/// The number of handlers in the map above which those without descriptors are removed.
const MANY_HANDLERS_COUNT: usize = 256;

/// The permits of each handler that has or had some.
static HANDLERS: LazyLock<Mutex<HashMap<String, Arc<Permits>>>> = LazyLock::new(Mutex::default);

/// The permits of all handlers.
static ALL: LazyLock<Arc<Permits>> = LazyLock::new(Arc::default);

/// The descriptors of one handler, over all its versions and instances.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors(Arc<Permits>);

/// The permit for one descriptor, released when it is dropped.
#[derive(Debug)]
pub(crate) struct DescriptorPermit {
    _own: Permit,
    _all: Permit,
}

/// The maximum numbers of descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptorLimits {
    /// Of one handler.
    handler_count: usize,
    /// Of all handlers.
    all_count: usize,
}

impl Descriptors {
    /// Returns the descriptors of a handler.
    pub(crate) fn for_handler(handler: &str) -> Self {
        let mut handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = handlers.get(handler) {
            return Self(Arc::clone(found));
        }
        if handlers.len() >= MANY_HANDLERS_COUNT {
            // Each permit has a reference.
            handlers.retain(|_, permits| Arc::strong_count(permits) > 1);
        }
        let new = Arc::<Permits>::default();
        handlers.insert(handler.to_owned(), Arc::clone(&new));
        Self(new)
    }

    /// Returns the permit for a further descriptor, unless the handler or all handlers have too
    /// many.
    pub(crate) fn try_take(&self, limits: DescriptorLimits) -> Option<DescriptorPermit> {
        Some(DescriptorPermit {
            _own: Permits::try_acquire(&self.0, limits.handler_count)?,
            _all: Permits::try_acquire(&ALL, limits.all_count)?,
        })
    }
}

impl DescriptorLimits {
    /// Returns the limits of this process.
    pub(crate) fn current() -> Self {
        static LIMITS: LazyLock<DescriptorLimits> = LazyLock::new(|| {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let share = |part| usize::try_from(limit / part).unwrap_or(usize::MAX);
            DescriptorLimits {
                handler_count: share(HANDLER_SHARE),
                all_count: share(ALL_SHARE),
            }
        });
        *LIMITS
    }

    /// Creates other limits.
    #[cfg(test)]
    pub(crate) fn new(handler_count: usize, all_count: usize) -> Self {
        Self {
            handler_count,
            all_count,
        }
    }
}

/// What the limits are, and what sets them.
impl fmt::Display for DescriptorLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a handler may have {} files, folders and connections open at a time, and all together \
             {}; the limits are shares of the server's limit on open files (LimitNOFILE, ulimit \
             -Hn)",
            self.handler_count, self.all_count
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_has_no_more_descriptors_than_its_limit_and_leaves_some_to_others() {
        let limits = DescriptorLimits::new(2, usize::MAX);
        let one = Descriptors::for_handler("descriptors-one");
        let first = one.try_take(limits).expect("one of two");
        let same = Descriptors::for_handler("descriptors-one");
        let _second = same.try_take(limits).expect("two of two");
        assert!(one.try_take(limits).is_none());
        let other = Descriptors::for_handler("descriptors-other");
        assert!(other.try_take(limits).is_some());
        assert!(other.try_take(DescriptorLimits::new(2, 0)).is_none());
        drop(first);
        assert!(one.try_take(limits).is_some());
    }
}
