//! What came from the peer and was not used yet: bytes, and the end.

use core::mem;

/// A queue of bytes in one piece.
///
/// `start <= bytes.len()`; what is before `start` is used up. Nothing is moved as long as the
/// allocation has room behind.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    ended: bool,
}

impl ReceiveBuffer {
    /// The bytes, first received first.
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

    /// Uses up the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Takes the first `len` bytes out. When they are all there is, which is the common case for a
    /// head, they are not copied.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        if self.start == 0 && len >= self.bytes.len() {
            return mem::take(&mut self.bytes);
        }
        let taken = self.bytes().get(..len).unwrap_or(self.bytes()).to_vec();
        self.consume(len);
        taken
    }

    /// The peer sends no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Drops the bytes, and the memory.
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
    fn keeps_the_order() {
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
    fn reuses_its_front() {
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
