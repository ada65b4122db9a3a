//! The events of a few folders, those of handlers: the crate `notify`.

use std::io;
use std::path::Path;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{
    Config, ErrorKind, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher,
};
use rustix::io::Errno;

use super::inotify::WatchEvent;
use super::settle::Hint;

/// Changes, and files that are closed after writing. Opening is excluded: the kernel would queue an
/// event each time a handler's file is read. (`notify` 8 can't exclude it, so this requires 9.)
const EVENTS: EventKindMask = EventKindMask::CORE.union(EventKindMask::ACCESS_CLOSE);

/// Watched folders, and the crate's thread that reads their events. Dropping it stops both.
pub(super) struct Notifier(RecommendedWatcher);

impl Notifier {
    /// Creates an empty set of watches. `tell` is called for each event, on a separate thread that
    /// it must not block.
    ///
    /// # Errors
    ///
    /// Fails if the user has too many of them, or the thread can't be started.
    pub(super) fn new(tell: impl Fn(WatchEvent) + Send + 'static) -> io::Result<Self> {
        let handler = move |event: notify::Result<Event>| events(event).into_iter().for_each(&tell);
        let config = Config::default().with_event_kinds(EVENTS);
        RecommendedWatcher::new(handler, config)
            .map(Self)
            .map_err(into_io)
    }

    /// Watches a folder: its entries, and the folder itself.
    ///
    /// # Errors
    ///
    /// Fails if it can't be read, or too many folders are watched (`ENOSPC`).
    pub(super) fn add(&mut self, folder: &Path) -> io::Result<()> {
        let watched = self.0.watch(folder, RecursiveMode::NonRecursive);
        watched.map_err(into_io)
    }

    /// Removes the watch on a folder, if there is one.
    pub(super) fn remove(&mut self, folder: &Path) {
        // Fails if the folder is gone, and its watch with it.
        let _ = self.0.unwatch(folder);
    }
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
}
