//! The follower of one folder of pages. It is a member of the group whose thread is `wasgi-pages`,
//! which is separate so that thousands of folders that are created and removed don't delay the
//! reloading of handlers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::group::{Member, ToMember};
use super::identity::Identity;
use super::pages::{OnPages, Pages, PagesChange};
use super::watch::{Watch, WatchEvent, WatchSource};

/// The minimum interval between two scans of all folders after lost events.
const DOUBT_SPACING: Duration = Duration::from_secs(1);

/// The minimum interval as a multiple of the last scan's duration: scanning thousands of folders
/// takes at most a tenth of a core.
const DOUBT_SPACING_FACTOR: u32 = 9;

/// The niceness relative to serving threads and compiling processes (nice(2)): during a flood of
/// changes, watching the pages must not delay the reloading of handlers.
pub(super) const NICE: i32 = 10;

/// What is sent to a follower.
pub(super) struct Message(WatchEvent);

impl From<WatchEvent> for Message {
    fn from(event: WatchEvent) -> Message {
        Message(event)
    }
}

/// The state of a follower.
pub(super) struct PagesFollower {
    folder: PathBuf,
    /// The identity of the folder before it was followed.
    opened: Option<Identity>,
    to_self: ToMember<Self>,
    /// Events were lost because the inbox or the kernel's queue was full.
    lost: Arc<AtomicBool>,
    /// Whether to use the kernel's events.
    events: bool,
    safety_rescan: Duration,
    on_pages: OnPages,
    /// Whether a browser shows changes. Then, a change is also reported when the folder is watched,
    /// because earlier ones were not seen.
    is_urgent: bool,
    watch: Watch,
    /// `None` until its first turn.
    pages: Option<Pages>,
    /// After a flood, events are ignored until the next scan.
    is_flooded: bool,
    next_safety: Instant,
    next_doubt: Instant,
}

impl PagesFollower {
    /// Creates a follower of `folder`. `on_pages` is called on changes.
    pub(super) fn new(
        folder: &Path,
        events: bool,
        safety_rescan: Duration,
        is_urgent: bool,
        on_pages: OnPages,
        to_self: ToMember<Self>,
    ) -> Self {
        let now = Instant::now();
        Self {
            folder: folder.to_owned(),
            opened: Identity::from_path(folder),
            to_self,
            lost: Arc::default(),
            events,
            safety_rescan,
            on_pages,
            is_urgent,
            watch: Watch::blind(),
            pages: None,
            is_flooded: false,
            next_safety: now + safety_rescan,
            next_doubt: now,
        }
    }

    /// Starts to use the kernel's events, without any folder.
    fn watch_anew(&mut self, source: &WatchSource) {
        if let (true, Ok(root)) = (self.events, std::path::absolute(&self.folder)) {
            let tell = self.to_self.teller(&self.lost);
            self.watch.start_anew(source, vec![root], tell);
        }
    }

    /// Begins to follow the folder.
    fn begin(&mut self, source: &WatchSource) -> Pages {
        self.watch_anew(source);
        let mut pages = Pages::new(&self.folder, &mut self.watch);
        if self.is_urgent {
            pages.hurry();
        }
        pages.compare(self.opened, Instant::now());
        if self.is_urgent {
            (self.on_pages)(PagesChange::Everything);
        }
        self.next_safety = Instant::now() + self.safety_rescan;
        pages
    }

    /// Stops to follow events that are too many. A generator writes the whole site, or something is
    /// wrong: one scan afterwards costs less than following each change.
    fn end_flood(&mut self, pages: &mut Pages, now: Instant) {
        self.watch.stop();
        pages.end_flood();
        self.is_flooded = true;
        self.lost.store(true, Ordering::Relaxed);
        self.next_doubt = self.next_doubt.max(now + DOUBT_SPACING);
    }

    /// Runs the checks that are due.
    fn check(&mut self, pages: &mut Pages, source: &WatchSource, now: Instant) {
        if self.next_doubt <= now && self.lost.swap(false, Ordering::Relaxed) {
            // Anew, because folders that are gone may still be among the watched ones.
            self.watch_anew(source);
            self.is_flooded = false;
            pages.doubt_everything(&mut self.watch, now);
            let spacing = now.elapsed() * DOUBT_SPACING_FACTOR;
            self.next_doubt = Instant::now() + spacing.max(DOUBT_SPACING);
        }
        if self.next_safety <= now {
            self.next_safety = now + self.safety_rescan;
            pages.check(&mut self.watch, now);
        }
        if let Some(change) = pages.take_due(now) {
            if change == PagesChange::Replaced {
                tracing::info!("the folder of pages was replaced");
            }
            (self.on_pages)(change);
        }
    }
}

impl Member for PagesFollower {
    type Message = Message;

    fn take(&mut self, Message(event): Message) {
        let (Some(pages), false) = (&mut self.pages, self.is_flooded) else {
            return;
        };
        match event {
            WatchEvent::Lost => self.lost.store(true, Ordering::Relaxed),
            WatchEvent::Seen(path, hint) => {
                if hint.moves() {
                    self.watch.forget(&path);
                }
                pages.note(&path, hint, &mut self.watch, Instant::now());
            }
        }
    }

    fn turn(&mut self, source: &WatchSource) {
        let mut pages = match self.pages.take() {
            Some(pages) => pages,
            None => self.begin(source),
        };
        let now = Instant::now();
        if pages.is_flooded() {
            self.end_flood(&mut pages, now);
        }
        self.check(&mut pages, source, now);
        self.pages = Some(pages);
    }

    fn next_due(&self) -> Instant {
        let doubt = self.lost.load(Ordering::Relaxed).then_some(self.next_doubt);
        let change = self.pages.as_ref().and_then(Pages::next_due);
        let due = [doubt, change].into_iter().flatten();
        due.fold(self.next_safety, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;

    use super::super::group::{Group, MAX_MESSAGES};
    use super::super::settle::Hint;
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn after_a_flood_everything_is_told_and_then_each_change_again() {
        let site = tempfile::tempdir().expect("a folder");
        let folder = site.path().join("html");
        fs::create_dir(&folder).expect("a folder");
        let (sender, changes) = channel();
        let on_pages = Box::new(move |change| {
            // Fails when the test is over.
            let _ = sender.send(change);
        });
        let group = Group::start("pages", 0, WatchSource::for_many()).expect("a thread");
        let follower = group.join(|to_self| {
            PagesFollower::new(&folder, true, DEADLINE * 60, false, on_pages, to_self)
        });
        for number in 0..2 * MAX_MESSAGES {
            let path = folder.join(format!("{number}.html"));
            follower
                .sender()
                .send(Message(WatchEvent::Seen(path, Hint::Gone)));
        }
        // Without an event that is seen: it is found by the scan.
        fs::create_dir(folder.join("new")).expect("a folder");
        let next = || changes.recv_timeout(DEADLINE).expect("a change");
        while next() != PagesChange::Everything {}
        let page = folder.join("new/page.html");
        let told = PagesChange::Paths(vec!["new/page.html".into()]);
        loop {
            fs::write(&page, "A page").expect("written");
            if next() == told {
                break;
            }
        }
        drop(follower);
    }
}
