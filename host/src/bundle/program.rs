//! A bundle at the end of this program: one executable file that is a site.
//!
//! The program is followed by the bundle, and that by a trailer of fixed length, which has the
//! length and the hash of the program. The kernel loads only what the program's own headers name,
//! so it runs as before. `strip` rewrites the file without what follows the program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, ensure};

use super::archive::Place;
use super::format::{HASH_DIGITS, parse_hash, parse_number};

/// The first line of the trailer.
const MAGIC: &[u8] = b"\nwasgi self-contained 1\n";

/// The number of digits of the program's length.
const LENGTH_DIGITS: usize = 20;

/// The length of the trailer, in bytes.
const TRAILER_BYTES: usize = MAGIC.len() + HASH_DIGITS + 1 + LENGTH_DIGITS + 1;

/// The first bytes of a program.
const ELF: &[u8] = b"\x7fELF";

/// The parts of a file that is a program and a bundle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) program_bytes: u64,
    hash: blake3::Hash,
    pub(super) bundle: Place,
}

/// Finds the bundle at the end of a program. Returns `None` if the file is not a program, or has no
/// trailer.
///
/// # Errors
///
/// Fails if the file can't be read, or if its trailer is damaged.
pub(super) fn find(file: &File, length: u64) -> anyhow::Result<Option<Parts>> {
    let mut begin = [0; ELF.len()];
    let Some(end) = length.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(None);
    };
    file.read_exact_at(&mut begin, 0)?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, end)?;
    let Some(line) = trailer.strip_prefix(MAGIC).filter(|_| begin == ELF) else {
        return Ok(None);
    };
    let parsed = std::str::from_utf8(line).ok().and_then(|line| {
        let (hash, length) = line.strip_suffix('\n')?.split_once(' ')?;
        Some((parse_hash(hash)?, parse_number(length)?))
    });
    let (hash, program_bytes) = parsed.context("its last line is damaged")?;
    ensure!(program_bytes <= end, "its last line is damaged");
    Ok(Some(Parts {
        program_bytes,
        hash,
        bundle: Place {
            start: program_bytes,
            end,
        },
    }))
}

/// Compares a program with the hash in its trailer.
///
/// # Errors
///
/// Fails if it can't be read, or doesn't match.
pub(super) fn check(file: &File, length: u64) -> anyhow::Result<()> {
    let parts = find(file, length)?.context("has no bundle at its end")?;
    let mut hasher = blake3::Hasher::new();
    let mut file = file.try_clone()?;
    io::Seek::rewind(&mut file)?;
    hasher.update_reader(file.take(parts.program_bytes))?;
    ensure!(
        hasher.finalize() == parts.hash,
        "is damaged: the program before the bundle has another hash; copy it again"
    );
    Ok(())
}

/// Returns the trailer of a file with a program of this hash and length.
pub(super) fn trailer(hash: &blake3::Hash, program_bytes: u64) -> Vec<u8> {
    let mut trailer = MAGIC.to_vec();
    let line = format!("{} {program_bytes:0LENGTH_DIGITS$}\n", hash.to_hex());
    trailer.extend_from_slice(line.as_bytes());
    trailer
}

/// Opens this program, without a bundle at its end: the file and the length of the program.
///
/// # Errors
///
/// Fails if it can't be read.
pub(crate) fn own_program() -> anyhow::Result<(File, u64)> {
    let file = File::open("/proc/self/exe").context("this program can't be read")?;
    let length = file.metadata()?.len();
    let program_bytes = match find(&file, length)? {
        Some(parts) => parts.program_bytes,
        None => length,
    };
    Ok((file, program_bytes))
}

/// Returns the path of this program if there is a bundle at its end.
pub(crate) fn own_path() -> Option<&'static Path> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let file = File::open("/proc/self/exe").ok()?;
        let length = file.metadata().ok()?.len();
        find(&file, length).ok()??;
        std::env::current_exe().ok()
    };
    PATH.get_or_init(find).as_deref()
}

/// Returns the arguments of this process, the program's name first. A program with a bundle at its
/// end serves it if no command is named.
pub(crate) fn process_arguments() -> Vec<OsString> {
    let arguments = std::env::args_os().collect();
    match own_path() {
        Some(_) => with_command(arguments),
        None => arguments,
    }
}

/// Adds `serve` to arguments that name no command: `./site --addr 8080`.
pub(crate) fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    const OF_THE_PROGRAM: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let names_none = arguments.get(1).is_none_or(|first| {
        let is_flag = first.as_encoded_bytes().starts_with(b"-");
        is_flag && !OF_THE_PROGRAM.iter().any(|own| first == *own)
    });
    if names_none {
        arguments.insert(1.min(arguments.len()), "serve".into());
    }
    arguments
}
