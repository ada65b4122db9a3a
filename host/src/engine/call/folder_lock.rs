//! Locks on granted folders that only one request at a time may use.
//!
//! Between processes, `flock` on the folder itself excludes (flock(2)); the kernel releases it when
//! a process ends, however it ends. Within a process, a queue for each folder makes requests wait
//! off the thread, in order, so that at most one thread for each folder waits for the kernel.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use crate::grants::Grants;

/// A folder's device and inode.
type Identity = (u64, u64);

/// The queues of the folders that are in use.
static TURNS: LazyLock<Mutex<HashMap<Identity, Weak<Turn<()>>>>> = LazyLock::new(Mutex::default);

/// The locks of one request. Dropping it releases them.
#[derive(Debug)]
pub(super) struct FolderLock {
    _locked: Vec<Locked>,
}

/// The pause before it is checked again whether an operation is complete: as long as a write to a
/// disk takes.
const RELEASE_PAUSE: Duration = Duration::from_millis(1);

impl FolderLock {
    /// Releases the locks when no operation of the request uses one of these files any more: the
    /// system completes an operation that it has begun.
    pub(super) fn release_after(self, mut files: Vec<Weak<File>>) {
        files.retain(|file| file.strong_count() > 0);
        if files.is_empty() {
            return;
        }
        let thread = thread::Builder::new().name("wasgi-unlock".into());
        // Without a thread, the locks are released now, and the operation may still be executed.
        let _ = thread.spawn(move || {
            while files.iter().any(|file| file.strong_count() > 0) {
                thread::sleep(RELEASE_PAUSE);
            }
            drop(self);
        });
    }
}

/// One locked folder. Declared in the order of release: the kernel's lock first, so that the next
/// in the queue gets it.
#[derive(Debug)]
struct Locked {
    _folder: File,
    _turn: OwnedMutexGuard<()>,
}

/// Waits for the exclusive folders among a handler's grants. Returns `None` if no granted folder is
/// exclusive.
///
/// Must be called in the context of a tokio runtime.
///
/// # Errors
///
/// Fails if a folder can't be opened or locked: one line that names it.
pub(super) async fn acquire(grants: &Grants) -> Result<Option<FolderLock>, String> {
    let exclusive = grants.folders().iter().filter(|folder| folder.is_exclusive);
    let paths: Vec<PathBuf> = exclusive.map(|folder| folder.source.clone()).collect();
    if paths.is_empty() {
        return Ok(None);
    }
    loop {
        let paths = paths.clone();
        let found = off_thread(move || paths.into_iter().map(Folder::find).collect());
        if let Some(locked) = lock_all(found.await?).await? {
            return Ok(Some(FolderLock { _locked: locked }));
        }
    }
}

/// Locks folders. Returns `None` if another folder has taken the place of one of them meanwhile.
async fn lock_all(mut folders: Vec<Folder>) -> Result<Option<Vec<Locked>>, String> {
    // All requests lock in the same order, so that no two wait for each other.
    folders.sort_by_key(|folder| folder.identity);
    folders.dedup_by_key(|folder| folder.identity);
    let mut locked = Vec::with_capacity(folders.len());
    for folder in folders {
        let turn = turn(folder.identity).lock_owned().await;
        // The turn goes along: if this request ends while it waits, the next one in the process
        // must not start to wait on another thread.
        match off_thread(move || folder.lock(turn)).await? {
            Some(lock) => locked.push(lock),
            None => return Ok(None),
        }
    }
    Ok(Some(locked))
}

/// A folder that is not open yet: requests that wait for their turn have no descriptor.
struct Folder {
    path: PathBuf,
    identity: Identity,
}

impl Folder {
    fn find(path: PathBuf) -> Result<Self, String> {
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Self {
                path,
                identity: identity(&metadata),
            }),
            Err(error) => Err(failed(&path, "opened", &error)),
        }
    }

    /// Locks the folder. Returns `None` if there is another one in its place.
    fn lock(self, turn: OwnedMutexGuard<()>) -> Result<Option<Locked>, String> {
        let opened = File::open(&self.path).and_then(|file| {
            let identity = identity(&file.metadata()?);
            Ok((file, identity))
        });
        let (file, opened) = opened.map_err(|error| failed(&self.path, "opened", &error))?;
        if opened != self.identity {
            return Ok(None);
        }
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => {
                    return Ok(Some(Locked {
                        _folder: file,
                        _turn: turn,
                    }));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(&self.path, "locked", &error.into())),
            }
        }
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn failed(path: &std::path::Path, what: &str, error: &io::Error) -> String {
    format!("the folder {} can't be {what}: {error}", path.display())
}

/// Returns the queue of a folder.
fn turn(identity: Identity) -> Arc<Turn<()>> {
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(turn) = turns.get(&identity).and_then(Weak::upgrade) {
        return turn;
    }
    turns.retain(|_, turn| turn.strong_count() > 0);
    let turn = Arc::default();
    turns.insert(identity, Arc::downgrade(&turn));
    turn
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(format!("a thread for files has failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::{FolderOptions, GrantOptions};

    fn grants(folders: &[(&std::path::Path, bool)]) -> Grants {
        let files: Vec<FolderOptions> = folders
            .iter()
            .enumerate()
            .map(|(at, (source, writable))| FolderOptions {
                source: source.into(),
                destination: format!("/{at}"),
                writable: *writable,
                exclusive: None,
            })
            .collect();
        let options = GrantOptions {
            environment: &Default::default(),
            secrets: &Default::default(),
            files: &files,
            allowed_outbound_hosts: &[],
            key_value: &[],
        };
        options.read().expect("they are there")
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(work)
    }

    #[test]
    fn one_request_at_a_time_has_an_exclusive_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let grants = grants(&[(folder.path(), true)]);
        block_on(async {
            let first = acquire(&grants).await.expect("locked").expect("exclusive");
            let second = acquire(&grants);
            let mut second = std::pin::pin!(second);
            let early = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
            assert!(early.is_err(), "both have it");
            drop(first);
            assert!(second.await.expect("locked").is_some());
        });
    }

    #[test]
    fn a_folder_is_released_when_the_last_operation_on_its_files_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let grants = grants(&[(folder.path(), true)]);
        let operation = Arc::new(tempfile::tempfile().expect("a file"));
        let closed = Arc::downgrade(&Arc::new(tempfile::tempfile().expect("a file")));
        block_on(async {
            let cut_off = acquire(&grants).await.expect("locked").expect("exclusive");
            cut_off.release_after(vec![closed.clone(), Arc::downgrade(&operation)]);
            let mut next = std::pin::pin!(acquire(&grants));
            let early = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
            assert!(early.is_err(), "the operation is not complete");
            drop(operation);
            let next = next.await.expect("locked").expect("exclusive");
            next.release_after(vec![closed]);
            assert!(acquire(&grants).await.expect("locked").is_some());
        });
    }

    #[test]
    fn another_process_is_excluded_and_a_request_that_ends_while_it_waits_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let grants = grants(&[(folder.path(), true)]);
        // Another open file description excludes as another process does.
        let other = File::open(folder.path()).expect("opened");
        flock(&other, FlockOperation::LockExclusive).expect("locked");
        block_on(async {
            for _ in 0..3 {
                let waiting = tokio::time::timeout(Duration::from_millis(20), acquire(&grants));
                assert!(waiting.await.is_err(), "both have it");
            }
            drop(other);
            assert!(acquire(&grants).await.expect("locked").is_some());
        });
    }

    #[test]
    fn folders_granted_in_another_order_do_not_deadlock() {
        let (a, b) = (tempfile::tempdir(), tempfile::tempdir());
        let (a, b) = (a.expect("a folder"), b.expect("a folder"));
        let forth = grants(&[(a.path(), true), (b.path(), true), (a.path(), true)]);
        let back = grants(&[(b.path(), true), (a.path(), true)]);
        thread::scope(|scope| {
            for grants in [&forth, &back] {
                scope.spawn(move || {
                    block_on(async {
                        for _ in 0..200 {
                            assert!(acquire(grants).await.expect("locked").is_some());
                        }
                    });
                });
            }
        });
    }

    #[test]
    fn requests_that_wait_have_no_descriptor_and_find_the_folder_that_is_there_then() {
        let above = tempfile::tempdir().expect("a folder");
        let path = above.path().join("data");
        fs::create_dir(&path).expect("created");
        let grants = grants(&[(&path, true)]);
        let identity_now = || identity(&fs::metadata(&path).expect("it is there"));
        let descriptors = |identity: Identity| {
            let open = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
            let open = open.filter_map(|entry| fs::metadata(entry.path()).ok());
            open.filter(|metadata| self::identity(metadata) == identity)
                .count()
        };
        block_on(async {
            let first = acquire(&grants).await.expect("locked").expect("exclusive");
            let replaced = identity_now();
            assert_eq!(descriptors(replaced), 1);
            let mut waiting: Vec<_> = (0..9).map(|_| Box::pin(acquire(&grants))).collect();
            for one in &mut waiting {
                let early = tokio::time::timeout(Duration::from_millis(50), one).await;
                assert!(early.is_err(), "both have it");
            }
            assert_eq!(descriptors(replaced), 1);
            fs::rename(&path, above.path().join("old")).expect("renamed");
            fs::create_dir(&path).expect("created");
            drop(first);
            for one in waiting {
                let _lock = one.await.expect("locked").expect("exclusive");
                assert_eq!((descriptors(replaced), descriptors(identity_now())), (0, 1));
            }
        });
    }

    #[test]
    fn a_folder_that_only_is_read_needs_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let grants = grants(&[(folder.path(), false)]);
        block_on(async { assert!(acquire(&grants).await.expect("nothing to lock").is_none()) });
    }

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let grants = grants(&[(&path, true)]);
        drop(folder);
        let error = block_on(acquire(&grants)).expect_err("it is gone");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
