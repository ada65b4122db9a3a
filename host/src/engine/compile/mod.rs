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
use crate::printable;
use crate::reload::CancelToken;
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
    ) -> Result<CodeFile, LoadError> {
        let (file, unfused) = match self {
            Self::Processes(pool) => pool
                .run(Task::Compile, bytes, cancel)
                .map_err(|error| LoadError::new(format!("{error:#}")))?,
            Self::Here => {
                let code = code::compile(&room.engine, bytes)?;
                let file = in_memory(&code.bytes)?;
                code::try_out(room, &file)?;
                (file, code.unfused.unwrap_or_default())
            }
        };
        if !unfused.is_empty() {
            let why = printable::one_line(&unfused);
            tracing::debug!("compiled as it is: {why}");
        }
        Ok(file)
    }

    /// The names of the imports of a file that this host does not have.
    pub(super) fn missing(&self, room: &Room, bytes: &[u8]) -> Vec<String> {
        let Self::Processes(pool) = self else {
            return missing::names(room, bytes);
        };
        match pool.run(Task::Missing, bytes, &CancelToken::new()) {
            Ok((_, names)) => names.lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// A file in memory with this code.
fn in_memory(code: &[u8]) -> Result<CodeFile, LoadError> {
    CodeFile::memory_file()
        .and_then(|mut file| {
            file.write_all(code)?;
            CodeFile::seal(file)
        })
        .map_err(|error| LoadError::new(format!("no memory for its code: {error}")))
}
