//! The state of a store for an application that is called directly.

use wasmtime::{Memory, Result, bail, format_err};

use super::handles::Handles;
use super::lower::Lowering;
use crate::engine::worlds::gateway::answer::Answer;
use crate::engine::worlds::gateway::bindings::wasgi::gateway::gateway::Exception;

/// The state of a store for an application that is called directly.
#[derive(Default)]
pub(in crate::engine) struct Direct {
    /// The memory that contains its values. `None` before instantiation.
    pub(super) memory: Option<Memory>,
    pub(super) handles: Handles,
    pub(super) phase: Phase,
}

/// The phase of an application, which determines whether it may call the host (`may_leave` in the
/// canonical ABI).
#[derive(Default)]
pub(super) enum Phase {
    /// Its own code is running: it may call the host.
    #[default]
    Working,
    /// It allocates space for a result of the host, and may not call.
    Allocating(Lowering),
    /// It has returned, and its result was read. Its further code (`post-return`) may not call.
    Returned(Returned),
}

/// The result of an application's function.
pub(super) enum Returned {
    Call(Result<Answer<u32>, Exception>),
    Next(Result<Option<Vec<u8>>, Exception>),
    Close(Result<(), Exception>),
}

impl Direct {
    /// Returns the application's memory.
    ///
    /// # Errors
    ///
    /// Fails before instantiation.
    pub(super) fn memory(&self) -> Result<Memory> {
        let memory = self.memory;
        memory.ok_or_else(|| format_err!("an application called before it was created"))
    }
}

impl Phase {
    /// Checks that the application may call the host.
    ///
    /// # Errors
    ///
    /// Fails unless its own code is running.
    pub(super) fn check_leave(&self) -> Result<()> {
        match self {
            Self::Working => Ok(()),
            Self::Allocating(_) => bail!("an application called while it allocated for a result"),
            Self::Returned(_) => bail!("an application called after it had returned"),
        }
    }
}
