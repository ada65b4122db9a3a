//! The folder of pages: what has changed in it, for caches and for open browsers.
//!
//! Pages are read anew for each request, or checked before they are used, so nothing here decides
//! what is served; this only tells that it is time to look again. Changes come in batches: a
//! generator that writes five hundred pages is one change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::settle::Hint;
use super::watch::{Identity, Watch};

/// Paths that are told one by one. Of more it is only said that everything may have changed.
const MAX_PATHS: usize = 1_000;

/// Folders of pages that are watched. The kernel's own limit for a user can be as low as 8,192.
const MAX_FOLDERS: usize = 4_096;

/// A batch ends when nothing has happened for this long: several files are saved together, and a
/// browser should fetch them once.
const QUIET: Duration = Duration::from_millis(30);

/// Nor does it wait longer than this.
const PATIENCE: Duration = Duration::from_millis(300);

/// What has changed in the folder of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PagesChange {
    /// These paths, relative to the folder and sorted: files, and folders, which stand for
    /// everything below them. Each may be new, changed, or gone.
    Paths(Vec<PathBuf>),
    /// Nobody knows what.
    Everything,
    /// The folder itself is another one, has appeared, or has gone: whoever holds it open must open
    /// it again. Everything may have changed.
    Replaced,
}

/// Who is told of changes, on the thread that watches the pages, which it must not keep waiting.
pub type OnPages = Box<dyn Fn(PagesChange) + Send>;

/// The folder of pages as it is watched.
pub(super) struct Pages {
    /// Absolute.
    path: PathBuf,
    identity: Option<Identity>,
    batch: Option<Batch>,
}

/// Changes that have not come to rest.
struct Batch {
    what: What,
    due: Instant,
    overdue: Instant,
}

/// What a batch has gathered, from the least on.
enum What {
    Paths(BTreeSet<PathBuf>),
    Everything,
    Replaced,
}

impl Pages {
    /// Begins to watch `folder` and every folder below it.
    pub(super) fn new(folder: &Path, watch: &mut Watch) -> Pages {
        // Fails only for an empty path, or when the current folder is gone.
        let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut pages = Pages {
            identity: None,
            batch: None,
            path,
        };
        pages.watch_all(watch);
        pages
    }

    /// Compares the folder with what it was when somebody opened it: it may have been replaced
    /// before it was watched.
    pub(super) fn compare(&mut self, opened: Option<Identity>, now: Instant) {
        if self.identity != opened {
            self.add(What::Replaced, now);
        }
    }

    /// Something was seen of a path.
    pub(super) fn note(&mut self, path: &Path, hint: Hint, watch: &mut Watch, now: Instant) {
        if self.path.starts_with(path) {
            // Even if it is the same folder: it may have lost its watch by moving to and fro.
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
        if hint != Hint::Gone && path.is_dir() {
            // At once, not when the batch ends: from here on its files speak for themselves.
            watch_below(path, watch);
        }
        self.add(What::Paths(BTreeSet::from([page.to_owned()])), now);
    }

    /// Something was missed.
    pub(super) fn doubt_everything(&mut self, watch: &mut Watch, now: Instant) {
        self.watch_all(watch);
        self.add(What::Everything, now);
    }

    /// Looks whether the folder is the same one still.
    pub(super) fn check(&mut self, watch: &mut Watch, now: Instant) {
        if Identity::of(&self.path) != self.identity {
            self.watch_all(watch);
            self.add(What::Replaced, now);
        }
    }

    /// When [`Pages::take_due`] has something.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.batch.as_ref().map(|batch| batch.due)
    }

    /// The changes that have come to rest.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<PagesChange> {
        let batch = self.batch.take_if(|batch| batch.due <= now)?;
        Some(match batch.what {
            What::Paths(paths) => PagesChange::Paths(paths.into_iter().collect()),
            What::Everything => PagesChange::Everything,
            What::Replaced => PagesChange::Replaced,
        })
    }

    fn watch_all(&mut self, watch: &mut Watch) {
        watch.ensure_way_to(&self.path);
        self.identity = Identity::of(&self.path);
        watch_below(&self.path, watch);
    }

    fn add(&mut self, what: What, now: Instant) {
        let batch = self.batch.get_or_insert_with(|| Batch {
            what: What::Paths(BTreeSet::new()),
            due: now,
            overdue: now + PATIENCE,
        });
        batch.due = (now + QUIET).min(batch.overdue.max(now));
        batch.what.add(what);
    }
}

impl What {
    /// Takes in more.
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

/// Whether a name can be part of a page's path: hidden files and editors' backups are never served.
fn is_seen(name: &str) -> bool {
    name == ".well-known" || !(name.starts_with('.') || name.ends_with('~'))
}

/// Watches a folder and those below it, before it is read, so that nothing is missed in between.
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
    fn a_folder_that_was_replaced_before_it_was_watched_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let html = folder.path().join("html");
        fs::create_dir(&html).expect("a folder");
        let opened = Identity::of(&html);
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
