//! The kernel's word that something has changed: `notify`, one folder at a time.
//!
//! Folders are watched and not files, since a file that is replaced takes its watch along; and one
//! folder at a time and not whole trees, so that a handler's sources and their build folders, which
//! can be huge and busy, are left out. Of each tree the way that leads to it is watched too: that
//! shows the folder itself being replaced, removed, or made after the start.
//!
//! A watch is the kernel's, on an inode, while everything else here is about paths. So before a
//! folder is read [`Watch::ensure`] looks whether it is the same one still.
//!
//! Nothing here has to work. Whatever is not announced is found by looking: see
//! [`super::Options::safety_rescan`].

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{
    Config, ErrorKind, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher,
};

use super::settle::Hint;

/// Changes, and files that are closed after writing. Not opening: the kernel would queue an event
/// for each page that is served, which costs more than opening the file does, and under load the
/// queue would overflow. (`notify` 8 can't leave it out, and so it is 9.)
const EVENTS: EventKindMask = EventKindMask::CORE.union(EventKindMask::ACCESS_CLOSE);

/// What the kernel told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WatchEvent {
    /// Something happened to a path.
    Seen(PathBuf, Hint),
    /// Something happened, and nobody knows to what: look at everything.
    Lost,
}

/// The folders that are watched now.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// By path, so that what is below a folder is found without looking at all others.
    watched: BTreeMap<PathBuf, Identity>,
    /// The trouble with watching was told once; it is the same for every folder.
    told: bool,
}

/// Which folder a path leads to: an inode's number is soon used again, its birth is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Identity {
    /// None if there is no such folder, or it can't be looked at.
    pub(super) fn of(path: &Path) -> Option<Identity> {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_dir().then(|| Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok(),
        })
    }
}

impl Watch {
    /// Watches nothing yet. What happens to `roots`, to what is in them and to what leads to them
    /// is told to `tell`, on a thread of its own that must not be kept waiting.
    pub(super) fn new(roots: Vec<PathBuf>, tell: impl Fn(WatchEvent) + Send + 'static) -> Watch {
        let concerns = move |path: &Path| {
            let concerned = |root: &PathBuf| path.starts_with(root) || root.starts_with(path);
            roots.iter().any(concerned)
        };
        let mut watch = Watch::blind();
        let handler = move |event: notify::Result<Event>| {
            for event in events(event) {
                match &event {
                    WatchEvent::Seen(path, _) if !concerns(path) => {}
                    _ => tell(event),
                }
            }
        };
        let config = Config::default().with_event_kinds(EVENTS);
        match RecommendedWatcher::new(handler, config) {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => watch.tell_trouble(&error),
        }
        watch
    }

    /// Never sees anything.
    pub(super) fn blind() -> Watch {
        Watch {
            watcher: None,
            watched: BTreeMap::new(),
            told: false,
        }
    }

    /// From now on `folder` itself is watched: the names in it, and the files of these names.
    pub(super) fn ensure(&mut self, folder: &Path) {
        let Some(identity) = Identity::of(folder) else {
            return self.forget(folder);
        };
        if self.watched.get(folder) == Some(&identity) {
            return;
        }
        self.forget(folder);
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(folder.to_owned(), identity);
            }
            Err(error) => self.tell_trouble(&error),
        }
    }

    /// From now on the folder that `path` is in is watched, or as far as there is a way to it.
    pub(super) fn ensure_way_to(&mut self, path: &Path) {
        let mut known = None;
        loop {
            let nearest = path.ancestors().skip(1).find(|folder| folder.is_dir());
            // Looked for once more after watching it: the next part of the way may have been made
            // in between.
            if nearest == known {
                return;
            }
            if let Some(folder) = nearest {
                self.ensure(folder);
            }
            known = nearest;
        }
    }

    /// `path` is not what it was: neither it nor anything below it is watched any more.
    pub(super) fn forget(&mut self, path: &Path) {
        self.drop_watches_below(path, |_| true);
    }

    /// Below `root`, watches only what is in `folders`.
    pub(super) fn keep_only(&mut self, root: &Path, folders: &HashSet<PathBuf>) {
        self.drop_watches_below(root, |folder| !folders.contains(folder));
    }

    /// Whether a folder at this path is watched; it may be another one by now.
    pub(super) fn has(&self, folder: &Path) -> bool {
        self.watched.contains_key(folder)
    }

    /// How many folders are watched.
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Drops the watches on `root` and on folders below it, of those that `which` names.
    fn drop_watches_below(&mut self, root: &Path, which: impl Fn(&Path) -> bool) {
        let from_root = (Bound::Included(root), Bound::Unbounded);
        let from_root = self.watched.range::<Path, _>(from_root);
        // Paths are in the order of their components: what is below a folder follows on it.
        let below = from_root.take_while(|(folder, _)| folder.starts_with(root));
        let dropped: Vec<PathBuf> = below
            .map(|(folder, _)| folder)
            .filter(|folder| which(folder))
            .cloned()
            .collect();
        for folder in dropped {
            self.watched.remove(&folder);
            if let Some(watcher) = &mut self.watcher {
                // Fails where the folder is gone, and its watch with it.
                let _ = watcher.unwatch(&folder);
            }
        }
    }

    /// Says, once, that `folder` and others are not watched since `limit` others are.
    pub(super) fn tell_limit(&mut self, folder: &Path, limit: usize) {
        if !std::mem::replace(&mut self.told, true) {
            let folder = folder.display();
            tracing::warn!("changes from {folder} on go unnoticed: {limit} folders are watched");
        }
    }

    fn tell_trouble(&mut self, error: &notify::Error) {
        // A folder that has just gone, and one that may not be read, are known from the listing.
        let expected = match &error.kind {
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => true,
            ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
            _ => false,
        };
        if expected || std::mem::replace(&mut self.told, true) {
            return;
        }
        let advice = match &error.kind {
            ErrorKind::MaxFilesWatch => " (raise fs.inotify.max_user_watches)",
            _ => "",
        };
        tracing::warn!(
            "some changes will be noticed late, folders can't be watched: {error}{advice}"
        );
    }
}

/// What an event means for the files it names.
fn events(event: notify::Result<Event>) -> Vec<WatchEvent> {
    let Ok(event) = event else {
        return vec![WatchEvent::Lost];
    };
    if event.need_rescan() {
        return vec![WatchEvent::Lost];
    }
    let hint = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Hint::Written,
        // Reading changes nothing, and this process reads here all the time.
        EventKind::Access(_) => return Vec::new(),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Hint::Gone,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Hint::Moved,
        // The two above, told once more.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Vec::new(),
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
            Hint::Touched
        }
    };
    let seen = event
        .paths
        .into_iter()
        .map(|path| WatchEvent::Seen(path, hint));
    seen.collect()
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    #[test]
    fn events_and_what_they_mean() {
        let table = [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                Some(Hint::Written),
            ),
            (EventKind::Create(CreateKind::File), Some(Hint::Touched)),
            (
                EventKind::Modify(ModifyKind::Data(DataChange::Any)),
                Some(Hint::Touched),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::From)),
                Some(Hint::Gone),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::To)),
                Some(Hint::Moved),
            ),
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), None),
            (EventKind::Remove(RemoveKind::File), Some(Hint::Gone)),
        ];
        for (kind, hint) in table {
            let event = Event::new(kind).add_path("/h/a.wasm".into());
            let expected: Vec<WatchEvent> = hint
                .map(|hint| WatchEvent::Seen("/h/a.wasm".into(), hint))
                .into_iter()
                .collect();
            assert_eq!(events(Ok(event)), expected, "{kind:?}");
        }
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(events(Ok(overflow)), [WatchEvent::Lost]);
        assert_eq!(
            events(Err(notify::Error::generic("broken"))),
            [WatchEvent::Lost]
        );
    }

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
        let mut watch = Watch::new(vec![handlers.clone()], move |event| {
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
        let mut watch = Watch::new(vec![root.clone()], |_| {});
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
    fn what_is_not_below_a_folder_costs_nothing_when_it_goes() {
        const FOLDERS: usize = 100_000;
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::of(folder.path()).expect("a folder");
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
        // Looking at all watches for each would take minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    }

    #[test]
    fn what_is_below_a_folder_goes_with_it_and_its_neighbours_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::of(folder.path()).expect("a folder");
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

    #[test]
    fn a_folder_that_is_made_anew_is_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("handlers");
        assert_eq!(Identity::of(&path), None);
        fs::create_dir(&path).expect("a folder");
        let first = Identity::of(&path);
        assert!(first.is_some());
        assert_eq!(Identity::of(&path), first);
        fs::rename(&path, folder.path().join("old")).expect("moved");
        fs::create_dir(&path).expect("a folder");
        assert_ne!(Identity::of(&path), first);
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        assert_eq!(Identity::of(&file), None);
    }
}
