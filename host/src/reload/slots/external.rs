//! Handlers that are not in the folder.

use std::time::Instant;

use super::super::listing::External;
use super::super::settle::Hint;
use super::Slots;

impl<P> Slots<P> {
    /// Replaces the handlers that are not in the folder. They are loaded at the next look, and
    /// until then their earlier versions are served.
    pub(in crate::reload) fn set_external(&mut self, external: Vec<External>, now: Instant) {
        let before = std::mem::replace(&mut self.external, external);
        if !self.was_listed {
            // The first look loads all at once.
            return;
        }
        for gone in before.iter().filter(|one| !self.external.contains(one)) {
            self.settle.note(&gone.shown, Hint::Gone, now);
        }
        for new in self.external.iter().filter(|one| !before.contains(one)) {
            self.settle.note(&new.shown, Hint::Moved, now);
        }
    }
}
