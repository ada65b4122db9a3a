//! Loads one file: hash, read, load. This is the slow part, and the only one on other threads.
//! `queue` decides which job runs when.

use std::cell::LazyCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::application;
use super::cancel::CancelToken;
use super::later::{Later, Renewal};
use super::loader::{Load, LoadRequest};
use super::shortage::Shortage;
use super::source::{self, Content};
use crate::mapped_bytes::MappedBytes;
use crate::metrics::{LoadStep, LoadSteps};
use crate::registry::Version;
use crate::router::{Route, Shape};

/// A file to load, with what is known about its content.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Absolute.
    pub(super) path: PathBuf,
    pub(super) file: String,
    pub(super) name: String,
    pub(super) route: Route,
    pub(super) shape: Shape,
    /// The version served from this file: not loaded again.
    pub(super) serving: Option<Version>,
    /// The version that failed to load: not tried again.
    pub(super) failed: Option<Version>,
    /// The file keeps changing: use it as it is.
    pub(super) overdue: bool,
    pub(super) stage: Stage,
    /// Its load is expected to take long.
    pub(super) is_long: bool,
    /// Cancels its load.
    pub(super) cancel: CancelToken,
    /// When the change of the file was seen.
    pub(super) seen_at: Instant,
    /// The time for which its earlier stages have run.
    pub(super) looked_up: Duration,
}

/// The stage of a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Hash the file and compare it with known versions.
    LookUp,
    /// Load the file, whose version is unknown.
    Load,
}

/// The time that each step of a load took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadTimes {
    /// The time of the last stage, which is in the log.
    pub(crate) took: Duration,
    /// The time from the change that was seen to the first step, and between the steps: until a
    /// thread was free, or another load had ended.
    pub(crate) waited: Duration,
    /// The time to read and to hash the file.
    pub(crate) read: Duration,
    /// The time to make a program of it: to compile it, or to take it from the cache.
    pub(crate) made: Duration,
}

/// The result of a [`Job`].
pub(super) struct Done<P> {
    pub(super) job: Job,
    /// The last step.
    pub(super) step: LoadStep,
    pub(super) outcome: Outcome<P>,
}

/// A program that replaces another one of the same version.
pub(super) struct Renewed<P> {
    pub(super) file: String,
    pub(super) shape: Shape,
    pub(super) version: Version,
    pub(super) program: P,
}

pub(super) enum Outcome<P> {
    /// The file no longer exists.
    Gone,
    /// The file changed while it was read.
    Torn,
    /// The file can't be read.
    Unreadable(anyhow::Error),
    /// The system lacks a resource to read or load it now.
    Short(anyhow::Error),
    /// The content is already being served.
    Same,
    /// The content has failed before.
    FailedBefore,
    /// The file was looked up and must be loaded.
    Unknown,
    /// The load was cancelled.
    Cancelled,
    /// The content doesn't load.
    Broken(Version, anyhow::Error),
    /// A program.
    Loaded(Version, P, LoadTimes),
}

impl<P> Done<P> {
    fn new(job: Job, steps: &LoadSteps, outcome: Outcome<P>) -> Self {
        let step = steps.current();
        Self { job, step, outcome }
    }

    #[cfg(test)]
    pub(super) fn unread(job: Job, outcome: Outcome<P>) -> Self {
        let step = LoadStep::Read;
        Self { job, step, outcome }
    }
}

impl<P> Outcome<P> {
    /// Returns whether there is a program.
    pub(super) fn is_loaded(&self) -> bool {
        matches!(self, Outcome::Loaded(..))
    }

    /// Returns the outcome for a file that could not be read.
    fn unread(error: anyhow::Error) -> Self {
        match Shortage::is_cause_of(&error) {
            true => Outcome::Short(error),
            false => Outcome::Unreadable(error),
        }
    }
}

impl Job {
    /// Returns the job to be run again after it was cancelled.
    pub(super) fn again(self) -> Job {
        Job {
            is_long: true,
            cancel: CancelToken::new(),
            ..self
        }
    }

    /// Runs its stage and reports the result. Blocks on the file and on the loader; a panic in the
    /// loader counts as a failed load. After the report, runs the loader's deferred work, which can
    /// result in another program to serve.
    pub(super) fn run<L: Load>(
        mut self,
        loader: &L,
        report: impl FnOnce(Done<L::Program>),
    ) -> Option<Renewed<L::Program>> {
        let begun = Instant::now();
        let steps = LoadSteps::new();
        if self.stage == Stage::LookUp {
            let outcome = self.look_up(loader, begun);
            self.looked_up += begun.elapsed();
            report(Done::new(self, &steps, outcome));
            return None;
        }
        let (bytes, version) = match self.read(loader) {
            Ok(read) => read,
            Err(outcome) => {
                report(Done::new(self, &steps, outcome));
                return None;
            }
        };
        self.looked_up += begun.elapsed();
        let cancel = self.cancel.clone();
        let turn = || loader.turn(version, &cancel);
        // Without a turn, it may be loaded twice.
        let turn = catch_unwind(AssertUnwindSafe(turn)).ok();
        let later = Later::default();
        let outcome = self.load(loader, &bytes, version, &later, &steps, begun);
        drop(bytes);
        let (path, file, shape) = (self.path.clone(), self.file.clone(), self.shape.clone());
        report(Done::new(self, &steps, outcome));
        drop(steps);
        let renewal = later.run();
        drop(turn);
        if renewal == Renewal::Unneeded {
            return None;
        }
        let recall = || loader.recall(&path, version);
        let program = catch_unwind(AssertUnwindSafe(recall)).ok().flatten()?;
        Some(Renewed {
            file,
            shape,
            version,
            program,
        })
    }

    /// Runs all remaining stages and reports the result.
    pub(super) fn run_to_end<L: Load>(self, loader: &L, report: impl FnOnce(Done<L::Program>)) {
        let mut job = self;
        if job.stage == Stage::LookUp {
            let mut outcome = None;
            job.run(loader, |done| outcome = Some(done));
            let Some(done) = outcome else { return };
            if !matches!(done.outcome, Outcome::Unknown) {
                return report(done);
            }
            job = Job {
                stage: Stage::Load,
                ..done.job
            };
        }
        job.run(loader, report);
    }

    /// Runs the stage and returns the result.
    #[cfg(test)]
    pub(super) fn done<L: Load>(self, loader: &L) -> Done<L::Program> {
        let mut reported = None;
        self.run(loader, |done| reported = Some(done));
        reported.expect("it reports")
    }

    /// Runs all stages and returns the result.
    #[cfg(test)]
    pub(super) fn done_to_end<L: Load>(self, loader: &L) -> Done<L::Program> {
        let mut reported = None;
        self.run_to_end(loader, |done| reported = Some(done));
        reported.expect("it reports")
    }

    /// Returns the outcome if the file's hash is enough to know it: this version is served, has
    /// failed, or is known to the loader. Otherwise returns `Unknown`.
    fn look_up<L: Load>(&self, loader: &L, begun: Instant) -> Outcome<L::Program> {
        let Some(version) = self.version(loader) else {
            return match source::read(&self.path) {
                Ok(Content::Gone) => Outcome::Gone,
                Ok(Content::Whole(_) | Content::Torn(_)) => Outcome::Unknown,
                Err(error) => Outcome::unread(error),
            };
        };
        self.outcome_of(version).unwrap_or_else(|| {
            let recalling = Instant::now();
            // A loader that panics here may report why when it loads.
            let program = catch_unwind(AssertUnwindSafe(|| loader.recall(&self.path, version)));
            match program {
                Ok(Some(program)) => {
                    Outcome::Loaded(version, program, self.times(begun, recalling.elapsed()))
                }
                Ok(None) | Err(_) => Outcome::Unknown,
            }
        })
    }

    /// Returns the version of what the file contains now.
    fn version<L: Load>(&self, loader: &L) -> Option<Version> {
        let content = source::version(&self.path)?;
        Some(loader.version(&self.name, &self.path, content))
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

    /// Returns the file's bytes and their version, or the outcome if they must not be loaded.
    fn read<L: Load>(&self, loader: &L) -> Result<(MappedBytes, Version), Outcome<L::Program>> {
        if self.cancel.is_cancelled() {
            return Err(Outcome::Cancelled);
        }
        let bytes = match source::read(&self.path) {
            Ok(Content::Whole(bytes)) => bytes,
            Ok(Content::Torn(bytes)) if self.overdue => bytes,
            Ok(Content::Torn(_)) => return Err(Outcome::Torn),
            Ok(Content::Gone) => return Err(Outcome::Gone),
            Err(error) => return Err(Outcome::unread(error)),
        };
        let version = loader.version(&self.name, &self.path, Version::from_content(&bytes));
        match self.outcome_of(version) {
            Some(known) => Err(known),
            None => Ok((bytes, version)),
        }
    }

    /// Returns the times of a load whose last stage began at `begun`, and whose last step took
    /// `made`.
    fn times(&self, begun: Instant, made: Duration) -> LoadTimes {
        let took = begun.elapsed();
        let read = match self.stage {
            Stage::LookUp => took.saturating_sub(made),
            Stage::Load => self.looked_up,
        };
        let all = self.seen_at.elapsed();
        LoadTimes {
            took,
            waited: all.saturating_sub(read).saturating_sub(made),
            read,
            made,
        }
    }

    fn load<L: Load>(
        &self,
        loader: &L,
        bytes: &[u8],
        version: Version,
        later: &Later,
        steps: &LoadSteps,
        begun: Instant,
    ) -> Outcome<L::Program> {
        let is_folder = application::is_one(&self.path);
        // The loader may ask as well, and hashing all files of a folder takes long.
        let is_unchanged = LazyCell::new(|| {
            let now = match is_folder {
                true => self.version(loader),
                false => Some(loader.version(&self.name, &self.path, Version::from_content(bytes))),
            };
            now == Some(version)
        });
        let request = LoadRequest {
            name: &self.name,
            path: &self.path,
            bytes,
            version,
            cancel: &self.cancel,
            later,
            steps,
            is_unchanged: &|| *is_unchanged,
        };
        let loading = Instant::now();
        let loaded = catch_unwind(AssertUnwindSafe(|| loader.load(&request)));
        let made = loading.elapsed();
        // An application's files are read during the load: some may be of a later version.
        if !self.overdue && is_folder && !*is_unchanged {
            return Outcome::Torn;
        }
        match loaded {
            Ok(Ok(program)) => Outcome::Loaded(version, program, self.times(begun, made)),
            _ if self.cancel.is_cancelled() => Outcome::Cancelled,
            Ok(Err(error)) if error.is::<Shortage>() => Outcome::Short(error),
            Ok(Err(error)) => Outcome::Broken(version, error),
            Err(_) => Outcome::Broken(version, anyhow!("loading it made the loader panic")),
        }
    }
}
