//! The format of a bundle:
//!
//! ```text
//! wasgi bundle 1
//! <BLAKE3 of the index, 64 hexadecimal digits> <length of the index, 12 digits>
//! <BLAKE3 of a file> <length of the file> <name of the file>
//! … one such line for each file, sorted by name: the index
//! the contents of all files, in the order of the index
//! ```
//!
//! The hash of the index is the bundle's identity: it depends on the contents of all files and on
//! nothing else.

use std::fmt::Write;

use anyhow::{Context, bail, ensure};

use super::name;

/// The first line of a bundle.
pub(super) const MAGIC: &[u8] = b"wasgi bundle 1\n";

/// The number of hexadecimal digits of a hash.
pub(super) const HASH_DIGITS: usize = 64;

/// The number of digits of the index's length.
const LENGTH_DIGITS: usize = 12;

/// The length of what precedes the index, in bytes: two lines.
pub(super) const HEAD_BYTES: usize = MAGIC.len() + HASH_DIGITS + 1 + LENGTH_DIGITS + 1;

/// The maximum number of files: fifty times the handlers that a server lists, and as many pages as
/// a folder can hold before file systems become slow.
pub(super) const MAX_FILES: usize = 1_000_000;

/// The maximum length of the index, in bytes: [`MAX_FILES`] with names of 180 bytes.
pub(super) const MAX_INDEX_BYTES: u64 = 256 << 20;

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path, `html/index.html`.
    pub(crate) name: String,
    /// The length, in bytes.
    pub(crate) length: u64,
    /// The hash of the contents.
    pub(crate) hash: blake3::Hash,
}

/// The files of a bundle, sorted by name, and the bundle's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
    pub(super) id: blake3::Hash,
    /// The length of all contents together, in bytes.
    pub(super) content_bytes: u64,
}

/// What precedes the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: blake3::Hash,
    pub(super) index_bytes: u64,
}

impl Head {
    /// Parses the first [`HEAD_BYTES`] of a bundle.
    ///
    /// # Errors
    ///
    /// Fails if they are anything else, or if the index is longer than [`MAX_INDEX_BYTES`].
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let line = bytes.strip_prefix(MAGIC).context("is not a bundle")?;
        let parsed = std::str::from_utf8(line).ok().and_then(|line| {
            let (hash, length) = line.strip_suffix('\n')?.split_once(' ')?;
            Some((parse_hash(hash)?, parse_number(length)?))
        });
        let (id, index_bytes) = parsed.context("its head is damaged")?;
        ensure!(
            index_bytes <= MAX_INDEX_BYTES,
            "its index is longer than {} MiB",
            MAX_INDEX_BYTES >> 20
        );
        Ok(Self { id, index_bytes })
    }
}

impl Index {
    /// Creates an index of these files. Returns it with the bytes that precede the contents.
    ///
    /// # Errors
    ///
    /// Fails if two files have the same name, if one is both a file and a folder, if a name is not
    /// allowed, or if a limit is exceeded.
    pub(super) fn create(mut entries: Vec<Entry>) -> anyhow::Result<(Self, Vec<u8>)> {
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let mut text = String::new();
        for entry in &entries {
            let hash = entry.hash.to_hex();
            // A string takes all that is written.
            let _ = writeln!(text, "{hash} {} {}", entry.length, entry.name);
        }
        let index = Self::parse(text.as_bytes())?;
        let (id, length) = (index.id.to_hex(), text.len());
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(format!("{id} {length:0LENGTH_DIGITS$}\n").as_bytes());
        head.extend_from_slice(text.as_bytes());
        Ok((index, head))
    }

    /// Parses an index.
    ///
    /// # Errors
    ///
    /// Fails if a line has another form, if names are not sorted, not unique or not allowed, if a
    /// file is also the folder of another one, or if a limit is exceeded.
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        ensure!(
            bytes.len() as u64 <= MAX_INDEX_BYTES,
            "its index would be longer than {} MiB",
            MAX_INDEX_BYTES >> 20
        );
        let text = std::str::from_utf8(bytes).context("its index is not UTF-8")?;
        ensure!(
            text.is_empty() || text.ends_with('\n'),
            "its index is damaged: the last line is incomplete"
        );
        let mut index = Self {
            entries: Vec::new(),
            id: blake3::hash(bytes),
            content_bytes: 0,
        };
        for line in text.lines() {
            ensure!(
                index.entries.len() < MAX_FILES,
                "it has more than {MAX_FILES} files"
            );
            index.push(parse_line(line)?)?;
        }
        Ok(index)
    }

    fn push(&mut self, entry: Entry) -> anyhow::Result<()> {
        let name = &entry.name;
        if let Err(why) = name::check(name) {
            bail!("the name {name:?} {why}");
        }
        if let Some(last) = self.entries.last() {
            ensure!(
                last.name < *name,
                "the name {name:?} is there twice, or out of order"
            );
        }
        // In the order of bytes, names such as "a-b" are between "a" and "a/b".
        for (at, _) in name.match_indices('/') {
            let folder = &name[..at];
            let by_name = |entry: &Entry| entry.name.as_str().cmp(folder);
            ensure!(
                self.entries.binary_search_by(by_name).is_err(),
                "{folder:?} is both a file and a folder"
            );
        }
        let total = self.content_bytes.checked_add(entry.length);
        self.content_bytes = total.context("its files are too long")?;
        self.entries.push(entry);
        Ok(())
    }
}

fn parse_line(line: &str) -> anyhow::Result<Entry> {
    let parsed = || {
        let (hash, rest) = line.split_once(' ')?;
        let (length, name) = rest.split_once(' ')?;
        Some(Entry {
            name: name.to_owned(),
            length: parse_number(length)?,
            hash: parse_hash(hash)?,
        })
    };
    parsed().context("its index is damaged")
}

/// Parses a hash of lower-case digits.
pub(super) fn parse_hash(text: &str) -> Option<blake3::Hash> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hash = text.len() == HASH_DIGITS && text.bytes().all(is_digit);
    blake3::Hash::from_hex(text).ok().filter(|_| is_hash)
}

/// Parses a number of digits alone.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            length: name.len() as u64,
            hash: blake3::hash(name.as_bytes()),
        }
    }

    fn line(name: &str, length: &str) -> String {
        format!("{} {length} {name}\n", blake3::hash(b"").to_hex())
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let names = ["html/b", "html/a", "html/a-b", "wasgi.toml", "html/c d/e"];
        let (index, bytes) = Index::create(names.map(entry).into()).expect("an index");
        let head = Head::parse(&bytes[..HEAD_BYTES]).expect("a head");
        assert_eq!(head.id, index.id);
        assert_eq!(head.index_bytes as usize, bytes.len() - HEAD_BYTES);
        assert_eq!(Index::parse(&bytes[HEAD_BYTES..]).expect("an index"), index);
        let mut reversed = names;
        reversed.reverse();
        let (again, same) = Index::create(reversed.map(entry).into()).expect("an index");
        assert_eq!((again, same), (index, bytes));
    }

    #[test]
    fn an_index_with_a_name_twice_or_outside_is_refused() {
        for (lines, said) in [
            (line("html/a", "1") + &line("html/a", "1"), "twice"),
            (line("html/b", "1") + &line("html/a", "1"), "out of order"),
            (
                line("html/a", "1") + &line("html/a-b", "1") + &line("html/a/b", "1"),
                "both a file and a folder",
            ),
            (line("html/../a", "1"), "not the path of a file"),
            (line("/etc/passwd", "1"), "in no folder"),
            (line("html/a", "-1"), "damaged"),
            (line("html/a", "+1"), "damaged"),
            (line("html/a", "99999999999999999999"), "damaged"),
            (
                line("html/a", &u64::MAX.to_string()) + &line("html/b", "1"),
                "too long",
            ),
            (line("html/a", "1").trim_end().to_owned(), "incomplete"),
            ("\n".to_owned(), "damaged"),
        ] {
            let error = Index::parse(lines.as_bytes()).expect_err(&lines);
            assert!(error.to_string().contains(said), "{lines}: {error}");
        }
        assert!(Index::parse(b"\xff\n").is_err());
    }

    #[test]
    fn every_other_head_is_refused() {
        let (_, bytes) = Index::create(vec![entry("html/a")]).expect("an index");
        let head = &bytes[..HEAD_BYTES];
        for end in 0..HEAD_BYTES {
            assert!(Head::parse(&head[..end]).is_err(), "{end}");
        }
        for at in 0..HEAD_BYTES {
            let mut damaged = head.to_vec();
            damaged[at] = b'~';
            assert!(Head::parse(&damaged).is_err(), "{at}");
        }
        let text = String::from_utf8(head.to_vec()).expect("it is text");
        let long = text.replace(" 0000000", " 9999999");
        let error = Head::parse(long.as_bytes()).expect_err("it is too long");
        assert!(error.to_string().contains("256 MiB"), "{error}");
    }
}
