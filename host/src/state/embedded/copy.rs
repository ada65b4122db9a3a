//! A new database file that receives a copy of all buckets.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Error, ReadableTable};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::database::{CACHE_BYTES, SIZES, VALUES, draft_of, failed};
use crate::state::operation::{Entry, Failure};

/// The size of the entries that a copy writes in one transaction, in bytes.
const COPY_BYTES: usize = 8 << 20;

/// A new database that receives a copy. It has its name once it is complete: a part of a copy could
/// be taken for a whole one. Dropping it before deletes it.
#[derive(Debug)]
pub struct CopyTarget {
    database: redb::Database,
    entries: Vec<Entry>,
    bytes: usize,
    draft: Draft,
}

/// The file under its first name, in the folder of its last one.
#[derive(Debug)]
struct Draft {
    draft: PathBuf,
    path: PathBuf,
}

impl CopyTarget {
    /// Creates a database for a file, which must not exist yet.
    ///
    /// # Errors
    ///
    /// Fails if the file exists or can't be created.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        if path.symlink_metadata().is_ok() {
            return Err(Failure(format!("{shown}: the file exists")));
        }
        let draft = draft_of(path);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(|error| Failure(format!("{shown}: {error}")))?;
        drop(file);
        let draft = Draft {
            draft,
            path: path.to_owned(),
        };
        let database = redb::Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&draft.draft)
            .map_err(|error| Failure(format!("{shown}: {error}")))?;
        Ok(Self {
            database,
            entries: Vec::new(),
            bytes: 0,
            draft,
        })
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn add(&mut self, entry: Entry) -> Result<(), Failure> {
        self.bytes += entry.key.len() + entry.value.len();
        self.entries.push(entry);
        match self.bytes >= COPY_BYTES {
            true => self.flush().map_err(|error| failed(&error)),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut values = transaction.open_table(VALUES)?;
            let mut sizes = transaction.open_table(SIZES)?;
            for entry in self.entries.drain(..) {
                let bucket = entry.bucket.as_str();
                values.insert((bucket, &*entry.key), &*entry.value)?;
                let size = sizes.get(bucket)?.map_or((0, 0), |size| size.value());
                let bytes = (entry.key.len() + entry.value.len()) as u64;
                sizes.insert(bucket, (size.0 + 1, size.1 + bytes))?;
            }
        }
        self.bytes = 0;
        transaction.commit()?;
        Ok(())
    }

    /// Makes the copy durable, under its name.
    ///
    /// # Errors
    ///
    /// Fails if the disk does, or if there is a file of this name by now.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.flush().map_err(|error| failed(&error))?;
        drop(self.database);
        self.draft.publish()
    }
}

impl Draft {
    fn publish(&self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure(format!("{}: {error}", self.path.display()));
        match renameat_with(CWD, &self.draft, CWD, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // This kind of file system can't. A link replaces no file either; the draft is removed.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(&self.draft, &self.path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
        let folder = self.path.parent();
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it is published, there is no such file.
        let _ = fs::remove_file(&self.draft);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries
            .map(|entry| entry.expect("readable").file_name())
            .collect()
    }

    /// Creates a copy of one entry, which takes a whole transaction.
    fn begin(path: &Path) -> CopyTarget {
        let mut target = CopyTarget::create(path).expect("created");
        let entry = Entry {
            bucket: "shared:a".into(),
            key: "k".into(),
            value: vec![0; COPY_BYTES],
        };
        target.add(entry).expect("added");
        assert_eq!(target.bytes, 0, "it is written");
        target
    }

    #[test]
    fn a_copy_has_its_name_when_it_is_complete_and_one_that_is_dropped_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy.redb");
        let target = begin(&path);
        assert!(!path.exists());
        drop(target);
        assert_eq!(names(folder.path()), [] as [&str; 0]);
        begin(&path).finish().expect("finished");
        assert_eq!(names(folder.path()), ["copy.redb"]);
        redb::Database::open(&path).expect("a database");
    }

    #[test]
    fn a_copy_replaces_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy.redb");
        let target = begin(&path);
        fs::write(&path, "mine").expect("written");
        let Failure(why) = target.finish().expect_err("it exists");
        assert!(why.contains("copy.redb: "), "{why}");
        CopyTarget::create(&path).expect_err("it exists");
        assert_eq!(fs::read(&path).expect("read"), b"mine");
        assert_eq!(names(folder.path()), ["copy.redb"]);
    }
}
