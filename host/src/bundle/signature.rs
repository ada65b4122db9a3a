//! Signatures of bundles, as minisign makes them: `minisign -Sm site.wasgi` writes
//! `site.wasgi.minisig`.
//!
//! A signature is of the whole file. Its trusted comment, which is signed as well, says when it was
//! made. A bundle whose signature is older than that of the last one that was served is refused:
//! otherwise, a user who can write the file could bring back a version with a known fault.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use minisign_verify::{Error, Signature};

use super::archive::{Archive, CHUNK_BYTES};
use crate::regular_file;

/// The extension that minisign appends to the name of the signed file.
const EXTENSION: &str = "minisig";

/// The maximum length of a signature's file, in bytes: minisign allows comments of 8 KiB.
const MAX_BYTES: u64 = 64 << 10;

/// The maximum length of a record, in bytes: a number.
const MAX_RECORD_BYTES: u64 = 64;

/// The key that signs bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    key: minisign_verify::PublicKey,
    text: String,
}

/// A signature that was verified.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    /// When it was made, in seconds since 1970.
    at_s: u64,
    /// The file with the time of the last signature whose bundle was served.
    record: PathBuf,
}

impl PublicKey {
    /// Parses a key: the second line of minisign's `.pub` file.
    ///
    /// # Errors
    ///
    /// Fails if it is anything else.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let key = minisign_verify::PublicKey::from_base64(text.trim());
        let Ok(key) = key else {
            bail!("is no key of minisign: copy the line that begins with RW from the .pub file");
        };
        Ok(Self {
            key,
            text: text.trim().to_owned(),
        })
    }

    /// Verifies the signature of a bundle, whose records are in the folder `records`.
    ///
    /// # Errors
    ///
    /// Fails if there is no signature, if it is not this key's or not of this file, if it doesn't
    /// say when it was made, or if it is older than that of the last bundle that was served.
    pub(super) fn verify(&self, archive: &Archive, records: &Path) -> anyhow::Result<Signed> {
        let path = path_of(archive.file_path());
        let shown = path.display();
        let text = match regular_file::read_text(&path, MAX_BYTES) {
            Err(error) if error.is_not_found() => bail!(
                "{}: is not signed, and bundle.public-key requires it: there is no {shown}, which \
                 `minisign -Sm` writes",
                archive.path().display()
            ),
            result => result.with_context(|| format!("{shown}: can't be read"))?,
        };
        let signature = Signature::decode(&text)
            .map_err(|_| anyhow::anyhow!("{shown}: is no signature of minisign"))?;
        self.verify_file(archive, &signature)
            .with_context(|| format!("{shown}"))?;
        let at_s = made_at(signature.trusted_comment())
            .with_context(|| format!("{shown}: doesn't say when it was made: sign without `-t`"))?;
        let signed = Signed {
            at_s,
            record: records.join(self.record_of(archive)),
        };
        signed.refuse_older().with_context(|| format!("{shown}"))?;
        Ok(signed)
    }

    /// Verifies a signature of the whole file, and that the head is the one that was read before.
    fn verify_file(&self, archive: &Archive, signature: &Signature) -> anyhow::Result<()> {
        let mut verifier = self
            .key
            .verify_stream(signature)
            .map_err(|error| match error {
                Error::UnexpectedKeyId => anyhow::anyhow!(
                    "was made with another key than bundle.public-key: sign with that one"
                ),
                _ => anyhow::anyhow!("was made by an old minisign: sign it again with `-H`"),
            })?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let head_end = archive.start + archive.head.len() as u64;
        let mut at = 0;
        while at < archive.file_bytes {
            let length = (archive.file_bytes - at).min(CHUNK_BYTES as u64);
            let part = &mut buffer[..usize::try_from(length)?];
            archive
                .file
                .read_exact_at(part, at)
                .context("the bundle can't be read")?;
            verifier.update(part);
            let (from, to) = (at.max(archive.start), (at + length).min(head_end));
            if from < to {
                let read = &part[usize::try_from(from - at)?..usize::try_from(to - at)?];
                let known =
                    usize::try_from(from - archive.start)?..usize::try_from(to - archive.start)?;
                ensure!(
                    read == &archive.head[known],
                    "the bundle changes while it is read"
                );
            }
            at += length;
        }
        verifier
            .finalize()
            .map_err(|_| anyhow::anyhow!("is not of this bundle: sign the bundle again"))
    }

    /// Returns the name of the record for a bundle at its path, or for all versions of one in a
    /// registry.
    fn record_of(&self, archive: &Archive) -> String {
        let path = match &archive.pulled {
            Some(pulled) => pulled.reference.all_versions().into(),
            None => std::path::absolute(archive.path()).unwrap_or_else(|_| archive.path().into()),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.text.as_bytes());
        hasher.update(&[0]);
        hasher.update(path.as_os_str().as_encoded_bytes());
        format!("signed-{}", hasher.finalize().to_hex())
    }
}

impl Signed {
    fn refuse_older(&self) -> anyhow::Result<()> {
        let last = match regular_file::read_text(&self.record, MAX_RECORD_BYTES) {
            Err(error) if error.is_not_found() => return Ok(()),
            result => result.with_context(|| format!("{}", self.record.display()))?,
        };
        let last: u64 = last
            .trim()
            .parse()
            .with_context(|| format!("{}: is damaged: remove it", self.record.display()))?;
        ensure!(
            self.at_s >= last,
            "is older than that of the version before it: to go back, sign the older bundle again"
        );
        Ok(())
    }

    /// Records that the bundle is served: those with older signatures are refused from now on.
    ///
    /// # Errors
    ///
    /// Fails if the record can't be written.
    pub(super) fn record(&self) -> io::Result<()> {
        let aside = self
            .record
            .with_extension(format!("new-{}", std::process::id()));
        fs::write(&aside, format!("{}\n", self.at_s))?;
        fs::rename(&aside, &self.record)
    }
}

/// Returns the path of a bundle's signature.
pub(crate) fn path_of(bundle: &Path) -> PathBuf {
    bundle.with_added_extension(EXTENSION)
}

/// Returns the time in a trusted comment, which minisign begins with `timestamp:1700000000`.
fn made_at(comment: &str) -> Option<u64> {
    let time = comment
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("timestamp:"))?;
    time.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_signature_is_in_its_trusted_comment() {
        let comment = "timestamp:1700000000\tfile:site.wasgi\thashed";
        assert_eq!(made_at(comment), Some(1_700_000_000));
        for comment in ["", "timestamp:", "timestamp:-1", "made on timestamps:1"] {
            assert_eq!(made_at(comment), None, "{comment}");
        }
    }

    #[test]
    fn only_a_key_of_minisign_is_a_key() {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        PublicKey::parse(&format!(" {key}\n")).expect("a key");
        for text in ["", "RW", &key[1..], "untrusted comment: x"] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
    }
}
