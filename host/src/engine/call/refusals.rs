//! The kinds of requests that were denied to a handler: each is logged once per version, because
//! the guest's own error may say little or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The kind of denied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Thing {
    Files,
    /// A granted folder that can't be opened.
    Folder,
    Variables,
    Network,
}

/// The kinds of requests that were already denied to a version of a handler. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Refused(Arc<AtomicU8>);

impl Refused {
    /// Records a denial. Returns whether it is the first of its kind.
    pub(in crate::engine) fn is_news(&self, thing: Thing) -> bool {
        let bit = match thing {
            Thing::Files => 1,
            Thing::Variables => 2,
            Thing::Network => 4,
            Thing::Folder => 8,
        };
        self.0.fetch_or(bit, Ordering::Relaxed) & bit == 0
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
}
