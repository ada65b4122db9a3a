//! Compiles in separate processes: the server only hashes a handler's bytes, passes them to such a
//! process, and maps its output.
//!
//! A handler's file is untrusted, and it controls how parsers and compilers recurse, allocate and
//! compute. So all of that happens in a child process (`serve`, which runs this program with a
//! hidden subcommand) with resource limits and no access to anything else (`confine`).
//!
//! - [`CompileOptions`] are the limits.
//! - `pool` manages the processes: it starts one when it is needed, and keeps it for the next job.
//!   `child` is the server's side of one process, and `failures` explains in one line why one died.
//! - `protocol` has the messages between the two.
//! - `code` does the work: it compiles bytes to code, and checks that it can run.

mod child;
mod code;
mod confine;
mod failures;
mod immortal;
mod lines;
mod options;
mod pool;
mod protocol;
mod script;
mod script_job;
mod serve;

use std::io::Write;

use wasmtime::Engine;

use super::code_file::CodeFile;
use super::error::LoadError;
use super::lines::Line;
use super::pools::instances::InstancePool;
use super::pools::settings::Effort;
use super::shared_code::{ProgramFiles, SharedCode, SharedCodes};
use super::worlds::missing;
use crate::printable;
use crate::reload::CancelToken;
use code::Common;
use pool::Pool;
use protocol::Task;

pub(super) use lines::MAX_POSITIONS;
pub use options::CompileOptions;
pub(super) use script::{GUEST_APPLICATION, GUEST_LIBRARY, GUEST_PACKAGES};
pub(super) use script_job::{BuiltScript, LoadedScript, ScriptJob};
pub use serve::{Limits, serve};

/// The place where handlers are compiled. Clones share it.
#[derive(Clone, Debug)]
pub(super) enum Compiler {
    /// In separate processes.
    Processes(Pool),
    /// In this process, without limits: for tests and benches, whose programs lack the subcommand.
    Here,
}

impl Compiler {
    /// Compiles in processes with these limits. Starts none before it is needed.
    pub(super) fn new(options: &CompileOptions) -> Self {
        Self::Processes(Pool::new(*options, Effort::Full))
    }

    /// Returns a compiler whose processes have these limits, compile handlers quickly and stay for
    /// longer. Compiling in this process doesn't change.
    pub(super) fn quick(&self, options: &CompileOptions) -> Self {
        match self {
            Self::Processes(_) => Self::Processes(Pool::new(*options, Effort::Quick)),
            Self::Here => Self::Here,
        }
    }

    /// Returns how much work goes into code that is not shared with other handlers.
    pub(super) fn effort(&self) -> Effort {
        match self {
            Self::Processes(pool) => pool.effort(),
            Self::Here => Effort::Full,
        }
    }

    /// Compiles the bytes of a `.wasm` or `.wat` file, and checks that the result can run.
    ///
    /// # Errors
    ///
    /// Fails if the bytes can't run here, exceed a limit, or the load is cancelled.
    pub(super) fn compile(
        &self,
        instances: &InstancePool,
        handler: &str,
        bytes: &[u8],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<ProgramFiles, LoadError> {
        let (files, unfused) = match self {
            Self::Processes(pool) => pool.run(Task::Compile, bytes, cancel, shared)?,
            Self::Here => compile_here(instances, bytes, shared, |engine, bytes, common| {
                code::compile(engine, Effort::Full, bytes, common)
            })?,
        };
        if !unfused.is_empty() {
            let why = printable::one_line(&unfused);
            tracing::info!(
                handler,
                "its core modules are not combined, so that an instance takes longer to create: \
                 {why}"
            );
        }
        Ok(files)
    }

    /// Compiles an interpreter without an application.
    ///
    /// # Errors
    ///
    /// Fails if the server can't use the interpreter, or it exceeds a limit.
    pub(super) fn runtime(
        &self,
        instances: &InstancePool,
        bytes: &[u8],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<(ProgramFiles, CodeFile), LoadError> {
        let Self::Processes(pool) = self else {
            let (files, _) = compile_here(instances, bytes, shared, code::runtime)?;
            let loader = in_memory(&code::loader(&instances.engine, bytes)?)?;
            return Ok((files, loader));
        };
        let run = |task| pool.run(task, bytes, cancel, shared);
        let (files, _) = run(Task::Runtime)?;
        let (loader, _) = run(Task::Loader)?;
        Ok((files, loader.own))
    }

    /// Makes an interpreter do what a plan says; it can read in the job's folders. Returns the
    /// resulting state and the application's output.
    ///
    /// # Errors
    ///
    /// Fails if the application can't be loaded or exceeds a limit.
    pub(super) fn script(
        &self,
        instances: &InstancePool,
        job: &ScriptJob<'_>,
        cancel: &CancelToken,
    ) -> Result<LoadedScript, LoadError> {
        let Self::Processes(pool) = self else {
            let loaded = script::Script::from_job(job).load(&instances.engine)?;
            return Ok(LoadedScript {
                state: in_memory(&loaded.state)?,
                said: loaded.said,
                modules: loaded.modules,
            });
        };
        pool.run_script(job, cancel)
    }

    /// Makes an interpreter do what a plan says, and returns a portable component with the
    /// resulting state. `runtime` is the interpreter's component.
    ///
    /// # Errors
    ///
    /// Fails if the application can't be loaded or exceeds a limit.
    pub(super) fn portable(
        &self,
        instances: &InstancePool,
        job: &ScriptJob<'_>,
        runtime: &[u8],
    ) -> Result<BuiltScript, LoadError> {
        let Self::Processes(pool) = self else {
            let mut script = script::Script::from_job(job);
            script.portable = Some(runtime.to_vec());
            let loaded = script.load(&instances.engine)?;
            return Ok(BuiltScript {
                component: loaded.state,
                said: loaded.said,
            });
        };
        pool.build_script(job, runtime)
    }

    /// Returns the lines of the source of positions in the code of a `.wasm` file: see
    /// [`Line`].
    ///
    /// # Errors
    ///
    /// Fails if the bytes exceed a limit, or the token is cancelled.
    pub(super) fn lines(
        &self,
        bytes: &[u8],
        positions: &[u64],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<Vec<Vec<Line>>, LoadError> {
        match self {
            Self::Processes(pool) => pool.run_lines(bytes, positions, cancel, shared),
            Self::Here => code::lines(bytes, positions),
        }
    }

    /// Returns the names of a file's imports that this host doesn't have.
    pub(super) fn missing(
        &self,
        instances: &InstancePool,
        bytes: &[u8],
        shared: &SharedCodes,
    ) -> Vec<String> {
        let Self::Processes(pool) = self else {
            return missing::names(instances, bytes);
        };
        match pool.run(Task::Missing, bytes, &CancelToken::new(), shared) {
            Ok((_, names)) => names.lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// Compiles in this process. Also returns a line for the log, possibly empty.
fn compile_here(
    instances: &InstancePool,
    bytes: &[u8],
    shared: &SharedCodes,
    compile: impl FnOnce(&Engine, &[u8], &mut code::Ask<'_>) -> Result<code::Code, LoadError>,
) -> Result<(ProgramFiles, String), LoadError> {
    let mut known = None;
    let mut common = |key| {
        let find = shared.find(key);
        known = Some((key, find.clone()));
        Ok(match find {
            Some(shared) => Common::Known(shared.code.clone(), shared.frame.clone()),
            None => {
                let file = || CodeFile::memory_file().map_err(|error| no_memory(&error));
                Common::Wanted(file()?, file()?)
            }
        })
    };
    let code = compile(&instances.engine, bytes, &mut common)?;
    let own = in_memory(&code.bytes)?;
    let shared = match (known, code.shared) {
        (Some((_, Some(known))), Some(_)) => Some(known),
        (Some((key, None)), Some(SharedCode { code, frame, .. })) => {
            Some(shared.put(key, code, frame))
        }
        _ => None,
    };
    let files = ProgramFiles { own, shared };
    code::try_out(instances, &files)?;
    Ok((files, code.unfused.unwrap_or_default()))
}

/// Returns an in-memory file with this code.
fn in_memory(code: &[u8]) -> Result<CodeFile, LoadError> {
    CodeFile::memory_file()
        .and_then(|mut file| {
            file.write_all(code)?;
            CodeFile::seal(file)
        })
        .map_err(|error| no_memory(&error))
}

fn no_memory(error: &std::io::Error) -> LoadError {
    LoadError::from(error).within("no memory for its code")
}
