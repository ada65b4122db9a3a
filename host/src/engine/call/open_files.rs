//! The files and folders that guests have opened: limited for each handler and for all together,
//! because each needs one of the process's descriptors, as a connection does.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use rustix::process::{Resource, getrlimit};

use crate::permits::{Permit, Permits};

/// The share of the process's descriptors that files of all handlers may take: the others are for
/// connections, and for the folders of handlers.
const ALL_SHARE: u64 = 2;

/// The share of the process's descriptors that files of one handler may take: a quarter of those of
/// all handlers, so that several can open files next to one that opens as many as it can.
const HANDLER_SHARE: u64 = 8;

/// The number of handlers in the map above which those without open files are removed.
const MANY_HANDLERS_COUNT: usize = 256;

/// The permits for files of each handler that has or had some.
static HANDLERS: LazyLock<Mutex<HashMap<String, Arc<Permits>>>> = LazyLock::new(Mutex::default);

/// The permits for files of all handlers.
static ALL: LazyLock<Arc<Permits>> = LazyLock::new(Arc::default);

/// The files that an instance has opened.
#[derive(Debug, Default)]
pub(in crate::engine) struct OpenFiles {
    /// Each with its permits. A stream keeps its file open longer than the file's handle exists.
    files: Vec<(Weak<File>, FilePermit)>,
    /// The granted folders, if only this request may use them.
    folders: Vec<Weak<File>>,
    /// The permits of the handler, once it has opened a file.
    handler: Option<Arc<Permits>>,
}

/// The permit for one file, released when it is dropped.
#[derive(Debug)]
pub(in crate::engine) struct FilePermit {
    _own: Permit,
    _all: Permit,
}

impl OpenFiles {
    /// Releases the permits of files that are closed.
    pub(in crate::engine) fn sweep(&mut self) {
        self.files.retain(|(file, _)| file.strong_count() > 0);
    }

    /// Sets the granted folders that only this request may use.
    pub(in crate::engine) fn set_folders(&mut self, folders: Vec<Weak<File>>) {
        self.folders = folders;
    }

    /// Takes all files and folders. Those that an operation still uses exist.
    pub(in crate::engine) fn take_files(&mut self) -> Vec<Weak<File>> {
        let mut files = std::mem::take(&mut self.folders);
        files.extend(self.files.drain(..).map(|(file, _)| file));
        files
    }

    /// Returns the permit for a further file, unless the handler or all handlers have too many.
    pub(in crate::engine) fn try_take(
        &mut self,
        handler: &str,
        limits: FileLimits,
    ) -> Option<FilePermit> {
        self.sweep();
        let own = self.handler.get_or_insert_with(|| permits_of(handler));
        Some(FilePermit {
            _own: Permits::try_acquire(own, limits.handler_count)?,
            _all: Permits::try_acquire(&ALL, limits.all_count)?,
        })
    }

    /// Adds a file that is open.
    pub(in crate::engine) fn add(&mut self, file: &Arc<File>, permit: FilePermit) {
        self.files.push((Arc::downgrade(file), permit));
    }
}

/// The maximum numbers of open files.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct FileLimits {
    /// Of one handler.
    pub(in crate::engine) handler_count: usize,
    /// Of all handlers.
    pub(in crate::engine) all_count: usize,
}

impl FileLimits {
    /// Returns the limits of this process.
    pub(in crate::engine) fn current() -> Self {
        static LIMITS: LazyLock<FileLimits> = LazyLock::new(|| {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let share = |part| usize::try_from(limit / part).unwrap_or(usize::MAX);
            FileLimits {
                handler_count: share(HANDLER_SHARE),
                all_count: share(ALL_SHARE),
            }
        });
        *LIMITS
    }
}

/// Returns the permits of a handler.
fn permits_of(handler: &str) -> Arc<Permits> {
    let mut handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = handlers.get(handler) {
        return Arc::clone(found);
    }
    if handlers.len() >= MANY_HANDLERS_COUNT {
        handlers.retain(|_, it| Arc::strong_count(it) > 1 || it.taken() > 0);
    }
    let new = Arc::<Permits>::default();
    handlers.insert(handler.to_owned(), Arc::clone(&new));
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FileLimits = FileLimits {
        handler_count: 2,
        all_count: usize::MAX,
    };

    #[test]
    fn a_handler_has_no_more_files_than_its_limit_over_all_its_instances() {
        let file = || Arc::new(tempfile::tempfile().expect("a file"));
        let (mut one, mut other) = (OpenFiles::default(), OpenFiles::default());
        let (first, second) = (file(), file());
        let permit = one.try_take("files-one", LIMITS).expect("one of two");
        one.add(&first, permit);
        let permit = other.try_take("files-one", LIMITS).expect("two of two");
        other.add(&second, permit);
        assert!(one.try_take("files-one", LIMITS).is_none());
        let mut neighbour = OpenFiles::default();
        assert!(neighbour.try_take("files-other", LIMITS).is_some());
        // A stream still reads it.
        let stream = Arc::clone(&first);
        drop(first);
        assert!(one.try_take("files-one", LIMITS).is_none());
        drop(stream);
        assert!(one.try_take("files-one", LIMITS).is_some());
        drop(other);
        assert!(one.try_take("files-one", LIMITS).is_some());
        assert_eq!(permits_of("files-one").taken(), 0);
    }
}
