//! Received bytes that are not consumed yet, and whether the peer has ended its side.

use core::mem;

/// A queue of bytes in one contiguous allocation.
///
/// `start <= bytes.len()`; the bytes before `start` are consumed. Bytes don't move as long as the
/// allocation has space at its end.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    ended: bool,
}

impl ReceiveBuffer {
    /// Returns the unconsumed bytes, oldest first.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn append(&mut self, more: &[u8]) {
        if self.start > 0 && self.bytes.capacity() - self.bytes.len() < more.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Consumes the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Removes and returns the first `len` bytes. Doesn't copy if the buffer holds no others, the
    /// common case for a head.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        if self.start == 0 && len >= self.bytes.len() {
            return mem::take(&mut self.bytes);
        }
        let taken = self.bytes().get(..len).unwrap_or(self.bytes()).to_vec();
        self.consume(len);
        taken
    }

    /// Records that the peer has ended its side.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Discards the bytes and frees the memory.
    pub(super) fn release(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_the_buffer_in_order() {
        let mut buffer = ReceiveBuffer::default();
        buffer.append(b"abc");
        buffer.append(b"def");
        buffer.consume(2);
        assert_eq!(buffer.bytes(), b"cdef");
        buffer.append(&[b'x'; 100]);
        assert_eq!(buffer.len(), 104);
        assert_eq!(buffer.take(4), b"cdef");
        buffer.consume(1000);
        assert!(buffer.is_empty());
    }

    #[test]
    fn gives_its_allocation_away_whole() {
        let mut buffer = ReceiveBuffer::default();
        buffer.append(b"abc");
        let at = buffer.bytes().as_ptr();
        let taken = buffer.take(3);
        assert_eq!(taken.as_ptr(), at);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn consumed_space_is_reused_without_growing() {
        let mut buffer = ReceiveBuffer::default();
        buffer.append(&[1; 64]);
        let capacity = buffer.capacity();
        for _ in 0..1000 {
            buffer.consume(60);
            buffer.append(&[1; 60]);
        }
        assert_eq!((buffer.len(), buffer.capacity()), (64, capacity));
    }
}
