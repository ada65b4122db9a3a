//! The embedded store's database: one file, of which each commit survives the end of the process
//! and of the machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{
    DatabaseError, Error, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageError, Table, TableDefinition, TableError,
};

use super::folder::create_folder;
use super::socket::FILE_NAME;
use crate::state::operation::{
    self, BucketStatistics, Entry, Failure, MAX_BATCH_COUNT, MAX_PAGE_BYTES, Operation, Reply,
    Request,
};
use crate::state::queue::Job;

/// The memory for pages of the database, in bytes: the most used parts of a site's state.
pub(super) const CACHE_BYTES: usize = 32 << 20;

/// Values, by bucket and key.
pub(super) const VALUES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("values");

/// The number of keys and the size in bytes of each bucket that has keys.
pub(super) const SIZES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("sizes");

/// Why a database can't be opened.
#[derive(Debug)]
pub(in crate::state) enum OpenError {
    /// Another process has it.
    Locked,
    Failed(String),
}

/// An open database.
#[derive(Debug)]
pub(in crate::state) struct Database {
    file: redb::Database,
    /// The size of all buckets in bytes, once a transaction has computed it. Only transactions of
    /// this process change it.
    total_bytes: Mutex<Option<u64>>,
}

impl Database {
    /// Opens the database of a folder. Creates both if necessary.
    pub(in crate::state) fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |error: std::io::Error| {
            OpenError::Failed(format!("state.folder: {}: {error}", folder.display()))
        };
        create_folder(folder).map_err(failed)?;
        let path = folder.join(FILE_NAME);
        let mut builder = redb::Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        if !path.exists()
            && let Some(database) = create(&builder, folder, &path)?
        {
            return Ok(Self::from_file(database));
        }
        match builder.open(&path) {
            Ok(database) => Ok(Self::from_file(database)),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::Locked),
            Err(error) => Err(OpenError::Failed(format!("{}: {error}", path.display()))),
        }
    }

    fn from_file(file: redb::Database) -> Self {
        Self {
            file,
            total_bytes: Mutex::default(),
        }
    }

    /// Executes operations that change nothing.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read: the database must be opened again.
    pub(in crate::state) fn read(&self, request: &Request) -> Result<Answer, Error> {
        Snapshot::new(self)?.read(request)
    }

    /// Executes operations in one transaction and then passes on their results, which are durable
    /// by then.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be written: nothing was changed, all operations have failed, and the
    /// database must be opened again.
    pub(in crate::state) fn write(&self, jobs: Vec<Job>) -> Result<(), Error> {
        match self.commit(&jobs) {
            Ok(answers) => {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    (job.sink)(answer);
                }
                Ok(())
            }
            Err(error) => {
                let failure = failed(&error);
                for job in jobs {
                    (job.sink)(Err(failure.clone()));
                }
                Err(error)
            }
        }
    }

    fn commit(&self, jobs: &[Job]) -> Result<Vec<Answer>, Error> {
        let mut transaction = self.file.begin_write()?;
        // Costs a second write to the disk for a group of operations. Without it, the start after
        // a crash reads the whole file, and a guest that knows the format could forge a commit.
        transaction.set_quick_repair(true);
        let mut answers = Vec::with_capacity(jobs.len());
        // After a transaction that fails, it is computed again.
        let mut total_bytes = self
            .total_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known_bytes = total_bytes.take();
        let after_bytes;
        {
            let stored = transaction.open_table(SIZES)?;
            let mut writer = Writer {
                values: transaction.open_table(VALUES)?,
                total_bytes: match known_bytes {
                    Some(bytes) => bytes,
                    None => sum(&stored)?,
                },
                stored,
                sizes: BTreeMap::new(),
            };
            for job in jobs {
                answers.push(writer.execute(&job.request)?);
            }
            writer.store_sizes()?;
            after_bytes = writer.total_bytes;
        }
        transaction.commit()?;
        *total_bytes = Some(after_bytes);
        Ok(answers)
    }

    /// Calls `each` with all keys and values of one bucket or of all, as they are now.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read, or with the first error of `each`.
    pub(in crate::state) fn export(
        &self,
        bucket: Option<&str>,
        mut each: impl FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let of_storage = |error: Error| failed(&error);
        let snapshot = Snapshot::new(self).map_err(of_storage)?;
        let Some(values) = snapshot.values().map_err(of_storage)? else {
            return Ok(());
        };
        let first = bucket.unwrap_or_default();
        let range = values.range((first, "")..);
        for entry in range.map_err(|error| failed(&error.into()))? {
            let (key, value) = entry.map_err(|error| failed(&error.into()))?;
            let (of, key) = key.value();
            if bucket.is_some_and(|bucket| bucket != of) {
                break;
            }
            each(Entry {
                bucket: of.to_owned(),
                key: key.to_owned(),
                value: value.value().to_vec(),
            })?;
        }
        Ok(())
    }
}

/// Creates the database under another name and then gives it its own: a process that is killed
/// meanwhile leaves no incomplete file under the database's name. Returns none if another process
/// was faster.
fn create(
    builder: &redb::Builder,
    folder: &Path,
    path: &Path,
) -> Result<Option<redb::Database>, OpenError> {
    let draft = draft_of(path);
    let made = create_draft(builder, folder, &draft, path);
    // The database has its own name then, or is not needed.
    let _ = fs::remove_file(&draft);
    made.map_err(|error| OpenError::Failed(format!("{}: {error}", path.display())))
}

/// Returns the path of a draft of a file, in its folder. Its name is that of no other draft: of a
/// process, a time and a number.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.{nanos}.{number}", std::process::id()));
    path.with_file_name(name)
}

fn create_draft(
    builder: &redb::Builder,
    folder: &Path,
    draft: &Path,
    path: &Path,
) -> Result<Option<redb::Database>, DatabaseError> {
    let of_io = |error: std::io::Error| DatabaseError::Storage(StorageError::Io(error));
    let database = builder.create(draft)?;
    let file = File::open(draft).map_err(of_io)?;
    file.sync_all().map_err(of_io)?;
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        linked => linked.map_err(of_io)?,
    }
    // The name of the file must be durable, too.
    let folder = File::open(folder).map_err(of_io)?;
    folder.sync_all().map_err(of_io)?;
    Ok(Some(database))
}

/// The result for one operation.
type Answer = Result<Reply, Failure>;

/// Returns the failure of an operation because of the disk.
pub(in crate::state) fn failed(error: &Error) -> Failure {
    Failure(format!("the store can't use its disk: {error}"))
}

/// The values at one time.
type Values = ReadOnlyTable<(&'static str, &'static str), &'static [u8]>;

/// The state at one time.
struct Snapshot(ReadTransaction);

impl Snapshot {
    fn new(database: &Database) -> Result<Self, Error> {
        Ok(Self(database.file.begin_read()?))
    }

    /// Returns the values. None before the first write.
    fn values(&self) -> Result<Option<Values>, Error> {
        match self.0.open_table(VALUES) {
            Ok(values) => Ok(Some(values)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, request: &Request) -> Result<Answer, Error> {
        let bucket = request.bucket.as_str();
        let values = self.values()?;
        let get = |key: &str| -> Result<Option<Vec<u8>>, Error> {
            let Some(values) = &values else {
                return Ok(None);
            };
            let value = values.get((bucket, key))?;
            Ok(value.map(|value| value.value().to_vec()))
        };
        Ok(match &request.operation {
            Operation::Get(key) => Ok(Reply::Value(get(key)?)),
            Operation::Exists(key) => {
                let found = match &values {
                    Some(values) => values.get((bucket, &**key))?.is_some(),
                    None => false,
                };
                Ok(Reply::Flag(found))
            }
            Operation::Keys(after) => match &values {
                Some(values) => Ok(keys(values, bucket, after.as_deref())?),
                None => Ok(Reply::Keys(Vec::new(), false)),
            },
            Operation::GetMany(keys) => {
                let (mut bytes, mut found) = (0, Vec::with_capacity(keys.len()));
                for key in keys {
                    let value = get(key)?;
                    bytes += value.as_ref().map_or(0, Vec::len) as u64;
                    if let Err(failure) = operation::check_batch(bytes) {
                        return Ok(Err(failure));
                    }
                    found.push(value);
                }
                Ok(Reply::Values(found))
            }
            Operation::Buckets => Ok(self.buckets()?),
            Operation::Set(..)
            | Operation::Delete(_)
            | Operation::Increment(..)
            | Operation::Swap(..)
            | Operation::SetMany(_)
            | Operation::DeleteMany(_) => Err(Failure::new("not an operation that reads")),
        })
    }

    fn buckets(&self) -> Result<Reply, Error> {
        let sizes = match self.0.open_table(SIZES) {
            Ok(sizes) => sizes,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Reply::Buckets(Vec::new())),
            Err(error) => return Err(error.into()),
        };
        let mut buckets = Vec::new();
        for entry in sizes.iter()? {
            let (bucket, size) = entry?;
            let (keys_count, bytes) = size.value();
            buckets.push(BucketStatistics {
                bucket: bucket.value().to_owned(),
                keys_count,
                bytes,
            });
        }
        Ok(Reply::Buckets(buckets))
    }
}

/// Returns the keys of a bucket after one.
fn keys(
    values: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    bucket: &str,
    after: Option<&str>,
) -> Result<Reply, Error> {
    let (mut keys, mut bytes) = (Vec::new(), 0);
    for entry in values.range((bucket, after.unwrap_or_default())..)? {
        let (key, _) = entry?;
        let (of, key) = key.value();
        if of != bucket {
            break;
        }
        if after == Some(key) {
            continue;
        }
        if keys.len() == MAX_BATCH_COUNT || (bytes + key.len() > MAX_PAGE_BYTES && bytes > 0) {
            return Ok(Reply::Keys(keys, true));
        }
        bytes += key.len();
        keys.push(key.to_owned());
    }
    Ok(Reply::Keys(keys, false))
}

/// A transaction.
struct Writer<'t> {
    values: Table<'t, (&'static str, &'static str), &'static [u8]>,
    stored: Table<'t, &'static str, (u64, u64)>,
    /// The number of keys and the size of the buckets that the transaction has used.
    sizes: BTreeMap<String, (u64, u64)>,
    /// The size of all buckets, in bytes.
    total_bytes: u64,
}

/// Returns the size of all buckets, in bytes.
fn sum(stored: &impl ReadableTable<&'static str, (u64, u64)>) -> Result<u64, Error> {
    let mut sum: u64 = 0;
    for entry in stored.iter()? {
        let (_, size) = entry?;
        sum = sum.saturating_add(size.value().1);
    }
    Ok(sum)
}

impl Writer<'_> {
    /// Executes an operation. One that fails changes nothing.
    fn execute(&mut self, request: &Request) -> Result<Answer, Error> {
        let bucket = request.bucket.as_str();
        Ok(match &request.operation {
            Operation::Set(key, value) => self
                .change(request, &[(key, Some(value))])?
                .map(|()| Reply::Done),
            Operation::Delete(key) => self.change(request, &[(key, None)])?.map(|()| Reply::Done),
            Operation::Increment(key, delta) => {
                let sum = {
                    let value = self.values.get((bucket, &**key))?;
                    operation::add(value.as_ref().map(redb::AccessGuard::value), *delta)
                };
                match sum {
                    Ok(sum) => {
                        let value = sum.to_string();
                        self.change(request, &[(key, Some(value.as_bytes()))])?
                            .map(|()| Reply::Number(sum))
                    }
                    Err(failure) => Err(failure),
                }
            }
            Operation::Swap(key, expected, value) => {
                let digest = {
                    let found = self.values.get((bucket, &**key))?;
                    found.map(|found| *blake3::hash(found.value()).as_bytes())
                };
                if digest == *expected {
                    self.change(request, &[(key, Some(value))])?
                        .map(|()| Reply::Flag(true))
                } else {
                    Ok(Reply::Flag(false))
                }
            }
            Operation::SetMany(pairs) => {
                // The last value of a key applies.
                let last: BTreeMap<&str, &[u8]> = pairs
                    .iter()
                    .map(|(key, value)| (&**key, &**value))
                    .collect();
                let changes: Vec<(&str, Option<&[u8]>)> = last
                    .into_iter()
                    .map(|(key, value)| (key, Some(value)))
                    .collect();
                self.change(request, &changes)?.map(|()| Reply::Done)
            }
            Operation::DeleteMany(keys) => {
                let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                keys.sort_unstable();
                keys.dedup();
                let changes: Vec<(&str, Option<&[u8]>)> =
                    keys.into_iter().map(|key| (key, None)).collect();
                self.change(request, &changes)?.map(|()| Reply::Done)
            }
            Operation::Get(_)
            | Operation::Exists(_)
            | Operation::Keys(_)
            | Operation::GetMany(_)
            | Operation::Buckets => Err(Failure::new("not an operation that writes")),
        })
    }

    /// Sets or deletes different keys, unless the bucket would become too large.
    fn change(
        &mut self,
        request: &Request,
        changes: &[(&str, Option<&[u8]>)],
    ) -> Result<Result<(), Failure>, Error> {
        let bucket = request.bucket.as_str();
        let before = self.size(bucket)?;
        let mut after = before;
        for (key, value) in changes {
            if let Some(old) = self.values.get((bucket, *key))? {
                after.0 = after.0.saturating_sub(1);
                after.1 = after
                    .1
                    .saturating_sub((key.len() + old.value().len()) as u64);
            }
            if let Some(value) = value {
                after.0 += 1;
                after.1 += (key.len() + value.len()) as u64;
            }
        }
        let total_bytes = self.total_bytes.saturating_sub(before.1) + after.1;
        let checked = request.check_bucket(before, after);
        let checked = checked.and_then(|()| request.check_total(self.total_bytes, total_bytes));
        if let Err(failure) = checked {
            return Ok(Err(failure));
        }
        self.total_bytes = total_bytes;
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.values.insert((bucket, *key), *value)?),
                None => drop(self.values.remove((bucket, *key))?),
            }
        }
        self.sizes.insert(bucket.to_owned(), after);
        Ok(Ok(()))
    }

    fn size(&self, bucket: &str) -> Result<(u64, u64), Error> {
        if let Some(size) = self.sizes.get(bucket) {
            return Ok(*size);
        }
        let stored = self.stored.get(bucket)?;
        Ok(stored.map_or((0, 0), |size| size.value()))
    }

    fn store_sizes(&mut self) -> Result<(), Error> {
        for (bucket, size) in std::mem::take(&mut self.sizes) {
            match size.0 {
                0 => drop(self.stored.remove(&*bucket)?),
                _ => drop(self.stored.insert(&*bucket, size)?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The first bytes of a file of redb.
    const MAGIC: &[u8] = b"redb";

    #[test]
    fn a_database_has_its_name_only_when_it_is_complete_and_one_of_several_creates_it() {
        for _ in 0..10 {
            let above = tempfile::tempdir().expect("a folder");
            let folder = above.path().join("state");
            let opened = thread::scope(|scope| {
                let open = || Database::open(&folder);
                let openers: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
                while !openers.iter().all(|opener| opener.is_finished()) {
                    // A process that is killed at this point leaves this file.
                    if let Ok(content) = fs::read(folder.join(FILE_NAME)) {
                        assert!(content.starts_with(MAGIC), "{} bytes", content.len());
                    }
                }
                let opened = openers.into_iter().map(|opener| opener.join());
                opened.collect::<Result<Vec<_>, _>>().expect("no panic")
            });
            let count = |is: fn(&OpenError) -> bool| {
                let errors = opened.iter().filter_map(|it| it.as_ref().err());
                errors.filter(|error| is(error)).count()
            };
            assert_eq!(count(|error| matches!(error, OpenError::Locked)), 3);
            assert_eq!(count(|error| matches!(error, OpenError::Failed(_))), 0);
            drop(opened);
            let names = fs::read_dir(&folder).expect("a folder").count();
            assert_eq!(names, 1, "a draft is left");
        }
    }
}
