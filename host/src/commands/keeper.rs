//! What a server has beside its reactors or workers, and its upgrade: the admin listener, the watch
//! of its configuration, its pid file, and its predecessor and successor.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use anyhow::Context as _;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::admin::{Admin, AdminListener, Inspect, Inspection, Phase};
use crate::config::Config;
use crate::confinement::ConfineMode;
use crate::file_watch::FileWatch;
use crate::metrics::Snapshot;
use crate::server::Sockets;
use crate::server::tls::Tickets;
use crate::service_manager::{self, Activation, Watchdog};
use crate::supervisor::Operator;
use crate::upgrade::{Attempt, Offer, OnEnd, Predecessor, Program, Successor};

/// What clients and the operator connect to.
pub(super) struct Opened {
    pub(super) sockets: Sockets,
    /// The keys of session tickets, with TLS.
    pub(super) tickets: Option<Arc<Tickets>>,
    pub(super) admin: Option<AdminListener>,
    /// The init system has bound the sockets.
    is_activated: bool,
}

/// Everything of a server but its reactors or workers.
pub(super) struct Keeper {
    /// What a successor runs. None for `wasgi dev`, which has no successors.
    program: Option<Program>,
    config: Config,
    tickets: Option<Arc<Tickets>>,
    is_activated: bool,
    has_terminal: bool,
    predecessor: Option<Predecessor>,
    attempt: Option<Attempt>,
    status: Arc<UpgradeStatus>,
    admin: Option<Admin>,
    /// An admin listener that starts when the predecessor has ended its own.
    later_admin: Option<(AdminListener, Arc<dyn Inspect>)>,
    config_watch: Option<FileWatch>,
    pid_file: Option<PidFile>,
    is_alive: Option<IsAlive>,
    watchdog: Option<Watchdog>,
}

/// Reports whether all reactors run.
type IsAlive = Box<dyn FnMut() -> bool + Send>;

/// The upgrades so far, for the admin listener.
#[derive(Debug, Default)]
struct UpgradeStatus(Mutex<Upgrades>);

#[derive(Debug, Default)]
struct Upgrades {
    attempts: u64,
    /// Why the last attempt has failed, if it has.
    failed: Option<String>,
    /// A successor has the place of this server.
    is_replaced: bool,
}

/// A source for the admin listener that also tells of upgrades.
struct WithUpgrades {
    source: Arc<dyn Inspect>,
    status: Arc<UpgradeStatus>,
}

/// A file with the process ID of this server, removed on drop unless it has another one by then.
#[derive(Debug)]
struct PidFile {
    path: PathBuf,
    _lock: File,
}

/// Binds the addresses of a configuration, or takes what a predecessor hands over.
pub(super) fn open(
    config: &Config,
    activation: Activation,
    mut predecessor: Option<&mut Predecessor>,
) -> anyhow::Result<Opened> {
    let (site, redirect) = (config.server.addr, config.tls.redirect_http);
    let given = predecessor.as_mut();
    let given = given.map(|predecessor| predecessor.take_sockets(site, redirect));
    let is_activated = match &predecessor {
        Some(predecessor) => predecessor.is_activated(),
        None => !activation.sockets.site.is_empty(),
    };
    let given = given.unwrap_or(activation.sockets);
    let sockets = Sockets::open(given, &config.server, &config.tls)?;
    let tickets = match config.has_tls() {
        false => None,
        true => {
            let keys = predecessor.as_ref().and_then(|one| one.tickets());
            Some(Arc::new(keys.map_or_else(Tickets::new, Tickets::import)?))
        }
    };
    let admin = match (&config.admin.addr, activation.admin) {
        (None, None) => None,
        (None, Some(_)) => anyhow::bail!(
            "the service manager has bound a socket named admin: set admin.addr to its address"
        ),
        // The manager removes the file of its socket.
        (Some(addr), Some(file)) => Some(AdminListener::from_file(addr, file)?.keep_file()),
        (Some(addr), None) => {
            let given = predecessor.as_mut();
            Some(
                match given.and_then(|one| one.take_admin(&addr.to_string())) {
                    Some(file) => AdminListener::from_file(addr, file)?,
                    None => AdminListener::bind(addr)?,
                },
            )
        }
    };
    Ok(Opened {
        sockets,
        tickets,
        admin,
        is_activated,
    })
}

/// Reports whether this server runs in a terminal, which ends it by SIGHUP.
pub(super) fn has_terminal(predecessor: Option<&Predecessor>) -> bool {
    // The standard input of a successor is the channel to its predecessor.
    match predecessor {
        Some(predecessor) => predecessor.has_terminal(),
        None => io::stdin().is_terminal(),
    }
}

impl Keeper {
    /// Creates the keeper of a server that has `opened` what its configuration names.
    pub(super) fn new(
        config: &Config,
        opened: &Opened,
        program: Option<Program>,
        predecessor: Option<Predecessor>,
    ) -> Self {
        Self {
            program,
            config: config.clone(),
            tickets: opened.tickets.clone(),
            is_activated: opened.is_activated,
            has_terminal: has_terminal(predecessor.as_ref()),
            predecessor,
            attempt: None,
            status: Arc::default(),
            admin: None,
            later_admin: None,
            config_watch: None,
            pid_file: None,
            is_alive: None,
            watchdog: None,
        }
    }

    /// Starts the admin listener, if there is one. That of a successor starts when this server has
    /// taken the place of its predecessor.
    pub(super) fn start_admin(
        &mut self,
        listener: Option<AdminListener>,
        source: Arc<dyn Inspect>,
    ) -> anyhow::Result<()> {
        let Some(listener) = listener else {
            return Ok(());
        };
        let status = self.status.clone();
        let source = Arc::new(WithUpgrades { source, status });
        match self.predecessor {
            Some(_) => self.later_admin = Some((listener, source)),
            None => self.admin = Some(Admin::start(listener, source)?),
        }
        Ok(())
    }

    /// Once the server serves, tells the service manager at intervals that it is alive, if the
    /// manager expects that.
    pub(super) fn watch_over(&mut self, is_alive: impl FnMut() -> bool + Send + 'static) {
        self.is_alive = Some(Box::new(is_alive));
    }

    /// Keeps the watch of the configuration.
    pub(super) fn watch(&mut self, config_watch: FileWatch) {
        self.config_watch = Some(config_watch);
    }

    fn start_successor(&mut self, sockets: &Sockets, on_end: OnEnd) -> anyhow::Result<()> {
        let program = self.program.as_ref();
        let program = program.context("`wasgi dev` has no upgrades: start it again")?;
        let is_alone = self.config.server.processes == 1;
        anyhow::ensure!(
            !is_alone || self.config.server.confine == ConfineMode::Off,
            "server.confine: a confined process can't start another program: restart the server, \
             or use server.processes = 2, whose supervisor can"
        );
        anyhow::ensure!(
            std::process::id() != 1,
            "this is process 1 of its container, which ends with it: replace the container"
        );
        let [site, redirect] = sockets.files();
        let (addr, redirect_addr) = (self.config.server.addr, self.config.tls.redirect_http);
        let configured = |addr| (!self.is_activated).then_some(addr);
        let tickets = self.tickets.as_ref().map(|tickets| tickets.export());
        let terminal = self.has_terminal;
        let mut offer = Offer::new(configured(addr), site.len(), tickets, terminal);
        if let Some(addr) = redirect_addr {
            offer = offer.with_redirect(configured(addr), redirect.len());
        }
        let mut files: Vec<BorrowedFd<'_>> = [site, redirect].concat();
        if let (Some(admin), Some(addr)) = (&self.admin, &self.config.admin.addr) {
            offer = offer.with_admin(addr.to_string());
            files.push(admin.socket());
        }
        let patience = self.config.server.upgrade_timeout;
        tracing::info!("upgrade: starting {}", program.path().display());
        self.attempt = Some(Attempt::start(program, offer, &files, patience, on_end)?);
        Ok(())
    }

    fn failed(&mut self, why: &str) {
        tracing::error!("upgrade: {why}; this server continues");
        self.status.fails(why);
        // The process that has failed may have written its own.
        self.write_pid_file();
    }

    fn write_pid_file(&mut self) {
        let Some(path) = &self.config.server.pid_file else {
            return;
        };
        if self.pid_file.as_ref().is_some_and(PidFile::is_ours) {
            return;
        }
        match PidFile::write(path) {
            Ok(file) => self.pid_file = Some(file),
            Err(error) => {
                let path = path.display();
                tracing::error!("server.pid-file: {path}: {error}: not written");
            }
        }
    }
}

impl Operator for Keeper {
    fn look(&self) {
        if let Some(watch) = &self.config_watch {
            service_manager::reloading();
            watch.look();
            service_manager::ready(std::process::id());
        }
    }

    fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    fn is_activated(&self) -> bool {
        self.is_activated
    }

    fn serves(&mut self) {
        self.write_pid_file();
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.replace();
        }
        // The service manager accepts messages of the main process, which this one is by now.
        service_manager::ready(std::process::id());
        match self.is_alive.take().map(Watchdog::start) {
            Some(Ok(watchdog)) => self.watchdog = watchdog,
            Some(Err(error)) => tracing::error!("{error:#}"),
            None => {}
        }
        if let Some((listener, source)) = self.later_admin.take() {
            match Admin::start(listener, source) {
                Ok(admin) => self.admin = Some(admin),
                Err(error) => tracing::error!("admin.addr: {error:#}"),
            }
        }
    }

    fn refuses(&mut self, why: &str) {
        self.status.begins();
        self.failed(why);
    }

    fn begin_upgrade(&mut self, sockets: &Sockets, on_end: OnEnd) {
        if self.attempt.is_some() {
            return tracing::warn!("upgrade: one is in progress");
        }
        self.status.begins();
        if let Err(error) = self.start_successor(sockets, on_end) {
            self.failed(&format!("{error:#}"));
        }
    }

    fn upgraded(&mut self, result: Result<Successor, String>) -> bool {
        self.attempt = None;
        let successor = match result {
            Ok(successor) => successor,
            Err(why) => {
                self.failed(&why);
                return false;
            }
        };
        let pid = successor.pid();
        // The successor answers from now on, and the service manager watches it.
        self.status.is_replaced();
        match &mut self.admin {
            Some(admin) if successor.takes_admin() => admin.leave(),
            _ => self.admin = None,
        }
        self.watchdog = None;
        service_manager::replaced(pid);
        if let Err(error) = successor.confirm() {
            tracing::error!("upgrade: process {pid} served, and has ended since: {error}");
        }
        tracing::info!("upgrade: process {pid} serves; this one finishes its requests in flight");
        true
    }

    fn stops(&mut self) {
        // Reactors that have ended do not answer.
        self.watchdog = None;
        service_manager::stopping();
        if let Some(attempt) = self.attempt.take() {
            attempt.abort();
        }
    }
}

impl UpgradeStatus {
    fn begins(&self) {
        let mut upgrades = self.lock();
        upgrades.attempts += 1;
        upgrades.failed = None;
    }

    fn fails(&self, why: &str) {
        self.lock().failed = Some(why.to_owned());
    }

    fn is_replaced(&self) {
        self.lock().is_replaced = true;
    }

    fn lock(&self) -> MutexGuard<'_, Upgrades> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inspect for WithUpgrades {
    fn phase(&self) -> Phase {
        // Clients that ask at this moment ask for the site, which a successor serves.
        match self.status.lock().is_replaced {
            true => Phase::Ready,
            false => self.source.phase(),
        }
    }

    fn inspect(&self) -> Vec<Inspection> {
        self.source.inspect()
    }

    fn counted_before(&self) -> Snapshot {
        self.source.counted_before()
    }

    fn upgrade(&self) -> Value {
        let upgrades = self.status.lock();
        json!({"attempts": upgrades.attempts, "failed": upgrades.failed})
    }
}

impl PidFile {
    /// Writes the file as a whole: a reader never finds it empty. It is locked as long as this
    /// process runs.
    fn write(path: &Path) -> io::Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        // Not through a link that another user may have made.
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&draft)?;
        file.write_all(own_pid().as_bytes())?;
        file.try_lock()?;
        fs::rename(&draft, path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: file,
        })
    }

    /// Reports whether the file has the ID of this process.
    fn is_ours(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == own_pid())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // If it is gone already, there is nothing left to do.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn own_pid() -> String {
    format!("{}\n", std::process::id())
}
