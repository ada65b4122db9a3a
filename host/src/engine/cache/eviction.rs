//! Removes files from the folder: those of writers that have exited, entries that were not used for
//! long, and the least recently used ones if all together are too large.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::folder::{Folder, Listed};

/// The time after which unused entries are removed: four weeks. A handler that still exists is then
/// compiled once more.
const KEEP: Duration = Duration::from_secs(28 * 24 * 60 * 60);

/// Removes obsolete files. Returns the size of the rest on disk, in bytes, including files that are
/// being written. This can exceed `max_bytes` if a file can't be removed.
///
/// # Errors
///
/// Fails if the folder can't be read.
pub(super) fn clear_out(folder: &Folder, max_bytes: u64) -> io::Result<u64> {
    let (mut entries, unfinished) = ours(folder.list()?);
    let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for part in unfinished {
        // A file that is being written is locked.
        if !is_gone(&folder.remove_unlocked(&part.name)) {
            total = total.saturating_add(part.bytes);
        }
    }
    entries.sort_by_key(|entry| entry.modified);
    let oldest = SystemTime::now().checked_sub(KEEP);
    for entry in entries {
        let is_old = oldest.is_some_and(|oldest| entry.modified < oldest);
        if !is_old && total <= max_bytes {
            break;
        }
        if is_gone(&folder.remove(&entry.name)) {
            total -= entry.bytes;
        }
    }
    Ok(total)
}

/// Returns whether a file no longer exists: another process may have removed it first.
fn is_gone(removed: &io::Result<()>) -> bool {
    match removed {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Returns the entries and the unfinished entries. Other files in the folder are not ours.
fn ours(files: Vec<Listed>) -> (Vec<Listed>, Vec<Listed>) {
    let extension = |file: &Listed| Path::new(&file.name).extension().map(ToOwned::to_owned);
    let ours = files
        .into_iter()
        .filter(|file| extension(file).is_some_and(|it| it == "cwasm" || it == "part"));
    ours.partition(|file| extension(file).is_some_and(|it| it == "cwasm"))
}
