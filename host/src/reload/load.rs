//! One file, from its bytes to a program: hash, read, load. The slow part, and the only one that
//! runs on other threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::source::{self, Content};
use super::{CancelToken, Load, LoadRequest};
use crate::registry::Version;
use crate::router::{Route, Shape};

/// A file to load, and what is known of its content.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Absolute.
    pub(super) path: PathBuf,
    pub(super) file: String,
    pub(super) name: String,
    pub(super) route: Route,
    pub(super) shape: Shape,
    /// What is served from this very file: not loaded again.
    pub(super) serving: Option<Version>,
    /// What did not load: not tried again.
    pub(super) failed: Option<Version>,
    /// The file does not come to rest: take it as it is.
    pub(super) overdue: bool,
}

/// What became of a [`Job`].
pub(super) struct Done<P> {
    pub(super) job: Job,
    pub(super) outcome: Outcome<P>,
}

pub(super) enum Outcome<P> {
    /// The file is gone.
    Gone,
    /// The file changed while it was read.
    Torn,
    /// The file can't be read.
    Unreadable(anyhow::Error),
    /// The content is what is served already.
    Same,
    /// The content is what failed before.
    FailedBefore,
    /// The content does not load.
    Broken(Version, anyhow::Error),
    /// A program, and how long it took from the file to it.
    Loaded(Version, P, Duration),
}

impl Job {
    /// Does it. Blocks on the file and on the loader; a loader that panics has failed to load.
    pub(super) fn run<L: Load>(self, loader: &L) -> Done<L::Program> {
        let outcome = self.outcome(loader);
        Done { job: self, outcome }
    }

    /// The outcome, where the file's bytes are not needed for it: what they are the hash of is
    /// served, has failed, or is known to the loader.
    fn known<L: Load>(&self, loader: &L, begun: Instant) -> Option<Outcome<L::Program>> {
        let version = source::version(&self.path)?;
        self.outcome_of(version).or_else(|| {
            let program = catch_unwind(AssertUnwindSafe(|| loader.recall(version)));
            Some(Outcome::Loaded(version, program.ok()??, begun.elapsed()))
        })
    }

    fn outcome_of<P>(&self, version: Version) -> Option<Outcome<P>> {
        if self.serving == Some(version) {
            Some(Outcome::Same)
        } else if self.failed == Some(version) {
            Some(Outcome::FailedBefore)
        } else {
            None
        }
    }

    fn outcome<L: Load>(&self, loader: &L) -> Outcome<L::Program> {
        let begun = Instant::now();
        if let Some(known) = self.known(loader, begun) {
            return known;
        }
        let bytes = match source::read(&self.path) {
            Ok(Content::Whole(bytes)) => bytes,
            Ok(Content::Torn(bytes)) if self.overdue => bytes,
            Ok(Content::Torn(_)) => return Outcome::Torn,
            Ok(Content::Gone) => return Outcome::Gone,
            Err(error) => return Outcome::Unreadable(error),
        };
        let version = Version::of(&bytes);
        if let Some(known) = self.outcome_of(version) {
            return known;
        }
        let request = LoadRequest {
            name: &self.name,
            bytes: &bytes,
            version,
            cancel: &CancelToken::new(),
        };
        match catch_unwind(AssertUnwindSafe(|| loader.load(&request))) {
            Ok(Ok(program)) => Outcome::Loaded(version, program, begun.elapsed()),
            Ok(Err(error)) => Outcome::Broken(version, error),
            Err(_) => Outcome::Broken(version, anyhow!("loading it made the loader panic")),
        }
    }
}
