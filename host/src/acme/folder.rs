//! The folder of the account's key, certificates, and challenges in flight:
//!
//! ```text
//! accounts/<hash>.json           the account at a directory, with its key
//! certificates/<name>.pem        a key, and its certificate with the intermediate ones
//! certificates/<name>.json       the record of attempts to obtain it
//! challenges/                    the answers to challenges in flight
//! lock                           locked by the process that asks for certificates
//! ```
//!
//! Only its owner can read it. Each file is written under another name, synced and renamed, so that
//! a full disk or a crash leaves the old one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use super::record::Record;
use super::time;
use crate::regular_file;
use crate::server::challenges::Challenges;
use crate::server::tls::check_obtained;

/// The rights on folders and on files: the owner's alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The maximum size of a record or an account, in bytes: a hundred names.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The maximum size of a key with its certificates, in bytes: a directory's response has at most
/// half of that.
const MAX_CERTIFICATE_BYTES: u64 = 128 * 1024;

/// The front of files that are being written.
const PARTIAL: &str = ".new-";

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    challenges: Challenges,
}

/// The right to ask for certificates, which one process has. It ends with the process.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

impl Folder {
    /// Refers to a folder, which may not exist.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            challenges: Challenges::new(path.join("challenges")),
        }
    }

    /// Creates the folder and those in it.
    ///
    /// # Errors
    ///
    /// Fails if one can't be created.
    pub(crate) fn create(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE);
        builder.create(&self.path)?;
        for name in ["accounts", "certificates", "challenges"] {
            builder.create(self.path.join(name))?;
        }
        Ok(())
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the challenges in flight.
    pub(crate) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Returns the file of a certificate and its key, by the first of its names.
    pub(crate) fn certificate_file(&self, name: &str) -> PathBuf {
        self.path.join("certificates").join(format!("{name}.pem"))
    }

    /// Reads a certificate and its key.
    pub(super) fn certificate(&self, name: &str) -> Option<Vec<u8>> {
        regular_file::read(&self.certificate_file(name), MAX_CERTIFICATE_BYTES).ok()
    }

    /// Returns when the certificate for these names expires, as text. `None` if there is none, or
    /// if it has expired already.
    pub(crate) fn expiry(&self, names: &[String]) -> Option<String> {
        let pem = self.certificate(names.first()?)?;
        let validity = check_obtained(&pem, names).ok()?;
        (validity.end > time::now()).then(|| time::shown(validity.end))
    }

    /// Returns why the last attempt to obtain a certificate has failed, if it has.
    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        self.record(name).reason().map(str::to_owned)
    }

    /// Writes a certificate and its key.
    pub(super) fn set_certificate(&self, name: &str, pem: &[u8]) -> io::Result<()> {
        write(&self.certificate_file(name), pem)
    }

    /// Takes the space on the disk that the largest certificate with its key needs.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be written, or if there is not enough space.
    pub(super) fn reserve(&self, name: &str) -> io::Result<NewFile> {
        // A file system that compresses has no space for these bytes either.
        let mut bytes = vec![0; MAX_CERTIFICATE_BYTES as usize];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| io::Error::other("no random numbers"))?;
        let mut new = NewFile::create(&self.certificate_file(name))?;
        new.file.write_all(&bytes)?;
        new.file.sync_all()?;
        Ok(new)
    }

    fn record_file(&self, name: &str) -> PathBuf {
        self.path.join("certificates").join(format!("{name}.json"))
    }

    /// Reads the record of a certificate. One that is missing or damaged is empty.
    pub(crate) fn record(&self, name: &str) -> Record {
        let text = regular_file::read(&self.record_file(name), MAX_FILE_BYTES);
        let record = text.ok().map(|text| serde_json::from_slice(&text));
        record.and_then(Result::ok).unwrap_or_default()
    }

    /// Writes the record of a certificate.
    pub(super) fn set_record(&self, name: &str, record: &Record) -> io::Result<()> {
        write(&self.record_file(name), &serde_json::to_vec_pretty(record)?)
    }

    fn account_file(&self, directory: &str) -> PathBuf {
        let hash = blake3::hash(directory.as_bytes()).to_hex();
        let hash = hash.get(..16).unwrap_or_default();
        self.path.join("accounts").join(format!("{hash}.json"))
    }

    /// Reads the account at a directory.
    pub(super) fn account(&self, directory: &str) -> Option<Vec<u8>> {
        regular_file::read(&self.account_file(directory), MAX_FILE_BYTES).ok()
    }

    /// Writes the account at a directory.
    pub(super) fn set_account(&self, directory: &str, account: &[u8]) -> io::Result<()> {
        write(&self.account_file(directory), account)
    }

    /// Removes the account at a directory, which doesn't know it any more.
    pub(super) fn remove_account(&self, directory: &str) -> io::Result<()> {
        fs::remove_file(self.account_file(directory))
    }

    /// Writes the answer to a challenge.
    pub(super) fn set_answer(&self, file: &Path, answer: &[u8]) -> io::Result<()> {
        write(file, answer)
    }

    /// Removes all answers to challenges.
    pub(super) fn remove_answers(&self) {
        // One that remains answers a challenge that is over.
        self.remove_files("challenges", |_| true);
    }

    /// Removes all answers to challenges, and files that were not written completely. Only before
    /// the first order: the file for its certificate is one of these.
    pub(super) fn remove_leftovers(&self) {
        self.remove_answers();
        for name in ["accounts", "certificates"] {
            self.remove_files(name, |name| name.starts_with(PARTIAL));
        }
    }

    fn remove_files(&self, folder: &str, is_removed: impl Fn(&str) -> bool) {
        let entries = fs::read_dir(self.path.join(folder));
        for entry in entries.into_iter().flatten().flatten() {
            if is_removed(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Takes the right to ask for certificates. Returns `None` while another process has it.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be written.
    pub(super) fn turn(&self) -> io::Result<Option<Turn>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.mode(FILE_MODE).open(self.path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Turn { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A file that has another name until it is complete, and that only its owner can read. Dropping it
/// removes it.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    folder: PathBuf,
    partial: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Creates the file that will be at `path`.
    fn create(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let partial = folder.join(format!("{PARTIAL}{}", name.display()));
        // A new file has these rights from its beginning, and is no link to another place.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(FILE_MODE);
        Ok(Self {
            file: options.open(&partial)?,
            folder: folder.to_owned(),
            partial,
            path: path.to_owned(),
        })
    }

    /// Replaces the file at the path by one with this content, for which the space is used that the
    /// file has already.
    pub(super) fn store(self, content: &[u8]) -> io::Result<()> {
        self.file.write_all_at(content, 0)?;
        self.file.set_len(content.len() as u64)?;
        self.file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After it was stored, there is none.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Replaces a file. Only its owner can read it.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    NewFile::create(path)?.store(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_can_read_it() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(&outer.path().join("a/acme"));
        folder.create().expect("created");
        folder.create().expect("it exists already");
        folder.set_certificate("a.test", b"pem").expect("written");
        folder
            .set_account("https://ca.test/", b"{}")
            .expect("written");
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join("certificates")), 0o700);
        assert_eq!(mode(&folder.certificate_file("a.test")), 0o600);
        assert_eq!(mode(&folder.account_file("https://ca.test/")), 0o600);
        assert_eq!(folder.certificate("a.test"), Some(b"pem".to_vec()));
        assert_eq!(folder.certificate("b.test"), None);
        assert_eq!(folder.account("https://other.test/"), None);
    }

    #[test]
    fn a_damaged_record_is_empty() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(outer.path());
        folder.create().expect("created");
        let mut record = Record::default();
        record.begin("d", &["a.test".into()], 5, 0.0);
        folder.set_record("a.test", &record).expect("written");
        assert_eq!(folder.record("a.test"), record);
        for damaged in [&b"{"[..], b"[]", b"", &[b' '; 70_000]] {
            fs::write(folder.record_file("a.test"), damaged).expect("written");
            assert_eq!(folder.record("a.test"), Record::default());
        }
    }

    #[test]
    fn a_file_is_written_where_a_link_to_another_one_is() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(&outer.path().join("acme"));
        folder.create().expect("created");
        let other = outer.path().join("other");
        fs::write(&other, "kept").expect("written");
        let certificate = folder.certificate_file("a.test");
        symlink(&other, &certificate).expect("a link");
        let partial = folder.path().join("certificates/.new-a.test.pem");
        symlink(&other, &partial).expect("a link");
        folder.set_certificate("a.test", b"pem").expect("written");
        assert_eq!(fs::read(&other).expect("it is there"), b"kept");
        assert!(!certificate.is_symlink() && !partial.is_symlink());
        assert_eq!(mode(&certificate), 0o600);
    }

    #[test]
    fn space_for_a_certificate_is_taken_before_it_is_there() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(outer.path());
        folder.reserve("a.test").expect_err("there is no folder");
        folder.create().expect("created");
        let partial = outer.path().join("certificates/.new-a.test.pem");
        let space = folder.reserve("a.test").expect("there is space");
        let metadata = partial.metadata().expect("it is there");
        assert_eq!(metadata.len(), MAX_CERTIFICATE_BYTES);
        // Answers are removed before the certificate arrives.
        folder.remove_answers();
        assert!(partial.exists());
        drop(space);
        assert!(!partial.exists() && folder.certificate("a.test").is_none());
        let space = folder.reserve("a.test").expect("there is space");
        let reserved = partial.metadata().expect("it is there").ino();
        space.store(b"pem").expect("stored");
        let stored = folder.certificate_file("a.test").metadata();
        assert_eq!(stored.expect("it is there").ino(), reserved);
        assert_eq!(folder.certificate("a.test"), Some(b"pem".to_vec()));
        assert_eq!(mode(&folder.certificate_file("a.test")), 0o600);
        assert!(!partial.exists());
    }

    #[test]
    fn one_has_the_turn_until_it_is_dropped() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(outer.path());
        let turn = folder.turn().expect("a file").expect("it is free");
        assert!(folder.turn().expect("a file").is_none());
        drop(turn);
        assert!(folder.turn().expect("a file").is_some());
    }

    #[test]
    fn answers_and_unfinished_files_are_removed_and_nothing_else() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(outer.path());
        folder.create().expect("created");
        folder.set_certificate("a.test", b"pem").expect("written");
        let answer = folder.challenges().certificate_file("a.test");
        let answer = answer.expect("a name");
        folder.set_answer(&answer, b"pem").expect("written");
        let partial = outer.path().join("certificates/.new-a.test.pem");
        fs::write(&partial, "pe").expect("written");
        folder.remove_leftovers();
        assert!(!answer.exists() && !partial.exists());
        assert_eq!(folder.certificate("a.test"), Some(b"pem".to_vec()));
    }
}
