//! What happens to handlers now, and how long the steps of their last loads took: for the
//! dashboard.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::printable;
use crate::reload::LoadTimes;
use crate::reload::projects::{BuildStep, LastLine};

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
    since: Instant,
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
    /// Records a step of a build.
    pub(super) fn build(&mut self, event: BuildStep, now: Instant) {
        match event {
            BuildStep::Waits { file } => {
                let progress = None;
                let since = now;
                self.builds.insert(file, Build { since, progress });
            }
            BuildStep::Began { file, progress } => {
                let progress = Some(progress);
                let since = now;
                self.builds.insert(file, Build { since, progress });
            }
            BuildStep::Ended { file, took } => {
                self.builds.remove(&file);
                if took.is_some() {
                    self.times.entry(file).or_default().built = took;
                }
            }
        }
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
        let file = || "shop".to_owned();
        let steps = |activity: &Activity| -> Vec<&str> {
            activity.running(now).iter().map(|one| one.step).collect()
        };
        activity.build(BuildStep::Waits { file: file() }, now);
        assert_eq!(steps(&activity), ["waits"]);
        let progress = LastLine::default();
        activity.build(
            BuildStep::Began {
                file: file(),
                progress,
            },
            now,
        );
        assert_eq!(steps(&activity), ["builds"]);
        let took = Some(Duration::from_millis(20));
        activity.build(BuildStep::Ended { file: file(), took }, now);
        activity.load_began("shop", now);
        assert_eq!(steps(&activity), ["loads"]);
        activity.load_ended("shop");
        activity.loaded("shop", LoadTimes::default());
        assert!(activity.running(now).is_empty());
        assert_eq!(activity.steps()["shop"].built, Some(20.0));
        // One that was cancelled says nothing about the time.
        activity.build(
            BuildStep::Ended {
                file: file(),
                took: None,
            },
            now,
        );
        assert_eq!(activity.steps()["shop"].built, Some(20.0));
        activity.withdrawn("shop");
        assert!(activity.steps().is_empty());
    }
}
