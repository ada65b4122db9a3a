//! The turn to compile an entry: one of all loads that want it, in this process and in others with
//! the same cache. The others wait until the entry exists.

use std::ffi::OsString;
use std::fs::File;
use std::thread;
use std::time::Duration;

use super::{CodeCache, Entry};
use crate::reload::CancelToken;

/// The polling interval of waiting loads: short compared to compiling.
const LOOK: Duration = Duration::from_millis(10);

/// The right to compile an entry. Released on drop, or by the system when the process ends.
#[derive(Debug)]
#[must_use = "others compile the entry as soon as this is dropped"]
pub(in crate::engine) struct Turn<'c> {
    cache: &'c CodeCache,
    name: OsString,
    /// Locked while it is open.
    _file: File,
}

impl CodeCache {
    /// Waits until no other load compiles this entry, which may then exist. Returns `None` if the
    /// load is cancelled, or if the folder can't be written: then each load compiles its own copy.
    pub(in crate::engine) fn turn(&self, entry: &Entry, cancel: &CancelToken) -> Option<Turn<'_>> {
        // An abandoned file is removed like an unfinished one.
        let name = OsString::from(format!("{}.turn.part", entry.0.to_hex()));
        while !cancel.is_cancelled() {
            self.folder.check().ok()?;
            if let Some(file) = self.folder.create(&name).ok()? {
                return Some(Turn {
                    cache: self,
                    name,
                    _file: file,
                });
            }
            // The previous holder may have died. Fails while the file is locked.
            let _ = self.folder.remove_unlocked(&name);
            thread::sleep(LOOK);
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A remaining file is removed by the next load that wants the turn.
        let _ = self.cache.folder.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::registry::Version;

    fn cache(folder: &tempfile::TempDir) -> CodeCache {
        let engine = wasmtime::Engine::default();
        CodeCache::open(&folder.path().join("code"), 1 << 30, &engine).expect("a cache")
    }

    #[test]
    fn one_compiles_an_entry_and_the_others_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let at_once = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // As another process would.
                    let cache = cache(&folder);
                    let entry = cache.entry(Version::from_content(b"one"));
                    for _ in 0..50 {
                        let turn = cache.turn(&entry, &CancelToken::new()).expect("a turn");
                        assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                        thread::sleep(Duration::from_micros(200));
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        let left = fs::read_dir(folder.path().join("code")).expect("a folder");
        assert_eq!(left.count(), 0, "nothing is left behind");
    }

    #[test]
    fn other_entries_and_those_that_are_cancelled_do_not_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(&folder);
        let [one, other] = [b"one", b"two"].map(|bytes| cache.entry(Version::from_content(bytes)));
        let cancel = CancelToken::new();
        let turn = cache.turn(&one, &cancel).expect("a turn");
        assert!(cache.turn(&other, &cancel).is_some());
        thread::scope(|scope| {
            let waits = scope.spawn(|| cache.turn(&one, &cancel).is_none());
            cancel.cancel();
            assert!(waits.join().expect("no panic"));
        });
        drop(turn);
    }

    #[test]
    fn the_turn_of_a_process_that_died_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(&folder);
        let entry = cache.entry(Version::from_content(b"one"));
        let turn = cache.turn(&entry, &CancelToken::new()).expect("a turn");
        let name = turn.name.clone();
        drop(turn);
        // An abandoned turn: the file exists and is not locked.
        fs::write(folder.path().join("code").join(name), "").expect("written");
        assert!(cache.turn(&entry, &CancelToken::new()).is_some());
    }
}
