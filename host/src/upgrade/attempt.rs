//! The successor of this process, as this process sees it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::message::{Answer, DONE, MAX_LINE_BYTES, Offer, Outcome};
use super::predecessor::parse;
use super::program::Program;
use crate::descriptors::{self, Receiver};
use crate::exit_cause::exit_cause;
use crate::printable;

/// How long a process that has closed its channel may take to end.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// The interval of checks whether it has ended.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// How long the successor may take to accept a message. It reads the first one before anything
/// else.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Called once, on another thread, with the successor when it serves, or with one line that says
/// why it has failed.
pub(crate) type OnEnd = Box<dyn FnOnce(Result<Successor, String>) + Send>;

/// A process that is to become the successor. Dropping it leaves the process alone.
#[derive(Debug)]
pub(crate) struct Attempt(Arc<Mutex<Child>>);

/// A process that serves, and waits until this one has left its place.
#[derive(Debug)]
pub(crate) struct Successor {
    stream: UnixStream,
    pid: u32,
    takes_admin: bool,
}

impl Attempt {
    /// Starts the program, and hands over. If it doesn't serve within `patience`, it is killed.
    ///
    /// # Errors
    ///
    /// Fails if the program can't be started, with one line. Then `on_end` is not called.
    pub(crate) fn start(
        program: &Program,
        offer: Offer,
        files: &[BorrowedFd<'_>],
        patience: Duration,
        on_end: OnEnd,
    ) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("could not make a channel")?;
        let path = program.path().display();
        let files: Vec<OwnedFd> = files
            .iter()
            .map(BorrowedFd::try_clone_to_owned)
            .collect::<Result<_, _>>()
            .context("could not hand over a socket")?;
        let mut command = program.command();
        let child = command.stdin(OwnedFd::from(theirs)).spawn();
        let child = child.with_context(|| format!("could not start {path}"))?;
        // Our copy of its end, which would keep the channel open.
        drop(command);
        let child = Arc::new(Mutex::new(child));
        let attempt = Self(child.clone());
        let wait = move || {
            let result = negotiate(ours, &offer, &files, &child, Instant::now() + patience);
            on_end(result.map_err(|why| end(&child, &why)));
        };
        let thread = thread::Builder::new().name("wasgi-upgrade".into());
        if let Err(error) = thread.spawn(wait) {
            attempt.abort();
            return Err(error).context("could not start the thread of an upgrade");
        }
        Ok(attempt)
    }

    /// Kills the process.
    pub(crate) fn abort(&self) {
        let mut child = lock(&self.0);
        // Both do nothing if the exit was already collected.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Successor {
    /// Returns its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Reports whether it has taken the socket of the admin listener.
    pub(crate) fn takes_admin(&self) -> bool {
        self.takes_admin
    }

    /// Confirms that this process has left its place.
    ///
    /// # Errors
    ///
    /// Fails if it has ended.
    pub(crate) fn confirm(mut self) -> std::io::Result<()> {
        descriptors::send_line(&mut self.stream, DONE, &[])
    }
}

/// Hands over, and waits until the process serves.
fn negotiate(
    mut stream: UnixStream,
    offer: &Offer,
    files: &[OwnedFd],
    child: &Mutex<Child>,
    deadline: Instant,
) -> Result<Successor, String> {
    let exited = || {
        let status = wait_briefly(child);
        status.map_or("has closed its channel".into(), cause)
    };
    let sent = stream
        .set_write_timeout(Some(WRITE_PATIENCE))
        .and_then(|()| {
            let line = serde_json::to_vec(offer)?;
            let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
            descriptors::send_line(&mut stream, &line, &files)
        });
    sent.map_err(|_| exited())?;
    let rest = deadline.saturating_duration_since(Instant::now());
    let timeout = Some(rest.max(Duration::from_millis(1)));
    stream
        .set_read_timeout(timeout)
        .map_err(|error| error.to_string())?;
    let mut receiver = Receiver::new(stream);
    let line = receiver
        .line(MAX_LINE_BYTES)
        .map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                "was not ready in time (server.upgrade-timeout)".to_owned()
            }
            _ => exited(),
        })?;
    let line = line.ok_or_else(exited)?;
    let answer: Answer = parse(&line).map_err(|error| format!("is of no use: {error:#}"))?;
    let takes_admin = match answer.outcome {
        Outcome::Serves { takes_admin } => takes_admin,
        Outcome::Fails(why) => return Err(format!("can't start: {}", printable::one_line(&why))),
    };
    let stream = receiver.stream().try_clone();
    Ok(Successor {
        stream: stream.map_err(|error| error.to_string())?,
        pid: lock(child).id(),
        takes_admin,
    })
}

/// Ends a process that is no successor. Returns the line that says why.
fn end(child: &Mutex<Child>, why: &str) -> String {
    let mut child = lock(child);
    let pid = child.id();
    // Both do nothing if the exit was already collected.
    let _ = child.kill();
    let _ = child.wait();
    format!("the new process {pid} {why}")
}

/// Waits until the process has ended, but not for long.
fn wait_briefly(child: &Mutex<Child>) -> Option<ExitStatus> {
    let until = Instant::now() + EXIT_PATIENCE;
    loop {
        if let Ok(Some(status)) = lock(child).try_wait() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(EXIT_POLL);
    }
}

fn cause(status: ExitStatus) -> String {
    format!("{} before it was ready", exit_cause(status))
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
