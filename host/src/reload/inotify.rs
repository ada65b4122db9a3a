//! The events of many folders, those of pages: inotify(7), one folder at a time.
//!
//! Adding and removing a folder takes the same time however many are watched, so that thousands of
//! folders can come and go. Several subscribers share one instance, of which a user has few: each
//! has its own folders, and gets their events alone.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::settle::Hint;

/// Changes, and files that are closed after writing. Opening is excluded: the kernel would queue an
/// event for each served page, which costs more than opening the file, and under load the queue
/// would overflow.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR);

/// The size of a read, in bytes: some thousand events with short names. The kernel needs space for
/// one event with the longest name, 272 bytes.
const BUFFER_BYTES: usize = 32 * 1024;

/// An event from the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    /// An event on a path.
    Seen(PathBuf, Hint),
    /// Events were lost: rescan everything.
    Lost,
}

/// The watched folders of all subscribers, and the thread that reads their events. Dropping it
/// stops both.
pub(super) struct Inotify {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The watched folders of one subscriber. Dropping it removes them; an event that is being told at
/// the time may still arrive.
pub(super) struct Subscription {
    number: u64,
    inotify: Arc<Inotify>,
}

/// Receives the events of a subscriber.
pub(super) type Tell = Arc<dyn Fn(WatchEvent) + Send + Sync>;

struct Shared {
    queue: OwnedFd,
    /// Readable when the thread must stop.
    stop: OwnedFd,
    folders: Mutex<Folders>,
}

/// The watched folders. Several paths can lead to one folder, which has one watch.
#[derive(Default)]
struct Folders {
    /// The paths of a watch, each with the number of its subscriber.
    paths: HashMap<i32, Vec<(u64, PathBuf)>>,
    subscribers: HashMap<u64, Subscriber>,
    /// The number of the next subscriber.
    next: u64,
}

struct Subscriber {
    tell: Tell,
    watches: HashMap<PathBuf, i32>,
}

impl Inotify {
    /// Creates it without subscribers.
    ///
    /// # Errors
    ///
    /// Fails if the user has too many of them, or the thread can't be started.
    pub(super) fn new() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
            folders: Mutex::default(),
        });
        let thread = std::thread::Builder::new()
            .name("wasgi-watch".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run()
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Adds a subscriber without folders. `tell` is called for each of its events, on the thread
    /// that reads them, which it must not block.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        tell: impl Fn(WatchEvent) + Send + Sync + 'static,
    ) -> Subscription {
        let mut folders = self.shared.lock();
        let number = folders.next;
        folders.next += 1;
        let subscriber = Subscriber {
            tell: Arc::new(tell),
            watches: HashMap::new(),
        };
        folders.subscribers.insert(number, subscriber);
        Subscription {
            number,
            inotify: Arc::clone(self),
        }
    }
}

impl Subscription {
    /// Watches a folder: its entries, and the folder itself.
    ///
    /// # Errors
    ///
    /// Fails if it is no folder or can't be read, or too many folders are watched (`ENOSPC`).
    pub(super) fn add(&self, folder: &Path) -> std::io::Result<()> {
        let shared = &self.inotify.shared;
        // The lock is held meanwhile, so that no event precedes the path.
        let mut folders = shared.lock();
        let watch = inotify::add_watch(&shared.queue, folder, EVENTS)?;
        shared.release(folders.insert(self.number, watch, folder));
        Ok(())
    }

    /// Removes the watch on a folder, if there is one.
    pub(super) fn remove(&self, folder: &Path) {
        let shared = &self.inotify.shared;
        let mut folders = shared.lock();
        shared.release(folders.remove(self.number, folder));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if Arc::strong_count(&self.inotify) == 1 {
            // Closing it removes all watches at once.
            return;
        }
        let shared = &self.inotify.shared;
        let mut folders = shared.lock();
        let left = folders.subscribers.get(&self.number);
        let left: Vec<PathBuf> =
            left.map_or(Vec::new(), |one| one.watches.keys().cloned().collect());
        for folder in left {
            shared.release(folders.remove(self.number, &folder));
        }
        folders.subscribers.remove(&self.number);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        // Can't fail: the counter is far from its limit.
        let _ = rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // Fails if the thread has panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        loop {
            let mut ready = [&self.queue, &self.stop].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return self.tell_lost(),
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            let mut reader = inotify::Reader::new(&self.queue, &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.take(&event),
                    Err(Errno::WOULDBLOCK | Errno::INTR) => break,
                    Err(_) => {
                        self.tell_lost();
                        break;
                    }
                }
                // A stop is looked for after each buffer, even if the events never end.
                if reader.is_buffer_empty() {
                    break;
                }
            }
        }
    }

    /// Tells all subscribers that events were lost.
    fn tell_lost(&self) {
        let all: Vec<Tell> = {
            let folders = self.lock();
            let all = folders.subscribers.values();
            all.map(|one| Arc::clone(&one.tell)).collect()
        };
        all.iter().for_each(|tell| tell(WatchEvent::Lost));
    }

    fn take(&self, event: &inotify::Event<'_>) {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.tell_lost();
        }
        if event.events().contains(ReadFlags::IGNORED) {
            // The kernel has removed the watch.
            return self.lock().forget(event.wd());
        }
        let Some(hint) = hint(event.events()) else {
            return;
        };
        // Copied, so that `tell` runs without the lock.
        let folders = self.lock().paths_of(event.wd());
        for (tell, folder) in folders {
            let path = match event.file_name() {
                Some(name) => folder.join(OsStr::from_bytes(name.to_bytes())),
                None => folder,
            };
            tell(WatchEvent::Seen(path, hint));
        }
    }

    fn release(&self, watch: Option<i32>) {
        if let Some(watch) = watch {
            // Fails if the folder is gone, and its watch with it.
            let _ = inotify::remove_watch(&self.queue, watch);
        }
    }

    /// Locks the folders. A panic while the lock is held can't leave them inconsistent in a way
    /// that loses more than events.
    fn lock(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folders {
    /// Returns the paths of a watch, each with what its subscriber receives events by.
    fn paths_of(&self, watch: i32) -> Vec<(Tell, PathBuf)> {
        let paths = self.paths.get(&watch).into_iter().flatten();
        let paths = paths.filter_map(|(number, path)| {
            let subscriber = self.subscribers.get(number)?;
            Some((Arc::clone(&subscriber.tell), path.clone()))
        });
        paths.collect()
    }

    /// Adds a path of a subscriber. Returns a watch that no path has any more: the path led to
    /// another folder.
    fn insert(&mut self, number: u64, watch: i32, folder: &Path) -> Option<i32> {
        let known = self.subscribers.get(&number)?.watches.get(folder);
        if known == Some(&watch) {
            return None;
        }
        let unused = self.remove(number, folder);
        if let Some(subscriber) = self.subscribers.get_mut(&number) {
            subscriber.watches.insert(folder.to_owned(), watch);
        }
        let paths = self.paths.entry(watch).or_default();
        paths.push((number, folder.to_owned()));
        unused
    }

    /// Removes a path of a subscriber. Returns its watch if no other path has it.
    fn remove(&mut self, number: u64, folder: &Path) -> Option<i32> {
        let watch = self.subscribers.get_mut(&number)?.watches.remove(folder)?;
        let paths = self.paths.get_mut(&watch)?;
        paths.retain(|(one, path)| *one != number || path != folder);
        if !paths.is_empty() {
            return None;
        }
        self.paths.remove(&watch);
        Some(watch)
    }

    /// Removes a watch that the kernel has removed.
    fn forget(&mut self, watch: i32) {
        for (number, path) in self.paths.remove(&watch).unwrap_or_default() {
            if let Some(subscriber) = self.subscribers.get_mut(&number)
                && subscriber.watches.get(&path) == Some(&watch)
            {
                subscriber.watches.remove(&path);
            }
        }
    }
}

/// Translates an event. Returns `None` for those that change nothing.
fn hint(events: ReadFlags) -> Option<Hint> {
    const GONE: ReadFlags = ReadFlags::MOVED_FROM
        .union(ReadFlags::DELETE)
        .union(ReadFlags::DELETE_SELF)
        .union(ReadFlags::MOVE_SELF)
        .union(ReadFlags::UNMOUNT);
    const TOUCHED: ReadFlags = ReadFlags::CREATE
        .union(ReadFlags::MODIFY)
        .union(ReadFlags::ATTRIB);
    if events.contains(ReadFlags::CLOSE_WRITE) {
        Some(Hint::Written)
    } else if events.intersects(GONE) {
        Some(Hint::Gone)
    } else if events.contains(ReadFlags::MOVED_TO) {
        Some(Hint::Moved)
    } else if events.intersects(TOUCHED) {
        Some(Hint::Touched)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    fn start() -> (Subscription, Receiver<WatchEvent>) {
        subscribe(&Arc::new(Inotify::new().expect("inotify")))
    }

    fn subscribe(inotify: &Arc<Inotify>) -> (Subscription, Receiver<WatchEvent>) {
        let (sender, told) = channel();
        let tell = move |event| {
            // Fails when the test is over.
            let _ = sender.send(event);
        };
        (inotify.subscribe(tell), told)
    }

    /// Returns the events up to the one on `last`.
    fn events_to(told: &Receiver<WatchEvent>, last: &Path) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        loop {
            let event = told
                .recv_timeout(Duration::from_secs(60))
                .expect("an event");
            let is_last = matches!(&event, WatchEvent::Seen(path, _) if path == last);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    #[test]
    fn events_are_translated_into_hints() {
        let table = [
            (ReadFlags::OPEN, None),
            (ReadFlags::CLOSE_NOWRITE, None),
            (ReadFlags::ACCESS, None),
            (ReadFlags::CLOSE_WRITE, Some(Hint::Written)),
            (ReadFlags::CREATE | ReadFlags::ISDIR, Some(Hint::Touched)),
            (ReadFlags::MODIFY, Some(Hint::Touched)),
            (ReadFlags::ATTRIB, Some(Hint::Touched)),
            (ReadFlags::MOVED_FROM, Some(Hint::Gone)),
            (ReadFlags::MOVED_TO | ReadFlags::ISDIR, Some(Hint::Moved)),
            (ReadFlags::DELETE, Some(Hint::Gone)),
            (ReadFlags::DELETE_SELF, Some(Hint::Gone)),
            (ReadFlags::MOVE_SELF, Some(Hint::Gone)),
            (ReadFlags::UNMOUNT, Some(Hint::Gone)),
        ];
        for (events, expected) in table {
            assert_eq!(hint(events), expected, "{events:?}");
        }
    }

    #[test]
    fn what_happens_in_a_folder_and_to_it_is_told_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("a")).expect("a folder");
        let (inotify, told) = start();
        inotify.add(folder.path()).expect("watched");
        inotify.add(&path("a")).expect("watched");
        fs::write(path("a/x"), "x").expect("written");
        fs::rename(path("a/x"), path("y")).expect("moved");
        fs::remove_dir(path("a")).expect("removed");
        fs::write(path("end"), "").expect("written");
        let seen = |name: &str, hint| WatchEvent::Seen(path(name), hint);
        let expected = [
            seen("a/x", Hint::Touched),
            seen("a/x", Hint::Touched),
            seen("a/x", Hint::Written),
            seen("a/x", Hint::Gone),
            seen("y", Hint::Moved),
            seen("a", Hint::Gone),
            seen("a", Hint::Gone),
            seen("end", Hint::Touched),
        ];
        assert_eq!(events_to(&told, &path("end")), expected);
    }

    #[test]
    fn each_path_to_one_folder_gets_its_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("a")).expect("a folder");
        std::os::unix::fs::symlink(path("a"), path("b")).expect("a link");
        let (inotify, told) = start();
        inotify.add(&path("a")).expect("watched");
        inotify.add(&path("b")).expect("watched");
        fs::create_dir(path("a/x")).expect("a folder");
        let seen = |name: &str| WatchEvent::Seen(path(name), Hint::Touched);
        assert_eq!(events_to(&told, &path("b/x")), [seen("a/x"), seen("b/x")]);
        inotify.remove(&path("b"));
        fs::create_dir(path("a/y")).expect("a folder");
        assert_eq!(events_to(&told, &path("a/y")), [seen("a/y")]);
    }

    #[test]
    fn what_is_not_watched_is_not_told_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let (inotify, told) = start();
        for name in ["gone", "removed"] {
            fs::create_dir(path(name)).expect("a folder");
            inotify.add(&path(name)).expect("watched");
        }
        inotify.remove(&path("removed"));
        fs::write(path("removed/x"), "").expect("written");
        fs::remove_dir(path("gone")).expect("removed");
        assert!(inotify.add(&path("gone")).is_err());
        fs::create_dir(path("end")).expect("a folder");
        inotify.add(&path("end")).expect("watched");
        fs::create_dir(path("end/x")).expect("a folder");
        let seen = |name: &str, hint| WatchEvent::Seen(path(name), hint);
        assert_eq!(
            events_to(&told, &path("end/x")),
            [seen("gone", Hint::Gone), seen("end/x", Hint::Touched)]
        );
        let folders = inotify.inotify.shared.lock();
        let watches = folders.subscribers[&inotify.number].watches.len();
        assert_eq!((folders.paths.len(), watches), (1, 1));
    }

    #[test]
    fn each_subscriber_gets_the_events_of_its_own_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b", "both"] {
            fs::create_dir(path(name)).expect("a folder");
        }
        let inotify = Arc::new(Inotify::new().expect("inotify"));
        let (one, told_one) = subscribe(&inotify);
        let (other, told_other) = subscribe(&inotify);
        one.add(&path("a")).expect("watched");
        other.add(&path("b")).expect("watched");
        for subscription in [&one, &other] {
            subscription.add(&path("both")).expect("watched");
        }
        for name in ["a/x", "b/x", "both/x"] {
            fs::create_dir(path(name)).expect("a folder");
        }
        let seen = |name: &str| WatchEvent::Seen(path(name), Hint::Touched);
        let last = path("both/x");
        assert_eq!(events_to(&told_one, &last), [seen("a/x"), seen("both/x")]);
        assert_eq!(events_to(&told_other, &last), [seen("b/x"), seen("both/x")]);
        // A common folder stays watched for the one that is left.
        drop(one);
        fs::create_dir(path("a/y")).expect("a folder");
        fs::create_dir(path("both/y")).expect("a folder");
        assert_eq!(events_to(&told_other, &path("both/y")), [seen("both/y")]);
        assert!(told_one.recv().is_err(), "the subscriber is gone");
        drop(other);
        let folders = inotify.shared.lock();
        assert!(folders.paths.is_empty() && folders.subscribers.is_empty());
    }

    #[test]
    fn it_stops_while_events_never_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inotify, told) = start();
        inotify.add(folder.path()).expect("watched");
        let path = folder.path().to_owned();
        let (end, ends) = channel::<()>();
        let writer = std::thread::spawn(move || {
            while ends.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                fs::write(path.join("x"), "x").expect("written");
            }
        });
        told.recv_timeout(Duration::from_secs(60))
            .expect("an event");
        drop(inotify);
        // The thread, which has ended, had the only sender.
        while told.try_recv().is_ok() {}
        assert_eq!(
            told.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Disconnected)
        );
        drop(end);
        writer.join().expect("no failure");
    }
}
