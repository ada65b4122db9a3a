//! Makes a bundle from collected files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::archive::CHUNK_BYTES;
use super::collect::Collected;
use super::format::{Entry, Index};
use super::program;
use crate::regular_file;

/// The permissions of a file that is a program and a bundle.
const PROGRAM_MODE: u32 = 0o755;

/// The file that is written.
#[derive(Debug)]
pub(crate) struct Output(pub(crate) PathBuf);

/// The program that precedes a bundle, if there is one.
#[derive(Debug)]
pub(crate) enum Program {
    /// The bundle is a file of its own.
    None,
    /// This program, of this length in bytes.
    Own(File, u64),
}

impl Output {
    /// Writes a bundle of `files`, by a rename, so that a server never sees a part of it. Returns
    /// its identity and the length of the file, in bytes.
    ///
    /// # Errors
    ///
    /// Fails if a file can't be read or changes meanwhile, or if the bundle can't be written.
    pub(crate) fn write(
        &self,
        files: &[Collected],
        program: Program,
    ) -> anyhow::Result<(blake3::Hash, u64)> {
        let mut entries = Vec::with_capacity(files.len());
        for file in files {
            entries.push(entry_of(file)?);
        }
        let (index, head) = Index::create(entries)?;
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        // The server and `wasgi bundle` ignore names that begin with a dot.
        let aside = self
            .0
            .with_file_name(format!(".{name}.{}", std::process::id()));
        let cant = || format!("{}: can't be written", self.0.display());
        let written = write_to(&aside, &head, &index, files, program).and_then(|bytes| {
            fs::rename(&aside, &self.0).with_context(cant)?;
            Ok(bytes)
        });
        if written.is_err() {
            // The error is that of the write.
            let _ = fs::remove_file(&aside);
        }
        Ok((index.id, written.with_context(cant)?))
    }
}

/// Returns the length and the hash of a file.
fn entry_of(file: &Collected) -> anyhow::Result<Entry> {
    let shown = || format!("{}: can't be read", file.path.display());
    let open = open(&file.path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&open).with_context(shown)?;
    Ok(Entry {
        name: file.name.clone(),
        length: hasher.count(),
        hash: hasher.finalize(),
    })
}

fn open(path: &Path) -> anyhow::Result<File> {
    let shown = || format!("{}: can't be read", path.display());
    let file = regular_file::open(path).with_context(shown)?;
    let is_file = file.metadata().with_context(shown)?.is_file();
    ensure!(is_file, "{}: is no file any more", path.display());
    Ok(file)
}

fn write_to(
    path: &Path,
    head: &[u8],
    index: &Index,
    files: &[Collected],
    program: Program,
) -> anyhow::Result<u64> {
    let mut out = Counted {
        out: BufWriter::with_capacity(CHUNK_BYTES, File::create(path)?),
        bytes: 0,
        hasher: blake3::Hasher::new(),
    };
    let mut trailer = None;
    if let Program::Own(file, bytes) = program {
        io::copy(&mut file.take(bytes), &mut out)?;
        ensure!(out.bytes == bytes, "this program can't be read");
        trailer = Some(program::trailer(&out.hasher.finalize(), bytes));
    }
    out.write_all(head)?;
    // Sorted in the same way.
    for (entry, file) in index.entries.iter().zip(files) {
        copy(entry, file, &mut out)?;
    }
    if let Some(trailer) = &trailer {
        out.write_all(trailer)?;
    }
    let bytes = out.bytes;
    let file = out
        .out
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    if trailer.is_some() {
        file.set_permissions(fs::Permissions::from_mode(PROGRAM_MODE))?;
    }
    file.sync_all()?;
    Ok(bytes)
}

/// Copies a file, which must be what it was when it was hashed.
fn copy(entry: &Entry, file: &Collected, out: &mut impl Write) -> anyhow::Result<()> {
    let mut from = Counted {
        out,
        bytes: 0,
        hasher: blake3::Hasher::new(),
    };
    let limit = entry.length.saturating_add(1);
    io::copy(&mut open(&file.path)?.take(limit), &mut from)?;
    ensure!(
        from.hasher.finalize() == entry.hash,
        "{} changed meanwhile: try again",
        file.path.display()
    );
    Ok(())
}

/// Counts and hashes what is written.
struct Counted<W> {
    out: W,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let written = self.out.write(part)?;
        self.hasher.update(&part[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
