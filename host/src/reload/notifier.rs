//! The events of few folders, those of handlers: the crate `notify`.
//!
//! Several subscribers share one instance, of which a user has few: each has its own folders, and
//! gets their events alone. The crate reports a folder under one path, so a folder that several
//! paths lead to is watched once, and its events are passed on under each of them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{
    Config, ErrorKind, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher,
};
use rustix::io::Errno;

use super::identity::Identity;
use super::inotify::{Tell, WatchEvent};
use super::settle::Hint;

/// Changes, and files that are closed after writing. Opening is excluded: the kernel would queue an
/// event each time a handler's file is read. (`notify` 8 can't exclude it, so this requires 9.)
const EVENTS: EventKindMask = EventKindMask::CORE.union(EventKindMask::ACCESS_CLOSE);

/// The watched folders of all subscribers, and the crate's thread that reads their events. Dropping
/// it stops both.
pub(super) struct Notifier {
    /// Locked during each change of the watched folders, so that changes follow one another.
    watcher: Mutex<RecommendedWatcher>,
    /// Locked only for moments: the crate's thread needs it for each event, and whatever changes
    /// the watched folders waits for that thread.
    folders: Arc<Mutex<Folders>>,
}

/// The watched folders of one subscriber. Dropping it removes them; an event that is being told at
/// the time may still arrive.
pub(super) struct Subscription {
    number: u64,
    notifier: Arc<Notifier>,
}

/// The watched folders.
#[derive(Default)]
struct Folders {
    /// By the paths that the crate knows them by, which have no symbolic links. Ordered, so that
    /// folders below another are found without a full search.
    watched: BTreeMap<PathBuf, Watched>,
    /// The paths that the crate has, by the folders that they led to.
    paths: HashMap<Identity, PathBuf>,
    subscribers: HashMap<u64, Subscriber>,
    /// The number of the next subscriber.
    next: u64,
}

/// A folder that the crate watches.
struct Watched {
    identity: Identity,
    /// It was moved or removed, so the crate may have ended its watch.
    is_doubtful: bool,
    /// The paths that lead to it, each with the number of its subscriber.
    names: Vec<(u64, PathBuf)>,
}

struct Subscriber {
    tell: Tell,
    /// The paths of its folders, each with the path that the crate has.
    folders: HashMap<PathBuf, PathBuf>,
}

impl Notifier {
    /// Creates it without subscribers.
    ///
    /// # Errors
    ///
    /// Fails if the user has too many of them, or the thread can't be started.
    pub(super) fn new() -> io::Result<Self> {
        let folders = Arc::<Mutex<Folders>>::default();
        let known = Arc::clone(&folders);
        let handler = move |event: notify::Result<Event>| {
            events(event)
                .into_iter()
                .for_each(|event| pass_on(&known, event));
        };
        let config = Config::default().with_event_kinds(EVENTS);
        let watcher = RecommendedWatcher::new(handler, config).map_err(into_io)?;
        Ok(Self {
            watcher: Mutex::new(watcher),
            folders,
        })
    }

    /// Adds a subscriber without folders. `tell` is called for each of its events, on the thread
    /// that reads them, which it must not block.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        tell: impl Fn(WatchEvent) + Send + Sync + 'static,
    ) -> Subscription {
        let mut folders = lock(&self.folders);
        let number = folders.next;
        folders.next += 1;
        let subscriber = Subscriber {
            tell: Arc::new(tell),
            folders: HashMap::new(),
        };
        folders.subscribers.insert(number, subscriber);
        Subscription {
            number,
            notifier: Arc::clone(self),
        }
    }
}

impl Subscription {
    /// Watches a folder: its entries, and the folder itself. `identity` is what the path leads to.
    ///
    /// # Errors
    ///
    /// Fails if it can't be read, or too many folders are watched (`ENOSPC`).
    pub(super) fn add(&self, folder: &Path, identity: Identity) -> io::Result<()> {
        let real = folder.canonicalize();
        let real = real.or_else(|_| std::path::absolute(folder))?;
        let mut watcher = lock(&self.notifier.watcher);
        // Before it is watched, so that no event precedes the path.
        if !lock(&self.notifier.folders).add(self.number, folder, &real, identity) {
            return Ok(());
        }
        // The crate takes a path that it knows for watched, even if it leads to another folder now.
        let _ = watcher.unwatch(&real);
        let watched = watcher.watch(&real, RecursiveMode::NonRecursive);
        watched.map_err(|error| {
            let mut folders = lock(&self.notifier.folders);
            folders.doubt(&real);
            folders.remove(self.number, folder);
            into_io(error)
        })
    }

    /// Removes the watch on a folder, if there is one.
    pub(super) fn remove(&self, folder: &Path) {
        let mut watcher = lock(&self.notifier.watcher);
        let unused = lock(&self.notifier.folders).remove(self.number, folder);
        if let Some(unused) = unused {
            // Fails if the folder is gone, and its watch with it.
            let _ = watcher.unwatch(&unused);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let left = {
            let folders = lock(&self.notifier.folders);
            let left = folders.subscribers.get(&self.number);
            left.map_or(Vec::new(), |one| one.folders.keys().cloned().collect())
        };
        left.iter().for_each(|folder: &PathBuf| self.remove(folder));
        lock(&self.notifier.folders)
            .subscribers
            .remove(&self.number);
    }
}

impl Folders {
    /// Adds a path of a subscriber, which leads to the folder `identity`. Returns whether the crate
    /// must watch it, by the path `real`.
    fn add(&mut self, number: u64, folder: &Path, real: &Path, identity: Identity) -> bool {
        let name = (number, folder.to_owned());
        let known = self.paths.get(&identity).cloned();
        let known = known.and_then(|path| Some((self.watched.get_mut(&path)?, path)));
        let (path, is_new) = match known {
            Some((watched, path)) if !watched.is_doubtful => {
                watched.names.push(name);
                (path, false)
            }
            _ => {
                let watched = self.watched.entry(real.to_owned()).or_insert(Watched {
                    identity,
                    is_doubtful: false,
                    names: Vec::new(),
                });
                if watched.identity != identity
                    && self.paths.get(&watched.identity).map(PathBuf::as_path) == Some(real)
                {
                    self.paths.remove(&watched.identity);
                }
                (watched.identity, watched.is_doubtful) = (identity, false);
                watched.names.push(name);
                self.paths.insert(identity, real.to_owned());
                (real.to_owned(), true)
            }
        };
        if let Some(subscriber) = self.subscribers.get_mut(&number) {
            subscriber.folders.insert(folder.to_owned(), path);
        }
        is_new
    }

    /// Removes a path of a subscriber. Returns the path that the crate has for its folder, if no
    /// other path leads there.
    fn remove(&mut self, number: u64, folder: &Path) -> Option<PathBuf> {
        let path = self.subscribers.get_mut(&number)?.folders.remove(folder)?;
        let watched = self.watched.get_mut(&path)?;
        (watched.names).retain(|(one, name)| *one != number || name != folder);
        if !watched.names.is_empty() {
            return None;
        }
        let identity = watched.identity;
        self.watched.remove(&path);
        if self.paths.get(&identity) == Some(&path) {
            self.paths.remove(&identity);
        }
        Some(path)
    }

    /// Records that the watches on `path` and on folders below it may have ended.
    fn doubt(&mut self, path: &Path) {
        let from_path = (Bound::Included(path), Bound::Unbounded);
        let from_path = self.watched.range_mut::<Path, _>(from_path);
        // Paths are ordered by components, so a folder is directly followed by those below it.
        let below = from_path.take_while(|(folder, _)| folder.starts_with(path));
        below.for_each(|(_, watched)| watched.is_doubtful = true);
    }

    /// Returns the receivers of an event on a path of the crate, each with the subscriber's path.
    fn receivers(&self, path: &Path) -> Vec<(Tell, PathBuf)> {
        let itself = self.watched.get(path).map(|one| (one, None));
        let parent = path.parent().and_then(|parent| self.watched.get(parent));
        let parent = parent.map(|one| (one, path.file_name()));
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        for (watched, entry) in itself.into_iter().chain(parent) {
            for (number, name) in &watched.names {
                let path = entry.map_or_else(|| name.clone(), |entry| name.join(entry));
                let one = (*number, path);
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        }
        let found = found.into_iter().filter_map(|(number, path)| {
            let subscriber = self.subscribers.get(&number)?;
            Some((Arc::clone(&subscriber.tell), path))
        });
        found.collect()
    }
}

/// Passes an event on to those subscribers that watch its folder. All get it if events were lost.
fn pass_on(folders: &Mutex<Folders>, event: WatchEvent) {
    // Collected, so that `tell` runs without the lock.
    match event {
        WatchEvent::Lost => {
            let all: Vec<Tell> = {
                let folders = lock(folders);
                let all = folders.subscribers.values();
                all.map(|one| Arc::clone(&one.tell)).collect()
            };
            all.iter().for_each(|tell| tell(WatchEvent::Lost));
        }
        WatchEvent::Seen(path, hint) => {
            let receivers = {
                let mut folders = lock(folders);
                if hint.moves() {
                    folders.doubt(&path);
                }
                folders.receivers(&path)
            };
            for (tell, path) in receivers {
                tell(WatchEvent::Seen(path, hint));
            }
        }
    }
}

/// Locks a mutex. A panic while it is locked can't leave the folders inconsistent in a way that
/// loses more than events.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_io(error: notify::Error) -> io::Error {
    match error.kind {
        ErrorKind::Io(error) => error,
        ErrorKind::MaxFilesWatch => Errno::NOSPC.into(),
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => Errno::NOENT.into(),
        _ => io::Error::other(error),
    }
}

/// Translates an event into hints for its files.
fn events(event: notify::Result<Event>) -> Vec<WatchEvent> {
    let Ok(event) = event else {
        return vec![WatchEvent::Lost];
    };
    if event.need_rescan() {
        return vec![WatchEvent::Lost];
    }
    let hint = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Hint::Written,
        // Reading changes nothing, and this process reads all the time.
        EventKind::Access(_) => return Vec::new(),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Hint::Gone,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Hint::Moved,
        // Repeats the two events above.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Vec::new(),
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
            Hint::Touched
        }
    };
    let paths = event.paths.into_iter();
    paths.map(|path| WatchEvent::Seen(path, hint)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    #[test]
    fn events_are_translated_into_hints() {
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
    fn an_error_keeps_what_the_advice_depends_on() {
        let errno = |kind| Errno::from_io_error(&into_io(notify::Error::new(kind)));
        assert_eq!(errno(ErrorKind::MaxFilesWatch), Some(Errno::NOSPC));
        assert_eq!(errno(ErrorKind::PathNotFound), Some(Errno::NOENT));
        let denied = ErrorKind::Io(Errno::ACCESS.into());
        assert_eq!(errno(denied), Some(Errno::ACCESS));
    }

    fn subscribe(notifier: &Arc<Notifier>) -> (Subscription, Receiver<WatchEvent>) {
        let (sender, told) = channel();
        let tell = move |event| {
            // Fails when the test is over.
            let _ = sender.send(event);
        };
        (notifier.subscribe(tell), told)
    }

    fn add(subscription: &Subscription, folder: &Path) {
        let identity = Identity::from_path(folder).expect("a folder");
        subscription.add(folder, identity).expect("watched");
    }

    /// Waits for an event on the path.
    fn wait_for(told: &Receiver<WatchEvent>, path: &Path) {
        loop {
            let event = told.recv_timeout(Duration::from_secs(60));
            if let WatchEvent::Seen(seen, _) = event.expect("an event")
                && seen == path
            {
                return;
            }
        }
    }

    /// Returns the paths of all events so far, and of those up to one that is caused now.
    fn paths_to(told: &Receiver<WatchEvent>, last: &Path) -> Vec<PathBuf> {
        fs::create_dir(last).expect("a folder");
        let mut paths = Vec::new();
        loop {
            let event = told.recv_timeout(Duration::from_secs(60));
            match event.expect("an event") {
                WatchEvent::Seen(path, _) if path == last => return paths,
                WatchEvent::Seen(path, _) => paths.push(path),
                WatchEvent::Lost => {}
            }
        }
    }

    #[test]
    fn each_subscriber_gets_the_events_of_its_own_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b", "both"] {
            fs::create_dir(path(name)).expect("a folder");
        }
        let notifier = Arc::new(Notifier::new().expect("a watcher"));
        let (one, told_one) = subscribe(&notifier);
        let (other, told_other) = subscribe(&notifier);
        add(&one, &path("a"));
        add(&other, &path("b"));
        add(&one, &path("both"));
        add(&other, &path("both"));
        for name in ["a/x", "b/x", "both/x"] {
            fs::create_dir(path(name)).expect("a folder");
        }
        let last = path("both/last");
        assert_eq!(paths_to(&told_one, &last), [path("a/x"), path("both/x")]);
        wait_for(&told_other, &path("both/x"));
        wait_for(&told_other, &last);
        // A common folder stays watched for the one that is left.
        drop(one);
        fs::create_dir(path("a/y")).expect("a folder");
        assert!(paths_to(&told_other, &path("both/y")).is_empty());
        assert!(told_one.try_recv().is_err(), "the subscriber is gone");
        drop(other);
        let folders = lock(&notifier.folders);
        assert!(folders.watched.is_empty() && folders.paths.is_empty());
        assert!(folders.subscribers.is_empty());
    }

    #[test]
    fn each_path_to_one_folder_gets_its_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("real")).expect("a folder");
        for name in ["a", "b"] {
            std::os::unix::fs::symlink(path("real"), path(name)).expect("a link");
        }
        let notifier = Arc::new(Notifier::new().expect("a watcher"));
        let (one, told_one) = subscribe(&notifier);
        let (other, told_other) = subscribe(&notifier);
        add(&one, &path("a"));
        add(&other, &path("b"));
        add(&other, &path("real"));
        fs::create_dir(path("real/x")).expect("a folder");
        wait_for(&told_one, &path("a/x"));
        wait_for(&told_other, &path("b/x"));
        wait_for(&told_other, &path("real/x"));
        // The others keep theirs.
        other.remove(&path("real"));
        drop(one);
        fs::create_dir(path("real/y")).expect("a folder");
        assert_eq!(paths_to(&told_other, &path("b/z")), [path("b/y")]);
    }

    #[test]
    fn a_folder_that_is_moved_away_and_back_is_watched_for_each_subscriber() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("h/below")).expect("a folder");
        let notifier = Arc::new(Notifier::new().expect("a watcher"));
        let (one, told_one) = subscribe(&notifier);
        let (other, told_other) = subscribe(&notifier);
        for subscription in [&one, &other] {
            for watched in [folder.path(), &path("h"), &path("h/below")] {
                add(subscription, watched);
            }
        }
        fs::rename(path("h"), path("away")).expect("moved");
        fs::rename(path("away"), path("h")).expect("moved");
        for (subscription, told) in [(&one, &told_one), (&other, &told_other)] {
            wait_for(told, &path("away"));
            wait_for(told, &path("h"));
            // As a subscriber does that is told so.
            for name in ["h/below", "h"] {
                subscription.remove(&path(name));
                add(subscription, &path(name));
            }
        }
        fs::create_dir(path("h/x")).expect("a folder");
        fs::create_dir(path("h/below/x")).expect("a folder");
        for told in [&told_one, &told_other] {
            wait_for(told, &path("h/x"));
            wait_for(told, &path("h/below/x"));
        }
    }

    #[test]
    fn another_folder_at_the_same_path_is_watched_in_place_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("h")).expect("a folder");
        let notifier = Arc::new(Notifier::new().expect("a watcher"));
        let (one, told_one) = subscribe(&notifier);
        let (other, told_other) = subscribe(&notifier);
        add(&one, &path("h"));
        add(&other, &path("h"));
        // No parent is watched.
        fs::rename(path("h"), path("old")).expect("moved");
        fs::create_dir(path("h")).expect("a folder");
        for (subscription, told) in [(&one, &told_one), (&other, &told_other)] {
            wait_for(told, &path("h"));
            subscription.remove(&path("h"));
            add(subscription, &path("h"));
        }
        fs::create_dir(path("old/x")).expect("a folder");
        for told in [&told_one, &told_other] {
            // Drains what the move has caused.
            while told.try_recv().is_ok() {}
        }
        fs::create_dir(path("h/x")).expect("a folder");
        wait_for(&told_one, &path("h/x"));
        wait_for(&told_other, &path("h/x"));
    }

    #[test]
    fn what_can_not_be_watched_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("gone")).expect("a folder");
        let identity = Identity::from_path(&path("gone")).expect("a folder");
        fs::remove_dir(path("gone")).expect("removed");
        let notifier = Arc::new(Notifier::new().expect("a watcher"));
        let (one, told) = subscribe(&notifier);
        let error = one.add(&path("gone"), identity).expect_err("it is gone");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOENT));
        assert!(lock(&notifier.folders).watched.is_empty());
        // Lost events concern each subscriber.
        pass_on(&notifier.folders, WatchEvent::Lost);
        assert_eq!(told.try_recv(), Ok(WatchEvent::Lost));
    }
}
