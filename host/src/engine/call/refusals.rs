//! The kinds of requests that were denied to a handler: each is logged once per version, because
//! the guest's own error may say little or nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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
    /// More open files and connections than a handler may have.
    OpenFiles,
}

/// The maximum number of hosts of which a denial is logged for one version of a handler.
const MAX_HOSTS_COUNT: usize = 16;

/// The kinds of requests that were already denied to a version of a handler. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Refused(Arc<Denials>);

#[derive(Debug, Default)]
struct Denials {
    /// Those of the program that this one has replaced, of the same version: they are used instead.
    earlier: OnceLock<Arc<Denials>>,
    things: AtomicU8,
    hosts: Mutex<BTreeSet<String>>,
}

impl Refused {
    /// Uses the denials of another program of the same version from now on.
    pub(in crate::engine) fn continue_with(&self, earlier: &Refused) {
        // It continues with one program, once, before it is used.
        let _ = self.0.earlier.set(Arc::clone(earlier.denials()));
    }

    fn denials(&self) -> &Arc<Denials> {
        self.0.earlier.get().unwrap_or(&self.0)
    }

    /// Records a denial. Returns whether it is the first of its kind.
    pub(in crate::engine) fn is_news(&self, thing: Thing) -> bool {
        let bit = match thing {
            Thing::Files => 1,
            Thing::Variables => 2,
            Thing::Network => 4,
            Thing::Folder => 8,
            Thing::KeyValue => 16,
            Thing::OpenFiles => 32,
        };
        self.denials().things.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Records a denied connection. Returns whether it is the first to this host, and not one of
    /// too many hosts.
    pub(in crate::engine) fn is_new_host(&self, host: &str) -> bool {
        let hosts = &self.denials().hosts;
        let mut hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn what_was_news_of_a_program_is_none_of_the_program_that_replaces_it() {
        let programs = [(); 3].map(|()| Refused::default());
        let in_flight = programs[0].clone();
        assert!(programs[0].is_news(Thing::Files));
        programs[1].continue_with(&programs[0]);
        programs[2].continue_with(&programs[1]);
        assert!(!programs[2].is_news(Thing::Files));
        assert!(programs[2].is_new_host("a"));
        assert!(!in_flight.is_new_host("a"), "a request to the first");
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
