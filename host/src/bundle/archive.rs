//! Opens a bundle and checks its head. The contents are checked when they are read.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::format::{Entry, HEAD_BYTES, Head, Index, MAGIC};
use super::program;
use crate::oci::{Pulled, Reference};
use crate::regular_file;

/// The bytes that are read at once: enough that the calls cost nothing beside the hash.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// A bundle from a registry.
#[derive(Debug)]
pub(crate) struct PulledBundle {
    /// The reference, which is pinned.
    pub(crate) reference: Reference,
    /// The copy, which stays as long as this exists.
    pub(crate) copy: Pulled,
}

/// An open bundle whose head is good.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The path that the user has named, or the reference.
    path: PathBuf,
    /// Where it is from, if it is a copy of a bundle in a registry.
    pub(super) pulled: Option<Arc<PulledBundle>>,
    pub(super) file: File,
    /// The length of the whole file, in bytes.
    pub(super) file_bytes: u64,
    /// Where the bundle starts in the file: at 0, or after a program.
    pub(super) start: u64,
    /// Where its contents start.
    content_start: u64,
    /// The bytes from its start to its contents.
    pub(super) head: Vec<u8>,
    pub(super) index: Index,
}

impl Archive {
    /// Opens the bundle at `path`: a file that `wasgi bundle` wrote. Returns `None` if there is
    /// something else, or nothing.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read, is incomplete, or has a damaged head.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Option<Self>> {
        let shown = path.display();
        let file = match regular_file::open(path) {
            Ok(file) => file,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("{shown}: can't be opened")),
        };
        let metadata = file.metadata();
        let metadata = metadata.with_context(|| format!("{shown}: can't be inspected"))?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let Some(place) = find(&file, metadata.len()).with_context(|| format!("{shown}"))? else {
            return Ok(None);
        };
        let opened = Self::read(path.to_owned(), file, metadata.len(), place);
        opened.map(Some).with_context(|| format!("{shown}"))
    }

    fn read(path: PathBuf, file: File, file_bytes: u64, place: Place) -> anyhow::Result<Self> {
        let Place { start, end } = place;
        let bytes = end.checked_sub(start).context("is damaged")?;
        let cut = "is incomplete: it ends within its head; copy it again";
        ensure!(bytes >= HEAD_BYTES as u64, cut);
        let mut head = vec![0; HEAD_BYTES];
        file.read_exact_at(&mut head, start)?;
        let Head { id, index_bytes } = Head::parse(&head)?;
        ensure!(bytes - HEAD_BYTES as u64 >= index_bytes, cut);
        head.resize(HEAD_BYTES + usize::try_from(index_bytes)?, 0);
        file.read_exact_at(&mut head[HEAD_BYTES..], start + HEAD_BYTES as u64)?;
        let index = &head[HEAD_BYTES..];
        ensure!(
            blake3::hash(index) == id,
            "is damaged: its index has another hash; copy it again"
        );
        let index = Index::parse(index)?;
        let present = bytes - head.len() as u64;
        if present < index.content_bytes {
            bail!(
                "is incomplete: {} of {} bytes of its files are there; copy it again",
                present,
                index.content_bytes
            );
        }
        ensure!(
            present == index.content_bytes,
            "is damaged: it is longer than its index says; copy it again"
        );
        Ok(Self {
            path,
            pulled: None,
            file,
            file_bytes,
            start,
            content_start: start + head.len() as u64,
            head,
            index,
        })
    }

    /// Opens the copy of a bundle from a registry. In messages, it is called by its reference.
    ///
    /// # Errors
    ///
    /// Fails if it is no bundle, or as [`open`](Self::open) does.
    pub(crate) fn open_pulled(pulled: PulledBundle) -> anyhow::Result<Self> {
        let opened = Self::open(pulled.copy.file())?;
        let opened = opened.with_context(|| {
            format!(
                "{}: is not a bundle that wasgi bundle wrote",
                pulled.reference
            )
        });
        Ok(Self {
            path: pulled.reference.to_string().into(),
            pulled: Some(Arc::new(pulled)),
            ..opened?
        })
    }

    /// Returns the path that it was opened at, or the reference.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of its file, beside which its signature is.
    pub(super) fn file_path(&self) -> &Path {
        self.pulled
            .as_ref()
            .map_or(&self.path, |pulled| pulled.copy.file())
    }

    /// Returns the bundle's identity: the hash of its whole content.
    pub(crate) fn id(&self) -> blake3::Hash {
        self.index.id
    }

    /// Returns the files, sorted by name.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.index.entries
    }

    /// Reads the contents of each file in order, compares them with their hashes, and calls `take`
    /// with each file's entry and its bytes in parts. A file whose bytes are complete ends with an
    /// empty part.
    ///
    /// # Errors
    ///
    /// Fails if the contents can't be read or don't match, or if `take` fails. Parts of the file
    /// that doesn't match have been passed to `take`, but not the empty part at its end.
    pub(super) fn read_all(
        &self,
        mut take: impl FnMut(&Entry, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = self.content_start;
        for entry in self.entries() {
            let name = &entry.name;
            let mut hasher = blake3::Hasher::new();
            let mut left = entry.length;
            while left > 0 {
                let length = usize::try_from(left)
                    .unwrap_or(CHUNK_BYTES)
                    .min(CHUNK_BYTES);
                let part = &mut buffer[..length];
                let read = self.file.read_exact_at(part, at);
                read.with_context(|| format!("{name} can't be read"))?;
                hasher.update(part);
                take(entry, part)?;
                at += length as u64;
                left -= length as u64;
            }
            ensure!(
                hasher.finalize() == entry.hash,
                "is damaged: {name} has another hash than the index says; copy it again"
            );
            take(entry, &[])?;
        }
        Ok(())
    }

    /// Reads everything and compares it with the hashes, for `wasgi bundle --check`.
    ///
    /// # Errors
    ///
    /// Fails if something doesn't match.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let shown = || self.path.display().to_string();
        self.read_all(|_, _| Ok(())).with_context(shown)?;
        if self.start > 0 {
            program::check(&self.file, self.file_bytes).with_context(shown)?;
        }
        Ok(())
    }

    /// Returns the text of the configuration in the bundle, if it has one.
    ///
    /// # Errors
    ///
    /// Fails if it can't be read, doesn't match its hash, is not UTF-8, or is longer than
    /// `max_bytes`.
    pub(crate) fn config(&self, max_bytes: u64) -> anyhow::Result<Option<String>> {
        let mut at = self.content_start;
        for entry in self.entries() {
            if entry.name != super::name::CONFIG {
                at += entry.length;
                continue;
            }
            ensure!(
                entry.length <= max_bytes,
                "its wasgi.toml is longer than {max_bytes} bytes"
            );
            let mut bytes = vec![0; usize::try_from(entry.length)?];
            self.file.read_exact_at(&mut bytes, at)?;
            ensure!(
                blake3::hash(&bytes) == entry.hash,
                "is damaged: wasgi.toml has another hash than the index says; copy it again"
            );
            let text = String::from_utf8(bytes).context("its wasgi.toml is not UTF-8")?;
            return Ok(Some(text));
        }
        Ok(None)
    }
}

/// Where a bundle is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Finds the bundle in a file: all of it, or what is at the end of a program.
fn find(file: &File, length: u64) -> anyhow::Result<Option<Place>> {
    let mut begin = Vec::new();
    let mut from_start = io::BufReader::with_capacity(MAGIC.len(), file);
    from_start
        .by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut begin)?;
    if begin == MAGIC {
        return Ok(Some(Place {
            start: 0,
            end: length,
        }));
    }
    Ok(program::find(file, length)?.map(|program| program.bundle))
}
