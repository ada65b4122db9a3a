//! Reads values from an application's memory, in the layout of the canonical ABI. Every address and
//! length comes from the application and is checked.

use wasmtime::{Result, bail, format_err};

use crate::engine::limits::{self, TooLong};
use crate::engine::worlds::gateway::bindings::wasgi::gateway::gateway::Exception;
use crate::policy::Budget;

/// The size of a name and a value, in bytes: two addresses, each with a length.
pub(super) const PAIR_BYTES: u32 = 16;

/// The memory of an application during one call.
pub(super) struct Lift<'m> {
    memory: &'m [u8],
    left: usize,
    limit: TooLong,
}

impl<'m> Lift<'m> {
    /// Reads the parameters of a call to the host. Every list and string counts each time it is
    /// referenced: an application can reference the same bytes a million times.
    pub(super) fn passed(memory: &'m [u8], budget: &Budget) -> Self {
        let limit = limits::call_bytes(budget);
        Self::new(memory, limit, TooLong::Passed(limit))
    }

    /// Reads the result of an application's function.
    pub(super) fn returned(memory: &'m [u8], budget: &Budget) -> Self {
        let limit = limits::returned_bytes(budget);
        Self::new(memory, limit, TooLong::Returned(limit))
    }

    fn new(memory: &'m [u8], left: usize, limit: TooLong) -> Self {
        Self {
            memory,
            left,
            limit,
        }
    }

    /// Reads a list of bytes.
    pub(super) fn bytes(&mut self, address: u32, length: u32) -> Result<Vec<u8>> {
        self.spend(length as usize)?;
        self.slice(address, length).map(<[u8]>::to_vec)
    }

    pub(super) fn string(&mut self, address: u32, length: u32) -> Result<String> {
        self.spend(length as usize)?;
        let bytes = self.slice(address, length)?;
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }

    /// Reads a list of pairs of a string and bytes.
    pub(super) fn pairs(&mut self, address: u32, length: u32) -> Result<Vec<(String, Vec<u8>)>> {
        let size = length.checked_mul(PAIR_BYTES);
        let size = size.ok_or_else(|| format_err!("a list has {length} entries"))?;
        // Entries count with their size in the host, as they do for a component.
        self.spend((length as usize).saturating_mul(size_of::<(String, Vec<u8>)>()))?;
        aligned(address)?;
        let list = self.slice(address, size)?;
        let mut pairs = Vec::with_capacity(length as usize);
        for pair in list.chunks_exact(PAIR_BYTES as usize) {
            let word = |index: usize| word(pair, index * 4);
            let name = self.string(word(0)?, word(1)?)?;
            pairs.push((name, self.bytes(word(2)?, word(3)?)?));
        }
        Ok(pairs)
    }

    /// Reads an exception that is passed as six words.
    pub(super) fn exception(
        &mut self,
        [kind, message, traceback]: [(u32, u32); 3],
    ) -> Result<Exception> {
        Ok(Exception {
            kind: self.string(kind.0, kind.1)?,
            message: self.string(message.0, message.1)?,
            traceback: self.string(traceback.0, traceback.1)?,
        })
    }

    /// Reads an exception from memory.
    pub(super) fn exception_at(&mut self, address: u32) -> Result<Exception> {
        let words = self.words::<6>(address)?;
        let [
            kind,
            kind_length,
            message,
            message_length,
            traceback,
            traceback_length,
        ] = words;
        self.exception([
            (kind, kind_length),
            (message, message_length),
            (traceback, traceback_length),
        ])
    }

    /// Reads consecutive words from memory.
    pub(super) fn words<const COUNT: usize>(&self, address: u32) -> Result<[u32; COUNT]> {
        aligned(address)?;
        let mut words = [0; COUNT];
        for (index, into) in words.iter_mut().enumerate() {
            *into = word(self.memory, address as usize + index * 4)?;
        }
        Ok(words)
    }

    /// Checks that a result of `size` bytes, which contains words, fits at an address.
    pub(super) fn place(&self, address: u32, size: usize) -> Result<()> {
        place(self.memory, address, size)
    }

    /// Reads which case a variant has.
    pub(super) fn case(&self, address: u32, cases: u8) -> Result<u8> {
        let Some(&case) = self.memory.get(address as usize) else {
            return Err(outside());
        };
        checked_case(case.into(), cases.into())?;
        Ok(case)
    }

    fn slice(&self, address: u32, length: u32) -> Result<&'m [u8]> {
        let (start, length) = (address as usize, length as usize);
        self.memory.get(start..start + length).ok_or_else(outside)
    }

    #[inline]
    fn spend(&mut self, bytes: usize) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(wasmtime::Error::new(self.limit)),
        }
        Ok(())
    }
}

/// Checks that a case that is passed as a number is valid.
pub(super) fn checked_case(case: u32, cases: u32) -> Result<u32> {
    match case < cases {
        true => Ok(case),
        false => bail!("case {case} of a value with {cases} cases"),
    }
}

/// Checks the alignment of a value that contains words.
fn aligned(address: u32) -> Result<()> {
    match address % 4 {
        0 => Ok(()),
        _ => bail!("address {address:#x} is not aligned"),
    }
}

/// Checks that a value that contains words fits at an address.
pub(super) fn place(memory: &[u8], address: u32, size: usize) -> Result<()> {
    aligned(address)?;
    place_of_bytes(memory, address, size)
}

/// Checks that this many bytes fit at an address.
pub(super) fn place_of_bytes(memory: &[u8], address: u32, size: usize) -> Result<()> {
    let start = address as usize;
    match memory.get(start..start + size) {
        Some(_) => Ok(()),
        None => Err(outside()),
    }
}

fn word(memory: &[u8], start: usize) -> Result<u32> {
    let bytes = memory.get(start..).and_then(<[u8]>::first_chunk);
    bytes
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(outside)
}

pub(super) fn outside() -> wasmtime::Error {
    format_err!("a value is outside of the application's memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lift(memory: &[u8]) -> Lift<'_> {
        Lift::passed(memory, &Budget::default())
    }

    #[test]
    fn nothing_is_read_outside_of_memory() {
        let memory = [b'a'; 32];
        let mut lift = lift(&memory);
        assert_eq!(lift.bytes(30, 2).unwrap(), b"aa");
        assert_eq!(lift.bytes(32, 0).unwrap(), b"");
        assert_eq!(lift.string(0, 3).unwrap(), "aaa");
        for (address, length) in [(31, 2), (33, 0), (0, 33), (u32::MAX, 1), (1, u32::MAX)] {
            assert!(lift.bytes(address, length).is_err());
            assert!(lift.string(address, length).is_err());
            assert!(lift.pairs(address & !3, length.max(3)).is_err());
        }
        assert!(lift.pairs(0, u32::MAX).is_err());
        assert!(lift.words::<1>(32).is_err() && lift.words::<9>(0).is_err());
        assert!(lift.case(32, 255).is_err());
        assert!(lift.exception_at(12).is_err());
    }

    #[test]
    fn what_is_not_aligned_or_no_case_or_no_text_is_refused() {
        let mut memory = vec![0; 64];
        memory[40] = 0xff;
        let mut lift = lift(&memory);
        assert!(lift.words::<1>(2).is_err() && lift.pairs(2, 1).is_err());
        assert!(lift.case(40, 2).is_err());
        assert_eq!(lift.case(41, 2).unwrap(), 0);
        assert!(lift.string(40, 1).is_err());
        assert_eq!(lift.bytes(40, 1).unwrap(), [0xff]);
    }

    #[test]
    fn pairs_are_what_their_words_say() {
        let mut memory = vec![0; 32];
        for (place, word) in [16_u32, 2, 18, 3].into_iter().enumerate() {
            memory[place * 4..][..4].copy_from_slice(&word.to_le_bytes());
        }
        memory[16..21].copy_from_slice(b"ab\xff\x00c");
        let pairs = lift(&memory).pairs(0, 1).unwrap();
        assert_eq!(pairs, [("ab".to_owned(), b"\xff\x00c".to_vec())]);
        assert_eq!(lift(&memory).pairs(4, 0).unwrap(), []);
    }

    #[test]
    fn the_same_bytes_a_thousand_times_are_too_many() {
        let memory = vec![0; 1 << 10];
        let limit = limits::call_bytes(&Budget::default());
        let mut lift = lift(&memory);
        for _ in 0..limit >> 10 {
            lift.bytes(0, 1 << 10).unwrap();
        }
        assert_eq!(too_long(lift.bytes(0, 1)), Some(TooLong::Passed(limit)));
        assert!(lift.bytes(0, 0).unwrap().is_empty());
    }

    #[test]
    fn a_list_counts_by_what_the_host_holds_for_it() {
        let memory = vec![0; 1 << 20];
        let limit = limits::call_bytes(&Budget::default());
        let most = (limit / size_of::<(String, Vec<u8>)>()) as u32;
        assert_eq!(lift(&memory).pairs(0, most).unwrap().len(), most as usize);
        let one_more = lift(&memory).pairs(0, most + 1);
        assert_eq!(too_long(one_more), Some(TooLong::Passed(limit)));
    }

    fn too_long<T>(result: Result<T>) -> Option<TooLong> {
        result.err().and_then(|error| error.downcast_ref().copied())
    }
}
