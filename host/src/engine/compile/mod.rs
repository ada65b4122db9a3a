//! Compiling in processes of their own: the server does nothing with a handler's bytes but hash
//! them, hand them to such a process, and map what it wrote.
//!
//! A handler's file is a stranger's, and parsers and compilers recurse, allocate and compute as it
//! says. So all of that happens in a child process (`serve`, which is this program again with a
//! hidden command), which has limits, and nothing else that it could reach (`confine`).
//!
//! - [`Options`] are the limits.
//! - `pool` has the processes: it starts one when it is needed, keeps it for the next job, and says
//!   in one line what a process died of. `child` is one of them, as the server sees it.
//! - `protocol` is what the two say to each other.
//! - `code` is the work itself: from bytes to code, and whether that can be run.

mod child;
mod code;
mod confine;
mod options;
mod pool;
mod protocol;
mod script;
mod serve;

use std::io::Write;
use std::path::PathBuf;

use wasmtime::Engine;

use super::code_file::CodeFile;
use super::load::{InstancePool, LoadError};
use super::missing;
use super::shared_code::{ProgramFiles, SharedCode, SharedCodes};
use crate::printable;
use crate::reload::CancelToken;
use code::Common;
use pool::Pool;
use protocol::Task;

pub use options::Options;
pub(super) use script::GUEST_FOLDERS;
pub use serve::{Limits, serve};

/// Where handlers are compiled. Clones are the same.
#[derive(Clone, Debug)]
pub(super) enum Compiler {
    /// In processes of their own.
    Processes(Pool),
    /// In this one, without limits: for tests and benches, whose own program knows no such command.
    Here,
}

impl Compiler {
    /// Compiles in processes that have these limits. None is started before it is needed.
    pub(super) fn new(options: &Options) -> Self {
        Self::Processes(Pool::new(*options))
    }

    /// Compiles the bytes of a `.wasm` or `.wat` file, and tries out what comes of it.
    ///
    /// # Errors
    ///
    /// They can't be run here, take more than they may, or are not wanted any more.
    pub(super) fn compile(
        &self,
        instances: &InstancePool,
        bytes: &[u8],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<ProgramFiles, LoadError> {
        let (files, unfused) = match self {
            Self::Processes(pool) => pool
                .run(Task::Compile, bytes, cancel, shared)
                .map_err(failed)?,
            Self::Here => compile_here(instances, bytes, shared, code::compile)?,
        };
        if !unfused.is_empty() {
            let why = printable::one_line(&unfused);
            tracing::debug!("compiled as it is: {why}");
        }
        Ok(files)
    }

    /// Compiles an interpreter without an application.
    ///
    /// # Errors
    ///
    /// It is none that this server can use, or takes more than it may.
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
        let run = |task| pool.run(task, bytes, cancel, shared).map_err(failed);
        let (files, _) = run(Task::Runtime)?;
        let (loader, _) = run(Task::Loader)?;
        Ok((files, loader.own))
    }

    /// Has an interpreter load an application by a plan, which it reads in `folders`. Gives its
    /// state then, and what the application wrote.
    ///
    /// # Errors
    ///
    /// The application can't be loaded, or takes more than it may.
    pub(super) fn script(
        &self,
        instances: &InstancePool,
        plan: &[u8],
        parts: [&CodeFile; 3],
        mark: &str,
        folders: &[PathBuf],
        cancel: &CancelToken,
    ) -> Result<(CodeFile, String), LoadError> {
        let Self::Processes(pool) = self else {
            let script = script::Script {
                plan: plan.to_vec(),
                parts: parts.map(CodeFile::clone),
                mark: mark.to_owned(),
                folders: folders.to_vec(),
            };
            let (state, said) = script.load(&instances.engine)?;
            return Ok((in_memory(&state)?, said));
        };
        pool.run_script(plan, parts, mark, folders, cancel)
            .map_err(failed)
    }

    /// The names of the imports of a file that this host does not have.
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

/// Compiles in this process. Gives a line for the log as well, or an empty one.
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

/// A file in memory with this code.
fn in_memory(code: &[u8]) -> Result<CodeFile, LoadError> {
    CodeFile::memory_file()
        .and_then(|mut file| {
            file.write_all(code)?;
            CodeFile::seal(file)
        })
        .map_err(|error| no_memory(&error))
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn failed(error: anyhow::Error) -> LoadError {
    LoadError::new(format!("{error:#}"))
}

fn no_memory(error: &std::io::Error) -> LoadError {
    LoadError::new(format!("no memory for its code: {error}"))
}
