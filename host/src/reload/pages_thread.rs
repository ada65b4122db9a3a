//! The thread that watches the folder of pages: its own, so that thousands of folders that come and
//! go keep no handler from being reloaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::pages::{OnPages, Pages, PagesChange};
use super::thread::{MAX_MESSAGES, teller};
use super::watch::{Identity, Watch, WatchEvent};

/// The least time between two times that all folders are looked at because events were lost.
const DOUBT_SPACING: Duration = Duration::from_secs(1);

/// And as a multiple of the time that the last look took: looking at thousands of folders takes a
/// fifth of a core at most.
const DOUBT_SPACING_FACTOR: u32 = 4;

/// By how much the thread gives way to those that serve and to the processes that compile
/// (nice(2)): folders of pages that come and go without end cost half a core, and would take it
/// from a handler that is reloaded. Beside a process that compiles it gets a quarter of a core.
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

/// Everything that the thread owns.
pub(super) struct PagesThread {
    folder: PathBuf,
    /// Which folder that was before the thread was started.
    opened: Option<Identity>,
    inbox: Receiver<Message>,
    sender: SyncSender<Message>,
    /// Events found no room in the inbox, or events none in the kernel.
    lost: Arc<AtomicBool>,
    /// Whether the kernel announces changes.
    events: bool,
    safety_rescan: Duration,
    on_pages: OnPages,
}

impl PagesThread {
    /// A thread's work, to be [run](Self::run), and what stops it. `on_pages` is told of changes.
    pub(super) fn new(
        folder: &Path,
        events: bool,
        safety_rescan: Duration,
        on_pages: OnPages,
    ) -> (PagesThread, impl Fn() + Send + Sync + use<>) {
        let (sender, inbox) = sync_channel(MAX_MESSAGES);
        let thread = PagesThread {
            folder: folder.to_owned(),
            opened: Identity::of(folder),
            inbox,
            sender: sender.clone(),
            lost: Arc::default(),
            events,
            safety_rescan,
            on_pages,
        };
        let stop = move || {
            // Fails when the thread is gone already.
            let _ = sender.send(Message::Stop);
        };
        (thread, stop)
    }

    /// Runs until it is stopped.
    pub(super) fn run(self) {
        // The watcher's own thread is made by this one, and has what it has. Where that may not be
        // asked for, changes of pages are seen in their turn.
        let _ = rustix::process::nice(NICE);
        let mut watch = match (self.events, std::path::absolute(&self.folder)) {
            (true, Ok(root)) => Watch::new(vec![root], teller(&self.sender, &self.lost)),
            _ => Watch::blind(),
        };
        let mut pages = Pages::new(&self.folder, &mut watch);
        pages.compare(self.opened, Instant::now());
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
            if next_doubt <= now && self.lost.swap(false, Ordering::Relaxed) {
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
                    tracing::info!("the folder of pages is another one now");
                }
                (self.on_pages)(change);
            }
        }
    }

    /// Waits until `due` for the next message, and takes in every one that is there. False: stop.
    fn receive(&self, due: Instant, pages: &mut Pages, watch: &mut Watch) -> bool {
        let wait = due.saturating_duration_since(Instant::now());
        let first = match self.inbox.recv_timeout(wait) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        // A bounded number, so that events which never end don't keep the rest waiting.
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
