//! Bytes that can be many, in a memory mapping of their own instead of the heap.
//!
//! A freed block of the heap doesn't always return to the kernel. glibc maps a large block only
//! until the program has freed one of its size: from then on, it allocates blocks of up to 32 MiB
//! in the arena of the thread, and each arena keeps up to twice that size (`M_MMAP_THRESHOLD` and
//! `M_TRIM_THRESHOLD` in mallopt(3)). A file that is loaded is read once, by a thread that then
//! ends; every arena would keep the largest one.

use std::fmt;
use std::io::{self, Read};
use std::ops::Deref;

use memmap2::MmapMut;

/// Bytes in a memory mapping, which dropping them returns to the kernel.
pub(crate) struct MappedBytes {
    mapping: MmapMut,
    /// The number of bytes from the start of the mapping.
    length: usize,
}

impl MappedBytes {
    /// Reads all of `file`, which has `expected` bytes unless it changes meanwhile. Returns `None`
    /// if it has more than `max_bytes`.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read, or the system has no memory for its bytes.
    pub(crate) fn read(
        file: &mut impl Read,
        expected: u64,
        max_bytes: u64,
    ) -> io::Result<Option<Self>> {
        if expected > max_bytes {
            return Ok(None);
        }
        let max_length = usize::try_from(max_bytes).map_err(io::Error::other)?;
        let expected = usize::try_from(expected).map_err(io::Error::other)?;
        // The end of the file is found by reading beyond what is expected.
        let mut bytes = Self::with_capacity(expected.saturating_add(1))?;
        loop {
            if bytes.length > max_length {
                return Ok(None);
            }
            if bytes.length == bytes.mapping.len() {
                bytes.grow()?;
            }
            match file.read(&mut bytes.mapping[bytes.length..]) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(count) => bytes.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Copies bytes.
    ///
    /// # Errors
    ///
    /// Fails if the system has no memory for them.
    pub(crate) fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        // A mapping can't be empty.
        let mut copy = Self::with_capacity(bytes.len().max(1))?;
        copy.mapping[..bytes.len()].copy_from_slice(bytes);
        copy.length = bytes.len();
        Ok(copy)
    }

    fn with_capacity(capacity: usize) -> io::Result<Self> {
        let mapping = MmapMut::map_anon(capacity)?;
        Ok(Self { mapping, length: 0 })
    }

    /// Doubles the capacity.
    fn grow(&mut self) -> io::Result<()> {
        let mut larger = Self::with_capacity(self.mapping.len().saturating_mul(2))?;
        larger.mapping[..self.length].copy_from_slice(self);
        larger.length = self.length;
        *self = larger;
        Ok(())
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapping[..self.length]
    }
}

impl fmt::Debug for MappedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedBytes({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_up_to_the_limit_is_read() {
        let content: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        for length in [0, 1, 4095, 4096, 4097, 100_000] {
            let content = &content[..length];
            // The file has another size than was expected when it changes meanwhile.
            for expected in [0, 1, length, 100_000] {
                let read = |max| MappedBytes::read(&mut &*content, expected as u64, max);
                let bytes = read(100_000).expect("memory").expect("within the limit");
                assert_eq!(&*bytes, content, "{expected} expected");
            }
            assert_eq!(&*MappedBytes::copy_of(content).expect("memory"), content);
        }
    }

    #[test]
    fn a_file_beyond_the_limit_is_not_read() {
        let read = |expected, max| {
            let read = MappedBytes::read(&mut &[7; 5000][..], expected, max);
            read.expect("memory").map(|bytes| bytes.len())
        };
        assert_eq!(read(5000, 5000), Some(5000));
        assert_eq!(read(5000, 4999), None);
        assert_eq!(read(0, 4999), None);
        assert_eq!(read(6000, 5999), None);
    }
}
