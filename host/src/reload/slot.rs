//! The slot of one route: its file, the served version, and its problem.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::CancelToken;
use super::listing::Found;
use super::load::{Job, Stage};
use super::queue::Queue;
use super::shortage;
use crate::file_stamp::FileStamp;
use crate::registry::{Claim, Handler, Pending, Problem, ProblemKind, Step};
use crate::router::Route;

/// The minimum interval between two loads of one route. A constantly rewritten file costs at most
/// ten compilations a second, and the last version is served at most this much later.
const LOAD_SPACING: Duration = Duration::from_millis(100);

/// The state of one route.
pub(super) struct Slot<P> {
    /// The file with the route.
    pub(super) file: String,
    /// Its stamp when it was last read. `None` if it must be read (again).
    pub(super) seen: Option<FileStamp>,
    pub(super) serving: Option<Arc<Handler<P>>>,
    /// Set while its first version is being loaded.
    pub(super) pending: Option<Arc<Pending>>,
    pub(super) failure: Option<Problem>,
    pub(super) work: Work,
    pub(super) not_before: Option<Instant>,
    /// The number of consecutive loads that were cancelled because the file had changed.
    pub(super) superseded: u8,
    /// Its last load took long.
    pub(super) is_long: bool,
    /// The number of consecutive loads that failed for a shortage.
    pub(super) shortages: u32,
    /// When to retry after a shortage.
    pub(super) retry_at: Option<Instant>,
    /// It existed at startup and has no result yet.
    pub(super) at_start: bool,
}

/// Whether the slot's file is being loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Idle,
    /// A job is waiting or running.
    Loading {
        /// The stamp of the file at the last look.
        stamp: FileStamp,
        since: Since,
    },
}

/// The changes to a route's file since its job was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Since {
    Nothing,
    /// It may have changed.
    Changed,
    /// Another file has the route.
    Moved,
}

impl Work {
    pub(super) fn is_on(self) -> bool {
        self != Work::Idle
    }

    pub(super) fn is_stale(self) -> bool {
        matches!(self, Work::Loading { since, .. } if since != Since::Nothing)
    }

    /// Records that the file may have changed.
    pub(super) fn doubt(&mut self) {
        if let Work::Loading { since, .. } = self {
            *since = Since::Changed.max(*since);
        }
    }
}

impl<P> Slot<P> {
    pub(super) fn new(file: &str, at_start: bool) -> Slot<P> {
        Slot {
            file: file.to_owned(),
            seen: None,
            serving: None,
            pending: None,
            failure: None,
            work: Work::Idle,
            not_before: None,
            superseded: 0,
            is_long: false,
            shortages: 0,
            retry_at: None,
            at_start,
        }
    }

    /// Records a result for its file: the route is now served or not.
    pub(super) fn settled(&mut self) {
        self.pending = None;
        self.at_start = false;
        self.shortages = 0;
        self.retry_at = None;
    }

    /// Handles a shortage. If no version is served, the route answers 503.
    pub(super) fn try_later(&mut self, now: Instant) {
        self.shortages = self.shortages.saturating_add(1);
        self.retry_at = now.checked_add(shortage::pause(self.shortages));
        self.at_start = false;
    }

    /// Queues `job`, which reads the file again.
    pub(super) fn go_on(&mut self, job: Job, queue: &mut Queue) {
        if let Work::Loading { since, .. } = &mut self.work
            && *since == Since::Changed
        {
            *since = Since::Nothing;
        }
        self.expect(&job.name, &job.route);
        queue.push(Job {
            stage: Stage::Load,
            ..job
        });
    }

    /// Makes the route answer 503 until a first version is loaded.
    pub(super) fn expect(&mut self, name: &str, route: &Route) {
        if self.serving.is_some()
            || self
                .pending
                .as_ref()
                .is_some_and(|one| one.file == self.file)
        {
            return;
        }
        self.pending = Some(Arc::new(Pending {
            name: name.to_owned(),
            route: route.clone(),
            file: self.file.clone(),
            claim: match self.at_start {
                true => Claim::Route,
                false => Claim::Rest,
            },
            step: Step::Load,
        }));
    }

    /// Returns the job that loads `found` into this slot.
    pub(super) fn begin(
        &mut self,
        found: &Found,
        folder: &Path,
        overdue: bool,
        now: Instant,
    ) -> Job {
        let same_file = self.file == found.file;
        let failed = match self.failure.as_ref().map(|failure| &failure.kind) {
            Some(ProblemKind::Broken { version, .. }) if same_file => Some(*version),
            _ => None,
        };
        let serving = self.serving.as_ref();
        let serving = serving.filter(|handler| handler.file == found.file);
        let serving = serving.map(|handler| handler.version);
        self.work = Work::Loading {
            stamp: found.stamp,
            since: Since::Nothing,
        };
        self.not_before = Some(now + LOAD_SPACING);
        self.seen = Some(found.stamp);
        self.file.clone_from(&found.file);
        if self.failure.is_none() {
            self.expect(&found.name, &found.route);
        }
        Job {
            path: found
                .artifact
                .clone()
                .unwrap_or_else(|| folder.join(&found.file)),
            file: found.file.clone(),
            name: found.name.clone(),
            route: found.route.clone(),
            shape: found.shape.clone(),
            serving,
            failed,
            overdue,
            stage: Stage::LookUp,
            is_long: self.is_long,
            cancel: CancelToken::new(),
            seen_at: now,
            looked_up: Duration::ZERO,
        }
    }
}
