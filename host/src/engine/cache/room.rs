//! What is removed from the folder: files of writers that have gone, entries that were not used
//! for long, and those used least lately where all together take too much.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::folder::{Folder, Listed};

/// Entries that no start has used for this long are removed: four weeks. A handler that is still
/// there and is compiled again pays once.
const KEEP: Duration = Duration::from_secs(28 * 24 * 60 * 60);

/// Removes what is not to stay, and returns how many bytes on disk the rest takes, with what is
/// being written. That can be more than `max_bytes` where a file can't be removed.
///
/// # Errors
///
/// The folder can't be read.
pub(super) fn clear_out(folder: &Folder, max_bytes: u64) -> io::Result<u64> {
    let (mut entries, unfinished) = ours(folder.list()?);
    let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for part in unfinished {
        // One that is being written is locked.
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

/// Whether a file is not there any more: another process may have removed it first.
fn is_gone(removed: &io::Result<()>) -> bool {
    match removed {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Entries, and files that are to become entries. Whatever else is in the folder is not ours.
fn ours(files: Vec<Listed>) -> (Vec<Listed>, Vec<Listed>) {
    let extension = |file: &Listed| Path::new(&file.name).extension().map(ToOwned::to_owned);
    let ours = files
        .into_iter()
        .filter(|file| extension(file).is_some_and(|it| it == "cwasm" || it == "part"));
    ours.partition(|file| extension(file).is_some_and(|it| it == "cwasm"))
}
