//! The thread that decides when to build which project.
//!
//! - A change of a source's content starts a build, once no further change has followed for a
//!   moment. A change during a build cancels it, and another one starts.
//! - After [`MAX_SUPERSEDED`] cancellations in a row, the next build runs to its end, so that
//!   sources that change constantly are built nevertheless.
//! - A build may write sources itself, and then would cause the next one. If nothing but builds
//!   changes sources, each further build waits longer ([`PAUSES`]), and then no more follow. The
//!   files that each of these builds has changed are thereafter ignored while a build runs.
//! - Of several processes that may build a site, only one builds. The others follow its results,
//!   and one of them replaces it when it has ended.
//! - Cargo builds one project at a time, since all share its target folder. Others run in parallel,
//!   as many as there are processors. A build that waits for one of another site starts at the next
//!   reading of all sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::build::{self, BuildOptions, Outcome, Report};
use super::failed;
use super::last_line::LastLine;
use super::lead::Lead;
use super::output;
use super::places;
use super::project::Project;
use super::shared::{BuildStep, Shared};
use super::sources::{Sources, is_lock};
use crate::host_name::of_host;
use crate::log;
use crate::permits::{Permit, Permits};
use crate::printable;
use crate::reload::{CancelToken, Watch, WatchEvent};

/// The time without events after which sources are read. A truncate-and-write takes a few
/// milliseconds, and a build of a half-written file is cancelled.
const QUIET: Duration = Duration::from_millis(15);

/// The maximum time that further events delay the reading of sources.
const MAX_QUIET: Duration = Duration::from_millis(200);

/// The interval of reading all sources without events, for file systems that have none.
const SAFETY_RESCAN: Duration = Duration::from_secs(2);

/// The maximum number of consecutive builds of a project that are cancelled.
const MAX_SUPERSEDED: u8 = 3;

/// The pauses before builds that were caused by builds alone. A developer who saves a file during
/// each of several builds also causes some of them, and the last pause is longer than typing.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The time after which a build that is still running is announced.
const SLOW: Duration = Duration::from_secs(1);

/// A message to the thread.
pub(super) enum Message {
    WatchEvent(WatchEvent),
    Update(Vec<Project>),
    Done(String, u64, Report),
    Roots(String, Vec<PathBuf>),
    Stop,
}

/// The state of the thread.
pub(super) struct Manager {
    inbox: Receiver<Message>,
    sender: Sender<Message>,
    shared: Arc<Shared>,
    options: BuildOptions,
    watch: Watch,
    /// This process builds. Otherwise, another one does.
    leads: Option<Lead>,
    jobs: BTreeMap<String, Job>,
    /// The number of the next build.
    next: u64,
    /// Builds in progress, by their number.
    running: BTreeMap<u64, InProgress>,
    /// The maximum number of builds in progress, with those of other sites in this process.
    max_running: usize,
}

/// A build in progress.
struct InProgress {
    is_cargo: bool,
    _permit: Permit,
}

/// A project, and the state of its builds.
struct Job {
    project: Project,
    /// The virtual host that it belongs to.
    host: Option<String>,
    sources: Sources,
    /// When to read the sources, and when at the latest.
    look_at: Option<(Instant, Instant)>,
    /// When to build.
    due: Option<Instant>,
    running: Option<Running>,
    /// The number of consecutive builds that were cancelled.
    superseded: u8,
    /// The files that changed during each build, while builds alone cause builds.
    chain: Vec<BTreeSet<PathBuf>>,
    /// The files that builds write.
    generated: BTreeSet<PathBuf>,
    /// Whether to find out again what the project depends on.
    asks_roots: bool,
    /// A build is due, and waits for others to end.
    waits: bool,
}

struct Running {
    number: u64,
    since: Instant,
    cancel: CancelToken,
    was_told: bool,
    changed: BTreeSet<PathBuf>,
}

impl Manager {
    pub(super) fn new(
        inbox: Receiver<Message>,
        sender: Sender<Message>,
        shared: Arc<Shared>,
        options: BuildOptions,
    ) -> Self {
        let cores = std::thread::available_parallelism();
        Self {
            inbox,
            sender,
            shared,
            options,
            watch: Watch::blind(),
            leads: None,
            jobs: BTreeMap::new(),
            next: 0,
            running: BTreeMap::new(),
            max_running: cores.map_or(1, usize::from),
        }
    }

    /// Runs until it is stopped; then cancels all builds and waits for them.
    pub(super) fn run(mut self) {
        let to = self.sender.clone();
        let roots = vec![PathBuf::from("/")];
        self.watch = Watch::new(&self.options.sharing.source, roots, move |event| {
            // Fails if the thread has ended.
            let _ = to.send(Message::WatchEvent(event));
        });
        self.lead();
        let mut next_safety = Instant::now() + SAFETY_RESCAN;
        while self.receive(next_safety) {
            let now = Instant::now();
            let is_safety = next_safety <= now;
            if is_safety {
                next_safety = now + SAFETY_RESCAN;
                self.lead();
            }
            for job in self.jobs.values_mut() {
                if is_safety || job.look_at.is_some_and(|(at, _)| at <= now) {
                    job.look(&mut self.watch, now);
                }
                if job.is_slow(now) {
                    self.shared.report(&job.project, BuildStep::Slow);
                }
            }
            self.start_due(now);
        }
        for job in self.jobs.values() {
            job.cancel();
        }
        while !self.running.is_empty() {
            match self.inbox.recv() {
                Ok(Message::Done(_, number, _)) => drop(self.running.remove(&number)),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Becomes the process that builds, unless another one is.
    fn lead(&mut self) {
        if self.leads.is_none() {
            self.leads = Lead::take(&self.options.places);
        }
        if self.leads.is_none() {
            self.follow_leader();
        }
    }

    /// Watches the results of the process that builds, and takes the failures that are news.
    fn follow_leader(&mut self) {
        let places = &self.options.places;
        let artifacts = self.jobs.keys().map(|file| places.artifact(file));
        let folders = artifacts.filter_map(|artifact| Some(artifact.parent()?.to_owned()));
        for folder in std::iter::once(places.failures()).chain(folders) {
            // Fails if the cache can't be written, which the process that builds reports.
            let _ = places::create(&folder);
            self.watch.ensure(&folder);
        }
        for (file, job) in &self.jobs {
            let failure = failed::read(places, file);
            let reason = failure.as_deref().and_then(|whole| whole.lines().next());
            let known = self.shared.lock().failures.get(file).cloned();
            if known.as_deref() != reason {
                self.shared.ended(&job.project, None, failure);
            }
        }
    }

    /// Takes the result of a build of another process, if a path has one.
    fn take_result(&self, path: &Path) {
        let places = &self.options.places;
        let has_result =
            |file: &String| places.artifact(file) == path || places.failure(file) == path;
        if self.leads.is_none()
            && let Some((file, job)) = self.jobs.iter().find(|(file, _)| has_result(file))
        {
            self.shared
                .ended(&job.project, None, failed::read(places, file));
        }
    }

    /// Waits for the next message or deadline, and handles all available messages. Returns `false`
    /// to stop.
    fn receive(&mut self, next_safety: Instant) -> bool {
        let due = self.jobs.values().filter_map(Job::next_due).min();
        let due = due.map_or(next_safety, |due| due.min(next_safety));
        let first = match self
            .inbox
            .recv_timeout(due.saturating_duration_since(Instant::now()))
        {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let more: Vec<_> = self.inbox.try_iter().collect();
        std::iter::once(first)
            .chain(more)
            .all(|message| self.take(message))
    }

    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Stop => return false,
            Message::Update(projects) => self.update(projects),
            Message::Done(file, number, report) => self.done(&file, number, &report),
            Message::Roots(file, roots) => {
                if let Some(job) = self.jobs.get_mut(&file) {
                    job.follow(roots, &mut self.watch);
                }
            }
            Message::WatchEvent(WatchEvent::Seen(path, hint)) => {
                if hint.moves() {
                    self.watch.forget(&path);
                }
                let now = Instant::now();
                self.take_result(&path);
                for job in self.jobs.values_mut() {
                    job.note(&path, now);
                }
            }
            Message::WatchEvent(WatchEvent::Lost) => {
                let now = Instant::now();
                for job in self.jobs.values_mut() {
                    job.look_at = Some((now, now));
                }
            }
        }
        true
    }

    /// Begins to build new projects, and forgets those that are gone.
    fn update(&mut self, projects: Vec<Project>) {
        let now = Instant::now();
        self.jobs.retain(|_, job| {
            let stays = projects.contains(&job.project);
            if !stays {
                job.cancel();
                self.shared.report(&job.project, BuildStep::Cancelled);
                if self.leads.is_some() {
                    // If it comes back, another project may have its name.
                    let artifact = self.options.places.artifact(&job.project.file);
                    let _ = std::fs::remove_file(artifact);
                    failed::remove(&self.options.places, &job.project.file);
                }
            }
            stays
        });
        for project in projects {
            let file = project.file.clone();
            if self.leads.is_some() && !self.jobs.contains_key(&file) {
                // The last process that built it may have ended long ago.
                failed::remove(&self.options.places, &file);
            }
            self.jobs
                .entry(file)
                .or_insert_with(|| Job::new(project, self.options.host.clone(), now));
        }
        self.lead();
    }

    /// Starts the builds that are due, if there is room.
    fn start_due(&mut self, now: Instant) {
        if self.leads.is_none() {
            return;
        }
        for (file, job) in &mut self.jobs {
            let is_due = job.due.is_some_and(|due| due <= now);
            let is_cargo = job.project.kind.is_of_cargo();
            if !is_due || job.running.is_some() {
                continue;
            }
            let may_start = !is_cargo || !self.running.values().any(|build| build.is_cargo);
            let permit = may_start
                .then(|| Permits::try_acquire(&self.options.sharing.running, self.max_running))
                .flatten();
            let Some(permit) = permit else {
                if !std::mem::replace(&mut job.waits, true) {
                    self.shared.report(&job.project, BuildStep::Waits);
                }
                continue;
            };
            job.waits = false;
            job.due = None;
            let number = self.next;
            self.next += 1;
            let cancel = job.begin(number, &mut self.watch, now);
            self.running.insert(
                number,
                InProgress {
                    is_cargo,
                    _permit: permit,
                },
            );
            let progress = LastLine::default();
            let (project, mut options) = (job.project.clone(), self.options.clone());
            options.progress = Some(progress.clone());
            self.shared.report(&job.project, BuildStep::Began(progress));
            let asks_roots = std::mem::take(&mut job.asks_roots);
            let sender = self.sender.clone();
            let name = file.clone();
            let work = move || {
                let report = build::build(&project, &options, &cancel);
                // Fails if the manager has ended.
                let _ = sender.send(Message::Done(name.clone(), number, report));
                if asks_roots && let Some(roots) = build::roots(&project, &options, &cancel) {
                    let _ = sender.send(Message::Roots(name, roots));
                }
            };
            let thread = std::thread::Builder::new().name("wasgi-build".to_owned());
            if let Err(error) = thread.spawn(work) {
                let report = Report::failed(format!("no thread to build it with: {error}"));
                let _ = self
                    .sender
                    .send(Message::Done(file.clone(), number, report));
            }
        }
    }

    /// Handles the end of a build.
    fn done(&mut self, file: &str, number: u64, report: &Report) {
        self.running.remove(&number);
        let Some(job) = self.jobs.get_mut(file) else {
            // It is gone, and so must be what was built meanwhile.
            let _ = std::fs::remove_file(self.options.places.artifact(file));
            return;
        };
        if job
            .running
            .as_ref()
            .is_none_or(|running| running.number != number)
        {
            return;
        }
        let took = report.took.as_secs_f64();
        if !matches!(report.outcome, Outcome::Cancelled) && !report.output.trim().is_empty() {
            log::lines(&match self.options.colours {
                true => output::coloured(&report.output),
                false => output::plain(&report.output),
            });
        }
        job.ended(&report.outcome, &mut self.watch);
        let failure = match &report.outcome {
            Outcome::Cancelled => return self.shared.report(&job.project, BuildStep::Cancelled),
            Outcome::Built => {
                tracing::info!("{}", job.said(&format!("built in {took:.2} s")));
                None
            }
            Outcome::Failed(reason) => {
                let output = output::plain(&report.output);
                let whole = format!("{}\n\n{}", printable::one_line(reason), output.trim());
                let whole = whole.trim_end().to_owned();
                if let Err(error) = failed::write(&self.options.places, file, &whole) {
                    let what = format!("other processes don't know that it failed: {error}");
                    tracing::debug!("{}", job.said(&what));
                }
                Some(whole)
            }
        };
        self.shared.ended(&job.project, Some(report.took), failure);
    }
}

impl Job {
    fn new(project: Project, host: Option<String>, now: Instant) -> Self {
        Self {
            sources: Sources::new(vec![project.path.clone()]),
            project,
            host,
            look_at: None,
            due: Some(now),
            running: None,
            superseded: 0,
            chain: Vec::new(),
            generated: BTreeSet::new(),
            asks_roots: true,
            waits: false,
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let slow = self
            .running
            .as_ref()
            .filter(|running| !running.was_told)
            .map(|running| running.since + SLOW);
        // A build that is due and waits for room is started after the end of another one.
        let due = self.due.filter(|&due| due > Instant::now());
        let look = self.look_at.map(|(at, _)| at);
        [slow, due, look].into_iter().flatten().min()
    }

    fn cancel(&self) {
        if let Some(running) = &self.running {
            running.cancel.cancel();
        }
    }

    /// Records an event on a path.
    fn note(&mut self, path: &Path, now: Instant) {
        if self.sources.note(path) {
            let latest = self.look_at.map_or(now + MAX_QUIET, |(_, latest)| latest);
            self.look_at = Some(((now + QUIET).min(latest), latest));
        }
    }

    /// Follows other folders from now on. Their content is that of the last build, or older.
    fn follow(&mut self, roots: Vec<PathBuf>, watch: &mut Watch) {
        let mut roots: Vec<PathBuf> = roots
            .into_iter()
            .map(|root| root.canonicalize().unwrap_or(root))
            .collect();
        roots.push(self.project.path.clone());
        self.sources.set_roots(roots);
        drop(self.sources.rescan(&mut |folder| watch.ensure(folder)));
    }

    /// Reads the sources, and decides what their changes cause.
    fn look(&mut self, watch: &mut Watch, now: Instant) {
        self.look_at = None;
        let changed = self.sources.rescan(&mut |folder| watch.ensure(folder));
        if changed.is_empty() {
            return;
        }
        let is_manifest = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            ["Cargo.toml", "go.mod", "package.json"]
                .iter()
                .any(|manifest| name == *manifest)
                || self.project.path.is_file()
        };
        self.asks_roots |= changed.iter().any(is_manifest);
        let Some(running) = &mut self.running else {
            // A developer has saved a file.
            self.chain.clear();
            self.superseded = 0;
            self.due = Some(now);
            return;
        };
        let foreign = changed
            .into_iter()
            .filter(|path| !is_lock(path) && !self.generated.contains(path));
        let before = running.changed.len();
        running.changed.extend(foreign);
        if running.changed.len() > before
            && self.chain.is_empty()
            && self.superseded < MAX_SUPERSEDED
            && !running.cancel.is_cancelled()
        {
            self.superseded += 1;
            running.cancel.cancel();
        }
    }

    /// Begins a build of the sources as they are now.
    fn begin(&mut self, number: u64, watch: &mut Watch, now: Instant) -> CancelToken {
        self.look_at = None;
        drop(self.sources.rescan(&mut |folder| watch.ensure(folder)));
        let cancel = CancelToken::new();
        self.running = Some(Running {
            number,
            since: now,
            cancel: cancel.clone(),
            was_told: false,
            changed: BTreeSet::new(),
        });
        cancel
    }

    /// Handles the end of a build: decides whether another one follows.
    fn ended(&mut self, outcome: &Outcome, watch: &mut Watch) {
        let now = Instant::now();
        // What has changed up to now did so during the build.
        self.look(watch, now);
        let Some(running) = self.running.take() else {
            return;
        };
        if matches!(outcome, Outcome::Cancelled) {
            self.due = Some(now);
            return;
        }
        self.superseded = 0;
        if running.changed.is_empty() {
            self.chain.clear();
            return;
        }
        self.chain.push(running.changed);
        if let Some(pause) = PAUSES.get(self.chain.len() - 1) {
            self.due = Some(now + *pause);
            return;
        }
        let mut chain = std::mem::take(&mut self.chain).into_iter();
        let first = chain.next().unwrap_or_default();
        let always = chain.fold(first, |all, one| all.intersection(&one).cloned().collect());
        let names: Vec<String> = always
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let what = format!(
            "each build changes its own sources, so no further one follows until another file is \
             saved: {}",
            printable::one_line(&names.join(", "))
        );
        tracing::warn!("{}", self.said(&what));
        self.generated.extend(always);
    }

    /// Returns a message about the project.
    fn said(&self, what: &str) -> String {
        let file = printable::one_line(&self.project.file);
        of_host(self.host.as_deref(), format!("handlers/{file}: {what}"))
    }

    /// Returns whether the build takes long, and logs it. Returns so once for each build.
    fn is_slow(&mut self, now: Instant) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let is_news = running.since + SLOW <= now && !running.was_told;
        if is_news {
            running.was_told = true;
            tracing::info!("{}", self.said("building…"));
        }
        is_news
    }
}
