//! The protocol between this program and the service manager that has started it (systemd):
//! listening sockets (sd_listen_fds(3)) and messages about its state (sd_notify(3)). Without such a
//! manager, nothing happens.

use std::env;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::server::GivenSockets;

/// How often this program reports to the manager that it is alive, in each interval: systemd
/// recommends twice. Twice more, because an answer is due only at the next time.
const SIGNS_PER_INTERVAL: u32 = 4;

/// The names of sockets (`FileDescriptorName=`) that are not the site's.
const ADMIN: &str = "admin";
const REDIRECT: &str = "redirect";

/// The sockets that the manager has bound.
#[derive(Debug, Default)]
pub(crate) struct Activation {
    /// Those for clients.
    pub(crate) sockets: GivenSockets,
    /// That of the admin listener.
    pub(crate) admin: Option<OwnedFd>,
}

/// Takes the sockets from the manager. Must be called once, before there are other threads: it
/// changes the environment.
///
/// # Errors
///
/// Fails if one is not a listening stream socket.
pub(crate) fn activation() -> anyhow::Result<Activation> {
    // Read first: the crate removes what it has read.
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    let mut activation = Activation::default();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let tcp = given.take_tcp_listener(index);
        let file = match tcp {
            Ok(Some(listener)) => OwnedFd::from(listener),
            Ok(None) => continue,
            Err(_) => {
                let listener = given.take_unix_listener(index).with_context(|| {
                    format!("socket {index} of the service manager ({name}) is no stream socket")
                })?;
                match listener {
                    Some(listener) => listener.into(),
                    None => continue,
                }
            }
        };
        // The clone is closed in children.
        let file = file.try_clone().context("can't take a socket")?;
        match name {
            ADMIN => activation.admin = Some(file),
            REDIRECT => activation.sockets.redirect.push(file),
            _ => activation.sockets.site.push(file),
        }
    }
    Ok(activation)
}

/// Says that the server serves, in the process `pid`.
pub(crate) fn ready(pid: u32) {
    tell(&[
        NotifyState::MainPid(pid),
        NotifyState::Ready,
        NotifyState::Status("serving"),
    ]);
}

/// Says that the configuration is read again.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Reports the successor as the service's main process, which only this process may do.
pub(crate) fn replaced(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Says that the server finishes the requests in flight.
pub(crate) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("finishing requests in flight"),
    ]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!("could not notify the service manager: {error}");
    }
}

/// Tells the manager at intervals that the server is alive. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Dropped to stop the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts a thread that asks `is_alive`, if the manager expects it (`WatchdogSec=`).
    ///
    /// # Errors
    ///
    /// Fails if the system can't create a thread.
    pub(crate) fn start(
        mut is_alive: impl FnMut() -> bool + Send + 'static,
    ) -> anyhow::Result<Option<Self>> {
        let Some(interval) = watchdog_interval() else {
            return Ok(None);
        };
        let interval = interval / SIGNS_PER_INTERVAL;
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if is_alive() {
                    tell(&[NotifyState::Watchdog]);
                } else {
                    tracing::warn!("a thread has not answered for {interval:?}");
                }
            }
        };
        let thread = thread::Builder::new()
            .name("wasgi-watchdog".into())
            .spawn(watch)
            .context("could not start the thread of the watchdog")?;
        Ok(Some(Self {
            stop: Some(stop),
            thread: Some(thread),
        }))
    }
}

/// Returns the interval in which the manager expects a sign of life from this process
/// (sd_watchdog_enabled(3)). A successor has no `WATCHDOG_PID`, and `sd_notify` would insist on it.
fn watchdog_interval() -> Option<Duration> {
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let is_other = |pid| pid != u64::from(std::process::id());
    if number("WATCHDOG_PID").is_some_and(is_other) {
        return None;
    }
    let microseconds = number("WATCHDOG_USEC").filter(|count| *count > 0)?;
    Some(Duration::from_micros(microseconds))
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has printed why.
            let _ = thread.join();
        }
    }
}
