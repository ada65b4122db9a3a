//! `wsgi.errors`: the server's error log.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::backend;

/// `wsgi.errors`: the server's error log, which puts the handler's name before each line (I5).
///
/// A line is buffered until it ends, so `writeln!` makes one call to the server rather than one for
/// each of its pieces. An incomplete line is sent by [`Write::flush`] or when this is dropped.
pub struct Errors {
    environ: Arc<backend::Environ>,
    line: Vec<u8>,
}

/// The maximum length of the line buffer, in bytes. Longer lines are sent in pieces.
const LINE_MAX_BYTES: usize = 4096;

impl Errors {
    pub(crate) fn new(environ: Arc<backend::Environ>) -> Self {
        Self {
            environ,
            line: Vec::new(),
        }
    }

    fn send(&mut self) {
        if !self.line.is_empty() {
            self.environ.write_errors(&self.line);
            self.line.clear();
        }
    }
}

impl Write for Errors {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        if text.ends_with(b"\n") || self.line.len() >= LINE_MAX_BYTES {
            self.send();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send();
        Ok(())
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.send();
    }
}

impl fmt::Debug for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Errors").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environ;

    #[test]
    fn a_line_is_one_call() {
        let environ = Environ::builder().build();
        let mut errors = environ.errors();
        writeln!(errors, "{} and {}", 1, 2).unwrap();
        assert_eq!(environ.logged(), "1 and 2\n");
        write!(errors, "three").unwrap();
        assert_eq!(environ.logged(), "1 and 2\n");
        drop(errors);
        assert_eq!(environ.logged(), "1 and 2\nthree");
    }
}
