//! The state of all routes: their files, served versions, and problems.
//!
//! A slot belongs to a route, not to a file. A handler that moves from `hello.wat` to `hello.wasm`,
//! or whose `[id]` is renamed, is therefore replaced like any other: the old version serves until
//! the new one is loaded.
//!
//! This module decides what to load and what to publish; it opens no file and starts no thread. The
//! listing is authoritative. Hints only determine when to look, and a change is found even if all
//! its hints are lost: see [`Settle`].

mod builds;
mod external;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::application;
use super::listing::{self, External, Folder, Found, Listing};
use super::load::{Done, Job, LoadTimes, Outcome, Renewed, Stage};
use super::options::HandlerEvent;
use super::queue::{Capacity, Position, Queue, SLICE};
use super::settle::{FileState, Hint, Settle};
use super::slot::{Since, Slot, Work};
use crate::host_name::full_name;
use crate::metrics::Counter;
use crate::permits::Permits;
use crate::registry::{Handler, Pending, Problem, ProblemKind, Registry, Usage, Version, label};
use crate::reload::projects::{Places, Projects};
use crate::router::Shape;

pub(super) use builds::Built;

/// The maximum number of consecutive loads of one route that are cancelled because of a newer
/// version. The next one runs to its end and is served, however often the file changes: a file that
/// is rewritten faster than it compiles is served some versions late, but is served.
const MAX_SUPERSEDED: u8 = 3;

/// The minimum age of a change for a file's times to distinguish it from the next one: some file
/// systems store whole seconds, and a remote one has its own clock.
const FRESH: Duration = Duration::from_secs(3);

/// The known state of the handlers folder, between two listings.
pub(super) struct Slots<P> {
    /// Absolute.
    path: PathBuf,
    given: PathBuf,
    /// The virtual host that the folder belongs to.
    host: Option<Arc<str>>,
    /// The handlers that are not in the folder.
    external: Vec<External>,
    slots: HashMap<Shape, Slot<P>>,
    settle: Settle,
    /// Jobs to run; at most one per slot.
    pub(super) queue: Queue,
    /// By name of the handler: what its versions share, and the permits, which can live longer.
    usages: HashMap<String, (Weak<Usage>, Weak<Permits>)>,
    /// Handlers that are folders, as of the last listing.
    applications: HashSet<String>,
    /// Where the results of builds are, if they are served.
    builds: Option<Places>,
    /// Builds the projects of the folder.
    projects: Option<Projects>,
    /// The projects whose last build failed.
    unbuilt: HashSet<String>,
    /// The projects without an artifact, whose first build has not ended.
    building: HashMap<Shape, Arc<Pending>>,
    /// The problems of the last listing.
    complaints: Vec<Problem>,
    /// Handlers that are no longer served, kept until their last request is over: their memory is
    /// then freed on this thread, which delays no request.
    retired: Vec<Arc<Handler<P>>>,
    /// One line per change, to be logged.
    pub(super) changes: Vec<String>,
    /// What happened to handlers' files, if it is recorded.
    pub(super) events: Vec<HandlerEvent>,
    /// Whether to record it.
    pub(super) records_events: bool,
    /// The folder has been listed.
    was_listed: bool,
    /// Don't report handlers that the loader knows already: the announcement contains them.
    pub(super) quiet: bool,
}

/// How a snapshot differs from the current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    None,
    /// Only in handlers that are being loaded for the first time.
    Pending,
    /// In what is served, or in problems.
    Served,
}

/// When to act on a change without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It must look the same a little later.
    AfterAWhile,
    /// Immediately: at startup, files are not expected to be changing.
    AtOnce,
}

impl<P> Slots<P> {
    /// Creates an empty state for the folder `given`.
    pub(super) fn new(given: &Path, capacity: Capacity) -> Slots<P> {
        Slots {
            // Fails only for an empty path, or if the current folder no longer exists.
            path: std::path::absolute(given).unwrap_or_else(|_| given.to_owned()),
            given: given.to_owned(),
            host: None,
            external: Vec::new(),
            slots: HashMap::new(),
            settle: Settle::default(),
            queue: Queue::new(capacity),
            usages: HashMap::new(),
            applications: HashSet::new(),
            builds: None,
            projects: None,
            unbuilt: HashSet::new(),
            building: HashMap::new(),
            complaints: Vec::new(),
            retired: Vec::new(),
            changes: Vec::new(),
            events: Vec::new(),
            records_events: false,
            was_listed: false,
            quiet: true,
        }
    }

    /// Makes the folder that of a virtual host, whose name is in the names of its handlers.
    pub(super) fn belong_to(&mut self, host: &str) {
        self.host = Some(host.into());
    }

    /// Returns the absolute path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Records an event on a path. It matters if the path is in the folder or leads to it.
    pub(super) fn note(&mut self, path: &Path, hint: Hint, now: Instant) {
        if self.path.starts_with(path) {
            return self.settle.note("", hint, now);
        }
        let Ok(file) = path.strip_prefix(&self.path) else {
            return;
        };
        if let Some(application) = self.application_of(file) {
            let mut names = file.iter().skip(Path::new(&application).iter().count());
            if !names.any(|name| application::is_ignored(&name.to_string_lossy())) {
                self.settle.note(&application, hint, now);
            }
            return;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A moved hidden name can be part of a link's path: `..data` of a mounted volume.
        let passing = matches!(hint, Hint::Touched | Hint::Written);
        if !(passing && listing::is_ignored(&name)) {
            self.settle.note(&file.to_string_lossy(), hint, now);
        }
    }

    /// Returns the application (a folder that is one handler) that contains a path.
    fn application_of(&self, file: &Path) -> Option<String> {
        let above = file.ancestors().skip(1).filter_map(Path::to_str);
        let mut known = above.filter_map(|folder| self.applications.get(folder));
        known.next().cloned()
    }

    /// Marks all files to be read again.
    pub(super) fn doubt_everything(&mut self) {
        for slot in self.slots.values_mut() {
            slot.seen = None;
        }
    }

    /// Marks files to be read again that were changed just before `clock`, or after it. As long as
    /// the folder is not watched, only the content shows a second change within the resolution of a
    /// file's times.
    pub(super) fn doubt_the_fresh(&mut self, clock: SystemTime) {
        let settled = clock.checked_sub(FRESH);
        for slot in self.slots.values_mut() {
            slot.seen = slot
                .seen
                .filter(|seen| settled.is_some_and(|time| seen.is_before(time)));
        }
    }

    /// Marks unreadable files to be read again at the next look; after a shortage, only when the
    /// pause is over.
    pub(super) fn doubt_the_unreadable(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            let kind = slot.failure.as_ref().map(|failure| &failure.kind);
            let is_due = slot.retry_at.is_none_or(|at| at <= now);
            if kind == Some(&ProblemKind::Unreadable) && is_due {
                slot.seen = None;
            }
        }
    }

    /// Returns when a hint requires the next look at the folder.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.settle.next_due()
    }

    /// Lists the folder: queues files that have settled, and withdraws those that are gone. `visit`
    /// is called with each folder before it is read.
    pub(super) fn look(&mut self, trust: Trust, now: Instant, visit: &mut dyn FnMut(&Path)) {
        let folder = Folder {
            path: &self.path,
            given: &self.given,
            builds: self.builds.as_ref(),
            external: &self.external,
        };
        let mut listing = listing::list(folder, visit);
        if let Some(host) = &self.host {
            for found in &mut listing.handlers {
                found.name = full_name(Some(host), &found.name);
            }
        }
        for found in &listing.handlers {
            self.consider(found, trust, now);
        }
        let folders = listing.handlers.iter().filter(|found| found.is_folder());
        self.applications = folders.map(|found| found.file.clone()).collect();
        self.withdraw_missing(&listing, now);
        let known = std::mem::take(&mut self.complaints);
        for (file, problem) in std::mem::take(&mut listing.problems) {
            // A file that has just appeared may soon be gone.
            let settled = self.settle.state(&file, now) != FileState::Waiting;
            if settled || trust == Trust::AtOnce || known.contains(&problem) {
                self.complaints.push(problem);
            }
        }
        self.follow_projects(std::mem::take(&mut listing.projects));
        self.settle.clear_due(now);
        self.release_retired();
        self.was_listed = true;
    }

    /// Decides whether to load a file now.
    fn consider(&mut self, found: &Found, trust: Trust, now: Instant) {
        let slot = self
            .slots
            .entry(found.shape.clone())
            .or_insert_with(|| Slot::new(&found.file, !self.was_listed));
        let changed = slot.seen != Some(found.stamp) || slot.file != found.file;
        let overdue = match self.settle.state(&found.file, now) {
            FileState::Unknown if !changed => return,
            FileState::Unknown if trust == Trust::AfterAWhile => {
                return self.settle.suspect(&found.file, found.stamp, now);
            }
            // Without waiting, the file is used as it is.
            FileState::Unknown => true,
            FileState::Waiting => return,
            FileState::Due {
                stamp: Some(suspected),
                overdue: false,
            } if suspected != found.stamp => {
                return self.settle.suspect(&found.file, found.stamp, now);
            }
            FileState::Due { overdue, .. } => overdue,
        };
        if let Work::Loading { stamp, since } = slot.work {
            let moved = slot.file != found.file;
            // Not for a file that only may have changed.
            let is_newer = stamp != found.stamp || moved;
            if is_newer && slot.superseded < MAX_SUPERSEDED && self.queue.cancel(&found.shape) {
                slot.superseded += 1;
            }
            let happened = if moved { Since::Moved } else { Since::Changed };
            slot.work = Work::Loading {
                stamp: found.stamp,
                since: since.max(happened),
            };
            return self.settle.clear(&found.file);
        }
        if let Some(not_before) = slot.not_before.filter(|&not_before| now < not_before) {
            return self.settle.postpone(&found.file, not_before);
        }
        self.settle.clear(&found.file);
        let job = slot.begin(found, &self.path, overdue, now);
        self.queue.push(job);
    }

    /// Withdraws handlers that are not in the listing and stay away.
    fn withdraw_missing(&mut self, listing: &Listing, now: Instant) {
        let present: HashSet<&Shape> = listing.handlers.iter().map(|found| &found.shape).collect();
        let settle = &mut self.settle;
        let retired = &mut self.retired;
        let changes = &mut self.changes;
        let queue = &mut self.queue;
        let mut events = self.records_events.then_some(&mut self.events);
        self.slots.retain(|shape, slot| {
            if present.contains(shape) || listing.is_unseen(&slot.file) {
                return true;
            }
            match settle.state(&slot.file, now) {
                FileState::Unknown => settle.note(&slot.file, Hint::Gone, now),
                FileState::Waiting => {}
                // Wait for a running job.
                FileState::Due { .. } if slot.work.is_on() && !queue.remove(shape) => {
                    queue.cancel(shape);
                    slot.work.doubt();
                }
                FileState::Due { .. } => {
                    if let Some(events) = &mut events {
                        events.push(HandlerEvent::Withdrawn {
                            file: slot.file.clone(),
                        });
                    }
                    if let Some(handler) = slot.serving.take() {
                        changes.push(format!("{}: withdrawn, its file was removed", handler.name));
                        retired.push(handler);
                    }
                    return false;
                }
            }
            true
        });
    }

    /// Handles the result of a job.
    pub(super) fn finish(&mut self, done: Done<P>, now: Instant) {
        let Done { job, step, outcome } = done;
        let was_long = self.queue.finished(&job.shape);
        if job.stage == Stage::Load {
            let file = job.file.clone();
            self.record(|| HandlerEvent::Ended { file });
        }
        let Some(slot) = self.slots.get_mut(&job.shape) else {
            return;
        };
        match outcome {
            Outcome::Unknown => return slot.go_on(job, &mut self.queue),
            Outcome::Cancelled if !slot.work.is_stale() => {
                let file = label(&self.given, Path::new(&job.file));
                let change = format!("{file}: preempted, queued again behind the others");
                self.changes.push(change);
                return slot.go_on(job.again(), &mut self.queue);
            }
            _ => {}
        }
        if slot.work.is_stale() {
            self.settle.note(&job.file, Hint::Moved, now);
        }
        slot.work = Work::Idle;
        if matches!(outcome, Outcome::Broken(..)) || job.stage == Stage::Load && outcome.is_loaded()
        {
            slot.superseded = 0;
            slot.is_long = was_long;
        }
        let file = label(&self.given, Path::new(&job.file));
        match outcome {
            Outcome::Unknown => {}
            Outcome::Cancelled => slot.is_long |= was_long,
            Outcome::Torn => {
                slot.seen = None;
                self.settle.note(&job.file, Hint::Touched, now);
            }
            // It is already changing again: its writer is not done and needs no error yet.
            Outcome::Broken(..) if self.settle.state(&job.file, now) != FileState::Unknown => {}
            Outcome::Gone => {
                slot.seen = None;
                slot.settled();
            }
            Outcome::Unreadable(error) => {
                step.failed();
                let text = format!("{error:#}");
                slot.failure = Some(Problem::new(file, ProblemKind::Unreadable, &text));
                slot.settled();
            }
            Outcome::Short(error) => {
                step.failed();
                let text = format!("{error:#}: retrying later");
                slot.failure = Some(Problem::new(file, ProblemKind::Unreadable, &text));
                slot.try_later(now);
            }
            Outcome::Same => {
                slot.settled();
                if slot.failure.take().is_some() {
                    if let Some(handler) = slot.serving.clone() {
                        self.record(|| HandlerEvent::loaded(&handler, None));
                    }
                    let change = format!("{}: its file is the served version again", job.name);
                    self.changes.push(change);
                }
            }
            Outcome::FailedBefore => slot.settled(),
            Outcome::Broken(version, error) => {
                step.failed();
                let serving = slot.serving.as_ref().map(|handler| handler.version);
                let broken = Problem::broken(file, &job.route, version, serving, &error);
                slot.failure = Some(broken);
                slot.settled();
                self.record(|| HandlerEvent::Failed {
                    name: job.name,
                    file: job.file,
                    message: format!("{error:#}"),
                });
            }
            Outcome::Loaded(version, program, times) => {
                Counter::Loads.increment();
                slot.settled();
                let is_told = !(self.quiet && job.stage == Stage::LookUp);
                let handler = self.handler(job, version, program);
                self.serve(handler, times, is_told);
            }
        }
    }

    /// Replaces a program with another of the same version and file, if that one is still being
    /// served. Reports nothing, because it behaves the same. `replaced` is called with both before.
    pub(super) fn renew(&mut self, renewed: Renewed<P>, replaced: impl FnOnce(&P, &P)) {
        let Some(slot) = self.slots.get_mut(&renewed.shape) else {
            return;
        };
        let is_it = |handler: &&mut Arc<Handler<P>>| {
            handler.version == renewed.version && handler.file == renewed.file
        };
        if let Some(handler) = slot.serving.as_mut().filter(is_it) {
            replaced(&handler.program, &renewed.program);
            let next = Handler {
                name: handler.name.clone(),
                route: handler.route.clone(),
                file: renewed.file,
                program: renewed.program,
                version: renewed.version,
                usage: handler.usage.clone(),
            };
            self.retired
                .push(std::mem::replace(handler, Arc::new(next)));
        }
    }

    /// Advances the queue to `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        for shape in self.queue.advance(now) {
            let Some(slot) = self.slots.get(&shape) else {
                continue;
            };
            let file = label(&self.given, Path::new(&slot.file));
            let meanwhile = match (&slot.serving, &slot.pending) {
                (Some(handler), _) => format!("the previous version serves {}", handler.route),
                (None, Some(pending)) => format!("{} answers 503", pending.route),
                (None, None) => "it is not served".to_owned(),
            };
            let so_far = SLICE.as_secs();
            let change = format!(
                "{file}: still compiling after {so_far} s; until then \
                                  {meanwhile}"
            );
            self.changes.push(change);
        }
    }

    /// Removes and returns the next job to run now.
    pub(super) fn next_job(&mut self, now: Instant) -> Option<Job> {
        let (job, position) = self.queue.next(now)?;
        if job.stage == Stage::Load {
            let (name, file) = (job.name.clone(), job.file.clone());
            self.record(|| HandlerEvent::Began { name, file });
        }
        if job.stage == Stage::Load && !self.has_started() {
            let file = full_name(self.host.as_deref(), &job.file);
            let file = label(Path::new(""), Path::new(&file));
            self.changes.push(match position {
                Some(Position { number, of }) => format!("compiling {file} ({number} of {of}) …"),
                None => format!("compiling {file} again …"),
            });
        }
        Some(job)
    }

    /// Returns whether all files that existed at startup have a result.
    pub(super) fn has_started(&self) -> bool {
        !self.slots.values().any(|slot| slot.at_start)
    }

    /// Returns the current handlers and problems.
    pub(super) fn registry(&self) -> Registry<P> {
        let handlers = self.serving().cloned();
        let pending = self.pending().cloned().collect();
        let registry = Registry::new(self.given.clone(), handlers, pending, self.problems());
        match &self.host {
            Some(host) => registry.of_host(host.clone()),
            None => registry,
        }
    }

    /// Returns how `registry` differs from the current state.
    pub(super) fn difference(&self, registry: &Registry<P>) -> Difference {
        let is_served = |handler: &Arc<Handler<P>>| {
            let served = registry.handler(&handler.name);
            served.is_some_and(|served| Arc::ptr_eq(served, handler))
        };
        let is_pending = |pending: &Arc<Pending>| {
            let known = registry.pending_handler(&pending.name);
            known.is_some_and(|known| Arc::ptr_eq(known, pending))
        };
        if self.serving().count() != registry.handlers().len()
            || !self.serving().all(is_served)
            || self.problems() != registry.problems()
        {
            Difference::Served
        } else if self.pending().count() != registry.pending().len()
            || !self.pending().all(is_pending)
        {
            Difference::Pending
        } else {
            Difference::None
        }
    }

    fn serving(&self) -> impl Iterator<Item = &Arc<Handler<P>>> {
        self.slots.values().filter_map(|slot| slot.serving.as_ref())
    }

    fn pending(&self) -> impl Iterator<Item = &Arc<Pending>> {
        let loading = self.slots.values().filter_map(|slot| slot.pending.as_ref());
        loading.chain(self.building())
    }

    /// Returns the problems, sorted.
    fn problems(&self) -> Vec<Problem> {
        let failures = self.slots.values().filter_map(|slot| slot.failure.as_ref());
        let problems = failures.chain(&self.complaints).cloned();
        let problems = problems.map(|problem| problem.of_host(self.host.as_deref()));
        let mut problems: Vec<Problem> = problems.collect();
        problems.sort();
        problems
    }

    fn handler(&mut self, job: Job, version: Version, program: P) -> Arc<Handler<P>> {
        let known = self.usages.get(&job.name);
        let permits = known.and_then(|(_, permits)| permits.upgrade());
        let known = known.and_then(|(usage, _)| usage.upgrade());
        let usage = known.unwrap_or_else(|| {
            self.usages
                .retain(|_, (_, permits)| permits.strong_count() > 0);
            Arc::new(Usage {
                permits: permits.unwrap_or_default(),
                ..Usage::default()
            })
        });
        let weak = (Arc::downgrade(&usage), Arc::downgrade(&usage.permits));
        self.usages.insert(job.name.clone(), weak);
        Arc::new(Handler {
            name: job.name.into(),
            route: job.route,
            file: job.file,
            program,
            version,
            usage,
        })
    }

    /// Serves a version whose load took this time. Logs it, if `is_told`.
    fn serve(&mut self, handler: Arc<Handler<P>>, times: LoadTimes, is_told: bool) {
        let Some(slot) = self.slots.get_mut(&handler.route.shape()) else {
            return;
        };
        let (name, route, version) = (&handler.name, &handler.route, handler.version);
        self.changes.extend(is_told.then(|| {
            let ms = times.took.as_millis();
            match &slot.serving {
                Some(_) => format!("{name}: reloaded ({version}, {ms} ms)"),
                None => format!("{name}: loaded, serves {route} ({version}, {ms} ms)"),
            }
        }));
        if slot.serving.is_some() {
            Counter::Swaps.increment();
        }
        slot.failure = None;
        let event = HandlerEvent::loaded(&handler, Some(times));
        self.retired.extend(slot.serving.replace(handler));
        self.record(|| event);
    }

    fn record(&mut self, event: impl FnOnce() -> HandlerEvent) {
        if self.records_events {
            self.events.push(event());
        }
    }

    /// Drops retired handlers that are no longer in use.
    fn release_retired(&mut self) {
        self.retired
            .retain(|handler| Arc::strong_count(handler) > 1);
    }
}
