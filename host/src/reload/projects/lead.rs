//! Which of several processes builds the projects of a site: workers of one server, or servers.

use std::fs::File;

use super::places::{self, Places};

/// The role of the process that builds. It ends when this is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Lead {
    /// Locked. `None` if the file can't be created: each process builds, as if it were alone.
    _file: Option<File>,
}

impl Lead {
    /// Takes the role. Returns `None` if another process has it.
    pub(super) fn take(places: &Places) -> Option<Self> {
        let path = places.leader();
        if let Some(folder) = path.parent() {
            let _ = places::create(folder);
        }
        let Ok(file) = File::create(path) else {
            return Some(Self { _file: None });
        };
        match file.try_lock() {
            Ok(()) => Some(Self { _file: Some(file) }),
            Err(std::fs::TryLockError::WouldBlock) => None,
            Err(std::fs::TryLockError::Error(_)) => Some(Self { _file: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_builds_at_a_time() {
        let cache = tempfile::tempdir().expect("a folder");
        let places = Places::new(cache.path(), cache.path());
        let first = Lead::take(&places);
        assert!(first.is_some());
        assert!(Lead::take(&places).is_none());
        drop(first);
        assert!(Lead::take(&places).is_some());
    }
}
