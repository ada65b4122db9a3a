//! `wsgi.input`: the request's body as a stream of bytes.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::backend;

/// The maximum number of bytes that one call requests from the server, which returns what has
/// arrived and rarely more than this.
const BLOCK_MAX_BYTES: u64 = 64 * 1024;

/// `wsgi.input`: the request's body.
///
/// Reads wait for the client, and end at the end of the body, whether it has a length or is chunked
/// (I2). At most the block that one call returned is buffered; the server doesn't buffer a body
/// that the handler doesn't read (I4).
///
/// If it is returned as the response's body, it is passed on block by block without a copy.
pub struct Input {
    environ: Arc<backend::Environ>,
    block: Vec<u8>,
    taken: usize,
}

impl Input {
    pub(crate) fn new(environ: Arc<backend::Environ>) -> Self {
        Self {
            environ,
            block: Vec::new(),
            taken: 0,
        }
    }

    /// Returns the next bytes of the body, as many as have arrived, or none at its end.
    ///
    /// # Errors
    /// Fails with an [`InputError`](crate::InputError) if the rest of the body can't be read.
    pub fn block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.taken == self.block.len() {
            self.refill()?;
        }
        let mut block = std::mem::take(&mut self.block);
        block.drain(..std::mem::take(&mut self.taken));
        Ok((!block.is_empty()).then_some(block))
    }

    fn refill(&mut self) -> io::Result<()> {
        self.taken = 0;
        self.block = Vec::new();
        self.block = self.environ.read(BLOCK_MAX_BYTES)?;
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken >= self.block.len() {
            self.refill()?;
        }
        Ok(&self.block[self.taken..])
    }

    fn consume(&mut self, amount: usize) {
        self.taken = (self.taken + amount).min(self.block.len());
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Input").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Environ, InputError};

    fn input(blocks: &[&str]) -> Input {
        let builder = blocks
            .iter()
            .fold(Environ::builder(), |builder, block| builder.body(block));
        builder.build().input()
    }

    #[test]
    fn lines_cross_blocks() {
        let lines: Vec<String> = input(&["one\nt", "wo\nth", "ree"])
            .lines()
            .collect::<io::Result<_>>()
            .unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn the_end_stays_the_end() {
        let mut input = input(&["body"]);
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        assert_eq!(text, "body");
        assert_eq!(input.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(input.block().unwrap(), None);
    }

    #[test]
    fn a_block_is_what_reads_have_left() {
        let mut input = input(&["one", "two"]);
        input.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(input.block().unwrap().unwrap(), b"e");
        assert_eq!(input.block().unwrap().unwrap(), b"two");
    }

    #[test]
    fn a_failure_is_told_with_its_reason_each_time() {
        let environ = Environ::builder()
            .body("half")
            .body_fails(InputError::TooLarge)
            .build();
        let mut input = environ.input();
        assert_eq!(input.block().unwrap().unwrap(), b"half");
        for _ in 0..2 {
            let error = input.read(&mut [0; 4]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            let reason = error.get_ref().unwrap().downcast_ref::<InputError>();
            assert_eq!(reason, Some(&InputError::TooLarge));
        }
    }
}
