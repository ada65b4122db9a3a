//! The numbers by which an application knows what is not its own to look into. They are given,
//! counted and refused as `wasmtime` does it for a component.

use smallvec::SmallVec;
use wasmtime::{Result, bail, format_err};

use crate::engine::HANDLES;

/// Handles that need no allocation: those of a request whose body comes in blocks, and one more.
const USUAL_HANDLES: usize = 4;

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Environ,
    StartResponse,
    Blocks,
}

/// An application's handles. The number that was given back last is the next to be given.
#[derive(Debug, Default)]
pub(super) struct Handles {
    entries: SmallVec<[Entry; USUAL_HANDLES]>,
    /// Numbers in use, and what the host holds.
    live: usize,
    /// The place of the next number, if that was given before.
    free: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Used(Kind, u32),
    /// The place that was given back before this one.
    Free(Option<u32>),
}

impl Handles {
    /// A number for something, which is `rep` to whoever made it. None is 0.
    ///
    /// # Errors
    ///
    /// Fails when there are too many.
    pub(super) fn add(&mut self, kind: Kind, rep: u32) -> Result<u32> {
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

    /// Counts what the host holds: a handle of its own, or one that is lent for a call.
    ///
    /// # Errors
    ///
    /// Fails when there are too many.
    pub(super) fn hold(&mut self) -> Result<()> {
        if self.live >= HANDLES {
            bail!("an application has more than {HANDLES} handles");
        }
        self.live += 1;
        Ok(())
    }

    /// The host holds one less.
    pub(super) fn release(&mut self) {
        self.live = self.live.saturating_sub(1);
    }

    /// What a number stands for, lent to the host for a call that is over before the application
    /// goes on.
    ///
    /// # Errors
    ///
    /// Fails where it is of nothing, or of something else, or where there are too many.
    pub(super) fn lend(&mut self, kind: Kind, handle: u32) -> Result<u32> {
        let rep = self.get(kind, handle)?;
        self.hold()?;
        self.release();
        Ok(rep)
    }

    /// What a number stands for.
    ///
    /// # Errors
    ///
    /// Fails where it is of nothing, or of something else.
    pub(super) fn get(&self, kind: Kind, handle: u32) -> Result<u32> {
        match self.entries.get((handle as usize).wrapping_sub(1)) {
            Some(Entry::Used(found, rep)) if *found == kind => Ok(*rep),
            _ => Err(unknown(kind, handle)),
        }
    }

    /// What a number stood for. The number is given back.
    ///
    /// # Errors
    ///
    /// Fails where it is of nothing, or of something else.
    pub(super) fn remove(&mut self, kind: Kind, handle: u32) -> Result<u32> {
        let rep = self.get(kind, handle)?;
        self.entries[handle as usize - 1] = Entry::Free(self.free.replace(handle - 1));
        self.release();
        Ok(rep)
    }
}

fn unknown(kind: Kind, handle: u32) -> wasmtime::Error {
    format_err!("handle {handle} is of no {kind:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_of_one_thing_until_it_is_dropped() {
        let mut handles = Handles::default();
        let environ = handles.add(Kind::Environ, 7).unwrap();
        let blocks = handles.add(Kind::Blocks, 8).unwrap();
        assert_eq!((environ, blocks), (1, 2));
        assert_eq!(handles.get(Kind::Environ, environ).unwrap(), 7);
        for (kind, handle) in [
            (Kind::Blocks, environ),
            (Kind::Environ, 0),
            (Kind::Environ, 3),
        ] {
            assert!(handles.get(kind, handle).is_err());
            assert!(handles.remove(kind, handle).is_err());
        }
        assert_eq!(handles.remove(Kind::Environ, environ).unwrap(), 7);
        assert!(handles.get(Kind::Environ, environ).is_err());
        assert!(handles.get(Kind::Environ, u32::MAX).is_err());
        handles.remove(Kind::Blocks, blocks).unwrap();
        for number in [2, 1, 3] {
            assert_eq!(handles.add(Kind::StartResponse, 9).unwrap(), number);
        }
    }

    #[test]
    fn handles_are_bounded() {
        let mut handles = Handles::default();
        for rep in 0..HANDLES as u32 {
            handles.add(Kind::Blocks, rep).unwrap();
        }
        assert!(handles.add(Kind::Blocks, 0).is_err());
        assert!(handles.lend(Kind::Blocks, 2).is_err());
        handles.remove(Kind::Blocks, 1).unwrap();
        assert!(handles.lend(Kind::Blocks, 2).is_ok());
        assert!(handles.add(Kind::Blocks, 0).is_ok());
    }
}
