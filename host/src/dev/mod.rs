//! What `wasgi dev` adds to the server: pages in a browser follow changes, and failures explain
//! themselves. `wasgi serve` uses none of it.
//!
//! - `access`: who may use the server's own endpoints.
//! - `endpoints`: the endpoints, all below `/_wasgi/`.
//! - `events`: the bounded record of what happened, which open pages read as an event stream.
//! - `document`: HTML responses, into which a script is put; `place` finds its place, and `csp`
//!   extends the page's policy.
//! - `report`: failures of loads and requests, for people; `source` finds the place in the source.
//! - `lines`: the last lines of handlers.
//! - `requests`: the last requests with their responses; `capture` is a bounded body, and `rates`
//!   counts them by second.
//! - `activity`: the builds and loads in progress.
//! - `dashboard`: what the dashboard shows of all that.
//!
//! `assets/` has the script, in three files that are served as one, and the dashboard.

pub(crate) mod access;
mod activity;
mod answer;
mod capture;
mod csp;
mod dashboard;
pub(crate) mod document;
pub(crate) mod endpoints;
pub(crate) mod events;
mod lines;
mod place;
mod rates;
mod report;
pub(crate) mod requests;
mod source;
mod text;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use self::activity::Activity;
use self::events::Events;
use self::lines::Lines;
use self::report::Editor;
use self::requests::Requests;
use crate::gateway::Failure;
use crate::host_name;
use crate::permits::Permits;
use crate::printable;
use crate::reload::projects::{BuildEvent, BuildStep};
use crate::reload::{HandlerEvent, PagesChange};

pub(crate) use self::document::Document;
pub(crate) use self::report::{Failed, Report};

/// The maximum number of paths in the event of a change. A larger change is one of everything.
const MAX_PATHS: usize = 100;

/// The maximum number of handlers whose failure to load is kept for pages that are opened later.
const MAX_FAILURES: usize = 100;

/// Describes the served site.
struct Site(Box<dyn Fn() -> Option<Value> + Send + Sync>);

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Site")
    }
}

/// The state of `wasgi dev`, shared by all threads.
#[derive(Debug)]
pub(crate) struct Dev {
    events: Events,
    /// The nonce of the script's tags: see [`csp`].
    nonce: String,
    /// The folder of handlers, absolute.
    handlers: PathBuf,
    editor: Editor,
    lines: Lines,
    /// The handlers whose last version could not be loaded, by file.
    failures: Mutex<BTreeMap<String, Report>>,
    /// The number of open event streams.
    streams: Arc<Permits>,
    requests: Arc<Requests>,
    activity: Mutex<Activity>,
    site: OnceLock<Site>,
}

/// A change of pages, for the event stream.
#[derive(Serialize)]
struct Changed<'a> {
    /// The paths that changed, relative to the folder of pages. `None` if everything may have.
    paths: Option<Vec<std::borrow::Cow<'a, str>>>,
}

/// A new version of a handler, for the event stream.
#[derive(Serialize)]
struct Loaded<'a> {
    handler: &'a str,
    route: String,
    version: String,
    ms: u128,
}

/// The name of a handler, for the event stream.
#[derive(Serialize)]
struct Named<'a> {
    handler: &'a str,
}

/// A step of a build, for the event stream.
#[derive(Serialize)]
struct Build<'a> {
    handler: &'a str,
    file: &'a str,
    /// `waits`, `builds`, `slow` or `ended`.
    step: &'a str,
    /// The time since this build began, in milliseconds, unless it has ended.
    ms: Option<f64>,
}

/// A removed file of a handler, for the event stream.
#[derive(Serialize)]
struct Withdrawn<'a> {
    file: &'a str,
}

impl Dev {
    /// Creates the state for a site with this folder of handlers.
    pub(crate) fn new(handlers: &Path) -> Self {
        Self {
            events: Events::new(random()),
            nonce: random(),
            // Fails only for an empty path, or if the current folder no longer exists.
            handlers: std::path::absolute(handlers).unwrap_or_else(|_| handlers.to_owned()),
            editor: Editor::from_environment(),
            lines: Lines::default(),
            failures: Mutex::default(),
            streams: Arc::default(),
            requests: Arc::new(Requests::new()),
            activity: Mutex::default(),
            site: OnceLock::new(),
        }
    }

    /// Returns the record of what happened.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Returns the record of requests.
    pub(crate) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// Sets the function that describes the served site as the admin listener's `/status` does.
    /// `None` when the server has ended. Only the first call has an effect.
    pub(crate) fn describe_site(
        &self,
        describe: impl Fn() -> Option<Value> + Send + Sync + 'static,
    ) {
        // Fails if it was set before, and then remains.
        let _ = self.site.set(Site(Box::new(describe)));
    }

    fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Records a change of pages.
    pub(crate) fn pages_changed(&self, change: &PagesChange) {
        let paths = match change {
            PagesChange::Paths(paths) if paths.len() <= MAX_PATHS => {
                Some(paths.iter().map(|path| path.to_string_lossy()).collect())
            }
            _ => None,
        };
        self.events.publish("changed", &Changed { paths });
    }

    /// Records an event of a handler's file.
    pub(crate) fn handler_changed(&self, event: &HandlerEvent) {
        match event {
            HandlerEvent::Began { name, file } => {
                self.activity().load_began(file, Instant::now());
                self.events.publish("loading", &Named { handler: name });
            }
            HandlerEvent::Ended { file } => self.activity().load_ended(file),
            HandlerEvent::Loaded {
                name,
                file,
                route,
                version,
                times,
            } => {
                if let Some(times) = times {
                    self.activity().loaded(file, *times);
                }
                self.failures().remove(file);
                let loaded = Loaded {
                    handler: name,
                    route: route.to_string(),
                    version: version.to_string(),
                    ms: times.map_or(0, |times| times.took.as_millis()),
                };
                self.events.publish("loaded", &loaded);
            }
            HandlerEvent::Failed {
                name,
                file,
                message,
            } => {
                let report = self.report_of_load(name, file, message);
                let mut failures = self.failures();
                if failures.len() < MAX_FAILURES || failures.contains_key(file) {
                    failures.insert(file.clone(), report.clone());
                }
                drop(failures);
                self.events.publish("failed", &report);
            }
            HandlerEvent::Withdrawn { file } => {
                self.activity().withdrawn(file);
                self.failures().remove(file);
                self.events.publish("withdrawn", &Withdrawn { file });
            }
        }
    }

    /// Records a step of a project's build.
    pub(crate) fn build_changed(&self, event: &BuildEvent) {
        let ms = self.activity().build(event, Instant::now());
        let step = match event.step {
            BuildStep::Waits => "waits",
            BuildStep::Began(_) => "builds",
            BuildStep::Slow => "slow",
            BuildStep::Ended { .. } | BuildStep::Cancelled => "ended",
        };
        let build = Build {
            handler: &event.name,
            file: &printable::one_line(&event.file).to_string(),
            step,
            ms,
        };
        self.events.publish("build", &build);
    }

    /// Records a line of the output of a handler, with the number of its request. `level` is `info`
    /// or `warn`.
    pub(crate) fn line(
        &self,
        level: &'static str,
        handler: &Arc<str>,
        request: Option<NonZeroU64>,
        line: &[u8],
    ) {
        let line = self.lines.add(request, level, line);
        self.events.publish_log(&lines::Shown {
            handler,
            level,
            line: &line,
        });
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, Report>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a failure of a handler, and the lines of its source that it is about, for a terminal.
/// `handlers` is the folder of the handler, which may be that of a virtual host.
pub(crate) fn explained(failure: &Failure, handlers: &Path, handler: &str) -> String {
    let message = failure.to_string();
    let (_, handler) = host_name::split(handler);
    let found = source::find(handlers, handler, handler, &message);
    message + &found.map_or(String::new(), |found| found.excerpt.indented())
}

/// Returns 64 random bits as text. The standard library's hasher takes its keys from the system.
fn random() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
