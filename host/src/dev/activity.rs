//! What happens to handlers now, and how long the steps of their last loads took: for the
//! dashboard.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::printable;
use crate::reload::LoadTimes;
use crate::reload::projects::{BuildEvent, BuildStep, LastLine};

/// The builds and loads in progress, and the times of the last ones, by file in the folder of
/// handlers. There are at most as many as files.
#[derive(Debug, Default)]
pub(super) struct Activity {
    builds: BTreeMap<String, Build>,
    loads: BTreeMap<String, Instant>,
    times: BTreeMap<String, Times>,
}

#[derive(Debug)]
struct Build {
    /// The name of the handler.
    name: String,
    since: Instant,
    is_slow: bool,
    /// What its command has written last. `None` while it waits for other builds.
    progress: Option<LastLine>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    built: Option<Duration>,
    load: Option<LoadTimes>,
}

/// A build or load in progress.
#[derive(Debug, Serialize)]
pub(super) struct Running {
    file: String,
    /// `waits`, `builds` or `loads`.
    step: &'static str,
    /// The time since this step began, in milliseconds.
    ms: f64,
    /// What the command of the build has written last.
    line: String,
}

/// A build that takes long.
#[derive(Debug, Serialize)]
pub(super) struct SlowBuild {
    handler: String,
    /// The time since it began, in milliseconds.
    ms: f64,
}

/// The times of the steps of the last load of a handler, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Steps {
    /// The build of a project.
    built: Option<f64>,
    waited: Option<f64>,
    read: Option<f64>,
    /// It was compiled, or taken from the cache.
    made: Option<f64>,
}

impl Activity {
    /// Records a step of a build. Returns the time since this build began, in milliseconds, unless
    /// it has ended.
    pub(super) fn build(&mut self, event: &BuildEvent, now: Instant) -> Option<f64> {
        let file = || event.file.clone();
        let began = |progress| Build {
            name: event.name.clone(),
            since: now,
            is_slow: false,
            progress,
        };
        match &event.step {
            BuildStep::Waits => drop(self.builds.insert(file(), began(None))),
            BuildStep::Began(line) => {
                let began = began(Some(line.clone()));
                self.builds.insert(file(), began);
            }
            BuildStep::Slow => {
                if let Some(build) = self.builds.get_mut(&event.file) {
                    build.is_slow = true;
                }
            }
            BuildStep::Ended { took, .. } => {
                self.builds.remove(&event.file);
                if took.is_some() {
                    self.times.entry(file()).or_default().built = *took;
                }
            }
            BuildStep::Cancelled => drop(self.builds.remove(&event.file)),
        }
        let build = self.builds.get(&event.file)?;
        Some(ms(now.saturating_duration_since(build.since)))
    }

    /// Returns the builds that take long.
    pub(super) fn slow_builds(&self, now: Instant) -> Vec<SlowBuild> {
        let slow = self.builds.values().filter(|build| build.is_slow);
        let shown = |build: &Build| SlowBuild {
            handler: build.name.clone(),
            ms: ms(now.saturating_duration_since(build.since)),
        };
        slow.map(shown).collect()
    }

    /// Records that a load has begun.
    pub(super) fn load_began(&mut self, file: &str, now: Instant) {
        self.loads.insert(file.to_owned(), now);
    }

    /// Records that a load has ended.
    pub(super) fn load_ended(&mut self, file: &str) {
        self.loads.remove(file);
    }

    /// Records the times of a load.
    pub(super) fn loaded(&mut self, file: &str, times: LoadTimes) {
        self.times.entry(file.to_owned()).or_default().load = Some(times);
    }

    /// Forgets a file that was removed.
    pub(super) fn withdrawn(&mut self, file: &str) {
        self.loads.remove(file);
        self.times.remove(file);
    }

    /// Returns what is in progress.
    pub(super) fn running(&self, now: Instant) -> Vec<Running> {
        let running = |file: &str, step, since, line| Running {
            file: printable::one_line(file).to_string(),
            step,
            ms: ms(now.saturating_duration_since(since)),
            line,
        };
        let builds = self.builds.iter().map(|(file, build)| {
            let (step, line) = match &build.progress {
                None => ("waits", String::new()),
                Some(line) => ("builds", line.text()),
            };
            running(file, step, build.since, line)
        });
        let loads = self.loads.iter();
        let loads = loads.map(|(file, since)| running(file, "loads", *since, String::new()));
        builds.chain(loads).collect()
    }

    /// Returns the times of the last loads, by file.
    pub(super) fn steps(&self) -> BTreeMap<&str, Steps> {
        let steps = |times: &Times| Steps {
            built: times.built.map(ms),
            waited: times.load.map(|load| ms(load.waited)),
            read: times.load.map(|load| ms(load.read)),
            made: times.load.map(|load| ms(load.made)),
        };
        let times = self.times.iter();
        times.map(|(file, times)| (&**file, steps(times))).collect()
    }
}

/// Returns a time in milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_in_progress_until_it_ends_and_its_time_is_kept() {
        let mut activity = Activity::default();
        let now = Instant::now();
        let event = |step| BuildEvent {
            file: "shop.c".to_owned(),
            name: "shop".to_owned(),
            step,
        };
        let ended = |millis| BuildStep::Ended {
            took: Some(Duration::from_millis(millis)),
            failure: None,
        };
        let steps = |activity: &Activity| -> Vec<&str> {
            activity.running(now).iter().map(|one| one.step).collect()
        };
        activity.build(&event(BuildStep::Waits), now);
        assert_eq!(steps(&activity), ["waits"]);
        activity.build(&event(BuildStep::Began(LastLine::default())), now);
        assert_eq!(steps(&activity), ["builds"]);
        assert!(activity.slow_builds(now).is_empty());
        let later = now + Duration::from_secs(1);
        let taken = activity.build(&event(BuildStep::Slow), later);
        assert_eq!(taken, Some(1000.0));
        let slow = activity.slow_builds(later);
        assert_eq!((slow[0].handler.as_str(), slow[0].ms), ("shop", 1000.0));
        assert_eq!(activity.build(&event(ended(20)), now), None);
        assert!(activity.slow_builds(now).is_empty());
        activity.load_began("shop.c", now);
        assert_eq!(steps(&activity), ["loads"]);
        activity.load_ended("shop.c");
        activity.loaded("shop.c", LoadTimes::default());
        assert!(activity.running(now).is_empty());
        assert_eq!(activity.steps()["shop.c"].built, Some(20.0));
        // One that was cancelled says nothing about the time.
        activity.build(&event(BuildStep::Cancelled), now);
        assert_eq!(activity.steps()["shop.c"].built, Some(20.0));
        activity.withdrawn("shop.c");
        assert!(activity.steps().is_empty());
    }
}
