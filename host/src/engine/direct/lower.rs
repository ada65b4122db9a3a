//! Results of the host's into an application's memory, as the canonical ABI lays them out.
//!
//! Lists and strings go where the application allocates for them: it is asked for one place after
//! the other, and given none of them twice.

use std::collections::VecDeque;

use wasmtime::Result;

use super::abi::{NOTHING, want};
use super::lift::{PAIR_BYTES, outside, place};

/// What is left of a result: its lists and strings.
pub(super) enum Lowering {
    /// Each is bytes.
    Parts(VecDeque<Part>),
    /// A list of pairs of a string and bytes, and where its address and count go.
    Pairs(u32, Vec<(String, Vec<u8>)>),
}

/// Bytes, and where their address and length go.
pub(super) struct Part {
    bytes: Vec<u8>,
    slot: u32,
}

impl Lowering {
    /// A list of bytes, or a string.
    pub(super) fn of_bytes(bytes: Vec<u8>, slot: u32) -> Self {
        Self::Parts(VecDeque::from([Part { bytes, slot }]))
    }

    /// What the application is to allocate next.
    ///
    /// # Errors
    ///
    /// Fails where it is more than there are addresses for.
    pub(super) fn wants(&self) -> Result<i64> {
        let (count, each, align) = match self {
            Self::Parts(parts) => match parts.front() {
                Some(part) => (part.bytes.len(), 1, 1),
                None => return Ok(NOTHING),
            },
            Self::Pairs(_, pairs) => (pairs.len(), PAIR_BYTES, 4),
        };
        let size = u32::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(each));
        size.map(|size| want(size, align)).ok_or_else(outside)
    }

    /// Puts what was wanted where the application has allocated for it.
    ///
    /// # Errors
    ///
    /// Fails where that is no place, or none was wanted.
    pub(super) fn give(&mut self, memory: &mut [u8], address: u32) -> Result<()> {
        match self {
            Self::Parts(parts) => {
                let Part { bytes, slot } = parts.pop_front().ok_or_else(outside)?;
                put(memory, address, &bytes)?;
                put_words(memory, slot, [address, bytes.len() as u32])
            }
            Self::Pairs(slot, pairs) => {
                let count = pairs.len() as u32;
                place(memory, address, pairs.len() * PAIR_BYTES as usize)?;
                put_words(memory, *slot, [address, count])?;
                let mut parts = VecDeque::with_capacity(pairs.len() * 2);
                let pairs = std::mem::take(pairs).into_iter();
                for (entry, (name, value)) in (address..).step_by(PAIR_BYTES as usize).zip(pairs) {
                    let name = name.into_bytes();
                    parts.push_back(Part {
                        bytes: name,
                        slot: entry,
                    });
                    parts.push_back(Part {
                        bytes: value,
                        slot: entry + 8,
                    });
                }
                *self = Self::Parts(parts);
                Ok(())
            }
        }
    }
}

/// Writes bytes to where an application has said.
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
        // The list first, then what each of its entries says.
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
        let mut lift = Lift::new(&memory);
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
}
