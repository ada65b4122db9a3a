//! What an instance has opened in the store.

use std::collections::VecDeque;

use wasmtime::component::ResourceTable;

use crate::engine::limits::WASI_HANDLES;
use crate::state::{BucketId, Digest, Store};

/// The maximum number of cursors that a request can use in the draft with numbers: enough for
/// several lists at the same time.
const MAX_CURSORS: usize = 64;

/// An open bucket.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Bucket(pub(super) BucketId);

/// The value of a key at one time.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Cas {
    pub(super) bucket: BucketId,
    pub(super) key: String,
    /// None if the key didn't exist.
    pub(super) digest: Option<Digest>,
}

/// The store, and what an instance has opened in it.
pub(in crate::engine) struct KeyValue {
    pub(super) store: Store,
    pub(super) table: ResourceTable,
    cursors: VecDeque<String>,
    /// The number of the first of the cursors.
    first_cursor: u64,
}

impl KeyValue {
    /// Creates the access to a store, with nothing opened.
    pub(in crate::engine) fn new(store: Store) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_HANDLES);
        Self {
            store,
            table,
            cursors: VecDeque::new(),
            first_cursor: 0,
        }
    }

    /// Returns a number for a cursor, in place of the oldest one if there are too many.
    pub(super) fn add_cursor(&mut self, key: String) -> u64 {
        if self.cursors.len() == MAX_CURSORS {
            self.cursors.pop_front();
            self.first_cursor += 1;
        }
        self.cursors.push_back(key);
        self.first_cursor + self.cursors.len() as u64 - 1
    }

    pub(super) fn cursor(&self, number: u64) -> Option<String> {
        let at = number.checked_sub(self.first_cursor)?;
        self.cursors.get(usize::try_from(at).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Limits, StateOptions};

    #[test]
    fn a_cursor_is_valid_until_many_others_were_returned() {
        let store = Store::new(&StateOptions::default(), Limits::default());
        let mut opened = KeyValue::new(store);
        for at in 0..MAX_CURSORS as u64 + 2 {
            let number = opened.add_cursor(at.to_string());
            assert_eq!(number, at);
            assert_eq!(opened.cursor(number), Some(at.to_string()));
        }
        assert_eq!(opened.cursor(1), None);
        assert_eq!(opened.cursor(2), Some("2".into()));
        assert_eq!(opened.cursor(u64::MAX), None);
    }
}
