//! Forwards a worker's output to the supervisor's own, in whole lines, so that the lines of two
//! workers are never mixed.

use std::io::{ErrorKind, Read};
use std::thread::{self, JoinHandle};

use anyhow::Context;

use crate::log::Source;

/// The size of one read, in bytes.
const PIECE_BYTES: usize = 8 * 1024;

/// The maximum length of a line, in bytes. A longer line may be interrupted by another worker's.
const MAX_LINE_BYTES: usize = 256 * 1024;

/// Starts a thread that passes the `output` of worker `number` to `send` until it ends. `send`
/// queues lines for a log, and waits while the queue is full. While the
/// log's output is slow, the thread stops reading: the worker's own log then drops lines, and can
/// name their source. If the log's output is blocked completely, the thread drops the lines, so
/// that the worker never blocks.
pub(super) fn start(
    name: &str,
    number: u32,
    output: impl Read + Send + 'static,
    mut send: impl FnMut(&Source, Vec<u8>) + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("wasgi-{name}"))
        .spawn(move || {
            let source = Source::Worker(number);
            relay(output, |lines| send(&source, lines));
        })
        .context("could not start the thread of a worker's log")
}

fn relay(mut output: impl Read, mut send: impl FnMut(Vec<u8>)) {
    let mut waiting = Vec::new();
    let mut piece = [0; PIECE_BYTES];
    loop {
        let count = match output.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let Some(piece) = piece.get(..count) else {
            break;
        };
        let kept_bytes = waiting.len();
        waiting.extend_from_slice(piece);
        if let Some(end) = memchr::memrchr(b'\n', piece) {
            let rest = waiting.split_off(kept_bytes + end + 1);
            send(std::mem::replace(&mut waiting, rest));
        } else if waiting.len() > MAX_LINE_BYTES {
            send(std::mem::take(&mut waiting));
        }
    }
    // The worker died in the middle of a line.
    if !waiting.is_empty() {
        waiting.push(b'\n');
        send(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Returns one piece per read.
    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.next().unwrap_or_default();
            room[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn relayed(pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        relay(Pieces(pieces.into_iter()), |lines| sent.push(lines));
        sent
    }

    #[test]
    fn only_whole_lines_are_forwarded() {
        let pieces = ["one\ntw", "o\nth", "r", "ee\n", "four"];
        let pieces = pieces.map(|piece| piece.as_bytes().to_vec()).to_vec();
        let sent = relayed(pieces);
        assert_eq!(sent, [&b"one\n"[..], b"two\n", b"three\n", b"four\n"]);
        assert!(relayed(Vec::new()).is_empty());
    }

    #[test]
    fn an_endless_line_is_forwarded_in_pieces() {
        let pieces = vec![vec![b'a'; PIECE_BYTES]; 100];
        let sent = relayed(pieces);
        assert!(sent.len() > 2);
        assert!(
            sent.iter()
                .all(|piece| piece.len() <= MAX_LINE_BYTES + PIECE_BYTES)
        );
        let bytes: usize = sent.iter().map(Vec::len).sum();
        assert_eq!(bytes, 100 * PIECE_BYTES + 1, "and a line's end");
    }
}
