//! The progress of a build, for people: the last line that its command has written.

use std::sync::{Arc, Mutex, PoisonError};

use super::output;

/// The last line that the command of a build has written to standard error. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastLine(Arc<Mutex<String>>);

impl LastLine {
    /// The maximum length of a line that is kept, in bytes.
    const MAX_BYTES: usize = 200;

    /// Returns the line, without control characters.
    pub(crate) fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes a piece of the command's output. Keeps its last complete line, if it has one.
    pub(super) fn note(&self, piece: &[u8]) {
        let Some(end) = memchr::memrchr(b'\n', piece) else {
            return;
        };
        let lines = piece.get(..end).unwrap_or_default();
        let is_line = |line: &&[u8]| !line.trim_ascii().is_empty();
        let Some(line) = lines.rsplit(|byte| *byte == b'\n').find(is_line) else {
            return;
        };
        let front = line.get(..Self::MAX_BYTES).unwrap_or(line);
        let text = output::plain(&String::from_utf8_lossy(front));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.trim().to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_build_is_plain_and_short() {
        let line = LastLine::default();
        line.note(b"no line yet");
        assert_eq!(line.text(), "");
        line.note(b"one\n\x1b[1m   Compiling\x1b[0m two\n\n  \nthr");
        assert_eq!(line.text(), "Compiling two");
        line.note(&[&[b'x'; 10_000][..], b"\n"].concat());
        assert_eq!(line.text().len(), LastLine::MAX_BYTES);
    }
}
