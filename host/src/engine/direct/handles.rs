//! The handles of an application for the host's values. They are assigned, counted and rejected as
//! `wasmtime` does for a component.

use smallvec::SmallVec;
use wasmtime::{Result, bail, format_err};

use crate::engine::limits::HANDLES;

/// The number of handles without heap allocation: those of a request whose body is a sequence of
/// blocks, plus one.
const USUAL_HANDLES: usize = 4;

/// The type of a handle's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandleKind {
    Environ,
    StartResponse,
    Blocks,
}

/// The handles of an application. The handle that was released last is assigned next.
#[derive(Debug, Default)]
pub(super) struct Handles {
    entries: SmallVec<[Entry; USUAL_HANDLES]>,
    /// The number of handles in use, including those that the host holds.
    live: usize,
    /// The position of the next handle, if it was in use before.
    free: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Used(HandleKind, u32),
    /// The position that was released before this one.
    Free(Option<u32>),
}

impl Handles {
    /// Assigns a handle to a value that its creator represents as `rep`. 0 is never a handle.
    ///
    /// # Errors
    ///
    /// Fails if there are too many.
    pub(super) fn add(&mut self, kind: HandleKind, rep: u32) -> Result<u32> {
        self.hold()?;
        let entry = Entry::Used(kind, rep);
        if let Some(place) = self.free
            && let Entry::Free(next) = self.entries[place as usize]
        {
            self.entries[place as usize] = entry;
            self.free = next;
            return Ok(place + 1);
        }
        self.entries.push(entry);
        Ok(self.entries.len() as u32)
    }

    /// Counts a handle that the host holds: its own, or one borrowed for a call.
    ///
    /// # Errors
    ///
    /// Fails if there are too many.
    pub(super) fn hold(&mut self) -> Result<()> {
        if self.live >= HANDLES {
            bail!("an application has more than {HANDLES} handles");
        }
        self.live += 1;
        Ok(())
    }

    /// Uncounts a handle that the host holds.
    pub(super) fn release(&mut self) {
        self.live = self.live.saturating_sub(1);
    }

    /// Returns the value of a handle, borrowed by the host for a call that ends before the
    /// application continues.
    ///
    /// # Errors
    ///
    /// Fails if the handle is invalid or of another type, or if there are too many.
    pub(super) fn lend(&mut self, kind: HandleKind, handle: u32) -> Result<u32> {
        let rep = self.get(kind, handle)?;
        self.hold()?;
        self.release();
        Ok(rep)
    }

    /// Returns the value of a handle.
    ///
    /// # Errors
    ///
    /// Fails if the handle is invalid or of another type.
    pub(super) fn get(&self, kind: HandleKind, handle: u32) -> Result<u32> {
        match self.entries.get((handle as usize).wrapping_sub(1)) {
            Some(Entry::Used(found, rep)) if *found == kind => Ok(*rep),
            _ => Err(unknown(kind, handle)),
        }
    }

    /// Releases a handle and returns its value.
    ///
    /// # Errors
    ///
    /// Fails if the handle is invalid or of another type.
    pub(super) fn remove(&mut self, kind: HandleKind, handle: u32) -> Result<u32> {
        let rep = self.get(kind, handle)?;
        self.entries[handle as usize - 1] = Entry::Free(self.free.replace(handle - 1));
        self.release();
        Ok(rep)
    }
}

fn unknown(kind: HandleKind, handle: u32) -> wasmtime::Error {
    format_err!("handle {handle} is not of type {kind:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_of_one_thing_until_it_is_dropped() {
        let mut handles = Handles::default();
        let environ = handles.add(HandleKind::Environ, 7).unwrap();
        let blocks = handles.add(HandleKind::Blocks, 8).unwrap();
        assert_eq!((environ, blocks), (1, 2));
        assert_eq!(handles.get(HandleKind::Environ, environ).unwrap(), 7);
        for (kind, handle) in [
            (HandleKind::Blocks, environ),
            (HandleKind::Environ, 0),
            (HandleKind::Environ, 3),
        ] {
            assert!(handles.get(kind, handle).is_err());
            assert!(handles.remove(kind, handle).is_err());
        }
        assert_eq!(handles.remove(HandleKind::Environ, environ).unwrap(), 7);
        assert!(handles.get(HandleKind::Environ, environ).is_err());
        assert!(handles.get(HandleKind::Environ, u32::MAX).is_err());
        handles.remove(HandleKind::Blocks, blocks).unwrap();
        for number in [2, 1, 3] {
            assert_eq!(handles.add(HandleKind::StartResponse, 9).unwrap(), number);
        }
    }

    #[test]
    fn handles_are_bounded() {
        let mut handles = Handles::default();
        for rep in 0..HANDLES as u32 {
            handles.add(HandleKind::Blocks, rep).unwrap();
        }
        assert!(handles.add(HandleKind::Blocks, 0).is_err());
        assert!(handles.lend(HandleKind::Blocks, 2).is_err());
        handles.remove(HandleKind::Blocks, 1).unwrap();
        assert!(handles.lend(HandleKind::Blocks, 2).is_ok());
        assert!(handles.add(HandleKind::Blocks, 0).is_ok());
    }
}
