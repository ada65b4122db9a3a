//! Writes results of the host to an application's memory, in the layout of the canonical ABI.
//!
//! The application allocates the space for lists and strings. It is asked for one allocation at a
//! time, and each is used once.

use std::collections::VecDeque;

use wasmtime::Result;

use super::abi::{NOTHING, want};
use super::lift::{PAIR_BYTES, outside, place};

/// The lists and strings of a result that are not written yet.
pub(super) enum Lowering {
    /// A list of bytes, or a string.
    Bytes(Part),
    /// A list of pairs of a string and bytes, and the place of its address and count.
    Pairs(u32, Vec<(String, Vec<u8>)>),
    /// The contents of such a list after it is allocated; its own address and count are written
    /// last.
    Entries(VecDeque<Part>, Slot),
    /// Nothing.
    Done,
}

/// The place and the values of a list's address and count, which are written after all its
/// contents. An application could observe the order of the canonical ABI if it reads the place
/// during an allocation.
pub(super) struct Slot {
    slot: u32,
    words: [u32; 2],
}

/// Bytes, and the place of their address and length.
pub(super) struct Part {
    bytes: Vec<u8>,
    slot: u32,
}

impl Lowering {
    /// Creates the lowering of a list of bytes, or a string.
    pub(super) fn of_bytes(bytes: Vec<u8>, slot: u32) -> Self {
        Self::Bytes(Part { bytes, slot })
    }

    /// Returns the next allocation that the application must make.
    ///
    /// # Errors
    ///
    /// Fails if it is larger than the address space.
    pub(super) fn wants(&self) -> Result<i64> {
        let (count, each, align) = match self {
            Self::Bytes(part) => (part.bytes.len(), 1, 1),
            Self::Entries(parts, _) => match parts.front() {
                Some(part) => (part.bytes.len(), 1, 1),
                None => return Ok(NOTHING),
            },
            Self::Pairs(_, pairs) => (pairs.len(), PAIR_BYTES, 4),
            Self::Done => return Ok(NOTHING),
        };
        let size = u32::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(each));
        size.map(|size| want(size, align)).ok_or_else(outside)
    }

    /// Writes the next value to the space that the application has allocated.
    ///
    /// # Errors
    ///
    /// Fails if the space is invalid or was not requested.
    pub(super) fn give(&mut self, memory: &mut [u8], address: u32) -> Result<()> {
        match self {
            Self::Bytes(part) => {
                part.put(memory, address)?;
                *self = Self::Done;
            }
            Self::Pairs(slot, pairs) => {
                place(memory, address, pairs.len() * PAIR_BYTES as usize)?;
                let slot = Slot {
                    slot: *slot,
                    words: [address, pairs.len() as u32],
                };
                let parts = entries(address, std::mem::take(pairs));
                *self = Self::Entries(parts, slot);
            }
            Self::Entries(parts, _) => {
                let part = parts.pop_front().ok_or_else(outside)?;
                part.put(memory, address)?;
            }
            Self::Done => return Err(outside()),
        }
        if let Self::Entries(parts, slot) = self
            && parts.is_empty()
        {
            put_words(memory, slot.slot, slot.words)?;
            *self = Self::Done;
        }
        Ok(())
    }
}

impl Part {
    fn put(&self, memory: &mut [u8], address: u32) -> Result<()> {
        put(memory, address, &self.bytes)?;
        put_words(memory, self.slot, [address, self.bytes.len() as u32])
    }
}

/// Returns the contents of a list of pairs at an address.
fn entries(address: u32, pairs: Vec<(String, Vec<u8>)>) -> VecDeque<Part> {
    let mut parts = VecDeque::with_capacity(pairs.len() * 2);
    for (index, (name, value)) in (0..).zip(pairs) {
        // The whole list is known to fit into memory.
        let entry = address.wrapping_add(index * PAIR_BYTES);
        parts.push_back(Part {
            bytes: name.into_bytes(),
            slot: entry,
        });
        parts.push_back(Part {
            bytes: value,
            slot: entry.wrapping_add(8),
        });
    }
    parts
}

/// Writes bytes to an address from an application.
pub(super) fn put(memory: &mut [u8], address: u32, bytes: &[u8]) -> Result<()> {
    let start = address as usize;
    let place = memory
        .get_mut(start..start + bytes.len())
        .ok_or_else(outside)?;
    place.copy_from_slice(bytes);
    Ok(())
}

fn put_words(memory: &mut [u8], address: u32, words: [u32; 2]) -> Result<()> {
    for (index, word) in words.into_iter().enumerate() {
        put(
            memory,
            address.wrapping_add(index as u32 * 4),
            &word.to_le_bytes(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::lift::Lift;

    #[test]
    fn a_list_of_pairs_is_given_place_by_place() {
        let pairs = vec![
            ("a".to_owned(), b"bc".to_vec()),
            (String::new(), vec![0xff; 3]),
        ];
        let mut memory = vec![0; 128];
        let mut lowering = Lowering::Pairs(8, pairs.clone());
        let mut wanted = Vec::new();
        // The list first, then the contents of each entry.
        for address in [16, 60, 70, 80, 90] {
            wanted.push(lowering.wants().unwrap());
            lowering.give(&mut memory, address).unwrap();
        }
        assert_eq!(lowering.wants().unwrap(), NOTHING);
        assert!(lowering.give(&mut memory, 100).is_err());
        assert_eq!(
            wanted,
            [want(32, 4), want(1, 1), want(2, 1), want(0, 1), want(3, 1)]
        );
        let mut lift = Lift::passed(&memory, &crate::policy::Budget::default());
        let [address, count] = lift.words(8).unwrap();
        assert_eq!((address, count), (16, 2));
        assert_eq!(lift.pairs(address, count).unwrap(), pairs);
    }

    #[test]
    fn nothing_is_written_outside_of_memory() {
        let bytes = |slot| Lowering::of_bytes(vec![1; 8], slot);
        let mut memory = vec![0; 32];
        for (address, slot) in [(25, 0), (u32::MAX, 0), (0, 28), (0, u32::MAX - 3)] {
            assert!(bytes(slot).give(&mut memory, address).is_err());
        }
        let pairs = || Lowering::Pairs(0, vec![Default::default(); 2]);
        for address in [2, 4, 32, u32::MAX - 3] {
            assert!(pairs().give(&mut memory, address).is_err());
        }
        assert!(pairs().give(&mut memory, 0).is_ok());
    }

    #[test]
    fn where_a_list_is_comes_when_all_that_is_in_it_has_its_place() {
        let pairs = vec![("a".to_owned(), b"b".to_vec())];
        let mut lowering = Lowering::Pairs(0, pairs);
        let mut memory = vec![0; 64];
        for (address, list) in [(16, [0, 0]), (40, [0, 0]), (41, [16, 1])] {
            lowering.give(&mut memory, address).unwrap();
            assert_eq!(
                Lift::passed(&memory, &crate::policy::Budget::default())
                    .words(0)
                    .unwrap(),
                list
            );
        }
    }
}
