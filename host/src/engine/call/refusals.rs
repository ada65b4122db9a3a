//! The kinds of requests that were denied to a handler: each is logged once per version, because
//! the guest's own error may say little or nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The kind of denied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Thing {
    Files,
    /// A granted folder that can't be opened.
    Folder,
    Variables,
    /// A part of the network that can't be granted.
    Network,
    KeyValue,
}

/// The maximum number of hosts of which a denial is logged for one version of a handler.
const MAX_HOSTS_COUNT: usize = 16;

/// The kinds of requests that were already denied to a version of a handler. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Refused(Arc<Denials>);

#[derive(Debug, Default)]
struct Denials {
    things: AtomicU8,
    hosts: Mutex<BTreeSet<String>>,
}

impl Refused {
    /// Records a denial. Returns whether it is the first of its kind.
    pub(in crate::engine) fn is_news(&self, thing: Thing) -> bool {
        let bit = match thing {
            Thing::Files => 1,
            Thing::Variables => 2,
            Thing::Network => 4,
            Thing::Folder => 8,
            Thing::KeyValue => 16,
        };
        self.0.things.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Records a denied connection. Returns whether it is the first to this host, and not one of
    /// too many hosts.
    pub(in crate::engine) fn is_new_host(&self, host: &str) -> bool {
        let mut hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.len() < MAX_HOSTS_COUNT && !hosts.contains(host) && hosts.insert(host.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once() {
        let refused = Refused::default();
        assert!(refused.is_news(Thing::Files));
        assert!(refused.clone().is_news(Thing::Network));
        assert!(!refused.is_news(Thing::Files));
        assert!(Refused::default().is_news(Thing::Files));
    }

    #[test]
    fn each_of_the_first_hosts_is_news_once() {
        let refused = Refused::default();
        assert!(refused.is_new_host("a"));
        assert!(!refused.clone().is_new_host("a"));
        let news = (0..100).filter(|number| refused.is_new_host(&number.to_string()));
        assert_eq!(news.count(), MAX_HOSTS_COUNT - 1);
    }
}
