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
mod serve;

use std::io::Write;

use super::code_file::CodeFile;
use super::load::{LoadError, Room};
use super::missing;
use super::shared_code::{ProgramFiles, SharedCode, SharedCodes};
use crate::printable;
use crate::reload::CancelToken;
use code::Common;
use pool::Pool;
use protocol::Task;

pub use options::Options;
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
        room: &Room,
        bytes: &[u8],
        cancel: &CancelToken,
        shared: &SharedCodes,
    ) -> Result<ProgramFiles, LoadError> {
        let (files, unfused) = match self {
            Self::Processes(pool) => pool
                .run(Task::Compile, bytes, cancel, shared)
                .map_err(|error| LoadError::new(format!("{error:#}")))?,
            Self::Here => compile_here(room, bytes, shared)?,
        };
        if !unfused.is_empty() {
            let why = printable::one_line(&unfused);
            tracing::debug!("compiled as it is: {why}");
        }
        Ok(files)
    }

    /// The names of the imports of a file that this host does not have.
    pub(super) fn missing(&self, room: &Room, bytes: &[u8], shared: &SharedCodes) -> Vec<String> {
        let Self::Processes(pool) = self else {
            return missing::names(room, bytes);
        };
        match pool.run(Task::Missing, bytes, &CancelToken::new(), shared) {
            Ok((_, names)) => names.lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// Compiles in this process. Gives a line for the log as well, or an empty one.
fn compile_here(
    room: &Room,
    bytes: &[u8],
    shared: &SharedCodes,
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
    let code = code::compile(&room.engine, bytes, &mut common)?;
    let own = in_memory(&code.bytes)?;
    let shared = match (known, code.shared) {
        (Some((_, Some(known))), Some(_)) => Some(known),
        (Some((key, None)), Some(SharedCode { code, frame, .. })) => {
            Some(shared.put(key, code, frame))
        }
        _ => None,
    };
    let files = ProgramFiles { own, shared };
    code::try_out(room, &files)?;
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

fn no_memory(error: &std::io::Error) -> LoadError {
    LoadError::new(format!("no memory for its code: {error}"))
}
