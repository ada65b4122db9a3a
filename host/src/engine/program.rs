//! A loaded program, and the pools that it is prepared in.

use std::fmt;
use std::sync::Arc;

use super::HandlerKind;
use super::call::refusals::Refused;
use super::call::state::HostState;
use super::lines::Lines;
use super::pools::memory::{Beginning, Evict, IsListed, ProgramMemory, Reservation, Short};
use super::pools::overflow::{InOverflow, OverflowPool};
use super::pools::settings;
use super::pools::warm::{Idle, Warm};
use super::scripts::folders::Folders;
use super::worlds::pre::Pre;
use crate::permits::{Permit, Permits};
use crate::registry::Describe;
use crate::state::Store;

/// A handler's code: compiled, checked against the contract and linked.
#[derive(Clone)]
pub struct Program(pub(super) Arc<Code>);

/// The shared state of a program's clones.
pub(super) struct Code {
    pub(super) kind: HandlerKind,
    /// In the pool for small programs, if it is one.
    pub(super) small: Option<(Pre, Arc<Permits>)>,
    /// In the pool for programs of its size.
    pub(super) first: Pre,
    pub(super) first_permits: Arc<Permits>,
    pub(super) overflow: Arc<OverflowPool>,
    /// In the pool for thousands of instances, once that exists.
    pub(super) in_overflow: Arc<InOverflow>,
    /// The folders that its instances see.
    pub(super) folders: Folders,
    #[cfg(test)]
    pub(super) is_direct: bool,
    /// The names of its imports, such as `wasi:clocks/wall-clock@0.2.6`.
    pub(super) imports: Vec<String>,
    /// It is of the contract and imports functions for sleeping. Then WASI is set up before the
    /// guest runs: setting it up on the guest's stack would extend that to its second page, which
    /// each sleeping guest would keep.
    pub(super) may_sleep: bool,
    pub(super) idle: Idle,
    /// The initial memory of an instance.
    pub(super) beginning: Beginning,
    /// The memory of its instances.
    pub(super) memory: Arc<ProgramMemory>,
    pub(super) is_listed: IsListed,
    /// The store of key-value buckets.
    pub(super) store: Option<Store>,
    /// The requests that were denied to its instances.
    pub(super) refused: Refused,
    /// Finds the lines of its source, for a developer.
    pub(super) lines: Option<Arc<Lines>>,
}

impl Code {
    /// Reserves the initial memory of an instance.
    pub(super) fn reserve(&self) -> Result<Reservation, Short> {
        ProgramMemory::reserve(&self.memory, self.beginning)
    }

    /// Keeps an instance for its next request, until it or its memory is needed.
    pub(super) fn keep(self: &Arc<Self>, warm: Warm) {
        self.memory.list(self, &self.is_listed);
        self.idle.put(warm);
    }

    /// Returns the pool for an instance that serves one request.
    pub(super) async fn place(&self) -> (&Pre, Option<Permit>) {
        if let Some((pre, permits)) = &self.small
            && let Some(permit) = Permits::try_acquire(permits, settings::SMALL_INSTANCES as usize)
        {
            return (pre, Some(permit));
        }
        self.place_to_stay().await
    }

    /// Returns the pool for an instance that may stay for other requests: not the pool for small
    /// programs, whose permits are short-lived.
    pub(super) async fn place_to_stay(&self) -> (&Pre, Option<Permit>) {
        let permit = Permits::try_acquire(&self.first_permits, settings::FIRST_INSTANCES as usize);
        match &permit {
            // Request it early, so that no request waits.
            Some(permit) if permit.is_among_last(settings::LAST_INSTANCES as usize) => {
                self.overflow.ask();
            }
            Some(_) => {}
            None => {
                if let Some(overflow) = self.overflow.join(&self.in_overflow).await {
                    return (overflow, None);
                }
            }
        }
        (&self.first, permit)
    }

    /// Prepares resources of a request while it runs on the host's stack.
    pub(super) fn prepare(&self, state: &mut HostState) {
        if self.may_sleep {
            state.set_up_wasi(|_| {});
        }
    }
}

impl Program {
    /// Returns the memory of its instances, in bytes, as [`Engine::limit_memory`] counts it.
    ///
    /// [`Engine::limit_memory`]: super::Engine::limit_memory
    pub(crate) fn memory_used(&self) -> usize {
        self.0.memory.used()
    }

    /// Returns the kind of handler.
    pub fn kind(&self) -> HandlerKind {
        self.0.kind
    }

    /// Returns whether it is called directly. Only tests need to know.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.0.is_direct
    }
}

impl Evict for Code {
    fn evict(&self) -> bool {
        self.idle.take().is_some()
    }
}

impl Describe for Program {
    fn kind(&self) -> &str {
        Program::kind(self).as_str()
    }

    fn imports(&self) -> Vec<String> {
        let own = Program::kind(self).own_imports();
        let beyond = |name: &&String| !name.starts_with(own);
        self.0.imports.iter().filter(beyond).cloned().collect()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("kind", &Program::kind(self))
            .field("imports", &self.0.imports)
            .field("idle", &self.0.idle)
            .finish_non_exhaustive()
    }
}
