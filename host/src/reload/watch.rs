//! The watched folders.
//!
//! Folders are watched instead of files, because a file that is replaced takes its watch along.
//! Each folder is watched separately, not whole trees, to exclude a handler's sources and their
//! build folders, which can be huge and busy. The parent folders of each tree are watched as well,
//! to detect that the folder itself is replaced, removed, or created after the start.
//!
//! The kernel attaches a watch to an inode, while all other code here uses paths. So before a
//! folder is read, [`Watch::ensure`] checks whether it is still the same one.
//!
//! Watching is best effort. Changes without events are found by listing: see
//! [`super::ReloadOptions::safety_rescan`].

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::Errno;

use super::identity::Identity;
use super::inotify::{self, Inotify};
use super::notifier::{self, Notifier};

pub(crate) use super::inotify::WatchEvent;

/// The watched folders.
pub(crate) struct Watch {
    events: Option<Events>,
    /// Ordered by path, so that folders below another are found without a full search.
    watched: BTreeMap<PathBuf, Identity>,
    /// A problem with watching was logged; it is the same for every folder.
    told: bool,
}

/// The source of the events of several watches. It is opened when the first one needs it, and
/// closed with the last one, which removes all its watches and queued events at once.
#[derive(Clone)]
pub(crate) struct WatchSource(Arc<Mutex<Opened>>);

enum Opened {
    /// For the folders of handlers, which are few.
    Few(Weak<Notifier>),
    /// For the folders of pages, which can be thousands.
    Many(Weak<Inotify>),
}

/// The events of one watch.
enum Events {
    Few(notifier::Subscription),
    Many(inotify::Subscription),
}

impl WatchSource {
    /// Creates a source for few folders, those of handlers.
    pub(crate) fn for_few() -> Self {
        Self(Arc::new(Mutex::new(Opened::Few(Weak::new()))))
    }

    /// Creates a source for many folders, those of pages.
    pub(super) fn for_many() -> Self {
        Self(Arc::new(Mutex::new(Opened::Many(Weak::new()))))
    }

    /// Begins to pass events to `tell`, of no folder yet.
    fn subscribe(&self, tell: impl Fn(WatchEvent) + Send + Sync + 'static) -> io::Result<Events> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &mut *opened {
            Opened::Few(opened) => {
                let notifier = match opened.upgrade() {
                    Some(notifier) => notifier,
                    None => Arc::new(Notifier::new()?),
                };
                *opened = Arc::downgrade(&notifier);
                Events::Few(notifier.subscribe(tell))
            }
            Opened::Many(opened) => {
                let inotify = match opened.upgrade() {
                    Some(inotify) => inotify,
                    None => Arc::new(Inotify::new()?),
                };
                *opened = Arc::downgrade(&inotify);
                Events::Many(inotify.subscribe(tell))
            }
        })
    }
}

impl fmt::Debug for WatchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchSource").finish_non_exhaustive()
    }
}

impl Events {
    fn add(&self, folder: &Path, identity: Identity) -> io::Result<()> {
        match self {
            Self::Few(events) => events.add(folder, identity),
            Self::Many(events) => events.add(folder),
        }
    }

    fn remove(&self, folder: &Path) {
        match self {
            Self::Few(events) => events.remove(folder),
            Self::Many(events) => events.remove(folder),
        }
    }
}

impl Watch {
    /// Creates an empty set of watches. Events of `source` on `roots`, their contents and their
    /// parents are passed to `tell`, on a separate thread that it must not block.
    pub(crate) fn new(
        source: &WatchSource,
        roots: Vec<PathBuf>,
        tell: impl Fn(WatchEvent) + Send + Sync + 'static,
    ) -> Watch {
        let mut watch = Watch::blind();
        watch.start_anew(source, roots, tell);
        watch
    }

    /// Removes all watches and starts to pass events to `tell`, as [`Watch::new`] does. Problems
    /// that were logged are not logged again.
    pub(super) fn start_anew(
        &mut self,
        source: &WatchSource,
        roots: Vec<PathBuf>,
        tell: impl Fn(WatchEvent) + Send + Sync + 'static,
    ) {
        self.stop();
        match source.subscribe(about(roots, tell)) {
            Ok(events) => self.events = Some(events),
            Err(error) => self.tell_trouble(&error),
        }
    }

    /// Removes all watches.
    pub(super) fn stop(&mut self) {
        self.events = None;
        self.watched.clear();
    }

    /// Creates a watch without events.
    pub(crate) fn blind() -> Watch {
        Watch {
            events: None,
            watched: BTreeMap::new(),
            told: false,
        }
    }

    /// Watches `folder` itself: the names in it, and the files with these names.
    pub(crate) fn ensure(&mut self, folder: &Path) {
        let Some(identity) = Identity::from_path(folder) else {
            return self.forget(folder);
        };
        if self.watched.get(folder) == Some(&identity) {
            return;
        }
        self.forget(folder);
        let Some(events) = &self.events else {
            return;
        };
        match events.add(folder, identity) {
            Ok(()) => {
                self.watched.insert(folder.to_owned(), identity);
            }
            Err(error) => self.tell_trouble(&error),
        }
    }

    /// Watches the parent folder of `path`, or its nearest existing ancestor.
    pub(super) fn ensure_way_to(&mut self, path: &Path) {
        let mut known = None;
        loop {
            let nearest = path.ancestors().skip(1).find(|folder| folder.is_dir());
            // Search again after watching: the next part of the path may have been created in the
            // meantime.
            if nearest == known {
                return;
            }
            if let Some(folder) = nearest {
                self.ensure(folder);
            }
            known = nearest;
        }
    }

    /// Removes the watches on `path` and everything below it, because it was replaced or removed.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.drop_watches_below(path, |_| true);
    }

    /// Removes all watches below `root` except those on `folders`.
    pub(super) fn keep_only(&mut self, root: &Path, folders: &HashSet<PathBuf>) {
        self.drop_watches_below(root, |folder| !folders.contains(folder));
    }

    /// Returns whether a folder at this path is watched; it may have been replaced since.
    pub(super) fn has(&self, folder: &Path) -> bool {
        self.watched.contains_key(folder)
    }

    /// Returns the number of watched folders.
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Removes the watches on `root` and folders below it for which `which` is true.
    fn drop_watches_below(&mut self, root: &Path, which: impl Fn(&Path) -> bool) {
        let from_root = (Bound::Included(root), Bound::Unbounded);
        let from_root = self.watched.range::<Path, _>(from_root);
        // Paths are ordered by components, so a folder is directly followed by those below it.
        let below = from_root.take_while(|(folder, _)| folder.starts_with(root));
        let dropped: Vec<PathBuf> = below
            .map(|(folder, _)| folder)
            .filter(|folder| which(folder))
            .cloned()
            .collect();
        for folder in dropped {
            self.watched.remove(&folder);
            if let Some(events) = &self.events {
                events.remove(&folder);
            }
        }
    }

    /// Logs, once, that `folder` and others are not watched because `limit` folders are.
    pub(super) fn tell_limit(&mut self, folder: &Path, limit: usize) {
        if !std::mem::replace(&mut self.told, true) {
            let folder = folder.display();
            tracing::warn!(
                "changes in {folder} and later folders are noticed late: the limit is \
                            {limit} watched folders"
            );
        }
    }

    fn tell_trouble(&mut self, error: &io::Error) {
        // The listing reports a folder that has just disappeared or can't be read.
        let expected = [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS];
        let errno = Errno::from_io_error(error);
        if errno.is_some_and(|errno| expected.contains(&errno))
            || std::mem::replace(&mut self.told, true)
        {
            return;
        }
        let advice = match errno {
            Some(Errno::NOSPC) => " (raise fs.inotify.max_user_watches)",
            Some(Errno::MFILE) => " (raise fs.inotify.max_user_instances)",
            _ => "",
        };
        tracing::warn!(
            "some changes will be noticed late, folders can't be watched: {error}{advice}"
        );
    }
}

/// Returns a function that passes on the events on `roots`, their contents and their parents.
fn about(
    roots: Vec<PathBuf>,
    tell: impl Fn(WatchEvent) + Send + Sync + 'static,
) -> impl Fn(WatchEvent) + Send + Sync + 'static {
    let concerns = move |path: &Path| {
        let concerned = |root: &PathBuf| path.starts_with(root) || root.starts_with(path);
        roots.iter().any(concerned)
    };
    move |event| match &event {
        WatchEvent::Seen(path, _) if !concerns(path) => {}
        _ => tell(event),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::settle::Hint;
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_watched_anew() {
        let site = tempfile::tempdir().expect("a folder");
        let path = |name: &str| site.path().join(name);
        for release in ["1", "2"] {
            fs::create_dir_all(path(release).join("handlers")).expect("a folder");
        }
        std::os::unix::fs::symlink(path("1"), path("now")).expect("a link");
        let handlers = path("now/handlers");
        let (tell, told) = std::sync::mpsc::channel();
        let source = WatchSource::for_few();
        let mut watch = Watch::new(&source, vec![handlers.clone()], move |event| {
            // Fails when the test is over.
            let _ = tell.send(event);
        });
        watch.ensure(&handlers);
        std::os::unix::fs::symlink(path("2"), path("next")).expect("a link");
        fs::rename(path("next"), path("now")).expect("turned");
        watch.ensure(&handlers);
        fs::write(handlers.join("hello.wasm"), "").expect("written");
        let deadline = std::time::Duration::from_secs(30);
        let event = told.recv_timeout(deadline).expect("an event");
        assert_eq!(
            event,
            WatchEvent::Seen(handlers.join("hello.wasm"), Hint::Touched)
        );
    }

    #[test]
    fn what_is_not_kept_is_not_watched() {
        let site = tempfile::tempdir().expect("a folder");
        let [root, below, beside] =
            ["handlers", "handlers/src", "html"].map(|name| site.path().join(name));
        fs::create_dir_all(&below).expect("a folder");
        fs::create_dir(&beside).expect("a folder");
        let mut watch = Watch::new(&WatchSource::for_few(), vec![root.clone()], |_| {});
        for folder in [&root, &below, &beside, &site.path().join("missing")] {
            watch.ensure(folder);
        }
        assert_eq!(watch.watched.len(), 3);
        watch.keep_only(&root, &HashSet::from([root.clone()]));
        assert_eq!(watch.watched.len(), 2);
        assert!(!watch.watched.contains_key(&below));
        watch.forget(site.path());
        assert!(watch.watched.is_empty());
    }

    #[test]
    fn what_starts_anew_has_no_folder_of_before() {
        let site = tempfile::tempdir().expect("a folder");
        let path = |name: &str| site.path().join(name);
        for name in ["gone", "there"] {
            fs::create_dir(path(name)).expect("a folder");
        }
        let (tell, told) = std::sync::mpsc::channel();
        let source = WatchSource::for_many();
        let start = |watch: &mut Watch, number: usize| {
            let tell = tell.clone();
            watch.start_anew(&source, vec![site.path().to_owned()], move |event| {
                // Fails when the test is over.
                let _ = tell.send((number, event));
            });
        };
        let mut watch = Watch::blind();
        start(&mut watch, 1);
        watch.ensure(&path("gone"));
        watch.ensure(&path("there"));
        start(&mut watch, 2);
        assert_eq!(watch.len(), 0);
        watch.ensure(&path("there"));
        fs::write(path("gone/x"), "").expect("written");
        fs::write(path("there/x"), "").expect("written");
        let deadline = std::time::Duration::from_secs(60);
        assert_eq!(
            told.recv_timeout(deadline).expect("an event"),
            (2, WatchEvent::Seen(path("there/x"), Hint::Touched))
        );
        watch.stop();
        assert_eq!(watch.len(), 0);
    }

    #[test]
    fn what_is_not_below_a_folder_costs_nothing_when_it_goes() {
        const FOLDERS: usize = 100_000;
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::from_path(folder.path()).expect("a folder");
        let path = |number: usize| PathBuf::from(format!("/html/folder-{number}"));
        let mut watch = Watch::blind();
        watch.watched = (0..FOLDERS)
            .map(|number| (path(number), identity))
            .collect();
        let begun = std::time::Instant::now();
        for number in 0..FOLDERS {
            watch.forget(&path(number));
        }
        assert!(watch.watched.is_empty());
        // Searching all watches for each would take minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    }

    #[test]
    fn what_is_below_a_folder_goes_with_it_and_its_neighbours_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::from_path(folder.path()).expect("a folder");
        let mut watch = Watch::blind();
        let paths = ["/a", "/a/b", "/a/b/c", "/a/b-c", "/a-b", "/a.b/c", "/b"];
        watch.watched = paths.iter().map(|path| (path.into(), identity)).collect();
        let left = |watch: &Watch| {
            let left = watch.watched.keys().map(|path| path.display().to_string());
            left.collect::<Vec<_>>()
        };
        watch.forget(Path::new("/a/b"));
        assert_eq!(left(&watch), ["/a", "/a/b-c", "/a-b", "/a.b/c", "/b"]);
        watch.forget(Path::new("/a"));
        assert_eq!(left(&watch), ["/a-b", "/a.b/c", "/b"]);
    }
}
