//! The thread that watches the pages folder. It is separate so that thousands of folders that are
//! created and removed don't delay the reloading of handlers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::pages::{OnPages, Pages, PagesChange};
use super::thread::{MAX_MESSAGES, teller};
use super::watch::{Identity, Watch, WatchEvent};

/// The minimum interval between two scans of all folders after lost events.
const DOUBT_SPACING: Duration = Duration::from_secs(1);

/// The minimum interval as a multiple of the last scan's duration: scanning thousands of folders
/// takes at most a tenth of a core.
const DOUBT_SPACING_FACTOR: u32 = 9;

/// The niceness relative to serving threads and compiling processes (nice(2)): during a flood of
/// changes, watching the pages must not delay the reloading of handlers.
const NICE: i32 = 10;

pub(super) enum Message {
    WatchEvent(WatchEvent),
    Stop,
}

impl From<WatchEvent> for Message {
    fn from(event: WatchEvent) -> Message {
        Message::WatchEvent(event)
    }
}

/// The state of the thread.
pub(super) struct PagesThread {
    folder: PathBuf,
    /// The identity of the folder before the thread was started.
    opened: Option<Identity>,
    inbox: Receiver<Message>,
    sender: SyncSender<Message>,
    /// Events were lost because the inbox or the kernel's queue was full.
    lost: Arc<AtomicBool>,
    /// Whether to use the kernel's events.
    events: bool,
    safety_rescan: Duration,
    on_pages: OnPages,
    /// Whether a browser shows changes. Then, a change is also reported when the folder is watched,
    /// because earlier ones were not seen.
    pub(super) is_urgent: bool,
}

impl PagesThread {
    /// Creates the thread's state, to be [run](Self::run), and a function that stops it. `on_pages`
    /// is called on changes.
    pub(super) fn new(
        folder: &Path,
        events: bool,
        safety_rescan: Duration,
        on_pages: OnPages,
    ) -> (PagesThread, impl Fn() + Send + Sync + use<>) {
        let (sender, inbox) = sync_channel(MAX_MESSAGES);
        let thread = PagesThread {
            folder: folder.to_owned(),
            opened: Identity::from_path(folder),
            inbox,
            sender: sender.clone(),
            lost: Arc::default(),
            events,
            safety_rescan,
            on_pages,
            is_urgent: false,
        };
        let stop = move || {
            // Fails if the thread has ended.
            let _ = sender.send(Message::Stop);
        };
        (thread, stop)
    }

    /// Runs until it is stopped.
    pub(super) fn run(self) {
        // The watcher's thread is created by this one and inherits its niceness. If it can't be
        // set, changes of pages are handled at normal priority.
        if !self.is_urgent {
            let _ = rustix::process::nice(NICE);
        }
        let mut watch = Watch::blind();
        self.start(&mut watch);
        let mut pages = Pages::new(&self.folder, &mut watch);
        if self.is_urgent {
            pages.hurry();
        }
        pages.compare(self.opened, Instant::now());
        if self.is_urgent {
            (self.on_pages)(PagesChange::Everything);
        }
        let mut next_safety = Instant::now() + self.safety_rescan;
        let mut next_doubt = Instant::now();
        loop {
            let lost = self.lost.load(Ordering::Relaxed);
            let doubt = lost.then_some(next_doubt);
            let due = [Some(next_safety), pages.next_due(), doubt];
            let due = due.into_iter().flatten().min().unwrap_or(next_safety);
            if !self.receive(due, &mut pages, &mut watch) {
                return;
            }
            let now = Instant::now();
            if pages.is_flooded() {
                // A generator writes the whole site, or something is wrong. One scan afterwards
                // costs less than following each change.
                watch.stop();
                pages.end_flood();
                if !self.discard_events() {
                    return;
                }
                self.lost.store(true, Ordering::Relaxed);
                next_doubt = next_doubt.max(now + DOUBT_SPACING);
            }
            if next_doubt <= now && self.lost.swap(false, Ordering::Relaxed) {
                // Anew, because folders that are gone may still be among the watched ones.
                self.start(&mut watch);
                pages.doubt_everything(&mut watch, now);
                let spacing = now.elapsed() * DOUBT_SPACING_FACTOR;
                next_doubt = Instant::now() + spacing.max(DOUBT_SPACING);
            }
            if next_safety <= now {
                next_safety = now + self.safety_rescan;
                pages.check(&mut watch, now);
            }
            if let Some(change) = pages.take_due(now) {
                if change == PagesChange::Replaced {
                    tracing::info!("the folder of pages was replaced");
                }
                (self.on_pages)(change);
            }
        }
    }

    /// Starts to use the kernel's events, without any folder.
    fn start(&self, watch: &mut Watch) {
        if let (true, Ok(root)) = (self.events, std::path::absolute(&self.folder)) {
            watch.start_anew(vec![root], teller(&self.sender, &self.lost));
        }
    }

    /// Empties the inbox. Returns `false` to stop.
    fn discard_events(&self) -> bool {
        let messages = std::iter::from_fn(|| self.inbox.try_recv().ok());
        messages
            .take(MAX_MESSAGES)
            .all(|message| matches!(message, Message::WatchEvent(_)))
    }

    /// Waits until `due` for the next message, and handles all available ones. Returns `false` to
    /// stop.
    fn receive(&self, due: Instant, pages: &mut Pages, watch: &mut Watch) -> bool {
        let wait = due.saturating_duration_since(Instant::now());
        let first = match self.inbox.recv_timeout(wait) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        // Limited, so that an endless stream of events doesn't block other work.
        let more = std::iter::from_fn(|| self.inbox.try_recv().ok()).take(MAX_MESSAGES);
        for message in std::iter::once(first).chain(more) {
            match message {
                Message::Stop => return false,
                Message::WatchEvent(WatchEvent::Lost) => self.lost.store(true, Ordering::Relaxed),
                Message::WatchEvent(WatchEvent::Seen(path, hint)) => {
                    if hint.moves() {
                        watch.forget(&path);
                    }
                    pages.note(&path, hint, watch, Instant::now());
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;

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
        let (thread, stop) = PagesThread::new(&folder, true, DEADLINE * 60, on_pages);
        let flood = thread.sender.clone();
        let thread = std::thread::spawn(move || thread.run());
        for number in 0..2 * MAX_MESSAGES {
            let path = folder.join(format!("{number}.html"));
            let event = Message::WatchEvent(WatchEvent::Seen(path, Hint::Gone));
            flood.send(event).expect("it runs");
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
        stop();
        thread.join().expect("it stops");
    }
}
