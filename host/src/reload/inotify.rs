//! The events of many folders, those of pages: inotify(7), one folder at a time.
//!
//! Adding and removing a folder takes the same time however many are watched, so that thousands of
//! folders can come and go.

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

/// Watched folders, and the thread that reads their events. Dropping it stops both.
pub(super) struct Inotify {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: OwnedFd,
    /// Readable when the thread must stop.
    stop: OwnedFd,
    folders: Mutex<Folders>,
}

/// The watched folders. Several paths can lead to one folder, which has one watch.
#[derive(Default)]
struct Folders {
    paths: HashMap<i32, Vec<PathBuf>>,
    watches: HashMap<PathBuf, i32>,
}

impl Inotify {
    /// Creates an empty set of watches. `tell` is called for each event, on a separate thread that
    /// it must not block.
    ///
    /// # Errors
    ///
    /// Fails if the user has too many of them, or the thread can't be started.
    pub(super) fn new(tell: impl Fn(WatchEvent) + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
            folders: Mutex::default(),
        });
        let thread = std::thread::Builder::new()
            .name("wasgi-watch".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(&tell)
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches a folder: its entries, and the folder itself.
    ///
    /// # Errors
    ///
    /// Fails if it is no folder or can't be read, or too many folders are watched (`ENOSPC`).
    pub(super) fn add(&self, folder: &Path) -> std::io::Result<()> {
        // The lock is held meanwhile, so that no event precedes the path.
        let mut folders = self.shared.lock();
        let watch = inotify::add_watch(&self.shared.queue, folder, EVENTS)?;
        self.shared.release(folders.insert(watch, folder));
        Ok(())
    }

    /// Removes the watch on a folder, if there is one.
    pub(super) fn remove(&self, folder: &Path) {
        let mut folders = self.shared.lock();
        self.shared.release(folders.remove(folder));
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
    fn run(&self, tell: &impl Fn(WatchEvent)) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        loop {
            let mut ready = [&self.queue, &self.stop].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return tell(WatchEvent::Lost),
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            let mut reader = inotify::Reader::new(&self.queue, &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.take(&event, tell),
                    Err(Errno::WOULDBLOCK | Errno::INTR) => break,
                    Err(_) => {
                        tell(WatchEvent::Lost);
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

    fn take(&self, event: &inotify::Event<'_>, tell: &impl Fn(WatchEvent)) {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            return tell(WatchEvent::Lost);
        }
        if event.events().contains(ReadFlags::IGNORED) {
            // The kernel has removed the watch.
            return self.lock().forget(event.wd());
        }
        let Some(hint) = hint(event.events()) else {
            return;
        };
        // Copied, so that `tell` runs without the lock.
        let folders: Vec<PathBuf> = match self.lock().paths.get(&event.wd()) {
            Some(paths) => paths.clone(),
            None => return,
        };
        for folder in folders {
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
    /// Adds a path. Returns a watch that no path has any more: the path led to another folder.
    fn insert(&mut self, watch: i32, folder: &Path) -> Option<i32> {
        if self.watches.get(folder) == Some(&watch) {
            return None;
        }
        let unused = self.remove(folder);
        self.watches.insert(folder.to_owned(), watch);
        self.paths.entry(watch).or_default().push(folder.to_owned());
        unused
    }

    /// Removes a path. Returns its watch if no other path has it.
    fn remove(&mut self, folder: &Path) -> Option<i32> {
        let watch = self.watches.remove(folder)?;
        let paths = self.paths.get_mut(&watch)?;
        paths.retain(|path| path != folder);
        if !paths.is_empty() {
            return None;
        }
        self.paths.remove(&watch);
        Some(watch)
    }

    /// Removes a watch that the kernel has removed.
    fn forget(&mut self, watch: i32) {
        for path in self.paths.remove(&watch).unwrap_or_default() {
            if self.watches.get(&path) == Some(&watch) {
                self.watches.remove(&path);
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

    fn start() -> (Inotify, Receiver<WatchEvent>) {
        let (sender, told) = channel();
        let tell = move |event| {
            // Fails when the test is over.
            let _ = sender.send(event);
        };
        (Inotify::new(tell).expect("inotify"), told)
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
        let folders = inotify.shared.lock();
        assert_eq!((folders.paths.len(), folders.watches.len()), (1, 1));
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
