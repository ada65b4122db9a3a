//! The reloader of one folder of handlers: takes events and results, and drives the other parts. It
//! is a member of the group whose thread is `wasgi-reload`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;

use super::group::{Member, ToMember};
use super::listing::External;
use super::load::{Done, Job, Outcome, Renewed};
use super::loader::Load;
use super::options::{OnHandler, OnStarted, ReloadOptions, Started};
use super::queue::Capacity;
use super::scan::Scan;
use super::slots::{Built, Difference, Slots, Trust};
use super::watch::{Watch, WatchEvent, WatchSource};
use crate::metrics::LoadStep;
use crate::published::Published;
use crate::registry::{Problem, ProblemKind, Registry};

/// The minimum interval between two listings of the handlers folder, so that an endless stream of
/// single events doesn't cause a listing each.
const LOOK_SPACING: Duration = Duration::from_millis(5);

/// The minimum interval as a multiple of the last listing's duration: listing a huge folder takes
/// at most a fifth of a core.
const LOOK_SPACING_FACTOR: u32 = 4;

/// The minimum interval between two complete rescans after lost events. If events are lost
/// repeatedly, the thread would otherwise do nothing else.
const DOUBT_SPACING: Duration = Duration::from_secs(1);

/// The time that a new file is loaded before its pending route is published: most files are loaded
/// by then, and their snapshots need not be built twice.
const PENDING_DELAY: Duration = Duration::from_millis(50);

/// What is sent to a reloader.
pub(super) enum Message<P> {
    WatchEvent(WatchEvent),
    Done(Box<Done<P>>),
    Renewed(Box<Renewed<P>>),
    Order(Order),
    /// A load begins or ends to wait for another one.
    Waits,
    Built(Built),
}

impl<P> From<Order> for Message<P> {
    fn from(order: Order) -> Message<P> {
        Message::Order(order)
    }
}

impl<P> From<WatchEvent> for Message<P> {
    fn from(event: WatchEvent) -> Message<P> {
        Message::WatchEvent(event)
    }
}

/// A command to a reloader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Serve these handlers besides those in the folder.
    External(Vec<External>),
    /// Log changes from now on and those since the start, and problems except for these.
    Tell(Vec<Problem>),
    /// Look up all handlers again.
    LookAgain,
}

enum State {
    /// The handlers that the scan has found are loaded until then. Something waits for their end.
    Starting {
        until: Instant,
        ready: SyncSender<()>,
    },
    /// Changes are followed.
    Following,
}

/// The state of a reloader.
pub(super) struct Reloader<L: Load> {
    state: State,
    to_self: ToMember<Self>,
    /// Events were lost because the inbox or the kernel's queue was full.
    lost: Arc<AtomicBool>,
    watch: Watch,
    /// Whether to use the kernel's events.
    events: bool,
    slots: Slots<L::Program>,
    /// The time at which the scan that this continues from began.
    scanned: SystemTime,
    on_started: Option<OnStarted>,
    on_handler: Option<OnHandler>,
    loader: Arc<L>,
    /// Each loading thread has a clone and drops it at its end.
    loading: Sender<()>,
    shared: Arc<Published<Registry<L::Program>>>,
    safety_rescan: Duration,
    next_safety: Instant,
    next_look: Instant,
    next_doubt: Instant,
    /// When to publish which handlers are being loaded.
    publish_at: Option<Instant>,
    /// Whether to log changes and problems.
    tells: bool,
    /// The problems that were announced or logged.
    told: Vec<Problem>,
}

impl<L: Load> Reloader<L> {
    /// Creates a reloader. Sends to `ready` when everything found by the scan is loaded, or after
    /// the start budget. Also returns what is disconnected when the reloader and its loading
    /// threads have ended.
    pub(super) fn new(
        scan: Scan<L::Program>,
        loader: Arc<L>,
        shared: Arc<Published<Registry<L::Program>>>,
        options: ReloadOptions,
        ready: SyncSender<()>,
        to_self: ToMember<Self>,
    ) -> (Self, Receiver<()>) {
        let lost = Arc::new(AtomicBool::new(false));
        let now = Instant::now();
        let mut slots = scan.slots;
        slots
            .queue
            .set_capacity(Capacity::new(options.workers.get(), options.loads.get()));
        slots.records_events = options.on_handler.is_some();
        if let Some(projects) = slots.projects() {
            let to_self = to_self.clone();
            let lost = Arc::clone(&lost);
            projects.on_event(move |event| {
                if let Some(built) = Built::from_event(event)
                    && !to_self.try_send(Message::Built(built))
                {
                    lost.store(true, Ordering::Relaxed);
                }
            });
        }
        let (loading, has_loaded) = channel();
        let reloader = Self {
            state: State::Starting {
                until: now + options.start_budget,
                ready,
            },
            to_self,
            lost,
            watch: Watch::blind(),
            events: options.events,
            slots,
            scanned: scan.clock,
            on_started: options.on_started,
            on_handler: options.on_handler,
            loader,
            loading,
            shared,
            safety_rescan: options.safety_rescan,
            next_safety: now + options.safety_rescan,
            next_look: now,
            next_doubt: now,
            publish_at: None,
            tells: false,
            told: Vec::new(),
        };
        (reloader, has_loaded)
    }

    /// Returns the function that receives the kernel's events.
    #[cfg(test)]
    pub(super) fn teller(&self) -> impl Fn(WatchEvent) + Send + Sync + use<L> {
        self.to_self.teller(&self.lost)
    }

    /// Begins to follow changes, if the start is over.
    fn end_start(&mut self, source: &WatchSource) {
        let State::Starting { until, ready } = &self.state else {
            return;
        };
        if !self.slots.has_started() && Instant::now() < *until {
            return;
        }
        self.slots.quiet = false;
        // Fails if the receiver is gone.
        let _ = ready.try_send(());
        self.state = State::Following;
        self.begin_to_watch(source);
    }

    /// Starts to use the kernel's events. Another look finds changes between the scan and now.
    fn begin_to_watch(&mut self, source: &WatchSource) {
        if self.events {
            let root = self.slots.path().to_owned();
            self.watch = Watch::new(source, vec![root], self.to_self.teller(&self.lost));
        }
        self.slots.doubt_the_fresh(self.scanned);
        self.look(Trust::AtOnce, Instant::now());
        self.go_on();
    }

    /// Runs the checks that are due.
    fn look_where_due(&mut self) {
        let now = Instant::now();
        if self.next_doubt <= now && self.lost.swap(false, Ordering::Relaxed) {
            self.next_doubt = now + DOUBT_SPACING;
            self.doubt_everything(now);
        }
        if self.next_safety <= now {
            self.next_safety = now + self.safety_rescan;
            self.slots.doubt_the_unreadable(now);
            self.look(Trust::AfterAWhile, now);
        } else if self.next_hint().is_some_and(|due| due <= now) {
            self.look(Trust::AfterAWhile, now);
        }
    }

    /// Starts jobs that can start, and publishes and logs changes.
    fn go_on(&mut self) {
        self.start_jobs();
        self.publish();
        if let Some(on_handler) = &self.on_handler {
            self.slots.events.drain(..).for_each(on_handler);
        }
        if self.tells {
            self.tell();
        }
    }

    fn take_event(&mut self, event: WatchEvent) {
        let now = Instant::now();
        let WatchEvent::Seen(path, hint) = event else {
            return self.lost.store(true, Ordering::Relaxed);
        };
        if hint.moves() {
            self.watch.forget(&path);
        }
        self.slots.note(&path, hint, now);
    }

    fn doubt_everything(&mut self, now: Instant) {
        self.slots.doubt_everything();
        self.next_safety = now;
    }

    /// Returns when a hint requires a look at the handlers folder.
    fn next_hint(&self) -> Option<Instant> {
        self.slots.next_due().map(|due| due.max(self.next_look))
    }

    fn look(&mut self, trust: Trust, now: Instant) {
        let watch = &mut self.watch;
        let mut visited = HashSet::new();
        watch.ensure_way_to(self.slots.path());
        self.slots.look(trust, now, &mut |folder| {
            watch.ensure(folder);
            visited.insert(folder.to_owned());
        });
        watch.keep_only(self.slots.path(), &visited);
        let ended = Instant::now();
        let spacing = (ended - now) * LOOK_SPACING_FACTOR;
        self.next_look = ended + spacing.max(LOOK_SPACING);
    }

    fn start_jobs(&mut self) {
        let now = Instant::now();
        self.slots.advance(now);
        while let Some(job) = self.slots.next_job(now) {
            self.start(job);
        }
    }

    /// Starts a thread for each job: starting one takes microseconds, and none remains during the
    /// hours without changes.
    fn start(&mut self, job: Job) {
        let loader = Arc::clone(&self.loader);
        let to_self = self.to_self.clone();
        let loading = self.loading.clone();
        let unstarted = job.clone();
        let wake = self.to_self.clone();
        job.cancel.on_wait(move || {
            // If the inbox is full, the thread is about to wake up.
            wake.try_send(Message::Waits);
        });
        let work = move || {
            let renewed = job.run(&*loader, |done| to_self.send(Message::Done(Box::new(done))));
            if let Some(renewed) = renewed {
                to_self.send(Message::Renewed(Box::new(renewed)));
            }
            drop((loader, loading));
        };
        let builder = std::thread::Builder::new().name("wasgi-load".to_owned());
        if let Err(error) = builder.spawn(work) {
            let error = anyhow!(error).context("no thread to load it with");
            let done = Done {
                job: unstarted,
                step: LoadStep::Read,
                outcome: Outcome::Short(error),
            };
            self.slots.finish(done, Instant::now());
        }
    }

    /// Publishes changes, if it is time.
    fn publish(&mut self) {
        let now = Instant::now();
        let due = match self.slots.difference(&self.shared.current()) {
            Difference::None => return self.publish_at = None,
            Difference::Pending => *self.publish_at.get_or_insert(now + PENDING_DELAY),
            Difference::Served => now,
        };
        if due <= now {
            drop(self.shared.publish(self.slots.registry()));
            self.publish_at = None;
        }
    }

    /// Logs changes.
    fn tell(&mut self) {
        for change in self.slots.changes.drain(..) {
            tracing::info!("{change}");
        }
        let current = self.shared.current();
        if current.problems() != self.told {
            for problem in current.problems() {
                if !self.told.contains(problem) {
                    match problem.kind {
                        ProblemKind::Broken { .. } | ProblemKind::NotBuilt => {
                            tracing::error!("{problem}");
                        }
                        _ => tracing::warn!("{problem}"),
                    }
                }
            }
            self.told = current.problems().to_vec();
        }
        if self.slots.has_started()
            && let Some(on_started) = self.on_started.take()
        {
            let failed = |problem: &&Problem| problem.keeps_from_loading();
            let failed = current.problems().iter().filter(failed).count();
            on_started(Started { failed });
        }
    }
}

impl<L: Load> Member for Reloader<L> {
    type Message = Message<L::Program>;

    fn take(&mut self, message: Message<L::Program>) {
        match message {
            Message::Waits => {}
            Message::Order(Order::External(external)) => {
                self.slots.set_external(external, Instant::now());
            }
            Message::Order(Order::Tell(told)) => {
                self.tells = true;
                self.told = told;
            }
            Message::Order(Order::LookAgain) => self.lost.store(true, Ordering::Relaxed),
            Message::Done(done) => self.slots.finish(*done, Instant::now()),
            Message::Renewed(renewed) => {
                let loader = &self.loader;
                let replaced = |served: &_, next: &_| loader.replaced(served, next);
                self.slots.renew(*renewed, replaced);
            }
            Message::Built(built) => self.slots.built(built, Instant::now()),
            Message::WatchEvent(event) => self.take_event(event),
        }
    }

    fn turn(&mut self, source: &WatchSource) {
        if let State::Following = self.state {
            self.look_where_due();
        }
        self.go_on();
        self.end_start(source);
    }

    fn next_due(&self) -> Instant {
        let queue = self.slots.queue.next_due();
        let due = [queue, self.publish_at].into_iter().flatten();
        if let State::Starting { until, .. } = &self.state {
            return due.fold(*until, Instant::min);
        }
        let doubt = self.lost.load(Ordering::Relaxed).then_some(self.next_doubt);
        let looks = [self.next_hint(), doubt].into_iter().flatten();
        due.chain(looks).fold(self.next_safety, Instant::min)
    }
}

impl<L: Load> Drop for Reloader<L> {
    fn drop(&mut self) {
        // The results of loading threads are no longer needed.
        self.slots.queue.cancel_all();
    }
}
