//! The file format of an entry: compiled code, then a trailer with a checksum of all of it.
//!
//! ```text
//! ┌───────────────────────────┬─────────┬─────────┬──────────┐
//! │ compiled code (ELF)       │ mark, 8 │ size, 8 │ hash, 32 │
//! └───────────────────────────┴─────────┴─────────┴──────────┘
//! ```
//!
//! The code comes first, because wasmtime maps a file from its start and requires the memory images
//! in it at multiples of the page size. It ignores data after the code. The hash covers the code,
//! its size and the entry's name, so that a valid file under another name is rejected. The code is
//! hashed in pieces, on several threads if it is large.
//!
//! The hash detects damage except with a probability of 2^-128: it has 128 bits for each piece. It
//! can't protect against an attacker who can write the file; `folder` prevents that. So the pieces
//! are hashed with XXH3, which costs little more than reading the file, and a fifth of BLAKE3.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;

use xxhash_rust::xxh3::Xxh3;

use super::Entry;

/// The start of the trailer. Another layout gets another number.
pub(super) const MARK: [u8; 8] = *b"wasgi c2";

/// The size of the trailer.
const TRAILER_BYTES: usize = MARK.len() + size_of::<u64>() + blake3::OUT_LEN;

/// The size of a piece that one thread hashes at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The size of a read: fits into a processor's second-level cache.
const READ_BYTES: usize = 128 << 10;

/// The minimum number of pieces per thread. Starting a thread takes some 50 µs; reading and hashing
/// a piece takes some 100 to 200.
const PIECES_PER_THREAD: u64 = 4;

/// The maximum number of threads that hash one entry: more are limited by memory bandwidth.
const MAX_THREADS: u64 = 4;

/// The granularity of a file's holes: a file system's usual block size.
const BLOCK_BYTES: usize = 4096;

/// Copies code to an empty file, and appends the trailer. Blocks of zeros become holes: memory
/// images are full of them.
///
/// # Errors
///
/// Fails if reading or writing fails.
pub(super) fn write(entry: &Entry, code: &File, to: &File) -> io::Result<()> {
    let size = code.metadata()?.len();
    let mut hashes = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    for piece in 0..size.div_ceil(PIECE_BYTES) {
        hashes.push(read_piece(
            code,
            size,
            piece,
            &mut buffer,
            |offset, bytes| write_with_holes(to, offset, bytes),
        )?);
    }
    to.write_all_at(&trailer(entry, size, &hashes), size)
}

/// Returns whether a file is exactly the output of [`write()`] for this entry.
///
/// # Errors
///
/// Fails if the file can't be read.
pub(super) fn is_whole(entry: &Entry, file: &File) -> io::Result<bool> {
    let Some(size) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else {
        return Ok(false);
    };
    let mut found = [0; TRAILER_BYTES];
    file.read_exact_at(&mut found, size)?;
    // Detects another layout or a truncated file before reading all of it.
    if found[..MARK.len()] != MARK || found[MARK.len()..][..8] != size.to_le_bytes() {
        return Ok(false);
    }
    Ok(found == trailer(entry, size, &hashes(file, size)?))
}

fn trailer(entry: &Entry, size: u64, hashes: &[u128]) -> [u8; TRAILER_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(entry.0.as_bytes());
    hasher.update(&MARK).update(&size.to_le_bytes());
    for hash in hashes {
        hasher.update(&hash.to_le_bytes());
    }
    let mut trailer = [0; TRAILER_BYTES];
    let (mark, rest) = trailer.split_at_mut(MARK.len());
    let (bytes, hash) = rest.split_at_mut(size_of::<u64>());
    mark.copy_from_slice(&MARK);
    bytes.copy_from_slice(&size.to_le_bytes());
    hash.copy_from_slice(hasher.finalize().as_bytes());
    trailer
}

/// Returns the hashes of a file's pieces, up to `size`.
fn hashes(file: &File, size: u64) -> io::Result<Vec<u128>> {
    let pieces = size.div_ceil(PIECE_BYTES);
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let threads = (pieces / PIECES_PER_THREAD).clamp(1, MAX_THREADS.min(processors));
    let share = pieces.div_ceil(threads).max(1);
    let hash = |thread: u64| -> io::Result<Vec<u128>> {
        let mut buffer = vec![0; READ_BYTES];
        let share = (thread * share)..((thread + 1) * share).min(pieces);
        share
            .map(|piece| read_piece(file, size, piece, &mut buffer, |_, _| Ok(())))
            .collect()
    };
    thread::scope(|scope| {
        let hash = &hash;
        let others: Vec<_> = (1..threads)
            .map(|thread| thread::Builder::new().spawn_scoped(scope, move || hash(thread)))
            .collect();
        let mut hashes = hash(0)?;
        for (other, thread) in others.into_iter().zip(1..) {
            let others = match other {
                Ok(other) => other.join().unwrap_or_else(|_| hash(thread)),
                Err(_no_thread) => hash(thread),
            };
            hashes.append(&mut others?);
        }
        Ok(hashes)
    })
}

/// Reads a piece of a file of `size` bytes, passes all of it to `see`, and hashes it.
fn read_piece(
    file: &File,
    size: u64,
    piece: u64,
    buffer: &mut [u8],
    mut see: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u128> {
    let mut hasher = Xxh3::new();
    let mut offset = piece * PIECE_BYTES;
    let end = (offset + PIECE_BYTES).min(size);
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let bytes = &mut buffer[..left.min(READ_BYTES)];
        file.read_exact_at(bytes, offset)?;
        hasher.update(bytes);
        see(offset, bytes)?;
        offset += bytes.len() as u64;
    }
    Ok(hasher.digest128())
}

/// Writes bytes except blocks of zeros. `offset` must be a multiple of the block size.
fn write_with_holes(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let is_hole = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
    let mut blocks = bytes.chunks(BLOCK_BYTES).peekable();
    let mut start = 0;
    while let Some(block) = blocks.next() {
        let mut end = start + block.len();
        if !is_hole(&block) {
            while let Some(next) = blocks.next_if(|block| !is_hole(block)) {
                end += next.len();
            }
            file.write_all_at(&bytes[start..end], offset + start as u64)?;
        }
        start = end;
    }
    Ok(())
}
