//! The compiling processes of one server: started on demand, kept for a while, and limited in
//! number.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::cache::Turn;
use super::super::code_file::CodeFile;
use super::super::error::LoadError;
use super::super::fuse::CodeKey;
use super::super::lines::Line;
use super::super::pools::settings::Effort;
use super::super::shared_code::{ProgramFiles, SharedCode, SharedCodes};
use super::child::{Child, Ran, Why, is_no_room};
use super::code::Common;
use super::failures::{
    explain, is_not_the_jobs_fault, no_process, no_room, out_of_memory, refused, short, too_large,
};
use super::lines;
use super::options::CompileOptions;
use super::protocol::{self, Job, Reply, Task};
use super::script_job::{BuiltScript, LoadedScript, ScriptJob};
use crate::reload::CancelToken;
use crate::units::duration;

/// The maximum resident memory of a process that is kept after a job, in bytes: otherwise, the next
/// job starts a new process. A process that has compiled small handlers has half.
const KEEP_RESIDENT_BYTES: u64 = 96 << 20;

/// The maximum size of the module names that a process writes, in bytes: Django's demo has 12 KiB.
const MAX_NAMES_BYTES: u64 = 1 << 20;

/// The maximum number of attempts for a job whose process ended for another reason: it had been
/// idle for too long, or it was killed, as the kernel does when memory is short.
const ATTEMPTS: usize = 4;

/// A pool of compiling processes. Clones share the pool.
#[derive(Clone)]
pub(in crate::engine) struct Pool(Arc<Shared>);

struct Shared {
    options: CompileOptions,
    effort: Effort,
    state: Mutex<State>,
    /// Signalled when a permit is released or a caller has given up.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Idle processes; the last one has been idle for the shortest time.
    idle: Vec<Child>,
    /// The number of permits in use. Each allows one process.
    permits: usize,
}

/// The permit to run one compiling process.
struct Permit<'pool>(&'pool Shared);

impl Pool {
    /// Creates a pool without processes.
    pub(super) fn new(options: CompileOptions, effort: Effort) -> Self {
        Self(Arc::new(Shared {
            options,
            effort,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Returns how much work goes into code that is not shared with other handlers.
    pub(super) fn effort(&self) -> Effort {
        self.0.effort
    }

    /// Runs `task` for a handler's bytes in a process. Blocks until a process is free and has
    /// finished. Returns its output, sealed, and its text.
    ///
    /// # Errors
    ///
    /// Fails if the bytes can't be loaded or exceed a limit, or the load is cancelled.
    pub(super) fn run(
        &self,
        task: Task,
        bytes: &[u8],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<(ProgramFiles, String), LoadError> {
        self.run_with(task, bytes, None, cancel, shared)
    }

    /// Finds the lines of the source of positions in the code of a handler's file.
    ///
    /// # Errors
    ///
    /// Fails as [`run`](Self::run) does.
    pub(super) fn run_lines(
        &self,
        bytes: &[u8],
        positions: &[u64],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<Vec<Vec<Line>>, LoadError> {
        let part = lines::encode_positions(positions);
        let part = Some(part.as_bytes());
        let (files, _) = self.run_with(Task::Lines, bytes, part, cancel, shared)?;
        let mut text = Vec::new();
        let mut file = files.own.file();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.take(lines::MAX_REPLY_BYTES).read_to_end(&mut text))
            .map_err(|error| no_room(&error))?;
        Ok(lines::decode(&text, positions.len()))
    }

    fn run_with(
        &self,
        task: Task,
        bytes: &[u8],
        part: Option<&[u8]>,
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<(ProgramFiles, String), LoadError> {
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
                parts: part
                    .map(protocol::sealed)
                    .transpose()
                    .map_err(|error| no_room(&error))?
                    .into_iter()
                    .collect(),
            };
            let child = match permit.idle() {
                Some(child) => child,
                None => self.start()?,
            };
            let mut asked = Asked::new(shared);
            let mut common = |key| asked.answer(key, cancel);
            match child.run(&job, options.wall_time, cancel, &mut common) {
                Ran::Answered(Reply::Done(text)) => {
                    // Seal the output before reading any of it.
                    let own = sealed(job.output, options)?;
                    let shared = asked.finish(options)?;
                    permit.keep(child);
                    return Ok((ProgramFiles { own, shared }, text));
                }
                Ran::Answered(Reply::OutOfMemory(_)) => {
                    return Err(LoadError::new(out_of_memory(options)));
                }
                Ran::Answered(Reply::Refused(text) | Reply::Note(text)) => {
                    permit.keep(child);
                    return Err(refused(&text));
                }
                Ran::Answered(Reply::Shortage(text)) => {
                    permit.keep(child);
                    return Err(short(&text));
                }
                Ran::Answered(Reply::Ask(_)) => return Err(explain(&Why::TalkedNonsense, options)),
                Ran::Ended(Why::Died(end)) if is_not_the_jobs_fault(end.status) => {
                    last = Some(end);
                }
                Ran::Ended(Why::NoRoom(error)) => return Err(no_room(&error)),
                Ran::Ended(why) => return Err(explain(&why, options)),
            }
        }
        Err(match last {
            Some(end) => explain(&Why::Died(end), options),
            None => LoadError::new("the compiling process can't be started"),
        })
    }

    /// Does what a script's job says in a separate process. Blocks until the process has a permit
    /// and has finished.
    ///
    /// # Errors
    ///
    /// Fails if the script can't be loaded or exceeds a limit, or the load is cancelled.
    pub(super) fn run_script(
        &self,
        script: &ScriptJob<'_>,
        cancel: &CancelToken,
    ) -> Result<LoadedScript, LoadError> {
        let ran = self.interpret(script, None, cancel)?;
        Ok(LoadedScript {
            state: sealed(ran.output, &self.0.options)?,
            said: ran.said,
            modules: names(&ran.modules).map_err(|error| no_room(&error))?,
        })
    }

    /// Does what a script's job says in a separate process, and returns a portable component.
    /// `runtime` is the interpreter's component.
    ///
    /// # Errors
    ///
    /// Fails if the script can't be loaded or exceeds a limit.
    pub(super) fn build_script(
        &self,
        script: &ScriptJob<'_>,
        runtime: &[u8],
    ) -> Result<BuiltScript, LoadError> {
        let ran = self.interpret(script, Some(runtime), &CancelToken::new())?;
        let component = sealed(ran.output, &self.0.options)?.read();
        Ok(BuiltScript {
            component: component.map_err(|error| no_room(&error))?,
            said: ran.said,
        })
    }

    fn interpret(
        &self,
        script: &ScriptJob<'_>,
        runtime: Option<&[u8]>,
        cancel: &CancelToken,
    ) -> Result<Interpreted, LoadError> {
        let _permit = self.permit(cancel)?;
        let options = &self.0.options;
        let no_room = |error: io::Error| no_room(&error);
        let [code, loader, state] = script.parts.map(|part| part.file().try_clone());
        let modules = CodeFile::memory_file().map_err(no_room)?;
        let mut parts = vec![
            code.map_err(no_room)?.into(),
            loader.map_err(no_room)?.into(),
            state.map_err(no_room)?.into(),
            protocol::sealed(script.mark.as_bytes()).map_err(no_room)?,
            modules.try_clone().map_err(no_room)?.into(),
        ];
        if let Some(runtime) = runtime {
            parts.push(protocol::sealed(runtime).map_err(no_room)?);
        }
        let job = Job {
            task: match runtime {
                Some(_) => Task::Portable,
                None => Task::Script,
            },
            input: protocol::sealed(script.plan).map_err(no_room)?,
            output: CodeFile::memory_file().map_err(no_room)?.into(),
            parts,
        };
        let child =
            Child::start(options, Effort::Full, Some(script.folders), || {}).map_err(no_process)?;
        let mut common = |_| Err(io::ErrorKind::InvalidData.into());
        let limit = options.import_time.min(options.wall_time);
        match child.run(&job, limit, cancel, &mut common) {
            Ran::Answered(Reply::Done(said)) => Ok(Interpreted {
                output: job.output,
                said,
                modules,
            }),
            Ran::Answered(Reply::OutOfMemory(_)) => Err(LoadError::new(out_of_memory(options))),
            Ran::Answered(Reply::Refused(text) | Reply::Note(text)) => Err(refused(&text)),
            Ran::Answered(Reply::Shortage(text)) => Err(short(&text)),
            Ran::Answered(Reply::Ask(_)) => Err(explain(&Why::TalkedNonsense, options)),
            Ran::Ended(Why::NoRoom(error)) => Err(no_room(error)),
            Ran::Ended(Why::TookTooLong) => {
                let (limit, key) = match limit < options.wall_time {
                    true => (limit, "import-time"),
                    false => (limit, "wall-time"),
                };
                let limit = duration::show(limit);
                Err(LoadError::new(format!(
                    "not loaded: importing it takes longer than {limit} (compile.{key})"
                )))
            }
            Ran::Ended(why) => Err(explain(&why, options)),
        }
    }

    /// Starts a process. An idle process exits after a while; its descriptors are then closed.
    fn start(&self) -> Result<Child, LoadError> {
        let shared = Arc::downgrade(&self.0);
        Child::start(&self.0.options, self.0.effort, None, move || {
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
        .map_err(no_process)
    }

    fn permit(&self, cancel: &CancelToken) -> Result<Permit<'_>, LoadError> {
        let shared = self.0.clone();
        let _on_cancel = cancel.on_cancel(move || {
            // Notify under the lock, so that no thread is just about to wait.
            let _state = shared.lock();
            shared.changed.notify_all();
        });
        let most = self.0.options.processes().get();
        let mut state = self.0.lock();
        while state.permits >= most && !cancel.is_cancelled() {
            let waited = self.0.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if cancel.is_cancelled() {
            return Err(LoadError::Cancelled);
        }
        state.permits += 1;
        Ok(Permit(&self.0))
    }
}

/// What a process with an interpreter has written.
struct Interpreted {
    /// The state or the component. The process may still write to it.
    output: OwnedFd,
    said: String,
    modules: File,
}

/// A process's question for code that its file shares with others.
struct Asked<'s> {
    shared: &'s SharedCodes,
    /// Held while the process compiles the code.
    turn: Option<Turn<'s>>,
    answer: Option<Answer>,
}

/// The answer to a process.
enum Answer {
    Known(Arc<SharedCode>),
    /// Compile it, and write the code and the frame to these files.
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

    /// Returns the answer. If another process is compiling the same code, waits for it.
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

    /// Returns the shared code, if the process's own file is a state.
    fn finish(self, options: &CompileOptions) -> Result<Option<Arc<SharedCode>>, LoadError> {
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
    /// Takes an idle process.
    fn idle(&self) -> Option<Child> {
        self.0.lock().idle.pop()
    }

    /// Keeps a process for another job, unless it uses much memory.
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
    /// Locks the state. A panic while the lock is held can't leave it inconsistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// Seals the output of a process.
fn sealed(output: OwnedFd, options: &CompileOptions) -> Result<CodeFile, LoadError> {
    CodeFile::take_over(File::from(output), options.output_bytes).map_err(|error| {
        match error.kind() {
            io::ErrorKind::FileTooLarge => LoadError::new(too_large(options)),
            _ if is_no_room(&error) => no_room(&error),
            _ => LoadError::new(format!(
                "not loaded: its compiled code can't be sealed: {error}"
            )),
        }
    })
}

/// Reads the names that a process wrote, one per line. Returns none if they exceed the limit.
fn names(file: &File) -> io::Result<Vec<String>> {
    let mut file = file;
    if file.metadata()?.len() > MAX_NAMES_BYTES {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(0))?;
    let mut text = Vec::new();
    file.take(MAX_NAMES_BYTES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}
