//! Watches the pages folder for changes, for caches and for open browsers.
//!
//! Pages are read for each request, or checked before use, so this doesn't decide what is served;
//! it only signals that it is time to look again. Changes are batched: a generator that writes five
//! hundred pages causes one change.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::identity::Identity;
use super::settle::Hint;
use super::watch::Watch;
use crate::file_stamp::FileStamp;

/// The maximum number of paths in a change. A larger change is reported as "everything".
const MAX_PATHS: usize = 1_000;

/// The maximum number of events in a batch. More are a flood: each causes up to three system calls,
/// and a scan of all folders afterwards costs less. A batch lasts at most 300 ms, and a generator
/// that writes a thousand pages in this time causes 3,000 events.
const MAX_EVENTS: usize = 4_096;

/// The maximum number of watched pages folders. The kernel's own limit per user can be as low as
/// 8,192.
const MAX_FOLDERS: usize = 4_096;

/// The time without events that ends a batch: several files are saved together, and a browser
/// should reload once.
const QUIET: Duration = Duration::from_millis(30);

/// The time without events that ends a batch if a browser shows changes. The two steps in which an
/// editor writes a file are at most some milliseconds apart.
const SHORT_QUIET: Duration = Duration::from_millis(15);

/// The maximum duration of a batch.
const PATIENCE: Duration = Duration::from_millis(300);

/// A change in the pages folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PagesChange {
    /// These paths, relative to the folder and sorted: files, and folders, which include everything
    /// below them. Each may be new, changed or removed.
    Paths(Vec<PathBuf>),
    /// Unknown paths.
    Everything,
    /// The folder itself was replaced, created or removed: a process that holds it open must reopen
    /// it. Everything may have changed.
    Replaced,
}

/// Called on changes, on the thread that watches the pages, which it must not block.
pub(crate) type OnPages = Box<dyn Fn(PagesChange) + Send>;

/// The watched pages folder.
pub(super) struct Pages {
    /// Absolute.
    path: PathBuf,
    identity: Option<Identity>,
    batch: Option<Batch>,
    /// The files of the last change, as they were when it was reported.
    reported: HashMap<PathBuf, FileStamp>,
    /// See [`QUIET`].
    quiet: Duration,
}

/// Changes that have not settled.
struct Batch {
    what: What,
    due: Instant,
    overdue: Instant,
    /// The number of events.
    events: usize,
}

/// The contents of a batch, smallest first.
enum What {
    Paths(BTreeSet<PathBuf>),
    Everything,
    Replaced,
}

impl Pages {
    /// Starts to watch `folder` and every folder below it.
    pub(super) fn new(folder: &Path, watch: &mut Watch) -> Pages {
        // Fails only for an empty path, or if the current folder no longer exists.
        let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut pages = Pages {
            identity: None,
            batch: None,
            reported: HashMap::new(),
            path,
            quiet: QUIET,
        };
        pages.watch_all(watch);
        pages
    }

    /// Ends batches after [`SHORT_QUIET`].
    pub(super) fn hurry(&mut self) {
        self.quiet = SHORT_QUIET;
    }

    /// Compares the folder with the one that was opened earlier: it may have been replaced before
    /// it was watched.
    pub(super) fn compare(&mut self, opened: Option<Identity>, now: Instant) {
        if self.identity != opened {
            self.add(What::Replaced, now);
        }
    }

    /// Handles an event on a path.
    pub(super) fn note(&mut self, path: &Path, hint: Hint, watch: &mut Watch, now: Instant) {
        if self.path.starts_with(path) {
            // Even if it is the same folder: moving it away and back may have removed its watch.
            let before = self.identity;
            self.watch_all(watch);
            if self.identity != before {
                self.add(What::Replaced, now);
            }
            return;
        }
        let Ok(page) = path.strip_prefix(&self.path) else {
            return;
        };
        if page.iter().any(|name| !is_seen(&name.to_string_lossy())) {
            return;
        }
        // An editor can wait for the disk before it closes a file: what it wrote was reported then.
        if hint == Hint::Written
            && let Some(reported) = self.reported.get(page)
            && FileStamp::of_path(path).as_ref() == Some(reported)
        {
            return;
        }
        if hint != Hint::Gone && path.is_dir() {
            // Now, not when the batch ends: from here on, its files cause their own events.
            watch_below(path, watch);
        }
        self.add(What::Paths(BTreeSet::from([page.to_owned()])), now);
    }

    /// Returns whether there are more events than it is worth to follow.
    pub(super) fn is_flooded(&self) -> bool {
        self.batch
            .as_ref()
            .is_some_and(|batch| batch.events > MAX_EVENTS)
    }

    /// Handles the end of the events that were too many.
    pub(super) fn end_flood(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.what.add(What::Everything);
            batch.events = 0;
        }
    }

    /// Handles lost events.
    pub(super) fn doubt_everything(&mut self, watch: &mut Watch, now: Instant) {
        self.watch_all(watch);
        self.add(What::Everything, now);
    }

    /// Checks whether the folder was replaced.
    pub(super) fn check(&mut self, watch: &mut Watch, now: Instant) {
        if Identity::from_path(&self.path) != self.identity {
            self.watch_all(watch);
            self.add(What::Replaced, now);
        }
    }

    /// Returns when [`Pages::take_due`] has a change.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.batch.as_ref().map(|batch| batch.due)
    }

    /// Takes the changes that have settled.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<PagesChange> {
        let batch = self.batch.take_if(|batch| batch.due <= now)?;
        self.reported = match &batch.what {
            What::Paths(paths) => paths.iter().filter_map(|page| self.stamp(page)).collect(),
            What::Everything | What::Replaced => HashMap::new(),
        };
        Some(match batch.what {
            What::Paths(paths) => PagesChange::Paths(paths.into_iter().collect()),
            What::Everything => PagesChange::Everything,
            What::Replaced => PagesChange::Replaced,
        })
    }

    fn stamp(&self, page: &Path) -> Option<(PathBuf, FileStamp)> {
        let stamp = FileStamp::of_path(&self.path.join(page))?;
        Some((page.to_owned(), stamp))
    }

    fn watch_all(&mut self, watch: &mut Watch) {
        watch.ensure_way_to(&self.path);
        self.identity = Identity::from_path(&self.path);
        watch_below(&self.path, watch);
    }

    fn add(&mut self, what: What, now: Instant) {
        let batch = self.batch.get_or_insert_with(|| Batch {
            what: What::Paths(BTreeSet::new()),
            due: now,
            overdue: now + PATIENCE,
            events: 0,
        });
        batch.events += 1;
        batch.due = (now + self.quiet).min(batch.overdue.max(now));
        batch.what.add(what);
    }
}

impl What {
    /// Merges another batch.
    fn add(&mut self, more: What) {
        match (&mut *self, more) {
            (What::Replaced, _) => {}
            (_, What::Replaced) => *self = What::Replaced,
            (What::Paths(paths), What::Paths(more)) => {
                paths.extend(more);
                if paths.len() > MAX_PATHS {
                    *self = What::Everything;
                }
            }
            _ => *self = What::Everything,
        }
    }
}

/// Returns whether a name can be part of a page's path: hidden files and editors' backups are never
/// served.
fn is_seen(name: &str) -> bool {
    name == ".well-known" || !(name.starts_with('.') || name.ends_with('~'))
}

/// Watches a folder and those below it. Each watch starts before the folder is read, so that no
/// change in between is missed.
fn watch_below(folder: &Path, watch: &mut Watch) {
    if watch.len() >= MAX_FOLDERS && !watch.has(folder) {
        return watch.tell_limit(folder, MAX_FOLDERS);
    }
    watch.ensure(folder);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && is_seen(&entry.file_name().to_string_lossy()) {
            watch_below(&entry.path(), watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn paths(paths: &[&str]) -> PagesChange {
        PagesChange::Paths(paths.iter().map(PathBuf::from).collect())
    }

    fn pages(folder: &Path) -> Pages {
        Pages::new(folder, &mut Watch::blind())
    }

    #[test]
    fn changes_come_in_batches() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pages = pages(folder.path());
        let mut watch = Watch::blind();
        let start = Instant::now();
        let seen = [
            "b.html",
            "a.html",
            "b.html",
            ".a.html.swp",
            ".git/x",
            "a.html~",
            "_parts/x.html",
        ];
        for page in seen {
            pages.note(&folder.path().join(page), Hint::Written, &mut watch, start);
        }
        assert_eq!(pages.take_due(start + MS * 29), None);
        assert_eq!(
            pages.take_due(start + MS * 30),
            Some(paths(&["_parts/x.html", "a.html", "b.html"]))
        );
        assert_eq!(pages.take_due(start + MS * 60), None);
        assert_eq!(pages.next_due(), None);
    }

    #[test]
    fn a_batch_ends_even_if_nothing_rests() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pages = pages(folder.path());
        let start = Instant::now();
        for at in 0..100 {
            let page = folder.path().join("a.html");
            pages.note(
                &page,
                Hint::Touched,
                &mut Watch::blind(),
                start + MS * 4 * at,
            );
        }
        assert_eq!(pages.next_due(), Some(start + MS * 396));
        assert_eq!(pages.take_due(start + MS * 396), Some(paths(&["a.html"])));
    }

    #[test]
    fn a_file_that_is_closed_long_after_it_was_written_has_changed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pages = pages(folder.path());
        let start = Instant::now();
        let page = folder.path().join("a.html");
        fs::write(&page, "one").expect("written");
        let note = |pages: &mut Pages, hint| {
            pages.note(&page, hint, &mut Watch::blind(), start);
            pages.take_due(start + PATIENCE)
        };
        let changed = Some(paths(&["a.html"]));
        assert_eq!(note(&mut pages, Hint::Touched), changed);
        assert_eq!(note(&mut pages, Hint::Written), None);
        // An event of a write is reported whatever the times of the file say, and so is a file that
        // differs.
        assert_eq!(note(&mut pages, Hint::Touched), changed);
        fs::write(&page, "longer").expect("written");
        assert_eq!(note(&mut pages, Hint::Written), changed);
        fs::remove_file(&page).expect("removed");
        assert_eq!(note(&mut pages, Hint::Written), changed);
        assert_eq!(note(&mut pages, Hint::Written), changed);
    }

    #[test]
    fn too_many_paths_are_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pages = pages(folder.path());
        let start = Instant::now();
        for number in 0..=MAX_PATHS {
            let page = folder.path().join(number.to_string());
            pages.note(&page, Hint::Written, &mut Watch::blind(), start);
        }
        let change = pages.take_due(start + QUIET);
        assert_eq!(change, Some(PagesChange::Everything));
    }

    #[test]
    fn more_events_than_it_is_worth_to_follow_are_a_flood() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pages = pages(folder.path());
        let start = Instant::now();
        let page = folder.path().join("a.html");
        let note = |pages: &mut Pages| {
            pages.note(&page, Hint::Gone, &mut Watch::blind(), start);
        };
        for _ in 0..MAX_EVENTS {
            note(&mut pages);
        }
        assert!(!pages.is_flooded());
        note(&mut pages);
        assert!(pages.is_flooded());
        pages.end_flood();
        assert!(!pages.is_flooded());
        assert_eq!(
            pages.take_due(start + PATIENCE),
            Some(PagesChange::Everything)
        );
        note(&mut pages);
        assert_eq!(
            pages.take_due(start + PATIENCE),
            Some(paths(&["a.html"])),
            "each batch counts its own"
        );
    }

    #[test]
    fn a_folder_that_was_replaced_before_it_was_watched_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let html = folder.path().join("html");
        fs::create_dir(&html).expect("a folder");
        let opened = Identity::from_path(&html);
        let start = Instant::now();
        let mut same = pages(&html);
        same.compare(opened, start);
        assert_eq!(same.next_due(), None);

        fs::rename(&html, folder.path().join("old")).expect("moved");
        fs::create_dir(&html).expect("a folder");
        let mut other = pages(&html);
        other.compare(opened, start);
        assert_eq!(other.take_due(start + QUIET), Some(PagesChange::Replaced));
    }

    #[test]
    fn another_folder_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let html = folder.path().join("html");
        let mut pages = pages(&html);
        let mut watch = Watch::blind();
        let start = Instant::now();
        pages.check(&mut watch, start);
        assert_eq!(pages.next_due(), None);

        fs::create_dir(&html).expect("a folder");
        pages.note(&html, Hint::Touched, &mut watch, start);
        pages.note(&html.join("a.html"), Hint::Written, &mut watch, start);
        assert_eq!(pages.take_due(start + QUIET), Some(PagesChange::Replaced));

        fs::rename(&html, folder.path().join("old")).expect("moved");
        fs::create_dir(&html).expect("a folder");
        pages.check(&mut watch, start);
        assert_eq!(pages.take_due(start + QUIET), Some(PagesChange::Replaced));
    }
}
