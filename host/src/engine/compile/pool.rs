//! The compiling processes of one server: started when they are needed, kept for a while, and no
//! more than so many.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{anyhow, bail};
use rustix::process::Signal;

use super::super::cache::Turn;
use super::super::code_file::CodeFile;
use super::super::fuse::CodeKey;
use super::super::shared_code::{ProgramFiles, SharedCode, SharedCodes};
use super::Options;
use super::child::{Child, End, Ran, Why};
use super::code::Common;
use super::protocol::{self, Job, Reply, Task};
use crate::printable;
use crate::reload::CancelToken;
use crate::units::{duration, size};

/// A process that holds more than this after a job ends, in bytes: the next one starts with none of
/// it. One that has compiled small handlers holds half.
const KEEP_RESIDENT_BYTES: u64 = 96 << 20;

/// How often a job is begun whose process ended through no fault of its own: it had waited for long
/// enough, or somebody killed it, as the kernel does when memory is short.
const ATTEMPTS: usize = 4;

/// Processes that compile. Clones are the same pool.
#[derive(Clone)]
pub(in crate::engine) struct Pool(Arc<Shared>);

struct Shared {
    options: Options,
    state: Mutex<State>,
    /// A permit has come back, or somebody has given up.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Processes that wait for a job; the last one has waited for the shortest time.
    idle: Vec<Child>,
    /// Permits that are out. Each is for one process.
    permits: usize,
}

/// The right to have one process compile.
struct Permit<'pool>(&'pool Shared);

impl Pool {
    /// No process yet.
    pub(super) fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            options,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Has a process do `task` with a handler's bytes. Waits until one is free, and until it has.
    /// Gives what it wrote, sealed, and what it said.
    ///
    /// # Errors
    ///
    /// The bytes can't be loaded, or take more than they may; or nobody wants it any more.
    pub(super) fn run(
        &self,
        task: Task,
        bytes: &[u8],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> anyhow::Result<(ProgramFiles, String)> {
        let permit = self.permit(cancel)?;
        let input = protocol::sealed(bytes).map_err(|error| no_room(&error))?;
        let options = &self.0.options;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let output = CodeFile::memory_file().map_err(|error| no_room(&error))?;
            let job = Job {
                task,
                input: input.try_clone().map_err(|error| no_room(&error))?,
                output: output.into(),
                parts: Vec::new(),
            };
            let child = match permit.idle() {
                Some(child) => child,
                None => self.start()?,
            };
            let mut asked = Asked::new(shared);
            let mut common = |key| asked.answer(key, cancel);
            match child.run(&job, options.wall_time, cancel, &mut common) {
                Ran::Answered(Reply::Done(text)) => {
                    // Before anything of it is looked at.
                    let own = sealed(job.output, options)?;
                    let shared = asked.finish(options)?;
                    permit.keep(child);
                    return Ok((ProgramFiles { own, shared }, text));
                }
                Ran::Answered(Reply::OutOfMemory(_)) => bail!(out_of_memory(options)),
                Ran::Answered(Reply::Refused(text) | Reply::Note(text)) => {
                    permit.keep(child);
                    bail!("{}", printable::one_line(&text));
                }
                Ran::Answered(Reply::Ask(_)) => bail!(explain(&Why::TalkedNonsense, options)),
                Ran::Ended(Why::Died(end)) if is_not_the_jobs_fault(end.status) => {
                    last = Some(end);
                }
                Ran::Ended(why) => bail!(explain(&why, options)),
            }
        }
        Err(match last {
            Some(end) => anyhow!(explain(&Why::Died(end), options)),
            None => anyhow!("the compiling process does not start"),
        })
    }

    /// Has a process of its own load a script by `plan`, which it reads in `folders`. Waits until
    /// one may be started, and until it has. Gives the state that it wrote, sealed, and what the
    /// script wrote to its standard output and error.
    ///
    /// # Errors
    ///
    /// The script can't be loaded, or takes more than it may; or nobody wants it any more.
    pub(super) fn run_script(
        &self,
        plan: &[u8],
        parts: [&CodeFile; 3],
        mark: &str,
        folders: &[PathBuf],
        cancel: &CancelToken,
    ) -> anyhow::Result<(CodeFile, String)> {
        let _permit = self.permit(cancel)?;
        let options = &self.0.options;
        let no_room = |error: io::Error| no_room(&error);
        let [code, loader, state] = parts.map(|part| part.file().try_clone());
        let job = Job {
            task: Task::Script,
            input: protocol::sealed(plan).map_err(no_room)?,
            output: CodeFile::memory_file().map_err(no_room)?.into(),
            parts: vec![
                code.map_err(no_room)?.into(),
                loader.map_err(no_room)?.into(),
                state.map_err(no_room)?.into(),
                protocol::sealed(mark.as_bytes()).map_err(no_room)?,
            ],
        };
        let child = Child::start(options, folders, || {})?;
        let mut common = |_| Err(io::ErrorKind::InvalidData.into());
        match child.run(&job, options.wall_time, cancel, &mut common) {
            Ran::Answered(Reply::Done(text)) => Ok((sealed(job.output, options)?, text)),
            Ran::Answered(Reply::OutOfMemory(_)) => bail!(out_of_memory(options)),
            Ran::Answered(Reply::Refused(text) | Reply::Note(text)) => {
                bail!("{}", printable::one_line(&text));
            }
            Ran::Answered(Reply::Ask(_)) => bail!(explain(&Why::TalkedNonsense, options)),
            Ran::Ended(why) => bail!(explain(&why, options)),
        }
    }

    /// Starts a process. When it ends while it waits for a job, which it does by itself after a
    /// while, its descriptors are closed.
    fn start(&self) -> anyhow::Result<Child> {
        let shared = Arc::downgrade(&self.0);
        Child::start(&self.0.options, &[], move || {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let mut state = shared.lock();
            let (ended, idle) = std::mem::take(&mut state.idle)
                .into_iter()
                .partition(Child::has_ended);
            state.idle = idle;
            drop(state);
            drop::<Vec<Child>>(ended);
        })
    }

    fn permit(&self, cancel: &CancelToken) -> anyhow::Result<Permit<'_>> {
        let shared = self.0.clone();
        let _on_cancel = cancel.on_cancel(move || {
            // Under the lock, so that nobody is just about to wait.
            let _state = shared.lock();
            shared.changed.notify_all();
        });
        let most = self.0.options.processes();
        let mut state = self.0.lock();
        while state.permits >= most && !cancel.is_cancelled() {
            let waited = self.0.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if cancel.is_cancelled() {
            bail!(CANCELLED);
        }
        state.permits += 1;
        Ok(Permit(&self.0))
    }
}

/// What a process has asked for of code that its file has in common with others.
struct Asked<'s> {
    shared: &'s SharedCodes,
    /// Held while the process compiles the code.
    turn: Option<Turn<'s>>,
    answer: Option<Answer>,
}

/// What the process was told.
enum Answer {
    Known(Arc<SharedCode>),
    /// To compile it, and write the code and the frame to these files.
    Wanted(CodeKey, File, File),
}

impl<'s> Asked<'s> {
    fn new(shared: &'s SharedCodes) -> Self {
        Self {
            shared,
            turn: None,
            answer: None,
        }
    }

    /// The answer, after whoever compiles the same just now.
    fn answer(&mut self, key: CodeKey, cancel: &CancelToken) -> io::Result<Common> {
        let mut known = self.shared.find(key);
        if known.is_none() {
            self.turn = self.shared.turn(key, cancel);
            known = self.shared.find(key);
        }
        if let Some(known) = known {
            self.turn = None;
            let common = Common::Known(known.code.clone(), known.frame.clone());
            self.answer = Some(Answer::Known(known));
            return Ok(common);
        }
        let (code, frame) = (CodeFile::memory_file()?, CodeFile::memory_file()?);
        let common = Common::Wanted(code.try_clone()?, frame.try_clone()?);
        self.answer = Some(Answer::Wanted(key, code, frame));
        Ok(common)
    }

    /// The code, where the process's own file is a state.
    fn finish(self, options: &Options) -> anyhow::Result<Option<Arc<SharedCode>>> {
        Ok(match self.answer {
            None => None,
            Some(Answer::Known(known)) => Some(known),
            Some(Answer::Wanted(key, code, frame)) => {
                let code = sealed(code.into(), options)?;
                let frame = sealed(frame.into(), options)?;
                Some(self.shared.put(key, code, frame))
            }
        })
    }
}

impl Permit<'_> {
    /// A process that waits for a job.
    fn idle(&self) -> Option<Child> {
        self.0.lock().idle.pop()
    }

    /// Has a process wait for another job, unless it holds much memory.
    fn keep(&self, child: Child) {
        let resident = child.resident_bytes();
        if resident.is_some_and(|bytes| bytes <= KEEP_RESIDENT_BYTES) {
            self.0.lock().idle.push(child);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().permits -= 1;
        self.0.changed.notify_one();
    }
}

impl Shared {
    /// A panic while it is locked leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// What is said of a load that nobody wants any more.
const CANCELLED: &str = "not loaded: it is not wanted any more";

/// What a process has written, as it will stay.
fn sealed(output: OwnedFd, options: &Options) -> anyhow::Result<CodeFile> {
    let code = CodeFile::seal(File::from(output))
        .map_err(|error| anyhow!("not loaded: its compiled code can't be sealed: {error}"))?;
    if code.file().metadata()?.len() > options.output_bytes {
        bail!(too_large(options));
    }
    Ok(code)
}

fn no_room(error: &io::Error) -> anyhow::Error {
    anyhow!("no memory or descriptor to compile it: {error}")
}

/// Whether a process ended so that its job may just as well be tried again: by itself, which it
/// does when no job comes, or by a signal that only others send.
fn is_not_the_jobs_fault(status: ExitStatus) -> bool {
    const OF_OTHERS: [Signal; 5] = [
        Signal::KILL,
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
    ];
    status.success()
        || status
            .signal()
            .and_then(Signal::from_named_raw)
            .is_some_and(|signal| OF_OTHERS.contains(&signal))
}

/// In words for who made the handler, or runs the server.
fn explain(why: &Why, options: &Options) -> String {
    let end = match why {
        Why::Cancelled => return CANCELLED.into(),
        Why::TookTooLong => {
            let limit = duration::show(options.wall_time);
            return over(&format!("longer than {limit}"), "wall-time");
        }
        Why::TalkedNonsense => {
            return "not loaded: the process that compiled it did not answer as it should".into();
        }
        Why::Died(end) => end,
    };
    let words = String::from_utf8_lossy(&end.last_words);
    match end.status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => {
            let limit = duration::show(options.cpu_time);
            over(&format!("more than {limit} of processor time"), "cpu-time")
        }
        Some(Signal::XFSZ) => too_large(options),
        _ if words.contains("memory allocation of") => out_of_memory(options),
        // What Rust says when a thread has run into its guard page.
        _ if words.contains("overflowed its stack") => {
            let limit = size::show(options.stack_bytes);
            let what = format!("more than {limit} of stack: it is nested too deeply");
            over(&what, "stack")
        }
        _ => died(end, &words),
    }
}

/// What a process died of that is no limit of ours.
fn died(end: &End, words: &str) -> String {
    let last = words.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last = last.map(|line| format!(": {}", printable::one_line(line)));
    let cause = match end.status.signal() {
        Some(signal) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("of no name");
            format!("was killed by signal {signal} ({name})")
        }
        None => format!("ended with exit status {}", end.status.code().unwrap_or(0)),
    };
    let last = last.unwrap_or_default();
    format!("not loaded: the process that compiled it {cause}{last}")
}

fn out_of_memory(options: &Options) -> String {
    let limit = size::show(options.address_space_bytes());
    over(&format!("more than {limit} of memory"), "address-space")
}

fn too_large(options: &Options) -> String {
    let limit = size::show(options.output_bytes);
    format!("not loaded: its compiled code is larger than {limit} (compile.output)")
}

fn over(what: &str, key: &str) -> String {
    format!("not loaded: compiling takes {what} (compile.{key})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died_of(raw_status: i32, last_words: &str) -> String {
        let end = End {
            status: ExitStatus::from_raw(raw_status),
            last_words: last_words.into(),
        };
        explain(&Why::Died(end), &Options::default())
    }

    #[test]
    fn the_line_names_the_limit_that_was_reached() {
        let options = Options::default();
        let slow = explain(&Why::TookTooLong, &options);
        assert!(
            slow.contains("longer than 5m (compile.wall-time)"),
            "{slow}"
        );
        let abort = libc::SIGABRT;
        let stack = "thread '<unnamed>' has overflowed its stack\nfatal runtime error\n";
        for (status, words, expected) in [
            (libc::SIGXCPU, "", "2m of processor time (compile.cpu-time)"),
            (libc::SIGXFSZ, "", "larger than 512MiB (compile.output)"),
            (
                abort,
                "memory allocation of 7 bytes failed\n",
                "(compile.address-space)",
            ),
            (
                abort,
                stack,
                "more than 2MiB of stack: it is nested too deeply (compile.stack)",
            ),
            (abort, "a\n\x1b[1mb\n\n", "signal 6 (SIGABRT): \\u{1b}[1mb"),
            (7 << 8, "", "exit status 7"),
        ] {
            let text = died_of(status, words);
            assert!(
                text.starts_with("not loaded: ") && text.contains(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_others_kill_is_tried_again() {
        let again = |status| is_not_the_jobs_fault(ExitStatus::from_raw(status));
        assert!(again(libc::SIGKILL) && again(libc::SIGTERM) && again(0));
        assert!(!again(libc::SIGABRT) && !again(libc::SIGXCPU) && !again(1 << 8));
    }
}
