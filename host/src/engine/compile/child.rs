//! A compiling process, as the server sees it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::fuse::CodeKey;
use super::Options;
use super::code::Common;
use super::protocol::{self, Job, Reply};
use crate::reload::CancelToken;

/// This program, even if its file has been replaced or removed since it was started: two versions
/// would not understand each other.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The command that is a compiling process; `cli` has it.
const COMMAND: &str = "compile-for-server";

/// What is kept of a process's standard error, in bytes: its last words, which say why it died.
const LAST_WORDS_BYTES: usize = 4096;

/// How often a process is looked at that has closed its standard error and is to end now.
const LOOK: Duration = Duration::from_millis(1);

/// How long a process that was killed may take to be gone. A process that has gigabytes to give
/// back takes a good part of a second.
const DEATH: Duration = Duration::from_secs(10);

/// A running process. It is killed when this is dropped: it has nothing to finish.
#[derive(Debug)]
pub(super) struct Child {
    socket: OwnedFd,
    killer: Killer,
    end: Receiver<End>,
}

/// Kills a process. Clones are for the same one.
#[derive(Clone, Debug)]
pub(super) struct Killer(Arc<Mutex<process::Child>>);

/// How a process has ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: ExitStatus,
    pub(super) last_words: Vec<u8>,
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Ran {
    /// The process has answered, and can be given the next one.
    Answered(Reply),
    /// It has ended, or has to.
    Ended(Why),
}

/// Why a process ended without an answer.
#[derive(Debug)]
pub(super) enum Why {
    /// It died.
    Died(End),
    /// The job took longer than it may.
    TookTooLong,
    /// Nobody wants the job any more.
    Cancelled,
    /// It said something that is no answer, or closed the channel and went on.
    TalkedNonsense,
}

impl Child {
    /// Starts a process that can read in `folders`, and nowhere else. When it has ended,
    /// `on_end` is called, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system has no process, thread or descriptor for it.
    pub(super) fn start(
        options: &Options,
        folders: &[PathBuf],
        on_end: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (socket, stdin) = protocol::channel().context("no channel to a compiling process")?;
        let mut command = command(options, folders);
        command.stdin(stdin);
        let (started, child) = mpsc::sync_channel(1);
        let (ended, end) = mpsc::channel();
        // The process is killed when the thread ends that started it, so that has to be one that
        // stays for as long.
        thread::Builder::new()
            .name("wasgi-compile".into())
            .spawn(move || match command.spawn() {
                Ok(mut child) => {
                    // The channel's other end is the process's alone.
                    drop(command);
                    let stderr = child.stderr.take();
                    let killer = Killer(Arc::new(Mutex::new(child)));
                    let _ = started.send(Ok(killer.clone()));
                    watch(&killer, stderr, &ended);
                    on_end();
                }
                Err(error) => drop(started.send(Err(error))),
            })
            .context("no thread to start a compiling process")?;
        let killer = child
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
            .context("no process to compile it")?;
        Ok(Self {
            socket,
            killer,
            end,
        })
    }

    /// Has the process do a job, and waits for it.
    ///
    /// `common` is what it is told of code that its file has in common with others, if it asks.
    pub(super) fn run(
        &self,
        job: &Job,
        wall_time: Duration,
        cancel: &CancelToken,
        common: &mut dyn FnMut(CodeKey) -> io::Result<Common>,
    ) -> Ran {
        let killer = self.killer.clone();
        let _on_cancel = cancel.on_cancel(move || killer.kill());
        let until = Instant::now() + wall_time;
        let answer = match protocol::send_job(&self.socket, job) {
            Ok(()) => self.answer(until, common),
            // It is gone, and has seen nothing of it.
            Err(_) => Ok(None),
        };
        Ran::Ended(match answer {
            _ if cancel.is_cancelled() => Why::Cancelled,
            Ok(Some(reply)) => return Ran::Answered(reply),
            Ok(None) => self.died(),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Why::TookTooLong,
            Err(_) => Why::TalkedNonsense,
        })
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.killer.lock().try_wait(), Ok(None))
    }

    /// Memory that the process holds, in bytes.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let file = format!("/proc/{}/status", self.killer.lock().id());
        resident_bytes(&fs::read_to_string(file).ok()?)
    }

    /// Waits for an answer. None: the process has ended.
    fn answer(
        &self,
        mut until: Instant,
        common: &mut dyn FnMut(CodeKey) -> io::Result<Common>,
    ) -> io::Result<Option<Reply>> {
        let mut has_asked = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match protocol::receive_reply(&self.socket)? {
                Some(Reply::Note(note)) => {
                    tracing::debug!("{}", crate::printable::one_line(&note));
                }
                Some(Reply::Ask(_)) if has_asked => return Err(io::ErrorKind::InvalidData.into()),
                Some(Reply::Ask(key)) => {
                    has_asked = true;
                    let asked = Instant::now();
                    protocol::send_common(&self.socket, &common(key)?)?;
                    // What it waits for others is not its own time.
                    until += asked.elapsed();
                }
                reply => return Ok(reply),
            }
        }
    }

    /// How the process has died that has closed its end of the channel.
    fn died(&self) -> Why {
        // Its end is decided by now, unless it goes on without the channel.
        match self.end.recv_timeout(DEATH) {
            Ok(end) => Why::Died(end),
            Err(_) => Why::TalkedNonsense,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.killer.kill();
    }
}

impl Killer {
    /// Ends the process at once, if it has not ended yet.
    pub(super) fn kill(&self) {
        // Fails when it has ended.
        let _ = self.lock().kill();
    }

    /// A panic while it is locked leaves it whole.
    fn lock(&self) -> MutexGuard<'_, process::Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command line of a compiling process, which has nothing of this one's environment.
fn command(options: &Options, folders: &[PathBuf]) -> Command {
    let mut command = Command::new(THIS_PROGRAM);
    let stack_bytes = options.stack_bytes.to_string();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    command
        .arg0("wasgi")
        .arg(COMMAND)
        .arg(format!("--parent={}", process::id()))
        .arg(format!("--memory={}", options.address_space_bytes()))
        .arg(format!("--cpu-time={}", options.cpu_time.as_millis()))
        .arg(format!("--stack={stack_bytes}"))
        .arg(format!("--output={}", options.output_bytes))
        .args(
            folders
                .iter()
                .flat_map(|folder| [OsStr::new("--folder"), folder.as_os_str()]),
        )
        .env_clear()
        // The stack of threads that nobody sizes: the compiler's own.
        .env("RUST_MIN_STACK", stack_bytes)
        // The compiler's threads: how many there are to be can't be read in there.
        .env("RAYON_NUM_THREADS", cores.to_string())
        .current_dir("/")
        // A terminal's signals are for the server.
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// What a process holds, by its `/proc/PID/status` (proc_pid_status(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Keeps what a process says last, until it ends.
fn watch(killer: &Killer, stderr: Option<process::ChildStderr>, ended: &Sender<End>) {
    let last_words = stderr.map(last_words).unwrap_or_default();
    let status = loop {
        match killer.lock().try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            // Somebody else has waited for it, who can only be this process's owner.
            Err(_) => return,
        }
        thread::sleep(LOOK);
    };
    // Fails when nobody wants to know.
    let _ = ended.send(End { status, last_words });
}

/// The end of what comes from `stderr`.
fn last_words(mut stderr: impl Read) -> Vec<u8> {
    let mut words = Vec::new();
    let mut piece = [0; LAST_WORDS_BYTES];
    loop {
        let count = match stderr.read(&mut piece) {
            Ok(0) => return words,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return words,
        };
        words.extend_from_slice(piece.get(..count).unwrap_or_default());
        words.drain(..words.len().saturating_sub(LAST_WORDS_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(
            resident_bytes("Name:\twasgi\nVmRSS:\t   12 kB\n"),
            Some(12 * 1024)
        );
        assert_eq!(resident_bytes("Name:\twasgi\n"), None);
    }

    #[test]
    fn the_last_words_are_kept_and_no_more() {
        let text: Vec<u8> = (0..100_000).map(|number: u32| number as u8).collect();
        let words = last_words(&text[..]);
        assert_eq!(words, text[text.len() - LAST_WORDS_BYTES..]);
        assert_eq!(last_words(&b"short"[..]), b"short");
    }
}
