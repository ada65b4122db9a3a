//! A compiling process, as seen by the server.

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
use super::super::pools::settings::Effort;
use super::CompileOptions;
use super::code::Common;
use super::protocol::{self, Job, Reply};
use crate::reload::CancelToken;

/// This program, even if its file was replaced or removed after the start: different versions would
/// not understand each other.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The subcommand for a compiling process; `cli` defines it.
const COMMAND: &str = "compile-for-server";

/// The maximum amount of a process's standard error to keep, in bytes: its last output, which says
/// why it died.
const LAST_WORDS_BYTES: usize = 4096;

/// The polling interval for the exit of a process that has closed its standard error.
const LOOK: Duration = Duration::from_millis(1);

/// The time for a killed process to exit. A process that must free gigabytes takes a good part of a
/// second.
const DEATH: Duration = Duration::from_secs(10);

/// A running process. Dropping it kills the process, which has nothing to finish.
#[derive(Debug)]
pub(super) struct Child {
    socket: OwnedFd,
    killer: Killer,
    end: Receiver<End>,
}

/// Kills a process. Clones refer to the same process.
#[derive(Clone, Debug)]
pub(super) struct Killer(Arc<Mutex<process::Child>>);

/// The end of a process.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: ExitStatus,
    pub(super) last_words: Vec<u8>,
}

impl End {
    /// Returns why Rust's runtime has aborted the process, if it has. The process is this program,
    /// whose runtime prints the reason: it offers no hook for either case.
    pub(super) fn abort(&self) -> Option<Abort> {
        let words = String::from_utf8_lossy(&self.last_words);
        [
            ("memory allocation of", Abort::OutOfMemory),
            ("overflowed its stack", Abort::StackOverflow),
        ]
        .into_iter()
        .find_map(|(text, abort)| words.contains(text).then_some(abort))
    }
}

/// Why Rust's runtime has aborted a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    /// Memory could not be allocated.
    OutOfMemory,
    /// A thread has reached the guard page of its stack.
    StackOverflow,
}

/// The outcome of a job.
#[derive(Debug)]
pub(super) enum Ran {
    /// The process has answered and can take the next job.
    Answered(Reply),
    /// The process has ended or must be ended.
    Ended(Why),
}

/// Why a process ended without an answer.
#[derive(Debug)]
pub(super) enum Why {
    /// It died.
    Died(End),
    /// The job exceeded its time.
    TookTooLong,
    /// The job was cancelled.
    Cancelled,
    /// The server had no memory or descriptor for the process's request.
    NoRoom(io::Error),
    /// It sent an invalid answer, or closed the channel and continued.
    TalkedNonsense,
}

impl Child {
    /// Starts a process, which runs a script if there are `folders`, and can read in these and
    /// nowhere else. When it has ended, `on_end` is called on a separate thread.
    ///
    /// # Errors
    ///
    /// Fails if the system has no process, thread or descriptor for it.
    pub(super) fn start(
        options: &CompileOptions,
        effort: Effort,
        folders: Option<&[(PathBuf, &'static str)]>,
        on_end: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (socket, stdin) = protocol::channel().context("no channel to a compiling process")?;
        let mut command = command(options, effort, folders);
        command.stdin(stdin);
        let (started, child) = mpsc::sync_channel(1);
        let (ended, end) = mpsc::channel();
        // The kernel kills the process when the thread that started it ends, so that thread must
        // live as long.
        thread::Builder::new()
            .name("wasgi-compile".into())
            .spawn(move || match command.spawn() {
                Ok(mut child) => {
                    // Close this process's copy of the channel's other end.
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

    /// Runs a job in the process and waits for it.
    ///
    /// `common` provides the code that the file shares with others, if the process asks for it.
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
            // The process has exited and has not received the job.
            Err(_) => Ok(None),
        };
        Ran::Ended(match answer {
            _ if cancel.is_cancelled() => Why::Cancelled,
            Ok(Some(reply)) => return Ran::Answered(reply),
            Ok(None) => self.died(),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Why::TookTooLong,
            Err(error) if is_no_room(&error) => Why::NoRoom(error),
            Err(_) => Why::TalkedNonsense,
        })
    }

    /// Returns whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.killer.lock().try_wait(), Ok(None))
    }

    /// Returns the process's resident memory, in bytes.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let file = format!("/proc/{}/status", self.killer.lock().id());
        resident_bytes(&fs::read_to_string(file).ok()?)
    }

    /// Waits for an answer. `None` if the process has ended.
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
                    // Time spent waiting for others doesn't count.
                    until += asked.elapsed();
                }
                reply => return Ok(reply),
            }
        }
    }

    /// Returns how the process died, after it has closed its end of the channel.
    fn died(&self) -> Why {
        // It is about to exit, unless it continues without the channel.
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
    /// Kills the process if it has not ended.
    pub(super) fn kill(&self) {
        // Fails if it has ended.
        let _ = self.lock().kill();
    }

    /// Locks the process. A panic while the lock is held can't leave it inconsistent.
    fn lock(&self) -> MutexGuard<'_, process::Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether the error is a lack of memory or descriptors.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}

/// Returns the command for a compiling process, with an empty environment.
fn command(
    options: &CompileOptions,
    effort: Effort,
    folders: Option<&[(PathBuf, &'static str)]>,
) -> Command {
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
        .args((effort == Effort::Quick).then_some("--quick"))
        .args(folders.map(|_| "--runs"))
        .args(folders.into_iter().flatten().flat_map(|(folder, name)| {
            let name = OsStr::new(name);
            [
                OsStr::new("--folder"),
                folder.as_os_str(),
                OsStr::new("--called"),
                name,
            ]
        }))
        .env_clear()
        // The stack size of threads without an explicit size, such as the compiler's.
        .env("RUST_MIN_STACK", stack_bytes)
        // The number of compiler threads: the confined process can't determine it.
        .env("RAYON_NUM_THREADS", cores.to_string())
        .current_dir("/")
        // Terminal signals must only reach the server.
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Parses a process's resident memory from its `/proc/PID/status` (proc_pid_status(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Collects the last output of a process until it ends.
fn watch(killer: &Killer, stderr: Option<process::ChildStderr>, ended: &Sender<End>) {
    let last_words = stderr.map(last_words).unwrap_or_default();
    let status = loop {
        match killer.lock().try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            // The process was already reaped, which only the owner can have done.
            Err(_) => return,
        }
        thread::sleep(LOOK);
    };
    // Fails if the receiver is gone.
    let _ = ended.send(End { status, last_words });
}

/// Returns the end of the output on `stderr`.
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
